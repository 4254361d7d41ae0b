"""Marks on the outputs of the layers of a traced program, as if its author had written them.

    run_marked(program, layers, args) == the outputs of the program

The calls of `jit` that hold a layer are inlined. The bodies of `remat`, `scan`, `cond` and functions with a derivative
of their own are traced again, with marks.
"""

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxviz.compiling import workarounds
from jaxviz.compiling.jaxprs import PLAIN_CALLS, bind, evaluate, name_stack
from jaxviz.compiling.layers import Layer, Place
from jaxviz.compiling.marks import mark
from jaxviz.compiling.workarounds import ClosedJaxpr, Jaxpr, closed, parameters


def run_marked(
    program: ClosedJaxpr, layers: Sequence[Layer], args: Sequence[Any], names: Mapping[Any, str] | None = None
) -> list[Any]:
    """The outputs of a program that runs with a mark on the output of each layer.

    Args:
        names: of further values, {variable of the program: name}; a value has one name, and this one goes first.
    """
    return _Marker(layers, names or {}).run(program, args, (), "")


class _Marker:
    def __init__(self, layers: Sequence[Layer], names: Mapping[Any, str]):
        self.names = names
        self.layers = {place: layer for layer in layers for place in layer.places}
        self.ends = {layer.places[-1]: layer for layer in layers}
        self.around = {place[:length] for place in self.layers for length in range(1, len(place), 2)}

    def run(self, body: Any, args: Sequence[Any], place: Place, scope: str) -> list[Any]:
        body, numbers = closed(body), itertools.count()

        def rule(equation: Any, *inputs: Any) -> list[Any]:
            return self.equation((*place, next(numbers)), scope, equation, inputs)

        return evaluate(body.jaxpr, body.consts, args, rule)

    def equation(self, place: Place, scope: str, equation: Any, inputs: Sequence[Any]) -> list[Any]:
        layer = self.layers.get(place)
        scope = layer.name if layer else name_stack(scope, equation)
        if place not in self.around:
            outputs = bind(equation, *inputs, scope=scope)
        elif equation.primitive.name in PLAIN_CALLS:
            (body,) = (each for each in parameters(equation).values() if isinstance(each, ClosedJaxpr | Jaxpr))
            outputs = self.run(body, inputs, (*place, 0), scope)
        else:
            outputs = self.again(place, scope, equation, inputs)
        named = [self.names.get(variable) for variable in equation.outvars]
        if place in self.ends:
            layer, name = self.ends[place], next(filter(None, named), None)
            at = named.index(name) if name else 0
            outputs[at] = mark(outputs[at], name or layer.name, layer.kind, layer.leaves)
            named[at] = None
        return [mark(out, name, "") if name else out for out, name in zip(outputs, named, strict=True)]

    def again(self, place: Place, scope: str, equation: Any, inputs: Sequence[Any]) -> list[Any]:
        """The outputs of an equation whose bodies are traced again, with marks."""
        numbers = itertools.count()

        def other(value: Any) -> Any:
            if isinstance(value, tuple):
                parts = tuple(map(other, value))
                return value if all(new is old for new, old in zip(parts, value, strict=True)) else parts
            if not isinstance(value, ClosedJaxpr | Jaxpr):
                return value
            body, inner = closed(value), (*place, next(numbers))
            traced = jax.make_jaxpr(lambda *args: self.run(body, args, inner, scope))(*body.in_avals)
            return workarounds.like(equation, value, traced)

        params = {name: other(value) for name, value in parameters(equation).items()}
        with jax.named_scope(scope) if scope else contextlib.nullcontext():
            return workarounds.bind(equation, inputs, params)

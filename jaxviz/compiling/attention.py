"""Attention in a traced program: the softmaxes whose results weigh values.

    attentions(program) -> where they are
    run_seen(program, args, names, see)    the program runs; each attention becomes `see(name, value)`

Law: a softmax is an attention if a matrix product sums over the axis along which its numbers add up to 1. So a
classifier's softmax is none, and neither is one over the channels of a map. It does not matter who wrote it: a
softmax is `jax.nn.softmax`, or `exp(x) / sum(exp(x))` written out, also within `jit`, `remat` and custom derivatives.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxviz.compiling.jaxprs import CALLS, ELEMENTWISE, bind, bodies, body_of, evaluate, nn_function
from jaxviz.compiling.workarounds import REMAT, ClosedJaxpr, closed, parameters

Place = tuple[int, ...]  # the number of an equation, after those of the equations in whose bodies it is


class Attention(NamedTuple):
    """An attention in a program.

    Attributes:
        place: of the equation that makes it.
        stack: JAX's name stack there.
        shape: of all its numbers, with a batch axis somewhere, such as `[n heads t s]`.
        axis: the one along which its numbers add up to 1.
        product: the place of the matrix product in which it weighs values.
    """

    place: Place
    stack: str
    shape: tuple[int, ...]
    axis: int
    product: Place = ()


class _Weights(NamedTuple):
    """A value on the way to an attention: exponentials, their sum along `axis`, or the exponentials divided by it."""

    what: str
    place: Place
    axis: int = 0


def attentions(program: ClosedJaxpr) -> list[Attention]:
    """The attentions of a program, in execution order. Nothing is computed."""
    found: dict[Place, Attention] = {}
    used: dict[Place, Place] = {}

    def step(place: Place, stack: str, equation: Any, inputs: Sequence[Any]) -> list[Any]:
        primitive, count = equation.primitive.name, len(equation.outvars)
        weights = [each for each in inputs if isinstance(each, _Weights)]
        made = None
        if nn_function(equation) == "softmax":
            made = _Weights("softmax", place, _summed_axis(body_of(equation)))
        elif _is_open(equation):
            return _inside(equation, inputs, place, stack, step)
        elif primitive == "exp":
            made = _Weights("exp", place)
        elif weights:
            made = _passed(place, equation, inputs, weights)
            if primitive == "dot_general":
                used.update({each: place for each in _summed(equation, inputs) if each not in used})
        if made and made.what == "softmax" and made.place == place:
            found[place] = Attention(place, stack, tuple(equation.outvars[0].aval.shape), made.axis)
        return [made] * count

    _run(program, [None] * len(program.in_avals), (), "", step)
    return [each._replace(product=used[place]) for place, each in found.items() if place in used]


def _passed(place: Place, equation: Any, inputs: Sequence[Any], weights: list[_Weights]) -> _Weights | None:
    """What an equation makes of weights: it sums or divides them, moves their axes, or keeps none of this."""
    primitive, params, first = equation.primitive.name, parameters(equation), weights[0]
    if primitive == "reduce_sum" and first.what == "exp" and len(params["axes"]) == 1:
        return first._replace(what="sum", axis=int(params["axes"][0]))
    if primitive == "div" and [each.what for each in weights] == ["exp", "sum"] and weights[1].place == first.place:
        return _Weights("softmax", place, weights[1].axis)
    if primitive in ("stop_gradient", "convert_element_type", "copy") or (first.what == "sum" and primitive in _LAYOUT):
        return first
    if first.what != "softmax":
        return None
    before, after = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    if primitive == "transpose":
        return first._replace(axis=params["permutation"].index(first.axis))
    if primitive == "broadcast_in_dim":
        return first._replace(axis=int(params["broadcast_dimensions"][first.axis]))
    if primitive == "squeeze":
        return first._replace(axis=first.axis - sum(axis < first.axis for axis in params["dimensions"]))
    if primitive == "reshape" and first.axis == len(before) - 1 and before[-1] == after[-1]:
        return first._replace(axis=len(after) - 1)
    alone = len(weights) == 1 and equation.invars[inputs.index(first)].aval.shape == after
    return first if primitive in ELEMENTWISE and alone else None


_LAYOUT = ("broadcast_in_dim", "reshape", "squeeze", "transpose")


def _summed(equation: Any, inputs: Sequence[Any]) -> list[Place]:
    """The softmaxes over whose axis a matrix product sums."""
    (contracted, _) = parameters(equation)["dimension_numbers"]
    return [
        each.place
        for each, axes in zip(inputs, contracted, strict=True)
        if isinstance(each, _Weights) and each.what == "softmax" and each.axis in axes
    ]


def _summed_axis(body: ClosedJaxpr) -> int:
    """The axis along which a function sums."""
    for equation in body.jaxpr.eqns:
        if equation.primitive.name == "reduce_sum":
            return int(parameters(equation)["axes"][0])
        for inner in bodies(equation):
            if (axis := _summed_axis(inner)) >= 0:
                return axis
    return -1


def run_seen(
    program: ClosedJaxpr, args: Sequence[Any], names: Mapping[Place, str], see: Callable[[str, jax.Array], jax.Array]
) -> list[Any]:
    """The outputs of a program in which each attention of `names` is replaced by `see(name, attention)`."""

    def step(place: Place, stack: str, equation: Any, inputs: Sequence[Any]) -> list[Any]:
        if place in names:
            return [see(names[place], *bind(equation, *inputs, scope=stack))]
        if _is_open(equation) and any(each[: len(place)] == place for each in names):
            return _inside(equation, inputs, place, stack, step)
        return bind(equation, *inputs, scope=stack)

    return _run(program, args, (), "", step)


Step = Callable[[Place, str, Any, Sequence[Any]], list[Any]]


def _run(body: ClosedJaxpr, values: Sequence[Any], place: Place, stack: str, step: Step) -> list[Any]:
    numbers = itertools.count()

    def rule(equation: Any, *inputs: Any) -> list[Any]:
        own = "/".join(filter(None, (stack, str(equation.source_info.name_stack))))
        return step((*place, next(numbers)), own, equation, inputs)

    return evaluate(body.jaxpr, body.consts, values, rule)


def _inside(equation: Any, inputs: Sequence[Any], place: Place, stack: str, step: Step) -> list[Any]:
    (body, *_) = bodies(equation)
    return _run(closed(body), inputs, place, stack, step)


def _is_open(equation: Any) -> bool:
    return equation.primitive.name in {*CALLS, REMAT} and bool(bodies(equation))

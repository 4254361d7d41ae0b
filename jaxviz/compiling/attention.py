"""Attention in a traced program: the softmaxes whose results weigh values.

    attentions(program) -> where they are, and where they weigh values
    run_seen(program, args, names, see)    the program runs; each value that is named becomes `see(name, value)`

Law: a softmax is an attention if a matrix product sums over the axis along which its numbers add up to 1. So a
classifier's softmax is none, and neither is one over the channels of a map. It does not matter who wrote it: a
softmax is `jax.nn.softmax`, or `exp(x) / sum(exp(x))` written out, also within `jit`, `remat` and custom derivatives.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxviz.compiling.jaxprs import CALLS, ELEMENTWISE, bind, bodies, body_of, evaluate, name_stack, nn_function
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
        written: one number for each axis of that product: the number of the attention's axis, VALUE for an axis of the
            values, or UNKNOWN. It is empty if the attention weighs values in several products, none of which is all.
    """

    place: Place
    stack: str
    shape: tuple[int, ...]
    axis: int
    product: Place = ()
    written: tuple[int, ...] = ()


VALUE, UNKNOWN = -1, -2  # instead of an axis of an attention


class _Weights(NamedTuple):
    """A value on the way to an attention: exponentials, their sum along `axis`, or the exponentials divided by it.

    Attributes:
        axes: of a softmax: for each axis of this value, the number of the same axis in the softmax, or UNKNOWN.
    """

    what: str
    place: Place
    axis: int = 0
    axes: tuple[int, ...] = ()


def attentions(program: ClosedJaxpr) -> list[Attention]:
    """The attentions of a program, in execution order. Nothing is computed."""
    found: dict[Place, Attention] = {}
    used: dict[Place, tuple[Place, tuple[int, ...]]] = {}

    def step(place: Place, stack: str, equation: Any, inputs: Sequence[Any]) -> list[Any]:
        primitive, count = equation.primitive.name, len(equation.outvars)
        weights = [each for each in inputs if isinstance(each, _Weights)]
        made = None
        if nn_function(equation) == "softmax":
            made = _softmax(place, equation, _summed_axis(body_of(equation)))
        elif _is_open(equation):
            return _inside(equation, inputs, place, stack, step)
        elif primitive == "exp":
            made = _Weights("exp", place)
        elif weights:
            made = _passed(place, equation, inputs, weights)
            if primitive == "dot_general":
                for each, written in _written(equation, inputs).items():
                    used[each] = (used[each][0], ()) if each in used else (place, written)
        if made and made.what == "softmax" and made.place == place:
            found[place] = Attention(place, stack, tuple(equation.outvars[0].aval.shape), made.axis)
        return [made] * count

    _run(program, [None] * len(program.in_avals), (), "", step)
    return [
        each._replace(product=used[place][0], written=used[place][1]) for place, each in found.items() if place in used
    ]


def _softmax(place: Place, equation: Any, axis: int) -> _Weights:
    return _Weights("softmax", place, axis, tuple(range(len(equation.outvars[0].aval.shape))))


def _passed(place: Place, equation: Any, inputs: Sequence[Any], weights: list[_Weights]) -> _Weights | None:
    """What an equation makes of weights: it sums or divides them, moves their axes, or keeps none of this."""
    primitive, params, first = equation.primitive.name, parameters(equation), weights[0]
    if primitive == "reduce_sum" and first.what == "exp" and len(params["axes"]) == 1:
        return first._replace(what="sum", axis=int(params["axes"][0]))
    if primitive == "div" and [each.what for each in weights] == ["exp", "sum"] and weights[1].place == first.place:
        return _softmax(place, equation, weights[1].axis)
    if primitive in ("stop_gradient", "convert_element_type", "copy") or (first.what == "sum" and primitive in _LAYOUT):
        return first
    if first.what != "softmax":
        return None
    before, after = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    if primitive == "transpose":
        return first._replace(axes=tuple(first.axes[axis] for axis in params["permutation"]))
    if primitive == "broadcast_in_dim":
        known = dict(zip(params["broadcast_dimensions"], first.axes, strict=True))
        return first._replace(axes=tuple(known.get(axis, UNKNOWN) for axis in range(len(after))))
    if primitive == "squeeze":
        left = (axis for axis in range(len(before)) if axis not in params["dimensions"])
        return first._replace(axes=tuple(first.axes[axis] for axis in left))
    if primitive == "reshape":  # the last axes of the same lengths are the same axes
        ends = itertools.takewhile(lambda each: each[0] == each[1], zip(before[::-1], after[::-1], strict=False))
        same = sum(1 for _ in ends)
        kept = first.axes[len(before) - same :]
        return first._replace(axes=(*[UNKNOWN] * (len(after) - same), *kept)) if first.axis in kept else None
    at = next(number for number, each in enumerate(inputs) if each is first)  # others may be arrays, which == compares
    alone = len(weights) == 1 and equation.invars[at].aval.shape == after
    return first if primitive in ELEMENTWISE and alone else None


_LAYOUT = ("broadcast_in_dim", "reshape", "squeeze", "transpose")


def _written(equation: Any, inputs: Sequence[Any]) -> dict[Place, tuple[int, ...]]:
    """The softmaxes over whose axis a matrix product sums, and what the axes of the product are for each of them."""
    contracted, batched = parameters(equation)["dimension_numbers"]
    found = {}
    for side, each in enumerate(inputs):
        if not isinstance(each, _Weights) or each.what != "softmax":
            continue
        if each.axis not in [each.axes[axis] for axis in contracted[side]]:
            continue
        free = []
        for operand, variable in enumerate(equation.invars):
            used = {*contracted[operand], *batched[operand]}
            left = (axis for axis in range(len(variable.aval.shape)) if axis not in used)
            free += [each.axes[axis] if operand == side else VALUE for axis in left]
        found[each.place] = (*(each.axes[axis] for axis in batched[side]), *free)
    return found


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
    """The outputs of a program in which what the equation at a place of `names` makes becomes `see(name, value)`."""

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
        own = name_stack(stack, equation)
        return step((*place, next(numbers)), own, equation, inputs)

    return evaluate(body.jaxpr, body.consts, values, rule)


def _inside(equation: Any, inputs: Sequence[Any], place: Place, stack: str, step: Step) -> list[Any]:
    (body, *_) = bodies(equation)
    return _run(closed(body), inputs, place, stack, step)


def _is_open(equation: Any) -> bool:
    return equation.primitive.name in {*CALLS, REMAT} and bool(bodies(equation))

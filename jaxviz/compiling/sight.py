"""Which pixels of the image each position of an activation sees, read off a traced function.

    follow(jaxpr, image) -> for each output, the `Sights`, one for each axis of the image; None: it sees nothing

The axes of the image, height and width, are followed separately, and the same rules serve all of them. An activation
has `Positions` along one of its own axes. A convolution or resize moves them; arithmetic unites those of its inputs; an
average over the image, or a dense layer, ends them.

A new rule goes into `_RULES`, by the name of its primitive. An operation without a rule ends all positions.
This file is long because the operations of JAX are many.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import jax
import numpy as np

from jaxviz.compiling.jaxprs import CALLS, ELEMENTWISE, bind, body_of, evaluate
from jaxviz.compiling.positions import (
    Lost,
    Positions,
    Sight,
    Sights,
    in_a_row,
    joined,
    resampled,
    reshaped,
    slid,
    taken,
    united,
)
from jaxviz.compiling.workarounds import Equation, UnknownEquationError, closed, parameters, scan_split


class _Unknown:
    """A value that does not depend on the image, and is not known without the network's parameters."""


class _Constant:
    """A value that depends on nothing. It is computed only where a rule needs it."""

    def __init__(self, equation: Equation, inputs: Sequence[Any], output: int):
        self.equation, self.inputs, self.output = equation, inputs, output

    def compute(self) -> Any:
        """The value, in a traced function."""
        return bind(self.equation, *(v.compute() if isinstance(v, _Constant) else v for v in self.inputs))[self.output]


def follow(jaxpr: Any, image: Any, picture: Sequence[int] | None = None) -> list[Sights | None]:
    """How each output of a closed jaxpr sees the input `image`, the variable of a batch of one image `[1 h w c]`.

    Args:
        picture: the shape `[h w c]` of the image, if the variable has it in another shape.
    """
    inputs = [_whole_image(each.aval.shape, picture) if each is image else _Unknown() for each in jaxpr.jaxpr.invars]
    found = evaluate(jaxpr.jaxpr, jaxpr.consts, inputs, _equation)
    return [value if isinstance(value, Sights) else None for value in found]


def _whole_image(shape: Sequence[int], picture: Sequence[int] | None) -> Sights:
    whole = shape if picture is None else (1, *picture)

    def sight(axis: int) -> Sight:
        pixels, last = np.arange(whole[axis], dtype=float), float(whole[axis] - 1)
        positions = reshaped(Positions(axis, 1, pixels, pixels, Fraction(1), (0.0, last)), whole, shape)
        return Sight((positions,)) if positions else Sight((), Lost("reshape", "", 0.0, last))

    return Sights(map(sight, range(1, len(whole) - 1)))


def _equation(equation: Equation, *inputs: Any) -> list[Any]:
    """The outputs of an equation: sights, and values that do not depend on the image."""
    outputs, name = range(len(equation.outvars)), equation.primitive.name
    if 0 in _out_shape(equation):
        return [_Unknown() for _ in outputs]
    if not any(isinstance(value, Sights) for value in inputs):
        if any(isinstance(value, _Unknown) for value in inputs) or getattr(equation, "effects", None):
            return [_Unknown() for _ in outputs]
        return [_Constant(equation, inputs, output) for output in outputs]
    with contextlib.suppress(UnknownEquationError):
        if name in CALLS:
            body = body_of(equation)
            return _inside(equation, evaluate(body.jaxpr, body.consts, inputs, _equation))
        if name in _FUNCTIONS:
            return _inside(equation, _FUNCTIONS[name](equation, *inputs))
        if name in _RULES:
            return [_of_each(equation, _RULES[name], inputs)] * len(outputs)
    return [_of_each(equation, _end, inputs)] * len(outputs)


def _inside(equation: Equation, outputs: list[Any]) -> list[Any]:
    """The outputs of a function; what was lost in it was lost in the layer of the equation that calls it."""

    def named(sight: Sight) -> Sight:
        if sight.lost is None or sight.lost.where:
            return sight
        return sight._replace(lost=sight.lost._replace(where=str(equation.source_info.name_stack)))

    return [Sights(map(named, value)) if isinstance(value, Sights) else value for value in outputs]


def _of_each(equation: Equation, rule: "Rule", inputs: Sequence[Any]) -> Sights:
    """The sights of an output, by a rule for one axis of the image, which gets the inputs' sight of that axis alone."""
    axes = next(len(value) for value in inputs if isinstance(value, Sights))
    return Sights(
        rule(equation, [value[axis] if isinstance(value, Sights) else value for value in inputs])
        for axis in range(axes)
    )


# A rule takes an equation and its inputs, at least one of which is a Sight. It returns the Sight of the outputs.

Rule = Callable[[Equation, Sequence[Any]], Sight]
Move = Callable[[Positions], Positions | None]


def _moved(equation: Equation, sight: Any, move: Move) -> Sight:
    """A sight whose positions have moved; `move` returns None for positions that end at this equation."""
    if not isinstance(sight, Sight):
        return Sight()
    moved = [(each, move(each)) for each in sight.positions]
    ended = [each.seen for each, new in moved if new is None]
    found = Sight(tuple(new for _, new in moved if new is not None), sight.lost)
    if not ended:
        return found
    where = str(equation.source_info.name_stack)
    lost = Lost(equation.primitive.name, where, min(low for low, _ in ended), max(high for _, high in ended))
    return found._replace(lost=joined(found.lost, lost))


def _elementwise(equation: Equation, inputs: Sequence[Any]) -> Sight:
    after = _out_shape(equation)

    def moved(which: int, sight: Any) -> Sight:
        """Axes of length 1 are repeated, as `broadcast_in_dim` does it."""
        shape = _shape(equation, which)
        return _moved(equation, sight, lambda each: each if shape[each.axis] == after[each.axis] else None)

    return united(moved(which, sight) for which, sight in enumerate(inputs))


def _end(equation: Equation, inputs: Sequence[Any]) -> Sight:
    """Of an operation without a rule: each of its outputs may depend on everything."""
    return united(_moved(equation, sight, lambda positions: None) for sight in inputs)


def _shape(equation: Equation, which: int = 0) -> tuple[int, ...]:
    aval: Any = equation.invars[which].aval
    return tuple(aval.shape)


def _out_shape(equation: Equation) -> tuple[int, ...]:
    aval: Any = equation.outvars[0].aval
    return tuple(getattr(aval, "shape", ()))


def _convolution(equation: Equation, inputs: Sequence[Any]) -> Sight:
    params = parameters(equation)
    layout, kernel = params["dimension_numbers"], _shape(equation, 1)
    before, after = _shape(equation), _out_shape(equation)

    def move(positions: Positions) -> Positions | None:
        place = layout.lhs_spec.index(positions.axis) - 2
        axis = layout.out_spec[place + 2]
        if place == -2:
            return replace(positions, axis=axis)
        if place == -1:
            return None
        found = slid(
            positions,
            (before[positions.axis], after[axis]),
            size=kernel[layout.rhs_spec[place + 2]],
            stride=params["window_strides"][place],
            before=params["padding"][place][0],
            gap=params["rhs_dilation"][place],
            spread=params["lhs_dilation"][place],
        )
        return None if found is None else replace(found, axis=axis)

    return united([_moved(equation, inputs[0], move), _end(equation, inputs[1:])])


def _pool(equation: Equation, inputs: Sequence[Any]) -> Sight:
    params = parameters(equation)
    before, after = _shape(equation), _out_shape(equation)

    def move(positions: Positions) -> Positions | None:
        axis = positions.axis
        size, stride = params["window_dimensions"][axis], params["window_strides"][axis]
        gap, spread = params["window_dilation"][axis], params["base_dilation"][axis]
        if (size, stride, gap, spread) == (1, 1, 1, 1) and before[axis] == after[axis]:
            return positions
        padding = params["padding"][axis][0]
        lengths = before[axis], after[axis]
        return slid(positions, lengths, size=size, stride=stride, before=padding, gap=gap, spread=spread)

    return united(_moved(equation, sight, move) for sight in inputs)


def _pad(equation: Equation, inputs: Sequence[Any]) -> Sight:
    config, before, after = parameters(equation)["padding_config"], _shape(equation), _out_shape(equation)

    def move(positions: Positions) -> Positions | None:
        low, high, interior = map(int, config[positions.axis])
        if (low, high, interior) == (0, 0, 0):
            return positions
        lengths = before[positions.axis], after[positions.axis]
        return slid(positions, lengths, before=low, spread=interior + 1)

    return united([_moved(equation, inputs[0], move), _end(equation, inputs[1:])])


def _slice(equation: Equation, inputs: Sequence[Any]) -> Sight:
    params, shape = parameters(equation), _shape(equation)

    def move(positions: Positions) -> Positions | None:
        axis = positions.axis
        stride = params["strides"][axis] if params["strides"] else 1
        index = np.arange(params["start_indices"][axis], params["limit_indices"][axis], stride)
        return positions if len(index) == shape[axis] else taken(positions, shape[axis], index)

    return _moved(equation, inputs[0], move)


def _dynamic_slice(equation: Equation, inputs: Sequence[Any]) -> Sight:
    sizes, shape = parameters(equation)["slice_sizes"], _shape(equation)

    def move(positions: Positions) -> Positions | None:
        size, length = sizes[positions.axis], shape[positions.axis]
        start = _known(inputs[1 + positions.axis])
        if size == length:
            return positions
        if start is None:
            return None
        first = int(np.clip(start + length if start < 0 else start, 0, length - size))
        return taken(positions, length, np.arange(first, first + size))

    return united([_moved(equation, inputs[0], move), _end(equation, inputs[1:])])


def _known(value: Any) -> Any:
    """The number or array of a value that depends on nothing; None for any other value."""
    if isinstance(value, Sight | _Unknown):
        return None
    return np.asarray(jax.jit(value.compute)() if isinstance(value, _Constant) else value)


def _rev(equation: Equation, inputs: Sequence[Any]) -> Sight:
    dimensions, shape = parameters(equation)["dimensions"], _shape(equation)

    def move(positions: Positions) -> Positions | None:
        if positions.axis not in dimensions:
            return positions
        return taken(positions, shape[positions.axis], np.arange(shape[positions.axis])[::-1])

    return _moved(equation, inputs[0], move)


def _gather(equation: Equation, inputs: Sequence[Any]) -> Sight:
    params, shape, after = parameters(equation), _shape(equation), _out_shape(equation)
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    kept = dict(zip((a for a in range(len(shape)) if a not in gone), numbers.offset_dims, strict=True))
    others = [axis for axis in range(len(after)) if axis not in numbers.offset_dims]

    def move(positions: Positions) -> Positions | None:
        axis = positions.axis
        if axis in kept and sizes[axis] == shape[axis]:
            return replace(positions, axis=kept[axis])
        index = _known(inputs[1])
        if index is None or len(others) != 1 or numbers.start_index_map != (axis,) or axis in kept:
            return None
        return taken(positions, shape[axis], index.reshape(-1), others[0])

    return united([_moved(equation, inputs[0], move), _end(equation, inputs[1:])])


def _concatenate(equation: Equation, inputs: Sequence[Any]) -> Sight:
    """Along another axis, all inputs have the same positions. Along this one, the parts follow each other."""
    axis, start = parameters(equation)["dimension"], 0
    low, high = np.full((2, _out_shape(equation)[axis]), np.nan)
    sights = [sight for sight in inputs if isinstance(sight, Sight)]
    along_it = {each.axis == axis for sight in sights for each in sight.positions}
    parts: list[Positions] = []
    others: list[Sight] = []
    for which, sight in enumerate(inputs):
        size = _shape(equation, which)[axis]
        part, start = slice(start, start + size), start + size
        if not isinstance(sight, Sight):
            continue
        found = [along for each in sight.positions if each.axis == axis and (along := each.along(size)) is not None]
        rest = (
            sight
            if not found
            else sight._replace(positions=tuple(each for each in sight.positions if each.axis != axis))
        )
        rest = _moved(equation, rest, lambda each: each if each.axis != axis else None)
        if not found and rest.lost is not None and (along_it == {True} or (not along_it and size == 1)):
            # Without positions of its own, it is one: a pooled window, or the edge that a padding repeats.
            first, last = (np.full(size, end) for end in rest.lost[2:])
            found, rest = [Positions(axis, 1, first, last, Fraction(0), rest.lost[2:])], Sight()
        for each in found:
            low[part], high[part] = each.low, each.high
        parts.extend(found)
        others.append(rest)
    return united([Sight((in_a_row(parts, low, high),)) if parts else Sight(), *others])


def _reduce(equation: Equation, inputs: Sequence[Any]) -> Sight:
    axes = parameters(equation)["axes"]

    def move(positions: Positions) -> Positions | None:
        if positions.axis in axes:
            return None
        return replace(positions, axis=positions.axis - sum(axis < positions.axis for axis in axes))

    return united(_moved(equation, sight, move) for sight in inputs)


def _broadcast(equation: Equation, inputs: Sequence[Any]) -> Sight:
    places, before, after = parameters(equation)["broadcast_dimensions"], _shape(equation), _out_shape(equation)

    def move(positions: Positions) -> Positions | None:
        axis = places[positions.axis]
        return replace(positions, axis=axis) if before[positions.axis] == after[axis] else None

    return _moved(equation, inputs[0], move)


def _transpose(equation: Equation, inputs: Sequence[Any]) -> Sight:
    order = parameters(equation)["permutation"]
    return _moved(equation, inputs[0], lambda positions: replace(positions, axis=order.index(positions.axis)))


def _stack(equation: Equation, inputs: Sequence[Any]) -> Sight:
    new = parameters(equation)["axis"]

    def move(positions: Positions) -> Positions:
        return replace(positions, axis=positions.axis + (positions.axis >= new))

    return united(_moved(equation, sight, move) for sight in inputs)


def _reshape(equation: Equation, inputs: Sequence[Any]) -> Sight:
    before, after = _shape(equation), _out_shape(equation)
    return _moved(equation, inputs[0], lambda positions: reshaped(positions, before, after))


def _dot(equation: Equation, inputs: Sequence[Any]) -> Sight:
    """A product with a matrix: positions go on along axes that are not summed over. A known matrix may be a resize."""
    contracted, batched = parameters(equation)["dimension_numbers"]
    shapes = _shape(equation, 0), _shape(equation, 1)
    free = [
        [axis for axis in range(len(shapes[k])) if axis not in contracted[k] and axis not in batched[k]] for k in (0, 1)
    ]
    starts = len(batched[0]), len(batched[0]) + len(free[0])

    def side(k: int) -> Sight:
        other = 1 - k

        def move(positions: Positions) -> Positions | None:
            axis = positions.axis
            if axis in batched[k]:
                return replace(positions, axis=batched[k].index(axis))
            if axis in free[k]:
                return replace(positions, axis=starts[k] + free[k].index(axis))
            matrix = _known(inputs[other])
            if matrix is None or matrix.ndim != 2 or len(contracted[k]) != 1:
                return None
            rows = matrix if contracted[other][0] == 1 else matrix.T  # [new positions, old positions]
            along = positions.along(shapes[k][axis])
            return None if along is None else resampled(along, rows, starts[other])

        return _moved(equation, inputs[k], move)

    return united([side(0), side(1)])


def _along(name: str) -> Rule:
    """The rule of an operation along the axis or axes that its parameter `name` has, such as a running sum."""

    def rule(equation: Equation, inputs: Sequence[Any]) -> Sight:
        axes = np.atleast_1d(parameters(equation)[name])
        return united(_moved(equation, sight, lambda each: None if each.axis in axes else each) for sight in inputs)

    return rule


# fmt: off
_RULES: dict[str, Rule] = {
    **dict.fromkeys((
        *ELEMENTWISE, "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "cos", "cosh",
        "digamma", "erf_inv", "erfc", "exp2", "floor", "imag", "is_finite", "lgamma", "nextafter",
        "optimization_barrier", "real", "reduce_precision", "rem", "round", "sin", "sinh", "tan", "xor",
    ), _elementwise),
    **dict.fromkeys(("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "argmax",
                     "argmin"), _reduce),
    **dict.fromkeys(("reduce_window", "reduce_window_max", "reduce_window_min", "reduce_window_sum"), _pool),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"), _along("axis")),
    "sort": _along("dimension"),
    "top_k": _along("axis"),
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": _convolution,
    "dot_general": _dot,
    "dynamic_slice": _dynamic_slice,
    "gather": _gather,
    "pad": _pad,
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), _reshape),
    "rev": _rev,
    "slice": _slice,
    "stack": _stack,
    "transpose": _transpose,
}
# fmt: on


def _remat(equation: Equation, *inputs: Any) -> list[Any]:
    body = closed(parameters(equation)["jaxpr"])
    return evaluate(body.jaxpr, body.consts, inputs, _equation)


def _scan(equation: Equation, *inputs: Any) -> list[Any]:
    """A loop, whose body is followed as often as it runs. It may go through the images of a batch, not through rows."""
    params = parameters(equation)
    body, (fixed, carried) = closed(params["jaxpr"]), scan_split(equation)
    constants, carry, scanned = inputs[:fixed], list(inputs[fixed : fixed + carried]), inputs[fixed + carried :]
    parts = [_Unknown() if isinstance(each, _Constant) else _shifted(equation, each, -1) for each in scanned]
    results: list[list[Any]] = []
    for _ in range(params["length"]):
        found = evaluate(body.jaxpr, body.consts, [*constants, *carry, *parts], _equation)
        carry = found[:carried]
        results.append(found[carried:])
    return [*carry, *(_shifted(equation, _either(equation, each), 1) for each in zip(*results, strict=True))]


def _shifted(equation: Equation, value: Any, by: int) -> Any:
    """A value whose axes have moved, since there is one axis more in front of them, or one less."""

    def move(positions: Positions) -> Positions | None:
        return None if positions.axis + by < 0 else replace(positions, axis=positions.axis + by)

    return Sights(_moved(equation, each, move) for each in value) if isinstance(value, Sights) else _Unknown()


def _cond(equation: Equation, chosen: Any, *inputs: Any) -> list[Any]:
    branches = [closed(branch) for branch in parameters(equation)["branches"]]
    found = [evaluate(branch.jaxpr, branch.consts, inputs, _equation) for branch in branches]
    if isinstance(chosen, Sights):
        found.append([_of_each(equation, _end, [chosen])] * len(equation.outvars))
    return [_either(equation, values) for values in zip(*found, strict=True)]


def _split(equation: Equation, whole: Any) -> list[Any]:
    """The parts of a value, each of which is a slice of it."""
    axis, sizes, length = parameters(equation)["axis"], parameters(equation)["sizes"], _shape(equation)
    found, start = [], 0
    for size in sizes:
        index = np.arange(start, start + size)

        def move(positions: Positions, index: np.ndarray = index) -> Positions | None:
            return positions if positions.axis != axis else taken(positions, length[axis], index)

        found.append(Sights(_moved(equation, sight, move) for sight in whole))
        start += size
    return found


def _either(equation: Equation, values: Sequence[Any]) -> Any:
    if not any(isinstance(value, Sights) for value in values):
        return _Unknown()
    return _of_each(equation, lambda _, sights: united(sights), values)


_FUNCTIONS: dict[str, Callable[..., list[Any]]] = {
    "checkpoint": _remat,
    "cond": _cond,
    "remat": _remat,
    "remat2": _remat,
    "scan": _scan,
    "split": _split,
}

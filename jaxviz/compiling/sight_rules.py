"""How each operation of JAX moves the positions of an activation: one rule for each primitive.

    RULES[primitive](equation, inputs) -> Sight

A rule is for one axis of the image. It takes an equation and its inputs, at least one of which is a `Sight`, and
returns the `Sight` of the outputs. A new rule goes into `RULES`, by the name of its primitive; `sight.follow` uses it.
The file is long because the operations of JAX are many.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import jax
import numpy as np

from jaxviz.compiling.jaxprs import ELEMENTWISE, bind
from jaxviz.compiling.positions import (
    Lost,
    Positions,
    Sight,
    in_a_row,
    joined,
    resampled,
    reshaped,
    slid,
    taken,
    united,
)
from jaxviz.compiling.workarounds import Equation, parameters

Rule = Callable[[Equation, Sequence[Any]], Sight]
Move = Callable[[Positions], Positions | None]


class Unknown:
    """A value that does not depend on the image, and is not known without the network's parameters."""


class Constant:
    """A value that depends on nothing. It is computed only where a rule needs it."""

    def __init__(self, equation: Equation, inputs: Sequence[Any], output: int):
        self.equation, self.inputs, self.output = equation, inputs, output

    def compute(self) -> Any:
        """The value, in a traced function."""
        return bind(self.equation, *(v.compute() if isinstance(v, Constant) else v for v in self.inputs))[self.output]


def moved_by(equation: Equation, sight: Any, move: Move) -> Sight:
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
    after = out_shape(equation)

    def moved(which: int, sight: Any) -> Sight:
        """Axes of length 1 are repeated, as `broadcast_in_dim` does it."""
        shape = shape_of(equation, which)
        return moved_by(equation, sight, lambda each: each if shape[each.axis] == after[each.axis] else None)

    return united(moved(which, sight) for which, sight in enumerate(inputs))


def end(equation: Equation, inputs: Sequence[Any]) -> Sight:
    """Of an operation without a rule: each of its outputs may depend on everything."""
    return united(moved_by(equation, sight, lambda positions: None) for sight in inputs)


def shape_of(equation: Equation, which: int = 0) -> tuple[int, ...]:
    aval: Any = equation.invars[which].aval
    return tuple(aval.shape)


def out_shape(equation: Equation) -> tuple[int, ...]:
    aval: Any = equation.outvars[0].aval
    return tuple(getattr(aval, "shape", ()))


def _convolution(equation: Equation, inputs: Sequence[Any]) -> Sight:
    params = parameters(equation)
    layout, kernel = params["dimension_numbers"], shape_of(equation, 1)
    before, after = shape_of(equation), out_shape(equation)

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

    return united([moved_by(equation, inputs[0], move), end(equation, inputs[1:])])


def _pool(equation: Equation, inputs: Sequence[Any]) -> Sight:
    params = parameters(equation)
    before, after = shape_of(equation), out_shape(equation)

    def move(positions: Positions) -> Positions | None:
        axis = positions.axis
        size, stride = params["window_dimensions"][axis], params["window_strides"][axis]
        gap, spread = params["window_dilation"][axis], params["base_dilation"][axis]
        if (size, stride, gap, spread) == (1, 1, 1, 1) and before[axis] == after[axis]:
            return positions
        padding = params["padding"][axis][0]
        lengths = before[axis], after[axis]
        return slid(positions, lengths, size=size, stride=stride, before=padding, gap=gap, spread=spread)

    return united(moved_by(equation, sight, move) for sight in inputs)


def _pad(equation: Equation, inputs: Sequence[Any]) -> Sight:
    config, before, after = parameters(equation)["padding_config"], shape_of(equation), out_shape(equation)

    def move(positions: Positions) -> Positions | None:
        low, high, interior = map(int, config[positions.axis])
        if (low, high, interior) == (0, 0, 0):
            return positions
        lengths = before[positions.axis], after[positions.axis]
        return slid(positions, lengths, before=low, spread=interior + 1)

    return united([moved_by(equation, inputs[0], move), end(equation, inputs[1:])])


def _slice(equation: Equation, inputs: Sequence[Any]) -> Sight:
    params, shape = parameters(equation), shape_of(equation)

    def move(positions: Positions) -> Positions | None:
        axis = positions.axis
        stride = params["strides"][axis] if params["strides"] else 1
        index = np.arange(params["start_indices"][axis], params["limit_indices"][axis], stride)
        return positions if len(index) == shape[axis] else taken(positions, shape[axis], index)

    return moved_by(equation, inputs[0], move)


def _dynamic_slice(equation: Equation, inputs: Sequence[Any]) -> Sight:
    sizes, shape = parameters(equation)["slice_sizes"], shape_of(equation)

    def move(positions: Positions) -> Positions | None:
        size, length = sizes[positions.axis], shape[positions.axis]
        start = _known(inputs[1 + positions.axis])
        if size == length:
            return positions
        if start is None:
            return None
        first = int(np.clip(start + length if start < 0 else start, 0, length - size))
        return taken(positions, length, np.arange(first, first + size))

    return united([moved_by(equation, inputs[0], move), end(equation, inputs[1:])])


def _known(value: Any) -> Any:
    """The number or array of a value that depends on nothing; None for any other value."""
    if isinstance(value, Sight | Unknown):
        return None
    return np.asarray(jax.jit(value.compute)() if isinstance(value, Constant) else value)


def _rev(equation: Equation, inputs: Sequence[Any]) -> Sight:
    dimensions, shape = parameters(equation)["dimensions"], shape_of(equation)

    def move(positions: Positions) -> Positions | None:
        if positions.axis not in dimensions:
            return positions
        return taken(positions, shape[positions.axis], np.arange(shape[positions.axis])[::-1])

    return moved_by(equation, inputs[0], move)


def _gather(equation: Equation, inputs: Sequence[Any]) -> Sight:
    params, shape, after = parameters(equation), shape_of(equation), out_shape(equation)
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

    return united([moved_by(equation, inputs[0], move), end(equation, inputs[1:])])


def _concatenate(equation: Equation, inputs: Sequence[Any]) -> Sight:
    """Along another axis, all inputs have the same positions. Along this one, the parts follow each other."""
    axis, start = parameters(equation)["dimension"], 0
    low, high = np.full((2, out_shape(equation)[axis]), np.nan)
    sights = [sight for sight in inputs if isinstance(sight, Sight)]
    along_it = {each.axis == axis for sight in sights for each in sight.positions}
    parts: list[Positions] = []
    others: list[Sight] = []
    for which, sight in enumerate(inputs):
        size = shape_of(equation, which)[axis]
        part, start = slice(start, start + size), start + size
        if not isinstance(sight, Sight):
            continue
        found = [along for each in sight.positions if each.axis == axis and (along := each.along(size)) is not None]
        rest = (
            sight
            if not found
            else sight._replace(positions=tuple(each for each in sight.positions if each.axis != axis))
        )
        rest = moved_by(equation, rest, lambda each: each if each.axis != axis else None)
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
        return replace(positions, axis=positions.axis - int(sum(axis < positions.axis for axis in axes)))

    return united(moved_by(equation, sight, move) for sight in inputs)


def _broadcast(equation: Equation, inputs: Sequence[Any]) -> Sight:
    places, before, after = parameters(equation)["broadcast_dimensions"], shape_of(equation), out_shape(equation)

    def move(positions: Positions) -> Positions | None:
        axis = int(places[positions.axis])  # after `vmap` it is one of NumPy
        return replace(positions, axis=axis) if before[positions.axis] == after[axis] else None

    return moved_by(equation, inputs[0], move)


def _transpose(equation: Equation, inputs: Sequence[Any]) -> Sight:
    order = parameters(equation)["permutation"]
    return moved_by(equation, inputs[0], lambda positions: replace(positions, axis=order.index(positions.axis)))


def _stack(equation: Equation, inputs: Sequence[Any]) -> Sight:
    new = parameters(equation)["axis"]

    def move(positions: Positions) -> Positions:
        return replace(positions, axis=positions.axis + (positions.axis >= new))

    return united(moved_by(equation, sight, move) for sight in inputs)


def _reshape(equation: Equation, inputs: Sequence[Any]) -> Sight:
    before, after = shape_of(equation), out_shape(equation)
    return moved_by(equation, inputs[0], lambda positions: reshaped(positions, before, after))


def _dot(equation: Equation, inputs: Sequence[Any]) -> Sight:
    """A product with a matrix: positions go on along axes that are not summed over. A known matrix may be a resize."""
    contracted, batched = parameters(equation)["dimension_numbers"]
    shapes = shape_of(equation, 0), shape_of(equation, 1)
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

        return moved_by(equation, inputs[k], move)

    return united([side(0), side(1)])


def _along(name: str) -> Rule:
    """The rule of an operation along the axis or axes that its parameter `name` has, such as a running sum."""

    def rule(equation: Equation, inputs: Sequence[Any]) -> Sight:
        axes = np.atleast_1d(parameters(equation)[name])
        return united(moved_by(equation, sight, lambda each: None if each.axis in axes else each) for sight in inputs)

    return rule


# fmt: off
RULES: dict[str, Rule] = {
    **dict.fromkeys((
        *ELEMENTWISE, "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "cos", "cosh",
        "device_put", "digamma", "erf_inv", "erfc", "exp2", "floor", "imag", "is_finite", "lgamma", "nextafter",
        "optimization_barrier", "real", "reduce_precision", "rem", "reshard", "round", "sharding_constraint", "sin",
        "sinh", "tan", "xor",
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

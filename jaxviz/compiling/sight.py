"""Which pixels of the image each position of an activation sees, read off a traced function.

    follow(jaxpr, image) -> for each output, the `Sights`, one for each axis of the image; None: it sees nothing

The axes of the image, height and width, are followed separately, and the same rules serve all of them. An activation
has `Positions` along one of its own axes. A convolution or resize moves them; arithmetic unites those of its inputs; an
average over the image, or a dense layer, ends them.

The rules are in `sight_rules.RULES`. An operation without a rule ends all positions.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from jaxviz.compiling.jaxprs import CALLS, body_of, evaluate
from jaxviz.compiling.positions import (
    Lost,
    Positions,
    Sight,
    Sights,
    reshaped,
    taken,
    united,
)
from jaxviz.compiling.sight_rules import RULES, Constant, Rule, Unknown, end, moved_by, out_shape, shape_of
from jaxviz.compiling.workarounds import REMAT, Equation, UnknownEquationError, closed, parameters, scan_split


def follow(jaxpr: Any, image: Any, picture: Sequence[int] | None = None) -> list[Sights | None]:
    """How each output of a closed jaxpr sees the input `image`, the variable of a batch of one image `[1 h w c]`.

    Args:
        picture: the shape `[h w c]` of the image, if the variable has it in another shape.
    """
    inputs = [_whole_image(each.aval.shape, picture) if each is image else Unknown() for each in jaxpr.jaxpr.invars]
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
    if not outputs or 0 in out_shape(equation):
        return [Unknown() for _ in outputs]
    if not any(isinstance(value, Sights) for value in inputs):
        if any(isinstance(value, Unknown) for value in inputs) or getattr(equation, "effects", None):
            return [Unknown() for _ in outputs]
        return [Constant(equation, inputs, output) for output in outputs]
    with contextlib.suppress(UnknownEquationError):
        if name in CALLS:
            body = body_of(equation)
            return _inside(equation, evaluate(body.jaxpr, body.consts, inputs, _equation))
        if name in _FUNCTIONS:
            return _inside(equation, _FUNCTIONS[name](equation, *inputs))
        if name in RULES:
            return [_of_each(equation, RULES[name], inputs)] * len(outputs)
    return [_of_each(equation, end, inputs)] * len(outputs)


def _inside(equation: Equation, outputs: list[Any]) -> list[Any]:
    """The outputs of a function; what was lost in it was lost in the layer of the equation that calls it."""

    def named(sight: Sight) -> Sight:
        if sight.lost is None or sight.lost.where:
            return sight
        return sight._replace(lost=sight.lost._replace(where=str(equation.source_info.name_stack)))

    return [Sights(map(named, value)) if isinstance(value, Sights) else value for value in outputs]


def _of_each(equation: Equation, rule: Rule, inputs: Sequence[Any]) -> Sights:
    """The sights of an output, by a rule for one axis of the image, which gets the inputs' sight of that axis alone."""
    axes = next(len(value) for value in inputs if isinstance(value, Sights))
    return Sights(
        rule(equation, [value[axis] if isinstance(value, Sights) else value for value in inputs])
        for axis in range(axes)
    )


def _remat(equation: Equation, *inputs: Any) -> list[Any]:
    body = closed(parameters(equation)["jaxpr"])
    return evaluate(body.jaxpr, body.consts, inputs, _equation)


def _scan(equation: Equation, *inputs: Any) -> list[Any]:
    """A loop, whose body is followed as often as it runs. It may go through the images of a batch, not through rows."""
    params = parameters(equation)
    body, (fixed, carried) = closed(params["jaxpr"]), scan_split(equation)
    constants, carry, scanned = inputs[:fixed], list(inputs[fixed : fixed + carried]), inputs[fixed + carried :]
    parts = [Unknown() if isinstance(each, Constant) else _shifted(equation, each, -1) for each in scanned]
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

    return Sights(moved_by(equation, each, move) for each in value) if isinstance(value, Sights) else Unknown()


def _cond(equation: Equation, chosen: Any, *inputs: Any) -> list[Any]:
    branches = [closed(branch) for branch in parameters(equation)["branches"]]
    found = [evaluate(branch.jaxpr, branch.consts, inputs, _equation) for branch in branches]
    if isinstance(chosen, Sights):
        found.append([_of_each(equation, end, [chosen])] * len(equation.outvars))
    return [_either(equation, values) for values in zip(*found, strict=True)]


def _split(equation: Equation, whole: Any) -> list[Any]:
    """The parts of a value, each of which is a slice of it."""
    axis, sizes, length = parameters(equation)["axis"], parameters(equation)["sizes"], shape_of(equation)
    found, start = [], 0
    for size in sizes:
        index = np.arange(start, start + size)

        def move(positions: Positions, index: np.ndarray = index) -> Positions | None:
            return positions if positions.axis != axis else taken(positions, length[axis], index)

        found.append(Sights(moved_by(equation, sight, move) for sight in whole))
        start += size
    return found


def _either(equation: Equation, values: Sequence[Any]) -> Any:
    if not any(isinstance(value, Sights) for value in values):
        return Unknown()
    return _of_each(equation, lambda _, sights: united(sights), values)


_FUNCTIONS: dict[str, Callable[..., list[Any]]] = {
    "cond": _cond,
    REMAT: _remat,
    "scan": _scan,
    "split": _split,
}

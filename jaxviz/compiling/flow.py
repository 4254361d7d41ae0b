"""Values that are followed through a traced program, without computing anything.

scanned(program) -> [for each input, the number of parts that scans take it apart into]
channel_axes(program, axis) -> {path of a mark: the axes that have the channels}
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jaxviz.compiling.jaxprs import bodies, evaluate
from jaxviz.compiling.marks import MARK, OPEN
from jaxviz.compiling.workarounds import ClosedJaxpr, closed, parameters, scan_split

# What a scan makes of the values of its inputs, for its body, and of those of its body's outputs.
Apart = Callable[[Any, Any], Any]


class Axis(int):
    """The axis of an array that has the channels. A class of its own, since a program has other numbers, too."""


class Part(NamedTuple):
    """An input of the program, or one of `ways` equal parts of it."""

    number: int
    ways: int


def scanned(program: ClosedJaxpr) -> list[int]:
    """For each input of a program, the number of parts that scans over layers take it apart into; or else 1."""
    ways = [1 for _ in program.in_avals]

    def apart(value: Any, length: int) -> Any:
        if not isinstance(value, Part):
            return None
        value = value._replace(ways=value.ways * length)
        ways[value.number] = max(ways[value.number], value.ways)
        return value

    def rule(equation: Any, *values: Any) -> list[Any]:
        same = equation.primitive.name in ("transpose", "convert_element_type", "copy")
        return [values[0] if same else None for _ in equation.outvars]

    _follow(program, [Part(number, 1) for number in range(len(ways))], rule, apart)
    return ways


def channel_axes(program: ClosedJaxpr, axis: int) -> dict[str, set[Axis | None]]:
    """The axes that have the channels, for each path of marks; None: it is not known.

    `axis` is that of the program's last input, the images. Convolutions say which axis of their output it is. Other
    operations keep it, move it or lose it.
    """
    found: dict[str, set[Axis | None]] = defaultdict(set)

    def rule(equation: Any, *values: Any) -> list[Any]:
        if equation.primitive.name == MARK:
            found[parameters(equation)["path"]].add(values[0] if isinstance(values[0], Axis) else None)
            return list(values)
        return [_axis(equation, values, tuple(out.aval.shape)) for out in equation.outvars]

    inputs = [None] * (len(program.in_avals) - 1)
    _follow(program, [*inputs, Axis(axis)], rule, lambda value, _: None)
    return found


def _follow(body: Any, inputs: Sequence[Any], rule: Callable[..., list[Any]], apart: Apart) -> list[Any]:
    """The outputs of a program whose values are what `rule` makes of them; the bodies of calls and scans are followed.

    A scan is followed for one iteration; `apart` gives the value of an item from the value of the scanned input.
    """

    def step(equation: Any, *values: Any) -> list[Any]:
        inner = bodies(equation)
        if len(inner) != 1 or equation.primitive.name not in OPEN:
            return rule(equation, *values)
        if equation.primitive.name != "scan":
            return _follow(inner[0], values, rule, apart)
        first, carried = (sum(scan_split(equation)[:last]) for last in (1, 2))
        length = parameters(equation)["length"]
        items = [apart(value, length) for value in values[carried:]]
        outputs = _follow(inner[0], [*values[:carried], *items], rule, apart)
        return [*outputs[: carried - first], *(None for _ in outputs[carried - first :])]

    program = closed(body)
    return evaluate(program.jaxpr, [None for _ in program.consts], inputs, step)


def _axis(equation: Any, values: Sequence[Any], out: tuple[int, ...]) -> Axis | None:
    """The axis of the channels in an output of shape `out`."""
    params, primitive = parameters(equation), equation.primitive.name
    if primitive == "conv_general_dilated":
        return Axis(params["dimension_numbers"].out_spec[1])
    at = next((at for at, value in enumerate(values) if isinstance(value, Axis)), None)
    if at is None:
        return None
    axis, shape = values[at], tuple(equation.invars[at].aval.shape)
    if primitive == "transpose":
        return Axis(params["permutation"].index(axis))
    if primitive == "broadcast_in_dim":
        return Axis(params["broadcast_dimensions"][axis])
    if primitive == "dot_general":
        return _axis_of_product(params["dimension_numbers"], at, axis, len(shape), len(out))
    if primitive == "reshape":
        before = math.prod(shape[:axis])
        places = [place for place in range(len(out)) if math.prod(out[:place]) == before and out[place] == shape[axis]]
        return Axis(places[0]) if places else None
    gone = params.get("axes", params.get("dimensions", ())) if len(out) < len(shape) else ()
    if axis in gone or len(out) != len(shape) - len(gone) or primitive == "gather":
        return None
    return Axis(axis - sum(other < axis for other in gone))


def _axis_of_product(numbers: Any, at: int, axis: int, rank: int, out: int) -> Axis | None:
    """The axis in a product: features that are summed become those of the other factor, if these have one axis."""
    (summed, batch) = (each[at] for each in numbers)
    kept = [each for each in range(rank) if each not in summed and each not in batch]
    others = out - len(batch) - len(kept)  # axes of the other factor
    if axis in batch:
        return Axis(list(batch).index(axis))
    if axis in kept:
        return Axis(len(batch) + kept.index(axis) + (others if at else 0))
    if tuple(summed) != (axis,) or others != 1:
        return None
    return Axis(len(batch) if at else out - 1)

"""What the text of a compiled program says: its memory traffic, its slow operations, its communication.

XLA prints a compiled program as *computations*, lists of instructions. One line is one instruction:

    %name = f32[32,150,150,64]{3,2,1,0} fusion(%operand, …), kind=kLoop, calls=%computation, …

The instructions of a fusion's computation run together and keep their values in registers; those of the entry and of
the bodies of loops read their operands from memory and write their results to it.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4, "u32": 4}
BYTES |= {"f64": 8, "s64": 8, "u64": 8, "c64": 8}
_SHAPE = re.compile(rf"\b({'|'.join(BYTES)})\[([\d,]*)\]")
_HEAD = re.compile(r"(?:ENTRY )?%?([\w.\-]+) .*\{")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)")
_CALLED = re.compile(r"(?:calls|to_apply)=%?([\w.\-]+)")

# These move nothing: they name a part of a value, or say how it is seen. A loop's traffic is that of its body.
_PARTS = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id")
FREE = frozenset((*_PARTS, "while", "conditional", "call"))
COMMUNICATION = ("all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute")


class Instruction(NamedTuple):
    """One line of a computation."""

    name: str
    shape: str
    operation: str
    rest: str  # operands and attributes

    @property
    def operands(self) -> list[str]:
        """The names of the instructions that it reads."""
        return re.findall(r"%([\w.\-]+)", self.rest.split("), ")[0].split(", metadata=")[0])


def computations(text: str) -> dict[str, list[Instruction]]:
    """The instructions of each computation of a program, by its name."""
    found: dict[str, list[Instruction]] = {}
    for line in text.splitlines():
        head = _HEAD.fullmatch(line)
        if head:
            current = found.setdefault(head[1], [])
        elif match := _INSTRUCTION.match(line):
            current.append(Instruction(*match.groups()))
    return found


def size(shape: str) -> int:
    """The bytes of a shape, or of all shapes of a tuple, without what a layout adds."""
    return sum(
        BYTES[kind] * math.prod(map(int, filter(None, sides.split(",")))) for kind, sides in _SHAPE.findall(shape)
    )


def _in_memory(text: str) -> Iterator[list[Instruction]]:
    """The computations whose instructions read from memory and write to it: those that no fusion and no sum calls."""
    found = computations(text)
    called = {name for each in found.values() for one in each for name in _CALLED.findall(one.rest)}
    yield from (each for name, each in found.items() if name not in called)


def traffic(text: str) -> int:
    """The bytes that instructions read and write, each loop once, as if no value stayed in a cache."""
    total = 0
    for instructions in _in_memory(text):
        sizes = {each.name: size(each.shape) for each in instructions}
        for each in instructions:
            if each.operation not in FREE and not each.operation.endswith(("-start", "-done")):
                total += sizes[each.name] + sum(sizes.get(name, 0) for name in each.operands)
    return total


_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


def cycles(text: str) -> int:
    """The cycles of a program for a TPU, the sum of XLA's estimates for its operations.

    Of a program that spends its time in a loop of unknown length, such as an ascent, it is one round of that loop.
    """
    found = computations(text)

    def of(instructions: list[Instruction]) -> int:
        total = 0
        for each in instructions:
            cost, trips = _CYCLES.search(each.rest), _TRIPS.search(each.rest)
            total += int(cost[1]) if cost else 0
            if each.operation == "while":
                total += (int(trips[1]) if trips else 1) * of(found[_body(each)])
        return total

    loops = [each for every in found.values() for each in every if each.operation == "while"]
    step = max((of(found[_body(each)]) for each in loops if not _TRIPS.search(each.rest)), default=0)
    whole = of(found[next(reversed(found))])  # the entry is the last one
    return step if 2 * step > whole else whole


def _body(loop: Instruction) -> str:
    match = re.search(r"body=%?([\w.\-]+)", loop.rest)
    assert match, loop
    return match[1]


def slow(text: str, least: int = 1 << 20) -> dict[str, int]:
    """How many operations of each slow kind a program has, where there are any.

    Args:
        least: transposes and scatters of fewer bytes are not counted: their time is that of their start.
    """
    every = [each for instructions in computations(text).values() for each in instructions]
    large = [each for each in every if size(each.shape) >= least]

    def count(operation: str) -> int:
        return sum(each.operation == operation for each in large)

    found = {
        "scatter": count("scatter"),
        "select-and-scatter": count("select-and-scatter"),
        "transpose": count("transpose"),
        "callback": sum("callback" in each.rest for each in every if each.operation == "custom-call"),
        "float64": sum(each.shape.startswith("f64") for each in every),
    }
    return {name: number for name, number in found.items() if number}


def communication(text: str) -> dict[str, int]:
    """How many operations of each kind pass values between devices, where there are any."""
    names = [each.operation.removesuffix("-start") for every in computations(text).values() for each in every]
    return {name: names.count(name) for name in COMMUNICATION if name in names}

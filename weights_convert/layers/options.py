"""Readers for the options of a Keras layer: JSON value → hashable value, or a ValueError that says what is allowed."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .functions import ACTIVATIONS, Activation

Reader = Callable[[Any], Hashable]
Numbers = float | tuple["Numbers", ...]

REQUIRED = object()
LARGEST = float(np.finfo(np.float32).max)
LONGEST = 2**31 - 1  # TensorFlow's lengths are int32
SEVERAL = {2: "two", 3: "three"}


@dataclass(frozen=True)
class Option:
    """How one key of a layer's config is read, and Keras' value for it if the config does not have the key."""

    read: Reader
    default: object = REQUIRED


def integer(value: object) -> int:
    """A whole number."""
    if type(value) is not int or abs(value) > LONGEST:
        raise ValueError("a whole number")
    return value


def size(value: object) -> int:
    """A whole number above 0."""
    if type(value) is not int or not 1 <= value <= LONGEST:
        raise ValueError("a whole number above 0")
    return value


def margin(value: object) -> int:
    """A whole number, 0 or above."""
    if type(value) is not int or not 0 <= value <= LONGEST:
        raise ValueError("a whole number, 0 or above")
    return value


def number(value: object) -> float:
    """A number that is finite as a float32."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise ValueError("a finite number")
    return float(value)


def flag(value: object) -> bool:
    """True or False."""
    if type(value) is not bool:
        raise ValueError("true or false")
    return value


def each(rank: int, read: Callable[[object], int] = size) -> Reader:
    """A reader for one number for each of `rank` axes; Keras may write a single number for all of them."""

    def read_each(value: object) -> tuple[int, ...]:
        items = value if isinstance(value, list | tuple) else (value,) * rank
        if len(items) != rank:
            raise ValueError("a whole number" if rank == 1 else f"one or {SEVERAL[rank]} whole numbers")
        return tuple(read(item) for item in items)

    return read_each


def margins(rank: int) -> Reader:
    """A reader for the margins at both ends of each axis: `1`, `(1, 2)` or `((1, 1), (2, 2))`, if rank is 2.

    If there is only one axis, the result is one pair (before, after).
    """

    def read(value: object) -> tuple[tuple[int, ...], ...] | tuple[int, ...]:
        items = value if isinstance(value, list | tuple) else (value,) * rank
        if rank == 1 and len(items) == 2:
            items = (items,)
        sides = [side if isinstance(side, list | tuple) else (side, side) for side in items]
        if [len(side) for side in sides] != [2] * rank:
            several = "a pair" if rank == 1 else f"{SEVERAL[rank]} pairs"
            raise ValueError(f"a whole number, or {several} of (before, after)")
        pairs = tuple(tuple(margin(width) for width in side) for side in sides)
        return pairs[0] if rank == 1 else pairs

    return read


def axis(value: object) -> int:
    """One axis; Keras 2 wraps it in a list."""
    return integer(value[0] if isinstance(value, list | tuple) and len(value) == 1 else value)


def axes(value: object) -> tuple[int, ...]:
    """One or more axes."""
    return tuple(integer(item) for item in (value if isinstance(value, list | tuple) else (value,)))


def groups(value: object) -> int:
    """A number of groups; -1 stands for as many as there are features."""
    return -1 if type(value) is int and value == -1 else size(value)


def integers(value: object) -> tuple[int, ...]:
    """A list of whole numbers."""
    if not isinstance(value, list | tuple):
        raise ValueError("a list of whole numbers")
    return tuple(integer(item) for item in value)


def activation(value: object) -> str | Activation:
    """The name of an activation function. Keras writes None for `linear`, or an object with the name in it.

    A function that the caller gave is an `Activation`, which a file cannot hold.
    """
    if isinstance(value, Activation):
        return value
    if isinstance(value, dict) and value.get("class_name") == "function":
        value = value.get("config")
    name = "linear" if value is None else value
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(f"one of {', '.join(ACTIVATIONS)}")
    return name


def numbers(value: object) -> Numbers:
    """One number for all channels, one for each, or an array; Keras writes some arrays as objects with a dtype."""
    if isinstance(value, dict) and value.get("class_name") in ("__numpy__", "__tensor__"):
        config = value.get("config")
        value = config.get("value") if isinstance(config, dict) else value.get("value")
    return tuple(numbers(item) for item in value) if isinstance(value, list | tuple) else number(value)


def operands(least: int, most: int) -> Reader:
    """A reader for the operands of an operation: None stands for a tensor; others are numbers or lists of numbers."""

    def constant(item: object) -> Hashable:
        return tuple(map(constant, item)) if isinstance(item, list | tuple) else number(item)

    def read(value: object) -> tuple[Hashable, ...]:
        if not isinstance(value, list | tuple) or not least <= len(value) <= most or value.count(None) == 0:
            raise ValueError("a tensor and a number, or two tensors" if most == 2 else f"{least} to {most} tensors")
        return tuple(None if item is None else constant(item) for item in value)

    return read


def tensors(least: int, most: int) -> Reader:
    """A reader for the operands of a layer, which are tensors."""

    def read(value: object) -> tuple[None, ...]:
        if not isinstance(value, list | tuple) or not least <= len(value) <= most or any(e is not None for e in value):
            raise ValueError(f"{least} to {most} tensors")
        return (None,) * len(value)

    return read


def key(value: object) -> tuple[Hashable, ...]:
    """The index in `x[…]`: whole numbers, slices, None (a new axis), "..."; a slice is (start, stop, step)."""

    def item(each: object) -> Hashable:
        if each is None:
            return None
        if each is ... or each == "...":
            return "..."
        if isinstance(each, slice):
            each = (each.start, each.stop, each.step)
        if isinstance(each, tuple) and len(each) == 3:  # a list in a file is no slice
            return tuple(None if bound is None else integer(bound) for bound in each)
        return integer(each)

    value = value if isinstance(value, list | tuple) else (value,)
    if not value or [*map(item, value)].count("...") > 1:
        raise ValueError("whole numbers, slices, new axes and one ellipsis")
    return tuple(map(item, value))


def nested(value: object) -> Hashable:
    """A whole number, or lists of such."""
    return tuple(map(nested, value)) if isinstance(value, list | tuple) else integer(value)


def lower(*allowed: str) -> Reader:
    """A reader that allows these words only, in small or capital letters."""
    return lambda value: one_of(*allowed)(value.lower() if isinstance(value, str) else value)


def word(value: object) -> str:
    """A word."""
    if not isinstance(value, str):
        raise ValueError("a word")
    return value


def function(value: object) -> Callable[..., Any]:
    """A Python function, which only a caller can give: a file cannot hold one."""
    if not callable(value):
        raise ValueError("a Python function")
    return value


def one_of(*allowed: str) -> Reader:
    """A reader that allows these words only."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(" or ".join(repr(word) for word in allowed))
        return value

    return read


def off(value: object) -> bool:
    """False; any other value would change what the layer computes, and is not supported."""
    if value is not False:
        raise ValueError("false")
    return False


def optional(read: Reader) -> Reader:
    """A reader that allows None too."""
    return lambda value: None if value is None else read(value)

"""Readers for the options of a Keras layer: JSON value → hashable value, or a ValueError that says what would do."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .activations import ACTIVATIONS

Reader = Callable[[Any], Hashable]

REQUIRED = object()
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Option:
    """How one key of a layer's config is read, and Keras' value for it where the config leaves it out."""

    read: Reader
    default: object = REQUIRED


def integer(value: object) -> int:
    """A whole number."""
    if type(value) is not int:
        raise ValueError("a whole number")
    return value


def size(value: object) -> int:
    """A whole number above 0."""
    if type(value) is not int or value < 1:
        raise ValueError("a whole number above 0")
    return value


def number(value: object) -> float:
    """A finite number, as float32 has it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise ValueError("a finite number")
    return float(value)


def flag(value: object) -> bool:
    """True or False."""
    if type(value) is not bool:
        raise ValueError("true or false")
    return value


def pair(value: object) -> tuple[int, int]:
    """Height and width; one number stands for both."""
    both = value if isinstance(value, list | tuple) else (value, value)
    if len(both) != 2:
        raise ValueError("one or two whole numbers above 0")
    return size(both[0]), size(both[1])


def margins(value: object) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows above and below, columns left and right: `1`, `(1, 1)` or `((1, 1), (1, 1))`."""
    sides = value if isinstance(value, list | tuple) else (value, value)
    both = [side if isinstance(side, list | tuple) else (side, side) for side in sides]
    if [len(side) for side in both] != [2, 2] or any(
        type(width) is not int or width < 0 for side in both for width in side
    ):
        raise ValueError("((top, bottom), (left, right)) in whole numbers")
    (top, bottom), (left, right) = both
    return (top, bottom), (left, right)


def axis(value: object) -> int:
    """One axis; Keras 2 wraps it in a list."""
    return integer(value[0] if isinstance(value, list | tuple) and len(value) == 1 else value)


def activation(value: object) -> str:
    """The name of an activation; None is Keras' way to say `linear`."""
    name = "linear" if value is None else value
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(f"one of {', '.join(ACTIVATIONS)}")
    return name


def numbers(value: object) -> float | tuple[float, ...]:
    """One number for all channels, or one for each."""
    return tuple(number(item) for item in value) if isinstance(value, list | tuple) else number(value)


def one_of(*allowed: str) -> Reader:
    """A reader that takes these words only."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(" or ".join(repr(word) for word in allowed))
        return value

    return read


def optional(read: Reader) -> Reader:
    """A reader that takes None too."""
    return lambda value: None if value is None else read(value)

"""Checks of arguments: each returns its argument in the one form that the code uses, or raises an InputError.

Public functions call them first. Without them a batch of -1 images would be an empty loop, and its result all zero.
"""

import difflib
import math
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxviz.errors import InputError

PixelValues = ArrayLike | float | int  # a number, a colour [c] or an image [h w c]; float is no ArrayLike to beartype


def whole(name: str, value: Any, least: int = 1) -> int:
    """A whole number, of Python or NumPy, that is at least `least`, as an `int`.

    Raises:
        InputError: anything else; True and False, too.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise InputError(f"{name} is a whole number, {least} or more; given: {value!r}")
    return number


def finite(name: str, value: Any) -> float:
    """A finite number.

    Raises:
        InputError: anything else.
    """
    found = numbers(value)
    number = float(found) if found.size == 1 else math.nan
    if not math.isfinite(number):
        raise InputError(f"{name} is a finite number; given: {value!r}")
    return number


def numbers(value: Any) -> np.ndarray:
    """The numbers of an argument in float64, for a check of their shape and range; NaN, if it holds anything else."""
    try:
        array = np.asarray(value)
        if array.dtype.kind in "OSUmM":  # of strings, None, dates: some of them would become numbers
            return np.array(np.nan)
        return array.astype(np.float64) if array.dtype.kind != "c" else np.array(np.nan)
    except (TypeError, ValueError):  # lists of unequal lengths
        return np.array(np.nan)


def height_width(name: str, value: Any) -> tuple[int, int]:
    """(height, width) in pixels, each 1 or more, from two numbers or from one for both.

    Raises:
        InputError: anything else.
    """
    try:
        height, width = (operator.index(side) for side in (value if np.iterable(value) else (value, value)))
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise InputError(f"{name} is a whole number of pixels, 1 or more, or (height, width); given: {value!r}")
    return height, width


def lengths(name: str, value: Any, axes: int) -> tuple[int, ...]:
    """A whole number, 1 or more, for each of so many axes, from as many numbers or from one for all.

    Raises:
        InputError: anything else.
    """
    if axes == 2:
        return height_width(name, value)
    try:
        numbers = tuple(operator.index(side) for side in (value if np.iterable(value) else (value,) * axes))
    except TypeError:
        numbers = ()
    if len(numbers) != axes or min(numbers, default=0) < 1:
        several = f", or one for each of {axes} axes, along which this image extends" if axes > 1 else ""
        raise InputError(f"{name} is a whole number, 1 or more{several}; given: {value!r}")
    return numbers


def image_like(name: str, value: PixelValues, shape: tuple[int, ...]) -> np.ndarray:
    """A float32 image of `shape` `[h w c]` from a number, a colour `[c]` or an image. It may be a read-only view.

    Any finite number is allowed, also outside [0, 1]: tf-explain hides with 127.5, whatever the range of the image.

    Raises:
        InputError: another shape, NaN or infinity.
    """
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        array = np.full((), np.nan, np.float32)
    if array.shape not in ((), shape[-1:], shape) or not np.isfinite(array).all():
        given = list(array.shape) if array.shape else repr(value)
        raise InputError(
            f"{name} is a number, a colour [{shape[-1]}] or an image {list(shape)}, all finite; given: {given}"
        )
    return np.broadcast_to(array, shape)


def near(name: Any, known: Iterable[str]) -> str:
    """The known names that are nearest to an unknown one, as the clause "did you mean a or b? "; "" if none is near."""
    found = difflib.get_close_matches(str(name), list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(found)}? " if found else ""

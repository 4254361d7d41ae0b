"""Arguments checked where they come in: each check returns what it was given in the one form that the code uses.

Without them a batch of -1 images would be an empty loop, and its result a map of zeros.
"""

import difflib
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from jaxviz.errors import InputError


def whole(name: str, value: Any, least: int = 1) -> int:
    """A whole number, as Python's or as numpy's, of at least `least`.

    Raises:
        InputError: anything else, True and False too.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise InputError(f"{name} is a whole number, {least} or more; given: {value!r}")
    return number


def height_width(name: str, value: Any) -> tuple[int, int]:
    """Two numbers of pixels, 1 or more; one number stands for both.

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


def image_like(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A number, a colour `[c]` or an image, as a float32 image of `shape` `[h w c]`; a view, not to be written to.

    Any finite number is allowed: tf-explain hides with 127.5, whatever the range.

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
    """The known names nearest to an unknown one, as the clause "did you mean a or b? "; empty if none is near."""
    found = difflib.get_close_matches(str(name), list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(found)}? " if found else ""

"""The parts of images that a filter sees where it is highest."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxviz.errors import InputError
from jaxviz.filters.spectra import Spectra
from jaxviz.filters.top_images import TopImages, check_found
from jaxviz.geometry import Window, windows
from jaxviz.model import Model
from jaxviz.objectives import check_index
from jaxviz.structure import picture_shape

__all__ = ["crops"]


def crops(model: Model, found: TopImages, index: int, at: Any = None) -> list[np.ndarray]:
    """The part `[h w c]` of each image inside the receptive field of the position where a filter is highest.

    The images are read again. A receptive field that reaches beyond the image is cut off there, so crops may differ in
    size; of a layer that mixes all positions, a crop is all that the network sees.

    Args:
        found: the result of `top_images`.
        index: the number of the filter.
        at: the Spectra of `found`, for the images that it names; None: the best images of the filter.

    Raises:
        InputError: an index out of range, a file that cannot be read any more, or an `at` of another layer or of more
            images.
    """
    check_found(found)
    check_index(found.layer, "filter", index, found.shape[-1])
    at = found if at is None else at
    if (
        not isinstance(at, TopImages | Spectra)
        or len(at.image) != found.shape[-1]
        or at.image.max() >= len(found.images)
    ):
        raise InputError(f"at is jv.spectra(found), of the same result of top_images; given: {at!r}")
    size = found.images.shape
    fields, picture = windows(model, found.layer, size), picture_shape(model, size[:-1])
    return [
        cut(found.images[number].reshape(picture), fields, (*position, index))
        for number, position in zip(at.image[index].tolist(), at.position[index].tolist(), strict=True)
    ]


def cut(image: np.ndarray, fields: Sequence[Window], position: Sequence[int]) -> np.ndarray:
    """The part of an image inside the receptive field of a position, whose last number is that of the filter."""
    ends = (field.of(position) for field in fields)
    return np.array(image[tuple(slice(max(first, 0), last + 1) for first, last in ends)])

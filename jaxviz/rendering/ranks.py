"""Signals, images and volumes: what an array is, and a volume as a picture of its slices.

`places` is the number of axes along which an image extends: 1 for a signal `[t c]`, 2 for an image `[h w c]`, 3 for a
volume `[d h w c]`. A volume is cut along its first axis; `np.moveaxis` puts another axis there.

Law: a batch of images is never taken for a volume. The shape alone cannot tell them apart, so either an Attribution or
an Ascent does, by its scores, or the caller, by `places`.
"""

import math
from typing import Any

import numpy as np

from jaxviz.errors import InputError
from jaxviz.rendering import rgb

LEADS = 16  # a `[t c]` with more channels than this is drawn as a grey image [h w]: an ECG has 12
Shape = tuple[int, ...]


def check(places: Any) -> int:
    if places not in (1, 2, 3):
        raise InputError(f"places is 1 (a signal), 2 (an image) or 3 (a volume); given: {places!r}")
    return int(places)


def of_pair(image: Shape, attribution: Any) -> int:
    """Along how many axes an image extends, as its shape and that of its map say; 2 where they do not."""
    values = np.shape(getattr(attribution, "values", attribution))
    if len(image) in (1, 2) and values == image[:1]:
        return 1
    if len(image) == 2 and values == image and image[1] <= LEADS:
        return 1
    single = hasattr(attribution, "score") and np.ndim(attribution.score) == 0
    return 3 if single and len(image) == 4 and len(values) > 2 and values[:3] == image[:3] else 2


def of_map(attribution: Any) -> int:
    """Along how many axes a map extends, as far as its shape says it; else 2."""
    known = hasattr(attribution, "score")
    rank = np.ndim(getattr(attribution, "values", attribution)) - (np.ndim(attribution.score) if known else 0)
    return 1 if rank == 1 else 3 if known and rank == 4 else 2


def pair(image: np.ndarray, attribution: Any, places: int) -> tuple[np.ndarray, np.ndarray]:
    """A signal `[t c]` and its map `[t]` or `[t c]`, or a volume `[d h w c]` and its map `[d h w]`.

    Raises:
        InputError: other shapes, or several images.
    """
    values = _single(attribution)
    image = image[..., None] if image.ndim == places else image
    if image.ndim != places + 1 or values.shape not in (image.shape, image.shape[:-1]) or values.size == 0:
        wanted = {1: "[t c] with a map [t]", 2: "[h w c] with a map [h w]", 3: "[d h w c] with a map [d h w]"}[places]
        given = f"an image {list(image.shape)} and a map {list(values.shape)}"
        raise InputError(f"an overlay needs an image {wanted} or one of the image's shape; given: {given}")
    return image, values.sum(axis=-1) if places > 1 and values.ndim > places else values


def values_of(attribution: Any, places: int) -> np.ndarray:
    """The map of one signal `[t]` or volume `[d h w]`; a map with channels is summed over them.

    Raises:
        InputError: another shape, or several maps.
    """
    values = _single(attribution)
    values = values.sum(axis=-1) if values.ndim == places + 1 else values
    if values.ndim != places or values.size == 0:
        wanted = {1: "[t] or [t c]", 2: "[h w] or [h w c]", 3: "[d h w] or [d h w c]"}[places]
        raise InputError(f"with places={places}, a map is {wanted} and not empty; given: {list(values.shape)}")
    return values


def images_of(images: Any, places: int | None) -> tuple[np.ndarray, int]:
    """The images `[n h w c]` of an Ascent or an array, and along how many axes each extends.

    Raises:
        InputError: another shape, or NaN.
    """
    scores = np.ndim(getattr(images, "scores", 0))  # [steps] or [n steps]
    values = rgb.finite(getattr(images, "image", images), "the images")
    rank = values.ndim - scores + 1 if scores else 0  # of one image; 0: unknown
    if rank == 1 or (rank == 2 and values.shape[-1] > LEADS and places in (None, 2)):  # without channels
        rank, values = rank + 1, values[..., None]
    places = check({2: 1, 4: 3}.get(rank, 2) if places is None else places)
    values = values[None] if values.ndim == places + 1 else values
    if values.ndim != places + 2 or values.size == 0:
        wanted = {1: "t c", 2: "h w c", 3: "d h w c"}[places]
        given = f"shape {list(values.shape)}"
        raise InputError(f"images must be [n {wanted}] or [{wanted}] and not empty; given: {given}")
    return values, places


def as_map(image: np.ndarray, shape: Shape) -> np.ndarray:
    """A flat image in the shape `[h w]` of its map, with channels; any other image as it is."""
    flat = image.ndim == 1 and len(shape) == 2 and image.size > 0 and image.size % math.prod(shape) == 0
    return image.reshape(*shape, -1) if flat else image


def stacked(volume: np.ndarray) -> np.ndarray:
    """The slices of a volume `[d h w *c]` below each other, `[d·h w *c]`: one picture, so all have one scale."""
    return volume.reshape(-1, *volume.shape[2:])


def slices(picture: np.ndarray, count: int) -> np.ndarray:
    """The picture of stacked slices as a grid of them, the first row first."""
    return rgb.tile(picture.reshape(count, -1, *picture.shape[1:]), math.isqrt(count - 1) + 1, margin=1)


def _single(attribution: Any) -> np.ndarray:
    values = rgb.finite(getattr(attribution, "values", attribution), "the map")
    several = np.ndim(getattr(attribution, "score", 0))
    return one(values, "the map", "[0] of an array, .values[0] of an Attribution") if several else values


def one(values: np.ndarray, what: str, pick: str = "[0] of it") -> np.ndarray:
    """The only image of a batch of one.

    Raises:
        InputError: a batch of several images.
    """
    if len(values) != 1:
        given = f"{len(values)} images, shape {list(values.shape)}"
        raise InputError(f"{what} must be of one image: pick one, such as {pick}; given: {given}")
    return values[0]

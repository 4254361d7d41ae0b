"""Mean Fourier magnitudes: of images of your own, and of photographs.

Law: the magnitudes of an image, taken to its own size, are those of its periodic part; magnitudes of 1 / frequency are
1 / frequency at any size.
"""

import functools
import math
from collections.abc import Iterable
from importlib import resources
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxviz.ascent.canvases.colors import LUCID, check_colors, to_raw
from jaxviz.checks import lengths
from jaxviz.errors import InputError
from jaxviz.model import check_values

__all__ = ["mean_magnitude"]


def mean_magnitude(
    images: ArrayLike | Iterable[ArrayLike], size: tuple[int, ...], *, colors: ArrayLike | None = LUCID
) -> Float[np.ndarray, "*c_and_bins"]:
    """The mean Fourier magnitude of your own images, for `MaCo(size, magnitude)`.

    The images are taken to where a canvas has them before its colours and its sigmoid. Since an FFT repeats an image,
    opposite edges meet in a seam, whose magnitudes would appear as straight lines all over the canvas: only the
    periodic part of each image counts (L. Moisan 2011). Magnitudes of images of another size are taken at the same
    frequencies in cycles a pixel. Between two of theirs, and below the lowest, the magnitude is interpolated with the
    law of photographs, 1 / frequency (D. Field 1987).

    Args:
        images: `[n h w c]`, or any iterable of images `[h w c]` in [0, 1], which may differ in size; one at a time is
            held in memory. Also signals `[t c]`, volumes, and images without channels, `[h w]`.
        size: of the canvas.
        colors: the colour matrix of the canvas; None for images without channels.

    Returns:
        `[c *bins]`, bins being those of a real FFT, such as `[c h w//2+1]`.

    Raises:
        InputError: no images, images of another number of axes or channels, or values outside [0, 1].

    Source: T. Fel et al. 2023, section 3; L. Moisan, Periodic plus Smooth Image Decomposition, 2011, eq. 11.
    """
    size = lengths("size", size, len(size))
    total, count = np.zeros(()), 0
    for image in images:  # type: ignore[union-attr]  # an array is iterable, too
        values = check_values(np.asarray(image))
        if values.ndim - len(size) not in (0, 1):
            raise InputError(
                f"an image has the {len(size)} axes of size, and one of channels; given: {list(values.shape)}"
            )
        own = values.shape[: len(size)]
        check_colors(colors, values.shape[-1] if values.ndim > len(size) else None)
        raw = np.asarray(to_raw(values, colors, len(size)))
        first = np.moveaxis(raw, -1, 0) if raw.ndim > len(size) else raw
        found = resample(np.abs(periodic_spectrum(first, len(size))), own, size)
        if count and found.shape != total.shape:
            raise InputError(f"all images have the same channels; given: {len(total)} and {len(found)}")
        total, count = total + found, count + 1
    if not count:
        raise InputError("a mean magnitude is that of at least one image; given: none")
    return (total / count).astype(np.float32)


def periodic_spectrum(raw: np.ndarray, axes: int) -> np.ndarray:
    """The FFT along the last `axes` axes of an image without the seam between its opposite edges.

    The image is the sum of a periodic part and of a smooth one, whose Laplacian is 0 but at the edges, where it is the
    jump across the seam. So the periodic part has the Laplacian of the image, without differences across the seam.
    """
    jump, last = np.zeros(raw.shape), tuple(range(-axes, 0))
    for axis in last:
        edges = np.moveaxis(jump, axis, 0), np.moveaxis(raw, axis, 0)
        difference = edges[1][-1] - edges[1][0]
        edges[0][0] += difference
        edges[0][-1] -= difference
    sides = (2 * np.cos(2 * np.pi * np.fft.fftfreq(raw.shape[axis])) - 2 for axis in last)
    laplacian = np.sum(np.meshgrid(*sides, indexing="ij"), 0)
    laplacian[(0,) * axes] = 1  # where the FFT of the jump is 0
    return np.fft.fftn(raw, axes=last) - np.fft.fftn(jump, axes=last) / laplacian


@functools.lru_cache(maxsize=8)
def photographs(size: tuple[int, int]) -> np.ndarray:
    """The mean magnitudes `[3 *bins]` of photographs in Lucid's colours, of which the first is brightness.

    tests/golden/make_maco.py made them of photographs in the public domain.
    """
    with resources.files(__package__).joinpath("photographs.npz").open("rb") as file, np.load(file) as arrays:
        table = arrays["magnitude"].astype(np.float64)
    return resample(table, table.shape[1:], size).astype(np.float32)


def resample(magnitude: np.ndarray, own: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
    """Magnitudes `[… *bins]` of a real FFT of `size`, from those `[… *own]` of an FFT of `own` size.

    Magnitude times frequency is nearly even in photographs, so this product is interpolated, linearly along each axis.
    """
    axes = range(-len(own), 0)
    even = magnitude * _frequencies(own)
    sides = [axis for axis in axes if own[axis] > 1]
    zero: Any = (..., *(0,) * len(own))
    if sides:  # the product is 0 at frequency 0: there, it is that of the neighbours
        even[zero] = np.mean([np.roll(even, way, axis)[zero] for axis in sides for way in (1, -1)], 0)
    for axis in axes:
        at = np.fft.fftfreq(size[axis]) * own[axis]
        low = np.floor(at + 1e-9)
        part = (at - low).reshape(-1, *(1,) * (-axis - 1))
        before, after = (np.take(even, (low.astype(int) + step) % own[axis], axis) for step in (0, 1))
        even = before * (1 - part) + after * part
    frequency = _frequencies(size)
    frequency[zero] = np.inf
    found = (even / frequency * math.sqrt(math.prod(size) / math.prod(own)))[..., : size[-1] // 2 + 1]
    found[zero] = magnitude[zero] * math.sqrt(math.prod(size) / math.prod(own))
    return found


def _frequencies(size: tuple[int, ...]) -> np.ndarray:
    """All frequencies of an FFT, `[*size]`, in cycles a pixel."""
    return np.sqrt(sum(axis**2 for axis in np.meshgrid(*map(np.fft.fftfreq, size), indexing="ij")))

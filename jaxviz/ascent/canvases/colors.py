"""Colours of a canvas: a matrix that turns independent channels into colours as correlated as those of photographs, and
the sigmoid behind it.

    raw [h w c] ─► colors @ raw ─► sigmoid ─► image [h w c] in (0, 1)

Law: `to_image(to_raw(image, …), …)` is the image, up to rounding, if its values are between EDGE and 1 - EDGE. Nearer
to 0 and 1, which no sigmoid reaches, values are moved to EDGE and 1 - EDGE, less than half of an 8-bit step away: an
8-bit picture keeps all its bits.

In photographs, most of the variation is common to red, green and blue. Ascent in independent channels therefore ends in
neon colours; the matrix makes a step in the first channel a step of all three.
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxviz.checks import numbers
from jaxviz.errors import InputError
from jaxviz.model import check_values

EDGE = 1 / 512  # half of an 8-bit step is 1/510

# The square root of the covariance of ImageNet's colours (lucid, optvis/param/color.py), divided, as there, by the
# largest norm of a column. Rows are red, green and blue; columns are brightness, red against blue, and green.
_LUCID = np.array([(0.26, 0.09, 0.02), (0.27, 0.0, -0.05), (0.27, -0.09, 0.03)])
LUCID = (_LUCID / np.linalg.norm(_LUCID, axis=0).max()).astype(np.float32)

XPLIQUE = LUCID  # xplique and Horama write the same numbers, transposed (xplique, preconditioning.py)


def estimate(images: ArrayLike | Iterable[ArrayLike]) -> Float[np.ndarray, "c c"]:
    """The colour matrix of your own images, for `Fourier(size, colors=…)`: of satellite bands, stains, spectrograms.

    Its columns are the principal components of the colours of all pixels, each as long as its standard deviation, and
    all divided by the length of the longest, as in Lucid. So it is a square root of the covariance.

    Args:
        images: `[n h w c]`, or any iterable of images `[h w c]` in [0, 1], which may differ in size; one at a time is
            held in memory.

    Raises:
        InputError: no images, values outside [0, 1], or colours that depend on each other, as in grey images of three
            channels.

    Source: C. Olah et al., Feature Visualization, Distill 2017, "Preconditioning and parameterization".
    """
    count = 0
    first: np.ndarray = np.zeros(())
    second: np.ndarray = np.zeros(())
    for image in images:  # type: ignore[union-attr]  # an array is iterable, too
        values = check_values(np.asarray(image))
        pixels = values.reshape(-1, values.shape[-1]).astype(np.float64)
        if count and len(first) != pixels.shape[1]:
            raise InputError(f"all images have the same channels; given: {len(first)} and {pixels.shape[1]}")
        count, first, second = count + len(pixels), first + pixels.sum(0), second + pixels.T @ pixels
    if not count:
        raise InputError("a colour matrix is estimated from at least one image; given: none")
    mean = first / count
    variances, directions = np.linalg.eigh(second / count - np.outer(mean, mean))
    if variances[0] <= 1e-8 * max(variances[-1], 1e-8):
        raise InputError(
            f"the {len(mean)} channels of these images depend on each other, as in grey images, so their colour matrix "
            "has no inverse: give images in colour, or colors=None"
        )
    # The largest entry of each column is positive, so that the matrix is the same on every machine.
    signs = np.sign(np.take_along_axis(directions, np.abs(directions).argmax(0)[None], 0))
    matrix = directions * signs * np.sqrt(variances)
    return (matrix[:, ::-1] / np.sqrt(variances[-1])).astype(np.float32)


def to_image(raw: ArrayLike, colors: Any, axes: int) -> jax.Array:
    """The image in (0, 1) of unbounded values, which have so many axes besides that of channels, if they have one."""
    raw = jnp.asarray(raw)
    matrix = _matrix(raw, colors, axes)
    return jax.nn.sigmoid(raw if matrix is None else jnp.matmul(raw, matrix.T, precision="highest"))


def to_raw(image: ArrayLike, colors: Any, axes: int) -> jax.Array:
    """The inverse of `to_image`."""
    raw = jax.scipy.special.logit(jnp.clip(jnp.asarray(image), EDGE, 1 - EDGE))
    matrix = _matrix(raw, colors, axes)
    return raw if matrix is None else jnp.matmul(raw, jnp.linalg.inv(matrix).T, precision="highest")


def _matrix(raw: jax.Array, colors: Any, axes: int) -> jax.Array | None:
    """The matrix that applies to these values: that of photographs is for three channels, others are left alone."""
    matrix = None if colors is None else jnp.asarray(colors, raw.dtype)
    return matrix if matrix is not None and raw.ndim > axes and matrix.shape == 2 * raw.shape[-1:] else None


def check_colors(colors: Any, channels: int | None) -> None:
    """Nothing, if the matrix fits an image of so many channels.

    Raises:
        InputError: another shape, NaN, infinity, or a matrix without an inverse. LUCID is always fine: images of
            other than three channels do without.
    """
    if colors is None:
        return
    matrix = numbers(colors)
    if np.array_equal(matrix, LUCID):
        return
    if channels is None or matrix.shape != (channels, channels):
        needs = f"{channels} channels needs a colour matrix [{channels} {channels}]"
        needs = "an image without channels has no colour matrix" if channels is None else f"an image of {needs}"
        raise InputError(f"{needs}; given: {list(matrix.shape)}. colors=None leaves channels as they are")
    if not np.isfinite(matrix).all() or np.linalg.cond(matrix.astype(np.float64)) > 1e6:
        raise InputError(f"a colour matrix is finite and has an inverse; given: {matrix.tolist()}")

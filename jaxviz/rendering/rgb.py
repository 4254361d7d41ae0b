"""Arrays to pictures: pure functions from numbers to uint8 RGB.

Each one states the range it maps to black and to white; none of them changes its input, and all refuse NaN, which
would otherwise be drawn as a colour.
"""

from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import ArrayLike

from jaxviz.checks import near, whole
from jaxviz.errors import InputError


def standardize(channel: ArrayLike) -> UInt8[np.ndarray, "h w"]:
    """One channel [h w] as grey levels: its mean at 128, one standard deviation 64 levels; all 0 if it is constant.

    Raises:
        InputError: the channel holds NaN or infinity.

    Chollet, Deep Learning with Python (2017), §5.4.1.
    """
    channel = finite(channel, "the channel")
    if is_dead(channel):
        return np.zeros(channel.shape, np.uint8)
    # float32 and in the book's order: the levels are its levels to the bit.
    return np.clip((channel - channel.mean()) / channel.std() * 64 + 128, 0, 255).astype(np.uint8)


def is_dead(channel: np.ndarray) -> bool:
    """Whether a channel is constant. Not `std() == 0`: the mean of equal floats is rounded, and leaves a spread."""
    return bool(channel.min() == channel.max())


def activation_grid(
    activation: ArrayLike, columns: int = 16, cmap: str = "viridis", margin: int = 1
) -> tuple[UInt8[np.ndarray, "height width 3"], int]:
    """All channels of an activation [h w c] side by side, each standardized, and the number of dead ones.

    Channels run along the rows. A dead channel, constant over the image, is black, as are the cells left over.

    Raises:
        InputError: the activation is no [h w c] or holds NaN, or `cmap` is unknown.

    Chollet (2017), §5.4.1 (columns 16, margin 0; margin 1 from the second edition on).
    """
    activation = finite(activation, "the activation")
    if activation.ndim != 3 or activation.size == 0:
        raise InputError(f"an activation is [h w c] and not empty, got shape {list(activation.shape)}")
    colours = colour_table(cmap)
    channels = np.moveaxis(activation, -1, 0)
    dead = np.array([is_dead(channel) for channel in channels])
    pictures = np.stack([colours[standardize(channel)] for channel in channels])
    pictures[dead] = 0
    return tile(pictures, columns, margin=margin), int(dead.sum())


def stretch(image: ArrayLike, std: float | int = 0.1) -> UInt8[np.ndarray, "h w 3"]:
    """An image [h w c] of any range, its contrast set: the mean at mid-grey, the standard deviation `std` of the range.

    Grey images (c = 1) come back as RGB. `std` is 0.1 in Chollet (2017), §5.4.2, 0.15 on keras.io, and 64/255 (to half
    a level) in the second edition.

    Raises:
        InputError: the image is no [h w 3] or [h w 1], or holds NaN; or a negative `std`.
    """
    if not 0 <= std < np.inf:
        raise InputError(f"std is a share of the range, 0 or more; given: {std}")
    image = _rgb(finite(image, "the image"), "the image").astype(np.float64)  # as the book's
    epsilon = 1e-5 / 255  # the book's 1e-5 is in levels of 0–255
    stretched = (image - image.mean()) / (image.std() + epsilon) * std + 0.5
    return (np.clip(stretched, 0, 1) * 255).astype(np.uint8)


def tile(pictures: ArrayLike, columns: int, margin: int = 5, by: str = "row") -> UInt8[np.ndarray, "height width 3"]:
    """Pictures [n h w 3], uint8, as one black grid `columns` wide, `margin` pixels between them and none around.

    Args:
        by: "row" fills the first row first, "column" the first column, as in Chollet (2017), §5.4.2.

    Raises:
        InputError: the pictures have another type or shape, or an argument is none of the above.
    """
    pictures = np.asarray(pictures)
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3 or pictures.size == 0:
        raise InputError(f"pictures are uint8 [n h w 3], n ≥ 1, got {pictures.dtype} {list(pictures.shape)}")
    margin = whole("margin", margin, 0)
    n, height, width, _ = pictures.shape
    places = cells(n, columns, by)
    down, right = height + margin, width + margin
    rows = -(-n // columns)
    grid = np.zeros((rows * down - margin, columns * right - margin, 3), np.uint8)
    for picture, (row, column) in zip(pictures, places, strict=True):
        grid[row * down :, column * right :][:height, :width] = picture
    return grid


def cells(n: int, columns: int, by: str = "row") -> list[tuple[int, int]]:
    """The (row, column) of each of n pictures in a grid `columns` wide, filled by "row" or by "column"."""
    columns = whole("columns", columns)
    if by not in ("row", "column"):
        raise InputError(f'by must be "row" or "column", got {by!r}')
    if by == "row":
        return [divmod(i, columns) for i in range(n)]
    rows = -(-n // columns)
    return [(i % rows, i // rows) for i in range(n)]


def heat(
    values: ArrayLike, cmap: str = "viridis", *, low: float | int | None = None, high: float | int | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Values [h w] as colours: `low` and below has the map's first colour, `high` and above its last.

    By default the range reaches from 0 (or the minimum, if negative) to the maximum (or 0): a map of zeros has the
    first colour everywhere.

    Raises:
        InputError: the values are no [h w] or hold NaN, or `cmap` is unknown.
    """
    values = finite(values, "the heat map")
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"a heat map is [h w] and not empty, got shape {list(values.shape)}")
    low = min(0.0, float(values.min())) if low is None else low
    high = max(0.0, float(values.max())) if high is None else high
    scaled = np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values)
    return colour_table(cmap)[(255 * scaled).astype(np.uint8)]


def overlay(
    image: ArrayLike, values: ArrayLike, cmap: str = "jet", weight: float | int = 0.4
) -> UInt8[np.ndarray, "h w 3"]:
    """What speaks for the target, drawn over the image: the positive part of the values, as `heat`, added to it.

    The sum is cut off at white. The colours and their weight are those of Chollet (2017), §5.4.3.

    Args:
        image: [h w 3] or grey [h w 1], in [0, 1].
        values: [h w], the image's size.
        weight: of the colours; the image itself has weight 1.

    Raises:
        InputError: the sizes differ, the image leaves [0, 1], something holds NaN, a negative weight, or an unknown
            `cmap`.
    """
    if not 0 <= weight < np.inf:
        raise InputError(f"weight is of the colours, 0 or more; given: {weight}")
    image = _rgb(finite(image, "the image"), "the image")
    values = finite(values, "the heat map")
    if image.min() < -1e-3 or image.max() > 1 + 1e-3:  # what resampling may leave, not another unit
        raise InputError(f"the image must be in [0, 1], got {image.min():g} to {image.max():g}; divide 0–255 by 255")
    if values.shape != image.shape[:2]:
        raise InputError(
            f"the heat map must have the image's size {list(image.shape[:2])}, got {list(values.shape)}; "
            "jaxviz.rendering.images.resize brings it there"
        )
    colours = heat(np.maximum(values, 0), cmap)
    # Rounded, not cut: 255 * (k / 255) may be just below k.
    return np.clip(np.rint(255 * image + weight * colours), 0, 255).astype(np.uint8)


def colour_table(cmap: str) -> UInt8[np.ndarray, "256 3"]:
    """The 256 colours of one of matplotlib's colour maps, by name."""
    import matplotlib  # a tenth of the time of `import jaxviz`

    if cmap not in matplotlib.colormaps:
        raise InputError(
            f"there is no colour map {cmap!r}: {near(cmap, matplotlib.colormaps)}viridis, jet and gray are among them"
        )
    return matplotlib.colormaps[cmap](np.linspace(0, 1, 256), bytes=True)[:, :3]


def finite(values: Any, what: str) -> Float32[np.ndarray, "..."]:
    """The values as a float32 array, or an InputError that says what holds NaN or infinity and where first."""
    try:
        values = np.asarray(values).astype(np.float32, copy=False)
    except (TypeError, ValueError):
        raise InputError(f"{what} must be an array of numbers, got {type(values).__name__}") from None
    bad = ~np.isfinite(values)
    if bad.any():
        where = [int(i) for i in np.argwhere(bad)[0]]
        raise InputError(
            f"{what} holds {bad.sum()} values that are NaN or infinite, of {values.size}, the first at {where}"
        )
    return values


def _rgb(image: np.ndarray, what: str) -> np.ndarray:
    """An image [h w 3], or [h w 1] with its grey repeated."""
    if image.ndim != 3 or image.shape[2] not in (1, 3) or image.size == 0:
        raise InputError(f"{what} must be [h w 3] or grey [h w 1], got shape {list(image.shape)}")
    return np.broadcast_to(image, (*image.shape[:2], 3))

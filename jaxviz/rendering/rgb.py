"""Arrays to pictures: pure functions from numbers to uint8 RGB.

    array ─► picture, uint8 [h w 3]

Law: the same numbers are the same picture, level by level, and the input array is not changed. The docstring of each
function says which numbers are black and which are white. NaN is an error, since it would be drawn as a colour.
"""

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import ArrayLike

from jaxviz.checks import near, numbers, whole
from jaxviz.errors import InputError


def standardize(channel: ArrayLike) -> UInt8[np.ndarray, "h w"]:
    """One channel `[h w]` as grey levels: the mean is level 128, one standard deviation is 64 levels.

    A constant channel is 0 everywhere.

    Raises:
        InputError: the channel holds NaN or infinity.

    Source: Chollet 2017, Deep Learning with Python, 5.4.1.
    """
    channel = finite(channel, "the channel")
    if is_dead(channel):
        return np.zeros(channel.shape, np.uint8)
    # In float32 and in the order of the book, so that the levels are those of the book, bit by bit.
    return np.clip((channel - channel.mean()) / channel.std() * 64 + 128, 0, 255).astype(np.uint8)


def is_dead(channel: np.ndarray) -> bool:
    """Whether a channel is constant. `std() == 0` would not say so, since the mean of equal floats is rounded."""
    return bool(channel.min() == channel.max())


def activation_grid(
    activation: ArrayLike, columns: int = 16, cmap: str = "viridis", margin: int = 1
) -> tuple[UInt8[np.ndarray, "height width 3"], int]:
    """All channels of an activation `[h w c]` side by side, each standardized, and the number of dead channels.

    A dead channel is constant over the image. Dead channels and empty cells are black.

    Args:
        columns: channels in a row; the first row is filled first.
        cmap: one of matplotlib's colour maps.
        margin: black pixels between channels.

    Raises:
        InputError: the activation is not `[h w c]` or holds NaN, or `cmap` is unknown.

    Source: Chollet 2017, Deep Learning with Python, 5.4.1 (columns 16, margin 0; margin 1 from the second edition on).
    """
    activation = finite(activation, "the activation")
    if activation.ndim != 3 or activation.size == 0:
        raise InputError(f"an activation must be [h w c] and not empty; given: shape {list(activation.shape)}")
    colours = colour_table(cmap)
    channels = np.moveaxis(activation, -1, 0)
    dead = np.array([is_dead(channel) for channel in channels])
    pictures = np.stack([colours[standardize(channel)] for channel in channels])
    pictures[dead] = 0
    return tile(pictures, columns, margin=margin), int(dead.sum())


# The contrast with which sources show the images of an ascent: the standard deviation and the mean of the picture, as
# parts of the range from black to white; None leaves the image as it is.
CONTRASTS: dict[str, tuple[float, float] | None] = {
    "chollet": (0.1, 0.5),  # Chollet 2017, Deep Learning with Python, 5.4.2
    "keras_io": (0.15, 0.5),  # keras.io, "Visualizing what convnets learn", 2020
    "chollet_3rd_edition": (64 / 255, 128 / 255),  # the book's second and third edition
    "none": None,  # of canvases whose images lie in [0, 1]
}


def stretch(image: ArrayLike, std: float | int | str = 0.1) -> UInt8[np.ndarray, "h w 3"]:
    """An image `[h w c]` of any range as a picture: its mean is mid-grey, and its contrast is set. Grey becomes RGB.

    An image of 2 channels, or of more than 3, is shown as the grey of their mean.

    Args:
        std: the standard deviation of the picture, as a part of the range from black to white; or the name of a source
            in `CONTRASTS`: "chollet" (0.1), "keras_io" (0.15), "chollet_3rd_edition" (64 levels about level 128), or
            "none", which draws the values as they are, clipped to [0, 1].

    Raises:
        InputError: the image is not `[h w c]`, or holds NaN; or `std` is negative, or no name of a contrast.
    """
    image = _rgb(finite(image, "the image"), "the image").astype(np.float64)  # as in the book
    if isinstance(std, str) and std not in CONTRASTS:
        raise InputError(f"std is a number, or one of {', '.join(CONTRASTS)}; given: {std!r}")
    contrast = CONTRASTS[std] if isinstance(std, str) else (std, 0.5)
    if contrast is None:
        return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    width, centre = contrast
    if not 0 <= numbers(width) < np.inf:
        raise InputError(f"std is a part of the range, 0 or more; given: {std}")
    epsilon = 1e-5 / 255  # the book has 1e-5 in levels of 0–255
    stretched = (image - image.mean()) / (image.std() + epsilon) * width + centre
    return (np.clip(stretched, 0, 1) * 255).astype(np.uint8)


def nothing(height: int, width: int) -> UInt8[np.ndarray, "height width 3"]:
    """The picture of what there is no picture of: black, with a dark grey diagonal."""
    found = np.zeros((height, width, 3), np.uint8)
    along = np.linspace(0, 1, max(height, width))
    found[np.rint(along * (height - 1)).astype(int), np.rint(along * (width - 1)).astype(int)] = 80
    return found


def tile(pictures: ArrayLike, columns: int, margin: int = 5, by: str = "row") -> UInt8[np.ndarray, "height width 3"]:
    """Pictures `[n h w 3]`, uint8, in one grid; empty cells and margins are black, and there is no margin around.

    Args:
        columns: pictures in a row.
        margin: black pixels between pictures.
        by: "row" fills the first row first, "column" the first column, as in Chollet 2017, 5.4.2.

    Raises:
        InputError: the pictures have another type or shape, or an argument is none of the above.
    """
    pictures = np.asarray(pictures)
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3 or pictures.size == 0:
        raise InputError(f"pictures must be uint8 [n h w 3], n ≥ 1; given: {pictures.dtype} {list(pictures.shape)}")
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
        raise InputError(f'by must be "row" or "column"; given: {by!r}')
    if by == "row":
        return [divmod(i, columns) for i in range(n)]
    rows = -(-n // columns)
    return [(i % rows, i // rows) for i in range(n)]


def heat(
    values: ArrayLike, cmap: str = "viridis", *, low: float | int | None = None, high: float | int | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Values `[h w]` as colours: `low` and less is the first colour of the colour map, `high` and more is the last.

    Args:
        cmap: one of matplotlib's colour maps.
        low: default: 0, or the minimum if it is negative.
        high: default: the maximum, or 0 if it is negative; so a map of zeros has the first colour everywhere.

    Raises:
        InputError: the values are not `[h w]` or hold NaN, or `cmap` is unknown.
    """
    values = finite(values, "the heat map")
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"a heat map must be [h w] and not empty; given: shape {list(values.shape)}")
    low = min(0.0, float(values.min())) if low is None else low
    high = max(0.0, float(values.max())) if high is None else high
    scaled = np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values)
    return colour_table(cmap)[(255 * scaled).astype(np.uint8)]


def overlay(
    image: ArrayLike, values: ArrayLike, cmap: str = "jet", weight: float | int = 0.4
) -> UInt8[np.ndarray, "h w 3"]:
    """The positive part of a heat map, which speaks for the target, drawn over the image.

    The colours of `heat` are added to the image, and the sum is clipped at white. Colours and weight are those of
    Chollet 2017, Deep Learning with Python, 5.4.3.

    Args:
        image: `[h w c]` in [0, 1]: colours, grey `[h w 1]`, or any other number of channels, shown as the grey of
            their mean. To see some of many bands as colours, give those: `image[..., [3, 2, 1]]`.
        values: `[h w]`, of the size of the image.
        cmap: one of matplotlib's colour maps.
        weight: of the colours; the image itself has weight 1.

    Raises:
        InputError: the sizes differ, the image has values outside [0, 1], an array holds NaN, the weight is negative,
            or `cmap` is unknown.
    """
    if not 0 <= numbers(weight) < np.inf:
        raise InputError(f"weight of the colours must be 0 or more; given: {weight}")
    image = _rgb(finite(image, "the image"), "the image")
    values = finite(values, "the heat map")
    if image.min() < -1e-3 or image.max() > 1 + 1e-3:  # resampling may leave the range a little
        raise InputError(
            f"the image must be in [0, 1] (divide 0–255 by 255); given: {image.min():g} to {image.max():g}"
        )
    if values.shape != image.shape[:2]:
        raise InputError(
            f"the heat map must have the image's size {list(image.shape[:2])}, for which there is "
            f"jaxviz.rendering.images.resize; given: {list(values.shape)}"
        )
    colours = heat(np.maximum(values, 0), cmap)
    # Rounded, not truncated: 255 * (k / 255) may be just below k.
    return np.clip(np.rint(255 * image + weight * colours), 0, 255).astype(np.uint8)


def colour_table(cmap: str) -> UInt8[np.ndarray, "256 3"]:
    """The 256 colours of one of matplotlib's colour maps, by name.

    Raises:
        InputError: there is no such colour map.
    """
    import matplotlib  # here, since it takes a tenth of the time of `import jaxviz`

    if cmap not in matplotlib.colormaps:
        raise InputError(
            f"there is no colour map {cmap!r}: {near(cmap, matplotlib.colormaps)}viridis, jet and gray are among them"
        )
    return matplotlib.colormaps[cmap](np.linspace(0, 1, 256), bytes=True)[:, :3]


def finite(values: object, what: str) -> Float32[np.ndarray, "..."]:
    """The values as a float32 array; `what` is their name in an error.

    Raises:
        InputError: the values are no numbers, or complex, or some are NaN or infinite; it says how many, and where the
            first is.
    """
    try:
        array = np.asarray(values)
        array = array if np.iscomplexobj(array) else array.astype(np.float32, copy=False)
    except (TypeError, ValueError):
        raise InputError(f"{what} must be an array of numbers; given: {type(values).__name__}") from None
    if np.iscomplexobj(array):
        raise InputError(f"{what} must be of real numbers, such as np.abs of it; given: {array.dtype}")
    bad = ~np.isfinite(array)
    if bad.any():
        where = [int(i) for i in np.argwhere(bad)[0]]
        raise InputError(
            f"{what} must be finite; given: {bad.sum()} of {array.size} values are NaN or infinite, first at {where}"
        )
    return array


def _rgb(image: np.ndarray, what: str) -> np.ndarray:
    """An image as `[h w 3]`; of any other number of channels, their mean is repeated."""
    if image.ndim != 3 or image.size == 0:
        raise InputError(f"{what} must be [h w c], such as [h w 3] or grey [h w 1]; given: shape {list(image.shape)}")
    grey = image if image.shape[2] in (1, 3) else image.mean(axis=2, keepdims=True)
    return np.broadcast_to(grey, (*image.shape[:2], 3))

"""Arrays to matplotlib figures, built from the pictures of `rgb`.

    array ─► picture, uint8 [h w 3] (`rgb`) ─► matplotlib Figure (here)

Law: every value of an array is a square of whole output pixels at the figure's own resolution, unless the page would be
longer than LONGEST.

A figure is returned and never shown: `figure.savefig("out.png")` writes it, and a notebook displays it after
`%matplotlib inline`.

Checklist for a new figure (this file and `tests/jaxviz/test_figures.py`):

1. Write `show_<noun>(values, *, …)`, which returns a Figure, and list it in `__all__`. It takes arrays, or a result
   that has them as an attribute, and knows no model.
2. Check the values with `rgb.finite` and their shape; an error says what shape is required, and which was given.
3. Make pictures with functions of `rgb` (a new way from numbers to colours is a function there) and place them with
   `_page`, which keeps the law. Import matplotlib inside the function.
4. Test the pictures as exact arrays, and the titles and axes; then look at a written PNG.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import ArrayLike

from jaxviz.checks import whole
from jaxviz.errors import InputError
from jaxviz.rendering import rgb
from jaxviz.rendering.images import resize

if TYPE_CHECKING:  # a third of the time of `import jaxviz`; it is imported when a figure is drawn
    import matplotlib.figure
    from matplotlib.cm import ScalarMappable

__all__ = ["show_activations", "show_filters", "show_maps", "show_overlay", "show_scores"]

DPI = 128  # a power of two, so that pixels / DPI * DPI is exact
SIDE = 480  # output pixels: a small picture is enlarged by a whole number, at most to this side
GRID_SIDE = 1600  # the same for a grid of maps
TITLED_SIDE = 200  # the same for one of many images with titles
LARGEST = 32  # the largest factor of enlargement: a single value is a small square, not a page
LONGEST = 25_000  # output pixels: all of VGG16 is 21,000; longer pages are drawn smaller, for matplotlib ends at 2**16
GAP = 12  # output pixels around every picture
TITLE = 24  # output pixels above a picture that has a title
CHARACTER = 10  # output pixels of width for each character of a title
STRIP = 128  # values in a row of the picture of a vector


def show_activations(
    activations: Mapping[str, ArrayLike] | ArrayLike,
    *,
    channel: int | None = None,
    columns: int = 16,
    cmap: str = "viridis",
) -> "matplotlib.figure.Figure":
    """A Figure with all channels of each layer as a grid of maps, one layer below the other.

    Each map is standardized, as by `rgb.activation_grid`. A layer without maps, such as a dense layer, is a strip of
    its values from 0 up.

    Args:
        activations: the dictionary that `activations` returns, {name: `[h w c]` or `[1 h w c]` (maps), `[k]` or `[1 k]`
            (vectors)}; or one such array.
        channel: show this channel alone, in larger maps from its minimum to its maximum; vectors are left out.
        columns: maps in a row.
        cmap: one of matplotlib's colour maps.

    Raises:
        InputError: more than one image, another shape, NaN in a layer, or a channel that a layer does not have.
    """
    named = activations if isinstance(activations, Mapping) else {"activation": activations}
    layers = {name: _activation(name, values) for name, values in named.items()}
    if channel is not None:
        layers = {name: values for name, values in layers.items() if values.ndim == 3}
    if not layers:
        raise InputError("there is no layer to show" + (" that has channels" if named else ": activations is empty"))
    drawn = [_draw_layer(name, values, channel, columns, cmap) for name, values in layers.items()]
    pictures, titles = zip(*drawn, strict=True)
    return _page(pictures, titles, side=GRID_SIDE if channel is None else SIDE)


def show_filters(
    images: Any,
    *,
    columns: int = 8,
    rows: int | None = None,
    margin: int = 5,
    std: float | int = 0.1,
    by: str = "row",
    titles: Sequence[str] | None = None,
) -> "matplotlib.figure.Figure":
    """A Figure with images in a grid, the contrast of each set by `rgb.stretch`.

    Args:
        images: `[n h w c]` or `[h w c]` of any range, or the Ascent that `sweep` returns.
        columns: images in a row.
        rows: show at most this many rows; None: all.
        margin: black pixels between images; images with titles are separate instead.
        std: the contrast: the standard deviation of each picture, as a part of the range from black to white.
        by: "row" fills the first row first, "column" the first column.
        titles: one for each image.

    Raises:
        InputError: the images have another shape or hold NaN, or there are more or fewer titles than images.
    """
    images = rgb.finite(getattr(images, "image", images), "the images")
    images = images[None] if images.ndim == 3 else images
    if images.ndim != 4 or images.size == 0:
        raise InputError(f"images must be [n h w c] or [h w c] and not empty; given: shape {list(images.shape)}")
    if columns < 1 or (rows is not None and rows < 1):
        raise InputError(f"columns and rows must be 1 or more; given: {columns} and {rows}")
    if titles is not None and len(titles) != len(images):
        raise InputError(f"titles must be one for each of the {len(images)} images; given: {len(titles)}")
    shown = slice(None if rows is None else rows * columns)
    pictures = [rgb.stretch(image, std) for image in images[shown]]
    columns = min(columns, len(pictures))
    if titles is not None:
        return _page(pictures, [str(title) for title in titles[shown]], columns=columns, by=by, side=TITLED_SIDE)
    return _page([rgb.tile(np.stack(pictures), columns, margin, by)])


def show_overlay(
    image: ArrayLike, attribution: Any, *, cmap: str = "jet", weight: float | int = 0.4, title: str = ""
) -> "matplotlib.figure.Figure":
    """A Figure with the positive part of an attribution drawn over its photograph, at the photograph's own size.

    Args:
        image: `[h w 3]` or grey `[h w 1]` or `[h w]`, in [0, 1]; its size may differ from that of the network's image.
            Of any other number of channels, the grey of their mean is shown; to see some of many bands as colours, give
            those: `image[..., [3, 2, 1]]`.
        attribution: an Attribution or its values, `[h w]` or `[h w c]` (summed over channels); resized to the image.
        cmap: one of matplotlib's colour maps.
        weight: of the colours; the photograph itself has weight 1.
        title: above the picture.

    Raises:
        InputError: another shape, more than one image, an image outside [0, 1], or NaN.
    """
    image = rgb.finite(image, "the image")
    image = _one(image, "the image") if image.ndim == 4 else image
    image = image[:, :, None] if image.ndim == 2 else image
    if image.ndim != 3:
        raise InputError(f"the image must be [h w c] or grey [h w]; given: shape {list(image.shape)}")
    values = resize(_values(attribution, image.shape[2]), image.shape[:2])
    return _page([rgb.overlay(image, values, cmap, weight)], [title])


def show_maps(
    maps: Any,
    *,
    signed: bool | None = None,
    percentile: float | int = 99.5,
    cmap: str | None = None,
    columns: int = 4,
) -> "matplotlib.figure.Figure":
    """A Figure with heat maps in rows, each with its own scale and colour bar.

    Args:
        maps: one Attribution or array, a list of them, or {title: map}; each `[h w]` or `[h w c]` (summed over
            channels). Sum an array of other than 1 or 3 channels yourself: it could be a batch of maps.
        signed: True: colours symmetric about 0; False: from 0 up; None: symmetric for a map that has negative values.
        percentile: the scale ends at this percentile of the magnitudes, so that one spike does not make the rest look
            empty; 100 ends it at the largest.
        cmap: one of matplotlib's colour maps; None: "RdBu_r" if symmetric, else "viridis".
        columns: maps in a row.

    Raises:
        InputError: another shape, more than one image in a map, NaN, or columns below 1.
    """
    if isinstance(maps, Mapping):
        titles, maps = [str(title) for title in maps], list(maps.values())
    else:  # an Attribution is a tuple too
        maps = list(maps) if isinstance(maps, list | tuple) and not hasattr(maps, "values") else [maps]
        titles = [""] * len(maps)
    if not maps:
        raise InputError("there is no map to show: maps is empty")
    if not 0 <= percentile <= 100:
        raise InputError(f"percentile must be between 0 and 100; given: {percentile}")
    scales, pictures = [], []
    for each in maps:
        values = _values(each)
        symmetric = bool(values.min() < 0) if signed is None else signed
        size = np.abs(values) if symmetric else np.maximum(values, 0)
        # If most of the map is 0, so is the percentile. A map of zeros gets any scale, so that zero keeps its colour.
        high = float(np.percentile(size, percentile, method="higher") or size.max() or 1)
        low, colours = (-high, cmap or "RdBu_r") if symmetric else (0.0, cmap or "viridis")
        pictures.append(rgb.heat(values, colours, low=low, high=high))
        scales.append(_scale(low, high, colours))
    figure = _page(pictures, titles, columns=min(whole("columns", columns), len(maps)), right=90)
    for axes, scale in zip(list(figure.axes), scales, strict=True):
        pixels = axes.bbox.width
        bar = axes.inset_axes((1 + 8 / pixels, 0, 14 / pixels, 1))
        figure.colorbar(scale, cax=bar, format="%.4g").ax.tick_params(labelsize=8)
    return figure


def _scale(low: float, high: float, colours: str) -> "ScalarMappable":
    """The range and the colours of a colour bar."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(low, high), colours)


def show_scores(scores: Any, *, labels: Sequence[str] | None = None) -> "matplotlib.figure.Figure":
    """A Figure with the score of each image over the steps of its ascent.

    Args:
        scores: `[n steps]` or `[steps]`, or the Ascent that `sweep` returns.
        labels: one for each image, shown in a legend.

    Raises:
        InputError: another shape, NaN, or more or fewer labels than images.
    """
    scores = rgb.finite(getattr(scores, "scores", scores), "the scores")
    if scores.ndim not in (1, 2) or scores.size == 0:
        raise InputError(f"scores must be [n steps] or [steps] and not empty; given: shape {list(scores.shape)}")
    scores = np.atleast_2d(scores)
    if labels is not None and len(labels) != len(scores):
        raise InputError(f"labels must be one for each of the {len(scores)} images; given: {len(labels)}")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), dpi=DPI, layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="score")
    axes.plot(scores.T, label=labels)
    if labels is not None:
        axes.legend()
    return figure


def _activation(name: str, values: ArrayLike) -> np.ndarray:
    """The maps `[h w c]` or the vector `[k]` of a layer, for one image; maps of 1×1 are a vector."""
    values = rgb.finite(values, f"layer {name!r}")
    if values.ndim in (2, 4):
        values = _one(values, f"layer {name!r}")
    if values.ndim not in (1, 3) or values.size == 0:
        raise InputError(f"layer {name!r} must be [h w c] or [k] and not empty; given: shape {list(values.shape)}")
    return values.ravel() if values.shape[:-1] == (1, 1) else values


def _draw_layer(name: str, values: np.ndarray, channel: int | None, columns: int, cmap: str) -> tuple[np.ndarray, str]:
    """The picture of a layer, or of one of its channels, and its title."""
    if values.ndim == 1:
        squares = rgb.heat(values[:, None], cmap)[:, None]  # [k 1 1 3]
        return rgb.tile(squares, min(STRIP, len(values)), margin=0), f"{name} · {_count(len(values), 'unit')}"
    height, width, channels = values.shape
    if channel is None:
        grid, dead = rgb.activation_grid(values, min(columns, channels), cmap)
        title = f"{name} · {_count(channels, 'channel')} of {height}×{width}"
        return grid, title + (f" ({dead} dead)" if dead else "")
    if not 0 <= channel < channels:
        raise InputError(f"layer {name!r} has {_count(channels, 'channel')}, 0 to {channels - 1}; given: {channel}")
    one = values[:, :, whole("channel", channel, 0)]
    picture = rgb.heat(one, cmap, low=float(one.min()), high=float(one.max()))
    return picture, f"{name} · channel {channel} of {channels}" + (" (dead)" if rgb.is_dead(one) else "")


def _values(attribution: Any, channels: int | None = None) -> np.ndarray:
    """The signed map `[h w]` of an Attribution or array of one image; a map with channels is summed over them.

    An array of three axes is `[h w c]` if it has 1, 3 or `channels` channels, or one score, and else a batch `[n h w]`.
    """
    values = rgb.finite(getattr(attribution, "values", attribution), "the map")
    one = hasattr(attribution, "score") and np.ndim(attribution.score) == 0
    if values.ndim == 4 or (values.ndim == 3 and not one and values.shape[2] not in (1, 3, channels)):
        values = _one(values, "the map", "[0] of an array, .values[0] of an Attribution")
    if values.ndim == 3:
        values = values.sum(axis=2)
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"a map must be [h w] or [h w c] and not empty; given: shape {list(values.shape)}")
    return values


def _one(values: np.ndarray, what: str, pick: str = "[0] of it") -> np.ndarray:
    """The only image of a batch of one.

    Raises:
        InputError: a batch of several images.
    """
    if len(values) != 1:
        given = f"{len(values)} images, shape {list(values.shape)}"
        raise InputError(f"{what} must be of one image: pick one, such as {pick}; given: {given}")
    return values[0]


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _page(
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    titles: Sequence[str] = (),
    *,
    columns: int = 1,
    by: str = "row",
    side: int = SIDE,
    right: int = 0,
) -> "matplotlib.figure.Figure":
    """A Figure with one axes for each picture; small pictures are enlarged to `side`, with `right` free pixels beside.

    Lengths are output pixels. Each axes begins and ends at a whole pixel: otherwise matplotlib would draw some values
    wider than others.
    """
    titles = titles or [""] * len(pictures)
    places = rgb.cells(len(pictures), columns, by)
    above = TITLE if any(titles) else 0
    sizes = [np.array(p.shape[:2]) * min(LARGEST, max(1, side // max(p.shape[:2]))) for p in pictures]
    heights = [0] * (1 + max(row for row, _ in places))
    widths = [0] * columns
    for (row, column), (height, width), title in zip(places, sizes, titles, strict=True):
        heights[row] = max(heights[row], above + height)
        widths[column] = max(widths[column], width + right, CHARACTER * len(title))
    bottoms, rights = np.cumsum([h + GAP for h in heights]), np.cumsum([w + GAP for w in widths])
    page_height, page_width = bottoms[-1] + GAP, rights[-1] + GAP

    resolution = DPI * min(1, LONGEST / max(page_height, page_width))
    from matplotlib.figure import Figure

    figure = Figure(figsize=(page_width / DPI, page_height / DPI), dpi=resolution)
    for picture, title, (row, column), (height, width) in zip(pictures, titles, places, sizes, strict=True):
        left = rights[column] - widths[column] + (widths[column] - right - width) // 2
        box = (left / page_width, 1 - bottoms[row] / page_height, width / page_width, height / page_height)
        axes = figure.add_axes(box)
        axes.imshow(picture, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        axes.set_title(title, fontsize=9, pad=4)
    return figure

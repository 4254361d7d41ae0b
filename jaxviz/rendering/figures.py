"""Arrays to matplotlib figures, built from the pictures of `rgb`.

    array ─► picture, uint8 [h w 3] (`rgb`) ─► matplotlib Figure (here)

Law: every value of an array is a square of whole output pixels at the figure's own resolution, unless the page would be
longer than LONGEST.

A signal `[t c]` is drawn as curves (`curves`), and a volume `[d h w c]` as all of its slices (`ranks`). Where an array
does not say what it is, `places` does: 1 is a signal, 2 an image, 3 a volume.

A figure is returned and never shown: `figure.savefig("out.png")` writes it, and a notebook displays it after
`%matplotlib inline`.

Checklist for a new figure (this file and `tests/jaxviz/test_figures.py`):

1. Write `show_<noun>(values, *, …)`, which returns a Figure, and list it in `__all__`. It takes arrays, or a result
   that has them as an attribute, and knows no model.
2. Check the values with `rgb.finite` and their shape; an error says what shape is required, and which was given.
3. Make pictures with functions of `rgb` (a new way from numbers to colours is a function there) and place them with
   `page`, which keeps the law. Import matplotlib inside the function.
4. Test the pictures as exact arrays, and the titles and axes; then look at a written PNG.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import ArrayLike

from jaxviz.checks import finite, whole
from jaxviz.errors import InputError
from jaxviz.rendering import curves, ranks, rgb
from jaxviz.rendering.images import resize

if TYPE_CHECKING:  # a third of the time of `import jaxviz`; it is imported when a figure is drawn
    import matplotlib.figure
    from matplotlib.cm import ScalarMappable

__all__ = ["show_activations", "show_filters", "show_maps", "show_overlay", "show_recipes", "show_scores"]

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
    places: int = 2,
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
        places: 1 for the layers `[t k]` of a signal, each channel a row; 3 for those of a volume, `[d h w k]`, each
            channel a row of slices.

    Raises:
        InputError: more than one image, another shape, NaN in a layer, or a channel that a layer does not have.
    """
    ranks.check(places)
    named = activations if isinstance(activations, Mapping) else {"activation": activations}
    layers = {name: _activation(name, values, places) for name, values in named.items()}
    if channel is not None:
        layers = {name: values for name, values in layers.items() if values.ndim > 1}
    if not layers:
        raise InputError("there is no layer to show" + (" that has channels" if named else ": activations is empty"))
    drawn = [_draw_layer(name, values, channel, columns, cmap) for name, values in layers.items()]
    pictures, titles = zip(*drawn, strict=True)
    return page(pictures, titles, side=GRID_SIDE if channel is None else SIDE)


def show_filters(
    images: Any,
    *,
    columns: int = 8,
    rows: int | None = None,
    margin: int = 5,
    std: float | int | str = 0.1,
    by: str = "row",
    titles: Sequence[str] | None = None,
    indices: Iterable[int] | None = None,
    places: int | None = None,
) -> "matplotlib.figure.Figure":
    """A Figure with images in a grid, the contrast of each set by `rgb.stretch`.

    Args:
        images: `[n h w c]` or `[h w c]` of any range, or the Ascent that `sweep` returns; of an Ascent, the place of
            an image that did not move is black with a diagonal, since its noise would look like a finding.
        columns: images in a row.
        rows: show at most this many rows; None: all.
        margin: black pixels between images; images with titles are separate instead.
        std: the contrast: the standard deviation of each picture, as a part of the range from black to white; or the
            name of a source, as for `rgb.stretch`: "chollet", "keras_io", "chollet_3rd_edition", or "none" for images
            that are shown as they are, such as those of a Fourier canvas.
        by: "row" fills the first row first, "column" the first column.
        titles: one for each image.
        indices: the number of the filter of each image. With it, each image has its number as its title and, of an
            Ascent, the last score: "27 · 412.5".
        places: 1 for signals `[n t c]`, 3 for volumes `[n d h w c]`; None: as the Ascent says, or 2.

    Raises:
        InputError: the images have another shape or hold NaN, there are more or fewer titles than images, or titles and
            indices.
    """
    if titles is not None and indices is not None:
        raise InputError("images have titles or indices, which are titles too; given: both")
    given, (images, places) = images, ranks.images_of(images, places)
    moved = _moved(given, len(images))
    titles = titles if indices is None else _numbered(given, indices, len(images))
    if columns < 1 or (rows is not None and rows < 1):
        raise InputError(f"columns and rows must be 1 or more; given: {columns} and {rows}")
    if titles is not None and len(titles) != len(images):
        raise InputError(f"titles must be one for each of the {len(images)} images; given: {len(titles)}")
    shown = slice(None if rows is None else rows * columns)
    if places == 1:
        drawn = [image if move else image[:0] for image, move in zip(images, moved, strict=True)]
        return curves.curves(drawn[shown], titles or [""] * len(images), columns)
    flat = images if places == 2 else [ranks.stacked(image) for image in images]
    pictures = [_finding(image, move, std) for image, move in list(zip(flat, moved, strict=True))[shown]]
    if places == 3:
        pictures = [ranks.slices(picture, images.shape[1]) for picture in pictures]
    columns = min(columns, len(pictures))
    if titles is not None:
        return page(pictures, [str(title) for title in titles[shown]], columns=columns, by=by, side=TITLED_SIDE)
    return page([rgb.tile(np.stack(pictures), columns, margin, by)])


def _moved(found: Any, count: int) -> list[bool]:
    """For each image whether its ascent moved it; what is no Ascent has."""
    moved = getattr(found, "moved", None)
    return [True] * count if moved is None else np.atleast_1d(moved).tolist()


def _finding(image: np.ndarray, moved: bool, std: float | int | str) -> np.ndarray:
    return rgb.stretch(image, std) if moved else rgb.nothing(*image.shape[:2])


def show_recipes(
    found: Mapping[str, Any], *, indices: Iterable[int] | None = None, std: float | int | str = 0.1
) -> "matplotlib.figure.Figure":
    """A Figure that compares recipes: a row for each recipe, and in each column the same filter.

    Args:
        found: {name of a recipe: pictures uint8 `[n h w 3]`, such as those of `Style.picture`; images `[n h w c]`; or
            the Ascent that `sweep` returns}, as many for each recipe. Sizes may differ.
        indices: the number of the filter of each column.
        std: the contrast of images, as for `show_filters`; pictures are drawn as they are.

    Raises:
        InputError: there is no recipe, or no names; the recipes or the indices are of other numbers of images; or
            images have another shape, or hold NaN.
    """
    if not isinstance(found, Mapping):
        raise InputError(f"recipes are compared by name, {{name: images}}; given: {type(found).__name__}")
    rows = {name: _pictures(images, std) for name, images in found.items()}
    counts = {name: len(pictures) for name, pictures in rows.items()}
    if len(set(counts.values())) != 1:
        raise InputError(f"recipes are compared filter by filter, as many images for each; given: {counts or 'none'}")
    (count,) = set(counts.values())
    numbers = [""] * count if indices is None else _numbers(indices, count)
    titles = [f"{name if i == 0 else ''} {number}".strip() for name in rows for i, number in enumerate(numbers)]
    pictures = [picture for row in rows.values() for picture in row]
    return page(pictures, titles, columns=count, side=TITLED_SIDE)


def _pictures(images: Any, std: float | int | str) -> list[np.ndarray]:
    """Pictures uint8 `[n h w 3]` as they are, or those of images."""
    if getattr(images, "dtype", None) == np.uint8 and np.ndim(images) == 4:
        return list(np.asarray(images))
    values, places = ranks.images_of(images, None)
    if places != 2:
        raise InputError(f"recipes are compared on images [n h w c]; given: {list(values.shape)}")
    return [_finding(image, moved, std) for image, moved in zip(values, _moved(images, len(values)), strict=True)]


def _numbers(indices: Iterable[int], count: int) -> list[str]:
    numbers = [str(index) for index in indices]
    if len(numbers) != count:
        raise InputError(f"indices are one for each of the {count} images; given: {len(numbers)}")
    return numbers


def _numbered(images: Any, indices: Iterable[int], count: int) -> list[str]:
    """A title for each image: the number of its filter and, of an Ascent, its last score."""
    numbers, scores = _numbers(indices, count), getattr(images, "scores", None)
    if scores is None:
        return numbers
    last = np.atleast_2d(rgb.finite(scores, "the scores"))[:, -1]
    return [f"{number} · {score:.4g}" for number, score in zip(numbers, last, strict=True)]


def show_overlay(
    image: ArrayLike,
    attribution: Any,
    *,
    cmap: str = "jet",
    weight: float | int = 0.4,
    title: str = "",
    places: int | None = None,
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
        places: 1 for a signal `[t c]`, whose curves get the colours; 3 for a volume `[d h w c]`, of which all slices
            are drawn. None: as the shapes of the image and the Attribution say. A flat image is drawn in the shape of
            the map.

    Raises:
        InputError: another shape, more than one image, an image outside [0, 1], or NaN.
    """
    image = rgb.finite(image, "the image")
    places = ranks.check(ranks.of_pair(image.shape, attribution) if places is None else places)
    if places == 1:
        rgb.colour_table(cmap)  # refuses an unknown one
        return curves.coloured(*ranks.pair(image, attribution, 1), cmap, title)
    if places == 3:
        volume, values = ranks.pair(image, attribution, 3)
        picture = rgb.overlay(ranks.stacked(volume), ranks.stacked(values), cmap, weight)
        return page([ranks.slices(picture, len(volume))], [title])
    image = ranks.as_map(image, np.shape(getattr(attribution, "values", attribution)))
    image = ranks.one(image, "the image", "[0] of it, or say places=3 for a volume") if image.ndim == 4 else image
    image = image[:, :, None] if image.ndim == 2 else image
    if image.ndim != 3:
        raise InputError(f"the image must be [h w c] or grey [h w]; given: shape {list(image.shape)}")
    values = resize(_values(attribution, image.shape[2]), image.shape[:2])
    return page([rgb.overlay(image, values, cmap, weight)], [title])


def show_maps(
    maps: Any,
    *,
    signed: bool | None = None,
    percentile: float | int = 99.5,
    cmap: str | None = None,
    columns: int = 4,
    places: int | None = None,
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
        places: 1 for maps `[t]` or `[t c]` of a signal, which are curves; 3 for `[d h w]` or `[d h w c]` of a volume,
            whose slices are drawn. None: 1 for `[t]`, 3 for an Attribution `[d h w c]`, and else 2.

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
    if not 0 <= finite("percentile", percentile) <= 100:
        raise InputError(f"percentile must be between 0 and 100; given: {percentile}")
    kinds = [ranks.of_map(each) if places is None else ranks.check(places) for each in maps]
    if set(kinds) == {1}:
        return curves.curves([ranks.values_of(each, 1) for each in maps], titles, whole("columns", columns), zero=True)
    if 1 in kinds:
        raise InputError("maps of signals and of images are figures of their own: show them one after the other")
    scales, pictures = [], []
    for each, kind in zip(maps, kinds, strict=True):
        values = _values(each) if kind == 2 else ranks.values_of(each, 3)
        symmetric = bool(values.min() < 0) if signed is None else signed
        size = np.abs(values) if symmetric else np.maximum(values, 0)
        # If most of the map is 0, so is the percentile. A map of zeros gets any scale, so that zero keeps its colour.
        high = float(np.percentile(size, percentile, method="higher") or size.max() or 1)
        low, colours = (-high, cmap or "RdBu_r") if symmetric else (0.0, cmap or "viridis")
        picture = rgb.heat(values if kind == 2 else ranks.stacked(values), colours, low=low, high=high)
        pictures.append(picture if kind == 2 else ranks.slices(picture, len(values)))
        scales.append(_scale(low, high, colours))
    figure = page(pictures, titles, columns=min(whole("columns", columns), len(maps)), right=90)
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


def _activation(name: str, values: ArrayLike, places: int) -> np.ndarray:
    """The maps `[h w c]` or the vector `[k]` of a layer, for one image; maps of 1×1 are a vector."""
    values = rgb.finite(values, f"layer {name!r}")
    if values.ndim == places + 2 or (values.ndim == 2 and places != 1):
        hint = ", or say places=1 for a signal [t k]" if values.ndim == 2 else ""
        hint = ", or say places=3 for a volume [d h w k]" if values.ndim == 4 else hint
        values = ranks.one(values, f"layer {name!r}", f"[0] of it{hint}")
    if values.ndim not in (1, places + 1) or values.size == 0:
        maps = {1: "t c", 2: "h w c", 3: "d h w c"}[places]
        raise InputError(f"layer {name!r} must be [{maps}] or [k] and not empty; given: shape {list(values.shape)}")
    return values.ravel() if set(values.shape[:-1]) == {1} else values


def _draw_layer(name: str, values: np.ndarray, channel: int | None, columns: int, cmap: str) -> tuple[np.ndarray, str]:
    """The picture of a layer, or of one of its channels, and its title."""
    if values.ndim == 1:
        squares = rgb.heat(values[:, None], cmap)[:, None]  # [k 1 1 3]
        return rgb.tile(squares, min(STRIP, len(values)), margin=0), f"{name} · {_count(len(values), 'unit')}"
    *lengths, channels = values.shape
    size = "×".join(map(str, lengths))
    if len(lengths) == 1:  # a signal: a row for each channel
        values, columns = values[None], 1
    elif len(lengths) == 3:  # a volume: its slices from left to right
        values, columns = np.concatenate(list(values), axis=1), 1
    if channel is None:
        grid, dead = rgb.activation_grid(values, min(columns, channels), cmap)
        title = f"{name} · {_count(channels, 'channel')} of {size}"
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
        values = ranks.one(values, "the map", "[0] of an array, .values[0] of an Attribution")
    if values.ndim == 3:
        values = values.sum(axis=2)
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"a map must be [h w] or [h w c] and not empty; given: shape {list(values.shape)}")
    return values


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def page(
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"] | None],
    titles: Sequence[str] = (),
    *,
    columns: int = 1,
    by: str = "row",
    side: int = SIDE,
    right: int = 0,
) -> "matplotlib.figure.Figure":
    """A Figure with one axes for each picture; small pictures are enlarged to `side`, with `right` free pixels beside.

    None is an empty cell. Lengths are output pixels. Each axes begins and ends at a whole pixel: otherwise matplotlib
    would draw some values wider than others.
    """
    titles = titles or [""] * len(pictures)
    places = rgb.cells(len(pictures), columns, by)
    above = TITLE if any(titles) else 0
    sizes = [_enlarged(None if picture is None else picture.shape[:2], side) for picture in pictures]
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
        if picture is None:
            continue
        left = rights[column] - widths[column] + (widths[column] - right - width) // 2
        box = (left / page_width, 1 - bottoms[row] / page_height, width / page_width, height / page_height)
        axes = figure.add_axes(box)
        axes.imshow(picture, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        axes.set_title(title, fontsize=9, pad=4)
    return figure


def _enlarged(size: tuple[int, int] | None, side: int) -> tuple[int, int]:
    """The output pixels of a picture that is enlarged by a whole number, at most to `side`; of an empty cell, none."""
    height, width = size or (0, 0)
    factor = min(LARGEST, max(1, side // max(height, width, 1)))
    return height * factor, width * factor

"""The figure of one filter: rows of pictures, from what it likes best to what it reads.

Law: every picture is drawn value by value, as in `figures`. The maps of weights have one scale, so they are compared.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxviz.errors import InputError
from jaxviz.rendering import rgb
from jaxviz.rendering.figures import page

if TYPE_CHECKING:
    import matplotlib.figure

__all__ = ["show_portrait"]

SIDE = 160  # output pixels: small pictures are enlarged by a whole number, at most to this side
COLOURS = ("red", "green", "blue")
Row = list[tuple[Any, str]]  # pictures and their titles


def show_portrait(portrait: Any) -> "matplotlib.figure.Figure":
    """A Figure of one filter, from the Portrait that `portray` returns.

    Its rows are: the optimum, the opposite and different optima; the crops that excite the filter most, with the
    scores; crops at percentiles of the images, with the scores; the filters that it reads, with their pictures; and the
    weights with which it reads them, red where they are positive and blue where they are negative, in the order of the
    pictures above. All weights have one scale; the title has their sum.

    Args:
        portrait: a Portrait, or any value with its attributes.

    Raises:
        InputError: pictures or crops of other shapes than `[h w c]`, or NaN.
    """
    name = f"{portrait.layer} · {portrait.index}"
    rows = [[(portrait.optimum, name), (portrait.opposite, "opposite")]]
    rows[0] += [(picture, "different optima" if i == 0 else "") for i, picture in enumerate(portrait.diverse)]
    for seen in (portrait.best, portrait.ordinary):
        if seen is not None:
            rows.append(_crops(seen))
    rows += _inputs(portrait.inputs)
    columns = max(map(len, rows))
    cells = [cell for row in rows for cell in (*row, *[(None, "")] * (columns - len(row)))]
    pictures, titles = zip(*cells, strict=True)
    return page(pictures, titles, columns=columns, side=SIDE)


def _crops(seen: Any) -> Row:
    """Crops, each with the percentile of its image and its score; those above all percentiles with the score alone."""
    shares = ["" if percentile == 100 else f"{percentile:g} %: " for percentile in seen.percentile]
    titles = [f"{share}{score:.4g}" for share, score in zip(shares, seen.score, strict=True)]
    titles[0] = titles[0] if shares[0] else f"highest: {titles[0]}"
    return [(rgb.stretch(crop, "none"), title) for crop, title in zip(seen.crops, titles, strict=True)]


def _inputs(inputs: Any) -> list[Row]:
    """A row with the pictures of the filters that are read, and one with the maps of their weights."""
    weights = rgb.finite(inputs.weights, "the weights")
    if weights.ndim != 3 or weights.size == 0:
        raise InputError(f"weights must be [n h w] and not empty; given: shape {list(weights.shape)}")
    high = float(np.abs(weights).max()) or 1.0
    maps = [rgb.heat(each, "RdBu_r", low=-high, high=high) for each in weights]
    colours = inputs.source == "image" and inputs.channels == len(COLOURS)
    names = [COLOURS[i] if colours else str(i) for i in inputs.index.tolist()]
    sums = [f"{each.sum():+.2g}" for each in weights]
    if not len(inputs.pictures):
        titles = [f"{name} {total}" for name, total in zip(names, sums, strict=True)]
        titles[0] = f"reads {inputs.source}: {titles[0]}"
        return [list(zip(maps, titles, strict=True))]
    names[0] = f"reads {inputs.source} · {names[0]}"
    return [list(zip(inputs.pictures, names, strict=True)), list(zip(maps, sums, strict=True))]

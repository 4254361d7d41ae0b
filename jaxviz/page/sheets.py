"""The files of one layer of an atlas in a site: sheets of small pictures, large pictures, and what a click shows.

    sheet-0.webp       the small pictures of filters 0 to 255, 16 in a row; sheet-1.webp those of the next 256 …
    sheet-0.js         their scores at each step, their neighbours, and their crops' files and scores
    filter-17.webp     the large picture of filter 17, in the contrast in which it is shown
    exact-17.webp      the image itself, if it is another one
    crops-17.webp      the crops of photographs that excite it most, side by side, if the atlas has them

Law: the pictures of no more than one sheet are in memory. No text of the atlas is a part of a path.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from tqdm import tqdm

from jaxviz.atlases.read import AtlasLayer
from jaxviz.atlases.values import Values
from jaxviz.page.html import call
from jaxviz.page.likeness import nearest, texture
from jaxviz.rendering.images import resize, write_image
from jaxviz.rendering.rgb import stretch, tile

COLUMNS, SHEET = 16, 256  # filters in a row of a sheet, and in a sheet. `browser/sheets.js` has the same numbers.
SMALL = 96  # pixels: the longer side of a small picture, so that it is sharp where a pixel of CSS is 1.5 of the screen
QUALITY, LARGE_QUALITY = 80, 92  # of WebP: by eye, the first is good enough for small pictures, the second for large
CURVE = 64  # points of a curve of scores: its drawing shows no more


def write_layer(layer: AtlasLayer, site: Path, place: str, bar: tqdm) -> dict[str, Any]:
    """What a page knows of a layer before a filter is clicked, for `html.call`. The files of the layer are written.

    Args:
        layer: of an atlas, finished or not.
        site: the folder of the page.
        place: the folder of the layer, relative to that of the page; it is made.
        bar: is told how many filters are written.
    """
    folder = site / place
    folder.mkdir(parents=True)
    states = {"dead": layer.dead, "lost": layer.lost, "missing": ~layer.done}
    drawn = ~np.any(list(states.values()), axis=0)
    parts = [slice(start, min(start + SHEET, layer.filters)) for start in range(0, layer.filters, SHEET)]
    textures = []
    for number, part in enumerate(parts):
        textures.append(_write_pictures(layer, part, drawn[part], folder, number))
        bar.update(part.stop - part.start)
    neighbours = _neighbours(layer, np.concatenate(textures), drawn)
    scores: list[float | None] = []
    for number, part in enumerate(parts):
        curves = np.where(layer.done[part, None], _read(layer.scores, part), np.nan)
        scores += [_last(curve) for curve in curves]
        details = {
            "curves": [_thinned(curve) for curve in curves],
            "neighbours": {kind: found[part] for kind, found in neighbours.items()},
            "exact": [(folder / f"exact-{i}.webp").exists() for i in range(part.start, part.stop)],
            "crops": _write_crops(layer, part, folder),
        }
        (folder / f"sheet-{number}.js").write_text(call("arrived", place, number, details), encoding="ascii")
    return {
        "name": layer.name,
        "facts": _facts(layer, states),
        "folder": place,
        "filters": layer.filters,
        "position": layer.position,
        "size": layer.image.shape[1:3],
        "canvas": layer.exact.shape[1:3],
        "field": layer.receptive_field,
        "steps": layer.scores.shape[1],
        "states": {state: np.flatnonzero(which).tolist() for state, which in states.items()},
        "scores": scores,
        "robust": _robust(layer),
    }


def _facts(layer: AtlasLayer, states: dict[str, np.ndarray]) -> list[str]:
    """What a page says below the name of a layer."""
    facts = [layer.kind] if layer.kind else []
    if layer.position is not None:
        facts.append(f"layer {layer.position + 1} of the network")
    facts.append(f"{layer.filters:,} filters")
    if layer.receptive_field is not None:
        size, stride, _ = layer.receptive_field
        facts.append(f"receptive field {_times(size)}, stride {_times(dict.fromkeys(stride))}")
    counts = {"dead": "dead", "lost": "without a picture", "missing": "not computed yet"}
    return facts + [f"{states[state].sum():,} {words}" for state, words in counts.items() if states[state].any()]


def _times(numbers: Iterable[int | float]) -> str:
    return " × ".join(map(str, numbers))


def _write_pictures(
    layer: AtlasLayer, part: slice, drawn: np.ndarray, folder: Path, number: int
) -> Float32[np.ndarray, "n f"]:
    """The textures of the filters of a sheet. The sheet and their large pictures are written."""
    pictures, exact = _read(layer.image, part), _read(layer.exact, part)
    small = np.stack([_small(picture) for picture in pictures])
    small[~drawn] = 0  # the page has marks of its own for them
    write_image(folder / f"sheet-{number}.webp", tile(small, min(COLUMNS, len(small)), margin=0), quality=QUALITY)
    for i in np.flatnonzero(drawn).tolist():
        write_image(folder / f"filter-{part.start + i}.webp", pictures[i], quality=LARGE_QUALITY)
        image = _colours(exact[i])
        if not np.array_equal(image, pictures[i]):
            write_image(folder / f"exact-{part.start + i}.webp", image, quality=LARGE_QUALITY)
    return np.stack([texture(picture) for picture in pictures])


def _write_crops(layer: AtlasLayer, part: slice, folder: Path) -> list[list[tuple[str, float | None]]]:
    """The file and the score of each crop of each filter of a sheet; the crops are written."""
    crops, files, scores = layer.crops, layer.crop_files, layer.crop_scores
    found: list[list[tuple[str, float | None]]] = [[] for _ in range(part.start, part.stop)]
    if crops is None or files is None or scores is None:
        return found
    images, heights = _read(crops, part), _read(scores, part)
    for i in np.flatnonzero(crops.done[part]).tolist():
        strip = tile(images[i], len(images[i]), margin=0)
        write_image(folder / f"crops-{part.start + i}.webp", strip, quality=LARGE_QUALITY)
        found[i] = [(file, _number(height)) for file, height in zip(files[part.start + i], heights[i], strict=True)]
    return found


def _neighbours(layer: AtlasLayer, textures: np.ndarray, drawn: np.ndarray) -> dict[str, list[list[tuple[int, float]]]]:
    """The filters that are most alike to each, by their pictures and, if the atlas has them, by their weights."""
    # Without what all pictures of the layer have in common, such as their grey, the rest tells them apart.
    common = textures[drawn].mean(0) if drawn.any() else np.float32(0)
    found = {"pictures": nearest(textures - common, drawn)}
    if layer.weights is not None:
        found["weights"] = nearest(layer.weights, np.ones(layer.filters, bool))
    return found


def _robust(layer: AtlasLayer) -> list[float | None]:
    if layer.robust is None:
        return [None] * layer.filters
    scores = np.where(layer.done, _read(layer.robust, slice(0, layer.filters)), np.nan)
    return [_number(score) for score in scores]


def _read(values: Values, part: slice) -> np.ndarray:
    """The values of the filters of a part; 0 for those that are not there yet."""
    found = np.zeros((part.stop - part.start, *values.shape[1:]), values.dtype)
    there = np.flatnonzero(values.done[part])
    for run in np.split(there, np.flatnonzero(np.diff(there) > 1) + 1) if len(there) else []:
        first, last = run[0], run[-1] + 1
        found[first:last] = values[part.start + first : part.start + last]
    return found


def _colours(image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w 3"]:
    """An image of any number of channels as RGB; see `rgb.stretch`."""
    return image if image.shape[-1] == 3 else stretch(image / np.float32(255), "none")


def _small(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """A picture whose longer side is no longer than SMALL."""
    sides = picture.shape[:2]
    if max(sides) <= SMALL:
        return picture.copy()
    return np.rint(resize(picture, [max(1, round(side * SMALL / max(sides))) for side in sides])).astype(np.uint8)


def _thinned(curve: np.ndarray) -> list[float | None]:
    """A curve at no more than CURVE steps, evenly spaced, the first and the last among them."""
    at = np.linspace(0, len(curve) - 1, min(CURVE, len(curve))).round().astype(int)
    return [_number(score) for score in curve[at]]


def _last(curve: np.ndarray) -> float | None:
    """The last score of a curve that is a number: the ascent may have been stopped earlier."""
    there = curve[np.isfinite(curve)]
    return _number(there[-1]) if len(there) else None


def _number(value: Any) -> float | None:
    """A number at four digits, which is what a page shows of it; None if it is NaN or infinite."""
    return float(f"{value:.4g}") if np.isfinite(value) else None

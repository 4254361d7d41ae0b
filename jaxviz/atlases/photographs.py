"""The parts of photographs that excite the filters of a layer most, as an atlas has them.

    listed(model, folder) -> the names of its image files
    strongest(model, folder, names, layer, …) -> chunks of (pictures, scores, numbers of files)

Law: the result depends on the names of the files and on their pixels, not on the place of the folder.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxviz.atlases.layout import Kind
from jaxviz.errors import InputError
from jaxviz.filters.crops import cut
from jaxviz.filters.responses import TOP
from jaxviz.filters.sources import source
from jaxviz.filters.top_images import top_images
from jaxviz.geometry import windows
from jaxviz.model import Model
from jaxviz.rendering import rgb
from jaxviz.rendering.images import resize

SIDE = 64  # pixels of a crop: 9 of them are as large as one picture of 192 pixels


def listed(model: Model, folder: str | os.PathLike[str]) -> list[str]:
    """The names of the image files in a folder and in the folders in it, relative to it and in order.

    Raises:
        InputError: there is no such folder, or no image in it; or the network takes no photographs.
    """
    if not Path(folder).is_dir():
        raise InputError(f"images of an atlas are a folder of photographs; there is no folder {os.fspath(folder)!r}")
    return [os.path.relpath(item, folder) for item in source(model, folder, None).items]


def described(names: Sequence[str]) -> dict[str, Any]:
    """What the manifest says of photographs."""
    digest = hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()
    return {"count": len(names), "names": digest, "top": min(TOP, len(names))}


def arrays(top: int) -> dict[str, Kind]:
    """What the store holds for each filter."""
    return {
        "image": Kind((top, SIDE, SIDE, 3), "uint8"),
        "score": Kind((top,), "float32"),
        "file": Kind((top,), "int32"),
    }


def strongest(
    model: Model, folder: str | os.PathLike[str], names: Sequence[str], layer: str, top: int, chunk: int
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """The first filter of each chunk, and its arrays as the store has them.

    Raises:
        InputError: fewer files than `top` can be read, or an activation that is NaN.
    """
    found = top_images(model, [os.path.join(folder, name) for name in names], layer, top=top)
    if found.score.shape[1] < top:
        raise InputError(f"{top} photographs are shown for each filter, and only {found.seen} files can be read")
    fields = windows(model, layer, found.images.shape)
    for start in range(0, len(found.score), chunk):
        some = slice(start, start + chunk)
        pictures = np.zeros((*found.image[some].shape, SIDE, SIDE, 3), np.uint8)
        for number in np.unique(found.image[some]).tolist():  # each photograph is read once for a chunk
            photograph = found.images[number]
            for filter_, place in np.argwhere(found.image[some] == number):
                position = found.position[some][filter_, place]
                pictures[filter_, place] = _picture(cut(photograph, fields, [*position.tolist(), start + int(filter_)]))
        yield (
            start,
            {"image": pictures, "score": found.score[some], "file": found.image[some].astype(np.int32)},
        )


def _picture(part: np.ndarray) -> np.ndarray:
    """A crop as a picture of SIDE × SIDE; a crop that is no square has black at two sides."""
    height, width = (max(1, round(SIDE * side / max(part.shape[:2]))) for side in part.shape[:2])
    found = np.zeros((SIDE, SIDE, 3), np.uint8)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    found[top : top + height, left : left + width] = rgb.stretch(np.clip(resize(part, (height, width)), 0, 1), "none")
    return found

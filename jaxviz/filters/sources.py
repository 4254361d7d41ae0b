"""Where many images come from: a folder, paths or arrays; they are read by number, a little ahead of their use.

    source(model, images, size) -> Source, whose images have one shape
    stream(source, start, batch) -> batches, in order

Law: at most AHEAD + 1 batches are in memory, however many images there are. A file that cannot be read is skipped, and
the batch says why; an array that the network cannot take is an error.
"""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxviz.errors import InputError
from jaxviz.model import Model, check_values
from jaxviz.rendering.images import MODES, read_image

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")  # of files in a folder
AHEAD = 2  # batches that are read while one is computed
THREADS = 4  # Pillow decodes outside of Python's lock, and a GPU is faster than one thread can decode


@dataclass(frozen=True, eq=False)
class Source:
    """Images of one shape. `source[number]` reads one of them, `[h w c]` in [0, 1].

    Attributes:
        items: a path or an array for each image.
        shape: of each image.
        files: whether the items are paths; it is not asked of them again, since an item may take long to read.
    """

    items: Any  # a sequence
    shape: tuple[int, ...]
    files: bool

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> np.ndarray:
        item = self.items[number]
        if is_path(item):
            return read_image(item, self.shape[:2], resample="bilinear", channels=self.shape[2], upright=True)
        try:
            array = np.asarray(item)
        except ValueError:
            array = np.empty(0)
        if array.shape != self.shape:
            raise InputError(
                f"image {number} must be {list(self.shape)}, as the others are; given: {list(array.shape)}"
            )
        return check_values(array)

    def attempt(self, number: int) -> np.ndarray | str:
        """An image, or the reason why its file cannot be read."""
        if not is_path(self.items[number]):
            return self[number]
        try:
            return self[number]
        except (InputError, OSError) as error:
            return str(error)

    def paths(self, count: int) -> list[str] | None:
        """The paths of the first images; None where they are arrays."""
        return [str(self.items[number]) for number in range(count)] if self.files else None

    def __repr__(self) -> str:
        return f"<{len(self)} images of {' × '.join(map(str, self.shape))}>"


class Batch(NamedTuple):
    """Images that were read together.

    Attributes:
        numbers: of the images, `[batch]`; only the first `real` are images, so that all batches have one length.
        pixels: of these images, `[batch h w c]`, and then zeros.
        real: how many images there are.
        skipped: {number: why the file cannot be read}.
        end: the number of the next image after this batch.
    """

    numbers: np.ndarray
    pixels: np.ndarray
    real: int
    skipped: dict[int, str]
    end: int


def source(model: Model, images: Any, size: int | tuple[int, ...] | None) -> Source:
    """The `Source` of a folder, of paths or of arrays.

    Args:
        images: a folder, whose image files are taken in the order of their names, also from folders in it; or a
            sequence of paths, of arrays `[h w c]`, or an array `[n h w c]`.
        size: of the images that are read from files, for a network that takes any size.

    Raises:
        InputError: a folder that is not there or holds no image file, no images, files for a network that takes other
            images than `[h w 3]` and `[h w 1]`, or a first array of another shape than the network takes.
    """
    items = _in_folder(images) if is_path(images) else images
    if not hasattr(items, "__len__") or not hasattr(items, "__getitem__") or isinstance(items, dict):
        raise InputError(
            "images are a folder, a list of paths, an array [n h w c] or a list of arrays, so that each can be read "
            f"again by its number; given: {type(items).__name__}"
        )
    if len(items) == 0:
        raise InputError("there are no images: give at least one path or array")
    if is_path(items[0]):
        if len(model.image_shape) != 3 or model.channels not in MODES:
            takes = " × ".join(str(side or "any") for side in model.image_shape)
            raise InputError(
                f"files are read as [h w 3] or [h w 1], and this network takes {takes}: read them yourself, and give "
                "arrays"
            )
        return Source(items, model.image_size(size), files=True)
    shape = getattr(items, "shape", ())
    if len(shape) == len(model.image_shape):
        raise InputError(f"images are several: image[None] is a batch of one; given: an array of {list(shape)}")
    first = model.check_images(items[0])
    if first.ndim != len(model.image_shape):
        raise InputError(f"images are a list of images, or an array [n h w c]; given: {list(first.shape)} as the first")
    return Source(items, first.shape, files=False)


def is_path(item: Any) -> bool:
    return isinstance(item, str | os.PathLike)


def _in_folder(given: str | os.PathLike[str]) -> list[str]:
    """The image files in a folder and in the folders in it, by name; of a file, the file itself.

    Raises:
        InputError: there is none.
    """
    path = Path(given)
    if path.is_file():
        return [str(path)]
    if not path.is_dir() or not os.fspath(given):  # an empty name would be the folder of the process
        raise InputError(f"there is no folder or file {os.fspath(given)!r} (looked from {os.getcwd()})")
    found = sorted(
        os.path.join(folder, name)
        for folder, _, names in os.walk(path)
        for name in names
        if name.lower().endswith(SUFFIXES)
    )
    if not found:
        raise InputError(f"the folder {str(path)!r} holds no image: no file in it ends in {', '.join(SUFFIXES)}")
    return found


def stream(source: Source, start: int, batch: int) -> Iterator[Batch]:
    """The images of a source in order, from number `start` on, in batches; threads read ahead."""
    pool = ThreadPoolExecutor(THREADS, "jaxviz-images")
    waiting: deque[tuple[range, list[Future]]] = deque()
    try:
        for first in range(start, len(source), batch):
            numbers = range(first, min(first + batch, len(source)))
            waiting.append((numbers, [pool.submit(source.attempt, number) for number in numbers]))
            if len(waiting) > AHEAD:
                yield _batch(source, *waiting.popleft(), batch)
        while waiting:
            yield _batch(source, *waiting.popleft(), batch)
    finally:  # also when the caller stops early
        pool.shutdown(cancel_futures=True)


def _batch(source: Source, numbers: range, reading: list[Future], batch: int) -> Batch:
    which, pixels, skipped = np.zeros(batch, np.int32), np.zeros((batch, *source.shape), np.float32), {}
    real = 0
    for number, future in zip(numbers, reading, strict=True):
        found = future.result()
        if isinstance(found, str):
            skipped[number] = found
        else:
            which[real], pixels[real] = number, found
            real += 1
    return Batch(which, pixels, real, skipped, numbers.stop)

"""A file → `Saved`, by what it is: for zip and HDF5 that is its first bytes, whatever its name says."""

import math
from os import PathLike
from pathlib import Path

from ..architectures import ARCHITECTURES
from ..errors import UnsafeFile
from .archive import is_archive, read_archive
from .h5 import read_h5, read_shards
from .onnx import read_onnx
from .safetensors import read_safetensors
from .saved import Saved
from .shards import SUFFIX

MAX_BYTES = 4 << 30  # the largest network of keras.applications takes 1.4 GB


def read(path: str | PathLike[str], architecture: str | None = None, *, max_bytes: int = MAX_BYTES) -> Saved:
    """What a file holds; of an `.onnx` file, the layers of `architecture` (`vgg16_tumor` if None).

    Raises:
        FileNotFoundError: no file at `path`.
        KerasFileError: not a file that can be read here; UnsafeFile, if it claims more than `max_bytes` of weights.
    """
    path = existing(path)
    if path.suffix == ".onnx":
        saved = read_onnx(path, ARCHITECTURES[architecture or "vgg16_tumor"].graph)
    elif path.suffix == ".safetensors":
        saved = read_safetensors(path)
    elif path.suffix == SUFFIX:
        saved = read_shards(path)
    elif is_archive(path):
        saved = read_archive(path, max_bytes)
    else:
        saved = read_h5(path)
    claimed = sum(4 * math.prod(weight.shape) for weights in saved.weights.values() for weight in weights.values())
    if claimed > max_bytes:
        raise UnsafeFile(
            f"{path} claims {claimed:,} bytes of weights, more than the {max_bytes:,} that are read; if that is what "
            "the network has, pass `max_bytes`"
        )
    return saved


def existing(path: str | PathLike[str]) -> Path:
    """The path of a file that is there.

    Raises:
        FileNotFoundError: it is not, or it is a folder.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; expected a file of weights")
    return path

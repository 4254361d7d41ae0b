"""A file → `Saved`, with the reader for its format. Zip and HDF5 are recognised by their first bytes, not by suffix."""

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

MAX_BYTES = 4 << 30  # the weights of the largest network of keras.applications have 1.4 GB


def read(path: str | PathLike[str], architecture: str | None = None, *, max_bytes: int = MAX_BYTES) -> Saved:
    """The contents of a file, whose weights are read only when they are asked for.

    Args:
        path: a file of any format that `load` reads.
        architecture: the network whose layers are read from an `.onnx` file; None: "vgg16_tumor".
        max_bytes: the most bytes of weights that the file may claim.

    Raises:
        FileNotFoundError: there is no file at `path`.
        KerasFileError: the file cannot be read here; UnsafeFile if it claims more than `max_bytes` of weights.
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
    """`path`, if there is a file.

    Raises:
        FileNotFoundError: there is none, or it is a folder.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; expected a file of weights")
    return path

"""A file → `Saved`, with the reader for its format. Zip and HDF5 are recognised by their first bytes, not by suffix.

What is no file of Keras is recognised too: the error says what it is, and how to get a file that is read.
"""

import math
from os import PathLike
from pathlib import Path

from ..architectures import ARCHITECTURES
from ..errors import NotReadable, UnsafeFile
from .archive import is_archive, read_archive
from .foreign import foreign, foreign_path, is_hdf5
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
    if is_archive(path):
        saved = read_archive(path, max_bytes)
    elif is_hdf5(path):
        saved = read_h5(path)
    elif (reason := foreign(path)) is not None:
        raise NotReadable(reason)
    elif path.suffix == ".onnx":
        saved = read_onnx(path, ARCHITECTURES[architecture or "vgg16_tumor"].graph)
    elif path.suffix == ".safetensors":
        saved = read_safetensors(path)
    elif path.suffix == SUFFIX:
        saved = read_shards(path)
    else:
        saved = read_h5(path)
    claimed = sum(4 * math.prod(weight.shape) for weights in saved.weights.values() for weight in weights.values())
    if claimed > max_bytes:
        raise UnsafeFile(
            f"{path} claims {claimed:,} bytes of weights, more than the {max_bytes:,} that are read; if that is what "
            "the network has, pass `max_bytes`"
        )
    return saved


def existing(path: str | PathLike[str], what: str = "a file of weights") -> Path:
    """`path`, if there is a file; `what` is expected there.

    Raises:
        FileNotFoundError: there is none, or it is some folder.
        NotReadable: it is the folder of a SavedModel or stands for the files of a checkpoint; the message says how to
            get a file that is read.
    """
    path = Path(path)
    if not path.is_file():
        if (reason := foreign_path(path)) is not None:
            raise NotReadable(reason)
        raise FileNotFoundError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; expected {what}")
    return path

"""A KerasNet → a file of the format that its suffix names."""

from os import PathLike
from pathlib import Path
from typing import Any

from .files.safetensors import write_safetensors
from .files.write_keras import write_archive, write_h5
from .net import KerasNet

WRITERS = {".safetensors": write_safetensors, ".h5": write_h5, ".hdf5": write_h5, ".keras": write_archive}


def save(net: Any, path: str | PathLike[str]) -> None:
    """Write `net` to `path`: `.safetensors`, or for Keras `.keras` or `.h5`. `weights_convert.load` reads all of them.

    For Keras means for Keras 3: tf-keras and other versions 2 cannot read its description of a network, in either file.
    Dropout, augmentation and batch normalisation keep the settings that Keras trains with; initializers, regularizers,
    constraints, what was frozen (`trainable`) and the state of the optimizer are not in the file.

    Raises:
        UnsupportedLayer: for Keras, a layer that it does not have.
        ValueError: another suffix, or a network some of whose inputs are fixed.
        OSError: `path` cannot be written.
    """
    path = Path(path)
    if not isinstance(net, KerasNet):
        raise ValueError(f"save takes a network as weights_convert.load returns it; given: {type(net).__name__}")
    if path.suffix not in WRITERS or path.name.endswith(".weights.h5"):
        raise ValueError(f"{path} names no format that can be written; those are {', '.join(WRITERS)}")
    if net.fixed:
        raise ValueError(f"the inputs {', '.join(net.fixed)} are fixed; save the network as it was before `fix`")
    WRITERS[path.suffix](net, path)

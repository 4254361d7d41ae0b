"""A KerasNet → a file. The suffix says in which format."""

from os import PathLike
from pathlib import Path

from .files.safetensors import write_safetensors
from .files.write_keras import write_archive, write_h5
from .net import KerasNet

WRITERS = {".safetensors": write_safetensors, ".h5": write_h5, ".hdf5": write_h5, ".keras": write_archive}


def save(net: object, path: str | PathLike[str]) -> None:
    """Write a network to a file, which `load` reads again.

    A file for Keras can be read by Keras 3 only; tf-keras and other versions 2 cannot read its description of the
    network. Dropout, augmentation and batch normalisation keep their settings for training. Initializers, regularizers,
    constraints, frozen layers (`trainable`) and the state of the optimizer are not in the file.

    Args:
        net: a network, as `load` returns it.
        path: ends in `.safetensors`, or for Keras in `.keras` or `.h5`.

    Raises:
        UnsupportedLayer: the file is for Keras, and Keras 3 does not have one of the layers.
        ValueError: the suffix is another one, or an input of the network has a fixed value.
        OSError: `path` cannot be written.
    """
    path = Path(path)
    if not isinstance(net, KerasNet):
        raise ValueError(f"save takes a network as weights_convert.load returns it; given: {type(net).__name__}")
    if path.suffix not in WRITERS or path.name.endswith(".weights.h5"):
        raise ValueError(f"the suffix must be one of {', '.join(WRITERS)}; given: {path}")
    if net.fixed:
        raise ValueError(f"the inputs {', '.join(net.fixed)} are fixed; save the network as it was before `fix`")
    WRITERS[path.suffix](net, path)

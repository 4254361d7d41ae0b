"""The contents of a file of any format: weights, which are read one by one when they are asked for, and the graph."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..inputs import Inputs
from .shards import parts


@dataclass(frozen=True)
class Weight:
    """One array that is still in its file.

    Attributes:
        shape: of the array.
        read: reads the array, as float32.
        name: the full name in the file, "" if it has none.
        whole: whether the file stores whole numbers.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]
    name: str = ""
    whole: bool = False


Weights = Mapping[str, Mapping[str, Weight]]  # {layer: {name of a weight: the weight}}


@dataclass(frozen=True)
class Saved:
    """The contents of a file.

    Attributes:
        path: of the file.
        weights: {layer: {weight: Weight}} in the order in which Keras saved them, under the names of Keras 3 (`kernel`,
            `bias`, `gamma`, `beta`, `moving_mean`, `moving_variance` …). Layers without weights are listed if the file
            lists them.
        config: Keras' description of the graph; None in a file of weights only.
        keras: the major version of the Keras that wrote it.
        inputs: how the network was fed; None if the file does not say so.
        numbered: the file has the layout of Keras 3: the weights of a layer are called "0", "1", …, and without a
            `config` the layers are called by their paths.
        names: {name of a layer in `config`: its real name} of the layers whose real name Keras does not allow.
        rest: {path: shape} of the arrays in the file that it lists for no layer, without the state of an optimizer.
    """

    path: Path
    weights: Mapping[str, Mapping[str, Weight]]
    config: Mapping[str, Any] | None = None
    keras: int = 3
    inputs: Inputs | None = None
    numbered: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    rest: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """The SHA-256 hash of the file (`sha256` says how), which is read once more for this."""
        return sha256(self.path)


def dequantized(weights: Mapping[str, Weight]) -> Mapping[str, Weight]:
    """The weights of a layer, in float32: Keras 3's int8 kernel is divided by its scales, one for each output.

    Keras calls the scales `kernel_scale` in an .h5 file; in its own layout they are the last weight of the layer. While
    it runs, Keras also rounds the inputs of such a layer to int8; this is not repeated here.
    """
    kernel = "kernel" if "kernel" in weights else "0"
    scale = "scale" if kernel == "kernel" else max(weights, default="")
    if kernel not in weights or scale not in weights:
        return weights
    whole, scales = weights[kernel], weights[scale]
    if not whole.whole or len(whole.shape) < 2 or scales.shape != whole.shape[-1:]:
        return weights
    divided = replace(whole, read=lambda: whole.read() / scales.read(), whole=False)
    return {name: divided if name == kernel else each for name, each in weights.items() if name != scale}


def sha256(path: Path) -> str:
    """The SHA-256 hash of a file, in hexadecimal digits; of an index, that of `sha256sum INDEX SHARD …`'s output."""
    hashes = []
    for part in parts(path):
        with part.open("rb") as file:
            hashes.append((hashlib.file_digest(file, "sha256").hexdigest(), part.name))
    if len(hashes) == 1:
        return hashes[0][0]
    return hashlib.sha256("".join(f"{digits}  {name}\n" for digits, name in hashes).encode()).hexdigest()

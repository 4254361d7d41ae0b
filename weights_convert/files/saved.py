"""What a file holds, whatever its format: weights that are read one by one when asked for, and perhaps their graph."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..inputs import Inputs
from .shards import parts


@dataclass(frozen=True)
class Weight:
    """One array that is still in its file: `read()` fetches it as float32, `shape` is known before.

    `name` is the file's own, where it has one.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]
    name: str = ""


@dataclass(frozen=True)
class Saved:
    """A file's contents.

    `weights` is {layer: {weight: Weight}} in the order in which Keras saved them, under today's names (`kernel`,
    `bias`, `gamma`, `beta`, `moving_mean`, `moving_variance`); layers without weights are listed too, where the file
    does. `config` is the Keras description of the graph, None in a file of weights only; `keras` is the major version
    of its writer. `inputs` is how the network was fed, where the file says so.

    `names` is {name of a layer in `config`: its name here} where Keras did not take the name.

    `numbered`: Keras 3's own layout has numbers for names, "0", "1", …, and without a `config` paths for layers.
    """

    path: Path
    weights: Mapping[str, Mapping[str, Weight]]
    config: Mapping[str, Any] | None = None
    keras: int = 3
    inputs: Inputs | None = None
    numbered: bool = False
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """What identifies the file, or its shards; they are read once more for this."""
        return sha256(self.path)


def sha256(path: Path) -> str:
    """The hash of a file, in hexadecimal digits; of an index, what `sha256sum INDEX SHARD … | sha256sum` says."""
    hashes = []
    for part in parts(path):
        with part.open("rb") as file:
            hashes.append((hashlib.file_digest(file, "sha256").hexdigest(), part.name))
    if len(hashes) == 1:
        return hashes[0][0]
    return hashlib.sha256("".join(f"{digits}  {name}\n" for digits, name in hashes).encode()).hexdigest()

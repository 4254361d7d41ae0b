"""A KerasNet ↔ one `.safetensors` file, which no reader can be made to execute: its weights, and its graph as JSON.

The law: what `load` reads back has the graph, inputs and weights of what was saved. The graph is written as a Keras
Functional config, so that one parser judges both kinds of file.
"""

import json
from dataclasses import asdict
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .config import describe
from .errors import NotReadable
from .inputs import Inputs
from .net import KerasNet
from .saved import Saved, Weight


def save(net: KerasNet, path: str | PathLike[str]) -> None:
    """Write `net` to `path`; `weights_convert.load` reads it back.

    Raises:
        OSError: `path` cannot be written.
    """
    arrays = {
        f"{layer}/{name}": np.asarray(variable.get_value())
        for layer, weights in net.weights().items()
        for name, variable in weights.items()
    }
    metadata = {"model_config": json.dumps(describe(net.graph)), "inputs": json.dumps(asdict(net.inputs))}
    try:
        save_file(arrays, path, metadata)
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from error


def read_safetensors(path: Path) -> Saved:
    """The contents of a file written by `save`.

    Raises:
        NotReadable: damaged, or not written by `save`.
    """
    weights: dict[str, dict[str, Weight]] = {}
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            for key in file.keys():  # noqa: SIM118 (no mapping)
                layer, _, name = key.rpartition("/")
                weights.setdefault(layer, {})[name] = Weight(
                    tuple(file.get_slice(key).get_shape()), partial(_read, path, key)
                )
        config, inputs = json.loads(metadata["model_config"]), json.loads(metadata["inputs"])
        inputs = Inputs(**inputs | {"mean": tuple(inputs["mean"]), "std": tuple(inputs["std"])})
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise NotReadable(f"{path} was not written by weights_convert.save, or is damaged: {error}") from error
    return Saved(path, weights, config, inputs=inputs)


def _read(path: Path, key: str) -> np.ndarray:
    with safe_open(path, "numpy") as file:
        return file.get_tensor(key).astype(np.float32, copy=False)

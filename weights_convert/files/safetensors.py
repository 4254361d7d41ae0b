"""A KerasNet ↔ a `.safetensors` file with its weights, and its graph as JSON. The format cannot hold code.

The law: what `load` reads back has the same graph, inputs and weights as the network that was saved. The graph is
written as the config of a Keras Functional model, so that the same parser checks it.
"""

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..config.describe import describe
from ..config.description import decode
from ..errors import KerasFileError, NotReadable
from ..net import KerasNet
from .notes import checked_names, read_inputs
from .saved import Saved, Weight

NUMBERS = ("F16", "F32", "F64")


def write_safetensors(net: KerasNet, path: Path) -> None:
    """Write a network to `path`.

    Raises:
        OSError: `path` cannot be written.
    """
    weights = {
        layer: {
            name: Weight(variable.shape, partial(np.asarray, variable.get_value())) for name, variable in group.items()
        }
        for layer, group in net.weights().items()
    }
    write(Saved(path=path, weights=weights, config=describe(net.graph), inputs=net.inputs), path)


def write(saved: Saved, path: Path) -> None:
    """Write the contents of a file to another file.

    Raises:
        OSError: `path` cannot be written.
    """
    arrays = {
        f"{layer}/{name}": weight.read() for layer, group in saved.weights.items() for name, weight in group.items()
    }
    metadata = {
        "saved": {
            "layers": {
                layer: {name: weight.name for name, weight in group.items()} for layer, group in saved.weights.items()
            },
            "keras": saved.keras,
            "numbered": saved.numbered,
            "names": dict(saved.names),
            "rest": saved.rest,
        },
        "model_config": saved.config,
        "inputs": None if saved.inputs is None else asdict(saved.inputs),
    }
    try:
        save_file(arrays, path, {key: json.dumps(value) for key, value in metadata.items() if value is not None})
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from error


def read_safetensors(path: Path) -> Saved:
    """The contents of a file that `save` or `write` wrote.

    Raises:
        NotReadable: it is damaged, or something else wrote it.
        UnsafeFile: its description is too long, or nested too deeply.
    """
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            found = {key: _weight(path, key, file.get_slice(key)) for key in file.keys()}  # noqa: SIM118 (no mapping)
        if found and "saved" not in metadata:
            raise NotReadable(
                f"{path} was not written by weights_convert.save, or is damaged: it holds weights without a network. "
                "Build the network in Flax with these weights, and wrap it with jaxviz.wrap"
            )
        described = {key: decode(text, f"{path}: {key}") for key, text in metadata.items()}
        saved = described["saved"]
        weights = {
            layer: {name: replace(found.pop(f"{layer}/{name}"), name=str(full)) for name, full in group.items()}
            for layer, group in saved["layers"].items()
        }
        if found:
            raise NotReadable(f"{path}: holds {', '.join(found)[:200]}, which its description does not list")
        inputs = read_inputs(described["inputs"], f"{path}: inputs") if "inputs" in described else None
        keras, numbered, names = int(saved["keras"]), bool(saved["numbered"]), checked_names(saved["names"], str(path))
        rest = {str(key): tuple(map(int, shape)) for key, shape in saved.get("rest", {}).items()}
    except KerasFileError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotReadable(f"{path} was not written by weights_convert.save, or is damaged: {error}") from error
    return Saved(
        path=path,
        weights=weights,
        config=described.get("model_config"),
        keras=keras,
        inputs=inputs,
        numbered=numbered,
        names=names,
        rest=rest,
    )


def _weight(path: Path, key: str, tensor: Any) -> Weight:
    if tensor.get_dtype() not in NUMBERS:
        raise NotReadable(f"{path}: {key} holds {tensor.get_dtype()}; supported are {', '.join(NUMBERS)}")
    return Weight(tuple(tensor.get_shape()), partial(_read, path, key))


def _read(path: Path, key: str) -> np.ndarray:
    with safe_open(path, "numpy") as file:
        return file.get_tensor(key).astype(np.float32, copy=False)

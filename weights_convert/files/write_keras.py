"""A KerasNet → a file that Keras 3 loads and predicts the same with: legacy `.h5`, or Keras 3's own `.keras`.

The law: what `load` reads back has the same graph, inputs and weights as the network that was saved. Every network is
written as a Functional model without nested models. Keras does not allow a `/` in the name of a layer, so a layer of a
nested model gets a name without it, and the file notes its real name.
"""

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..config.describe import describe
from ..config.keras_order import keras_order
from ..config.operations import kind_of
from ..errors import UnsupportedLayer
from ..graph import Graph
from ..layers import ACTIVATIONS, KINDS, Activation, Kind
from ..net import KerasNet
from . import notes
from .h5 import UNUSED
from .keras_3 import LAYERS, nth, numbers, snake_case

VERSION = "3.0.0"  # the first version with this layout
HEADER = 64_512  # bytes, the most that HDF5 can store in one attribute; Keras splits a longer list into parts

INPUT = Kind({})  # Keras' InputLayer, which is no node of a graph

Arrays = dict[str, dict[str, np.ndarray]]


def write_h5(net: KerasNet, path: Path) -> None:
    """Write a full model in the legacy layout.

    Raises:
        UnsupportedLayer: the network has a layer that Keras 3 does not have.
        OSError: `path` cannot be written.
    """
    model, names = _model(net.graph)
    with h5py.File(path, "w") as file:
        file.attrs.update(model_config=json.dumps(model), keras_version=VERSION, backend="jax")
        file.attrs[notes.KEY] = notes.encode(net.inputs, names)
        group = file.create_group("model_weights")
        group.attrs.update(keras_version=VERSION, backend="jax")
        used, unused = _arrays(net, names)
        _write_names(group, "layer_names", list(used))
        _write_names(group, UNUSED, list(unused))
        for layer, weights in (used | unused).items():
            inner = group.create_group(layer)
            _write_names(inner, "weight_names", [f"{layer}/{name}" for name in weights])
            for name, array in weights.items():
                inner[f"{layer}/{name}"] = array


def write_archive(net: KerasNet, path: Path) -> None:
    """Write a `.keras` archive.

    Raises:
        UnsupportedLayer: the network has a layer that Keras 3 does not have.
        OSError: `path` cannot be written.
    """
    model, names = _model(net.graph)
    theirs = {mine: name for name, mine in names.items()}
    parts = {theirs.get(node.layer, node.layer): KINDS[node.kind].parts for node in net.graph.nodes}
    kinds = {layer["name"]: layer["class_name"] for layer in model["config"]["layers"]}
    buffer = io.BytesIO()
    counts: Counter[str] = Counter()
    used, unused = _arrays(net, names)
    with h5py.File(buffer, "w") as file:
        for layer, weights in (used | unused).items():
            group = file.create_group(f"{LAYERS}/{nth(snake_case(kinds[layer]), counts)}")
            group.create_group("vars").attrs["name"] = layer
            for place, array in zip(numbers(weights, parts[layer]), weights.values(), strict=True):
                inner, _, number = place.rpartition("/")
                group.require_group(f"{inner}/vars" if inner else "vars")[number] = array
    metadata = {"keras_version": VERSION, notes.KEY: notes.encode(net.inputs, names)}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps(metadata))
        archive.writestr("config.json", json.dumps(model))
        archive.writestr("model.weights.h5", buffer.getbuffer())


def _model(graph: Graph) -> tuple[dict[str, Any], dict[str, str]]:
    """(Keras' description of the network, {name of a layer in it: name in the graph} where they differ)."""
    if complaints := list(_complaints(graph)):
        raise UnsupportedLayer(complaints, hint="Write a .safetensors file, which holds every network.")
    layers = dict.fromkeys([*dict(graph.inputs), *(node.layer for node in graph.nodes)])
    new: dict[str, str] = {}
    for layer in layers:
        if "/" in layer:
            new[layer] = notes.without_slashes(layer, {*layers, *new.values()})
    graph = graph.renamed(new | notes.of_calls(graph, new))
    model = describe(graph)
    used, unused = keras_order(graph)
    place = {layer: number for number, layer in enumerate((*dict(graph.inputs), *used, *unused))}
    model["config"]["layers"].sort(key=lambda layer: place[layer["name"]])
    for layer in model["config"]["layers"]:
        kind = KINDS.get(kind_of(layer), INPUT)
        layer.setdefault("module", kind.package)
        layer.setdefault("registered_name", None)
        # The graph of a known architecture does not say how the network was trained.
        layer["config"] = {key: value for key, value in kind.training.items() if value is not None} | layer["config"]
    model |= {"module": "keras.src.models.functional", "registered_name": "Functional"}
    model["config"] |= {"name": "model", "trainable": True}
    for ends in (
        "input_layers",
        "output_layers",
    ):  # to Keras, a list of one means a model that takes a list
        if len(model["config"][ends]) == 1:
            (model["config"][ends],) = model["config"][ends]
    return model, {theirs: mine for mine, theirs in new.items()}


def _complaints(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        activation: Any = dict(node.config).get("activation")
        if KINDS[node.kind].frames and (len(node.inputs) > 1 or node.kind.startswith("TimeDistributed(ops.")):
            yield f"{node.name}: Keras' TimeDistributed takes one tensor, and a layer"
        if KINDS[node.kind].package is None:
            yield f"{node.name}: Keras 3 has no layer of kind {node.kind}"
        own = activation.own if isinstance(activation, Activation) else ""
        if activation is not None and (own or not ACTIVATIONS[activation].keras_3):
            yield f"{node.name}: Keras 3 does not have the activation function {own or activation}"


def _arrays(net: KerasNet, names: dict[str, str]) -> tuple[Arrays, Arrays]:
    """{layer: {weight: array}} under the names in the file, in Keras' order: (what Keras lists, the rest)."""
    theirs = {mine: name for name, mine in names.items()}
    weights = net.weights()
    used, unused = (
        {
            theirs.get(layer, layer): {
                name: np.asarray(variable.get_value()) for name, variable in weights.get(layer, {}).items()
            }
            for layer in layers
        }
        for layers in keras_order(net.graph)
    )
    return used, unused


def _write_names(group: h5py.Group, key: str, names: list[str]) -> None:
    """Write a list of names, in parts if it is too long for one attribute."""
    array = np.array([name.encode() for name in names], "S" if names else "S1")
    parts = -(-array.nbytes // HEADER) or 1
    if parts == 1:
        group.attrs[key] = array
        return
    for number, part in enumerate(np.array_split(array, parts)):
        group.attrs[f"{key}{number}"] = part

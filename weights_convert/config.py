"""Keras' description of a model (`model_config` of Keras 1 to 3, Sequential or Functional) ↔ Graph.

The law: `parse(describe(graph)) == graph`. Whatever would have to be guessed, imported or run is refused, all of it in
one error.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .errors import NotReadable, UnsupportedLayer
from .graph import IMAGE, Graph, Node
from .layers import KINDS, node
from .spelling import modern, of_version


@dataclass(frozen=True)
class Entry:
    """One layer as a file lists it, in today's spelling: what it reads, and what is wrong with how it is called."""

    name: str
    kind: str
    config: Mapping[str, Any]
    inputs: tuple[str, ...]
    complaints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(isinstance(word, str) for word in (self.name, self.kind, *self.inputs)):
            raise TypeError(f"the names in layer {self.name!r} are not all text")

    @property
    def shape(self) -> Any:
        """What an InputLayer takes: [n, h, w, c], None if the file does not say."""
        return self.config.get("batch_shape", self.config.get("batch_input_shape"))


def parse(model: Mapping[str, Any], keras: int = 3) -> Graph:
    """The graph of a `model_config` written by Keras of major version `keras`.

    Raises:
        NotReadable: it does not describe a model.
        UnsupportedLayer: everything in it that cannot be reproduced.
    """
    layers = entries(model)
    images = [entry for entry in layers if entry.kind == "InputLayer"]
    with _walking():
        complaints = [*_about_inputs(images), *_about_outputs(model, layers)]
    nodes: list[Node] = []
    known = {IMAGE}
    for entry in layers:
        if entry in images:
            continue
        inputs = tuple(IMAGE if name in [image.name for image in images] else name for name in entry.inputs)
        complaints += _about_layer(entry, inputs, known)
        try:
            nodes.append(node(entry.name, entry.kind, of_version(keras, entry.config), inputs))
        except UnsupportedLayer as error:
            complaints += error.complaints
        known.add(entry.name)
    if complaints:
        raise UnsupportedLayer(complaints, hint=f"Supported kinds of layer: {', '.join(KINDS)}")
    _, height, width, channels = images[0].shape
    return Graph((height, width, channels), tuple(nodes))


def describe(graph: Graph) -> dict[str, Any]:
    """The graph as a Keras Functional `model_config`."""

    def layer(name: str, kind: str, config: Mapping[str, Any], calls: list[Any]) -> dict[str, Any]:
        return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": calls}

    layers = [layer(IMAGE, "InputLayer", {"batch_shape": [None, *graph.input_shape]}, [])]
    for each in graph.nodes:
        call = [[name, 0, 0, {}] for name in each.inputs]
        layers.append(layer(each.name, each.kind, dict(each.config), [call]))
    ends = {"input_layers": [[IMAGE, 0, 0]], "output_layers": [[graph.output, 0, 0]]}
    return {"class_name": "Functional", "config": {"layers": layers, **ends}}


def entries(model: Mapping[str, Any]) -> list[Entry]:
    """The layers that a `model_config` lists, the InputLayer first, whether they are supported or not.

    Raises:
        NotReadable: it does not describe a model.
    """
    with _walking():
        return list((_sequential if model["class_name"] == "Sequential" else _functional)(model["config"]))


@contextmanager
def _walking() -> Iterator[None]:
    """JSON is walked as if it were what Keras writes; where it turns out not to be, this says so."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise NotReadable(
            f"`model_config` does not describe a Keras model ({type(error).__name__}: {error})"
        ) from error


def _sequential(config: Any) -> Iterator[Entry]:
    layers = config if isinstance(config, list) else config["layers"]  # a bare list until Keras 2.2
    first = layers[0]
    if first["class_name"] != "InputLayer":
        by_the_model = None if isinstance(config, list) else config.get("build_input_shape")
        shape = first["config"].get("batch_input_shape", by_the_model)
        layers = [{"class_name": "InputLayer", "config": {"name": IMAGE, "batch_shape": shape}}, *layers]
    inputs: tuple[str, ...] = ()
    for layer in layers:
        kind, settings = modern(layer["class_name"], layer["config"])
        yield Entry(settings["name"], kind, settings, inputs)
        inputs = (settings["name"],)


def _functional(config: Any) -> Iterator[Entry]:
    for layer in config["layers"]:
        name, calls, complaints = layer["name"], layer["inbound_nodes"], []
        if len(calls) > 1:
            complaints.append(f"{name}: is shared, {len(calls)} calls; only layers that are called once are supported")
        tensors, others = _call(calls[0]) if calls else ([], {})
        for source, call, index in tensors:
            if (call, index) != (0, 0):
                complaints.append(
                    f"{name}: reads output {index} of call {call} of {source!r}, not the first of the first"
                )
        for key, value in others.items():
            if value is not None and (key, value) != ("training", False):
                complaints.append(f"{name}: is called with {key}={value!r}, which is not supported")
        kind, settings = modern(layer["class_name"], layer["config"])
        yield Entry(name, kind, settings, tuple(source for source, *_ in tensors), tuple(complaints))


def _call(call: Any) -> tuple[list[Any], dict[str, Any]]:
    """The tensors [layer, call, index] that one call of a layer reads, and its other arguments."""
    if isinstance(call, dict):  # Keras 3
        arguments = [item for value in call["args"] for item in (value if isinstance(value, list) else [value])]
        tensors = [item["config"]["keras_history"] for item in arguments if isinstance(item, dict)]
        constants = {f"argument {i}": item for i, item in enumerate(arguments) if not isinstance(item, dict)}
        return tensors, call["kwargs"] | constants
    others: dict[str, Any] = {}
    for tensor in call:
        others |= tensor[3] if len(tensor) > 3 else {}  # Keras 1 has no fourth
    return [tensor[:3] for tensor in call], others


def _about_inputs(images: list[Entry]) -> Iterator[str]:
    if len(images) != 1:
        yield f"the model has {len(images)} inputs; one is supported"
    for image in images:
        if image.shape is None:
            yield f"{image.name}: its shape is not saved; call the model on an image in Keras before saving"
        elif len(image.shape) != 4 or not all(map(_is_length, image.shape[1:])) or image.shape[3] is None:
            yield f"{image.name}: takes {tuple(image.shape)}, which is not a batch of images (n, h, w, c)"


def _is_length(length: object) -> bool:
    return length is None or (type(length) is int and length > 0)


def _about_outputs(model: Mapping[str, Any], layers: list[Entry]) -> Iterator[str]:
    kind = model["class_name"]
    if kind not in ("Sequential", "Functional", "Model"):
        yield f"the model is of class {kind!r}; supported are Sequential and Functional"
    if all(entry.kind == "InputLayer" for entry in layers):
        yield "the model has no layers"
    if kind != "Sequential":
        outputs = model["config"]["output_layers"]
        names = [outputs[0]] if isinstance(outputs[0], str) else [name for name, *_ in outputs]
        if names != [layers[-1].name]:
            yield f"the model's outputs are {', '.join(names)}; supported is one, the last layer"


def _about_layer(entry: Entry, inputs: tuple[str, ...], known: set[str]) -> Iterator[str]:
    yield from entry.complaints
    if not inputs:
        yield f"{entry.name}: reads nothing"
    for name in inputs:
        if name not in known:
            yield f"{entry.name}: reads {name!r}, which no layer above it gives"
    # "x/pre" would be the handle of another layer's input; nnx keeps names with a leading underscore for itself.
    if entry.name in known or entry.name.endswith("/pre") or entry.name.startswith("_"):
        yield f"{entry.name}: this name is taken; rename the layer in Keras"

"""Keras' description of a model (`model_config` of Keras 1 to 3, Sequential or Functional) → Graph.

Nested models are opened: their layers become nodes, whose names are joined with `/`. Everything that would have to be
guessed, imported or executed is refused; one error lists all of it.
"""

import heapq
import json
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ..errors import UnsupportedLayer
from ..graph import IMAGE, Graph, Node, call_name, split_call
from ..layers import (
    ACTIVATIONS,
    CUSTOM,
    KINDS,
    TIME_DISTRIBUTED,
    WITH_WEIGHTS,
    Activation,
    inner_kind,
    node,
    of_frames,
)
from .calls import Call, Tensor, leaves
from .channels import channels_last
from .listing import DEEPEST, MODELS, Entry, Listing, inner, listed, model_kind, walking
from .operations import PREFIX, read
from .versions import modern, of_version

Custom = Mapping[str, Callable[..., Any] | str]

OF_KERAS_1 = "of Keras 1, whose kernels are in another order; load the file in Keras 2 and save it again"
# Layers with a state that goes from step to step, and what to do about them.
RECURRENT = ("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
WITHOUT_TIME = (
    "to explain the layers before it alone, save them in Keras as a model of their own: "
    "keras.Model(model.inputs, model.get_layer(NAME).output).save(…), where NAME is the last layer of the CNN"
)

NOTHING = ""  # stands for a tensor that a complaint was made about
UNKNOWN = re.compile("layers of kind|calls tf|Keras 2 does not save")  # complaints that a custom function answers
MOST_CALLS = 5_000  # a short file with nested models, each called twice, could have a billion layers


def parse(model: Mapping[str, Any], keras: int = 3, custom: Custom | None = None) -> Graph:
    """The graph that a `model_config` describes.

    Args:
        model: the description, as Keras writes it.
        keras: the major version of the Keras that wrote it.
        custom: {layer, class or activation function: function of arrays [n ...]} for code that cannot be read from a
            file; {own class: "Conv2D"} for an own class that computes what a class of Keras does.

    Raises:
        NotReadable: `model` does not describe a model.
        UnsupportedLayer: it has parts that cannot be reproduced; the error lists all of them.
        ValueError: a custom function for a layer that does not exist.
    """
    # A description of our own is not one of the version of Keras that it is written for.
    version = "" if "order" in model else str(model.get("keras_version", ""))
    flat = _Flattened(keras, custom or {}, version)
    with walking():
        kind = model_kind(model["class_name"], model["config"])
        listing = listed(kind, model["config"])
        if kind not in MODELS:
            flat.complaints.append(f"the model is of class {kind!r}; supported are Sequential and Functional")
        inputs = [next(entry for entry in listing.entries if entry.name == t.layer) for _, t in listing.inputs]
        flat.complaints += _about_inputs(inputs)
        names = [IMAGE] if len(inputs) == 1 else [entry.name for entry in inputs]
        flat.known |= {*names}
        outputs = flat.add(listing, names)
        if not flat.calls:
            flat.complaints.append("the model has no layers")
    if flat.complaints:
        raise UnsupportedLayer(tuple(dict.fromkeys(flat.complaints)), _hint(flat.complaints))
    if unknown := sorted(set(flat.custom) - flat.used):
        raise ValueError(
            f"custom functions for {', '.join(unknown)}: there is no such layer in this network, no class of a layer "
            "that is called so, and no activation function that Keras does not have"
        )
    with walking():
        nodes = _in_order(model["order"], flat.nodes, names) if "order" in model else tuple(flat.nodes.values())
        shapes = [tuple(entry.shape[1:]) for entry in inputs]
    graph = Graph(inputs=tuple(zip(names, shapes, strict=True)), nodes=nodes, outputs=tuple(outputs))
    return channels_last(graph)


def _in_order(order: Sequence[str], nodes: Mapping[str, Node], inputs: Iterable[str]) -> tuple[Node, ...]:
    """The nodes, in the order that `describe` wrote down."""
    known = {*inputs}
    for name in order:
        if name in known or not known.issuperset(nodes[name].inputs):
            raise ValueError(f"{name!r} is out of order")
        known.add(name)
    if not known.issuperset(nodes):
        raise ValueError("the order leaves out layers")
    return tuple(nodes[name] for name in order)


@dataclass
class _Flattened:
    """The nodes of a model and its nested models, collected while their calls are followed."""

    keras: int
    custom: Custom
    version: str = ""
    frames: int = 0  # of how many models around it a TimeDistributed is
    nodes: dict[str, Node] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    calls: int = 0

    def add(self, listing: Listing, given: Sequence[str], path: str = "", turn: int = 0) -> list[str]:
        """Add the nodes of a model that is called for the `turn`-th time, on the nodes `given`; returns its outputs."""
        tensors = {tensor: name for (_, tensor), name in zip(listing.inputs, given, strict=True)}
        for entry in listing.entries:
            if entry.kind != "InputLayer" and not entry.calls:
                self._complain(f"{path}{entry.name}", "reads nothing")
        outputs_read = _outputs_read(listing)
        for entry, number in self._in_order(listing, path):
            self.calls += 1
            if self.calls > MOST_CALLS:
                raise UnsupportedLayer([f"the model has more than {MOST_CALLS:,} layers"])
            call, name = entry.calls[number], f"{path}{entry.name}"
            if any(tensor not in tensors for tensor in call.tensors):
                self._complain(name, f"reads {_say(call.tensors, tensors)}, which no layer above it gives")
                tensors |= dict.fromkeys(call.tensors, NOTHING) | tensors
            count = turn * len(entry.calls) + number
            frames, given = self.frames, self._given(name, entry.classes)
            if entry.kind == TIME_DISTRIBUTED and given is None:
                entry, self.frames = inner(entry), frames + 1
            if entry.kind in MODELS and given is None:
                found = dict(enumerate(self._add_model(entry, name, count, call, tensors)))
            else:
                outputs = outputs_read.get((entry.name, entry.first + number), [0])
                outputs = outputs if outputs == [0] or self._gives_several(entry, name, call) else [0]
                found = {i: self._add_layer(entry, name, count, call, tensors, i) for i in outputs}
            tensors |= {Tensor(entry.name, entry.first + number, i): each for i, each in found.items()}
            self.frames = frames
        if missing := [end for end in listing.outputs if end not in tensors]:
            self._complain(path.rstrip("/") or "the model", f"ends in {_say(missing, tensors)}, which no layer gives")
        return [tensors.get(end, NOTHING) for end in listing.outputs]

    def _in_order(self, listing: Listing, path: str) -> Iterator[tuple[Entry, int]]:
        """All calls, each after those whose outputs it reads, and otherwise in the order of the list."""
        calls = [(entry, number) for entry in listing.entries for number in range(len(entry.calls))]
        places = {(entry.name, entry.first + number): place for place, (entry, number) in enumerate(calls)}
        sources = {
            place: {places[key] for tensor in entry.calls[number].tensors if (key := tensor[:2]) in places}
            for place, (entry, number) in enumerate(calls)
        }
        sorter, ready = TopologicalSorter(sources), list[int]()
        try:
            sorter.prepare()
        except CycleError as error:
            circle = ", ".join(dict.fromkeys(f"{path}{calls[place][0].name}" for place in error.args[1]))
            raise UnsupportedLayer([f"{circle}: read each other in a circle"]) from None
        while sorter.is_active():
            for place in sorter.get_ready():
                heapq.heappush(ready, place)
            first = heapq.heappop(ready)
            yield calls[first]
            sorter.done(first)

    def _add_model(self, entry: Entry, name: str, count: int, call: Call, tensors: Mapping[Tensor, str]) -> list[str]:
        if name.count("/") >= DEEPEST:
            raise UnsupportedLayer([f"{name}: is {DEEPEST} models deep, or more"])
        self._refuse_keywords(name, call.keywords)
        listing = listed(entry.kind, entry.config)
        arguments = call.arguments[0] if len(call.arguments) == 1 else list(call.arguments)
        if isinstance(arguments, dict):
            arguments = [arguments.get(key) for key, _ in listing.inputs]
        given = [leaf for leaf in leaves(arguments) if isinstance(leaf, Tensor)]
        if len(given) != len(listing.inputs):
            self._complain(name, f"takes {len(listing.inputs)} tensors, and is called with {len(given)}")
            return [NOTHING] * len(listing.outputs)
        return self.add(listing, [tensors[tensor] for tensor in given], f"{name}/", count)

    def _gives_several(self, entry: Entry, name: str, call: Call) -> bool:
        """Whether a layer returns several tensors. A function of the caller returns one."""
        if self._given(name, entry.classes) is not None:
            return False
        try:
            kind, _, _ = read(name, inner_kind(entry.kind) or entry.kind, entry.config, call)
        except UnsupportedLayer:
            return False
        return kind in KINDS and KINDS[kind].several

    def _add_layer(
        self, entry: Entry, name: str, count: int, call: Call, tensors: Mapping[Tensor, str], output: int
    ) -> str:
        handle = call_name(name, count, output)
        # "x/pre" is the handle of layer x before its activation function, "x#2" its second call, and "x:1" its second
        # output. nnx reserves names with a leading underscore.
        if handle in self.known or name.endswith("/pre") or split_call(name)[0] != name or name.startswith("_"):
            self._complain(handle, "this name is taken; rename the layer in Keras")
        if not call.tensors:
            self._complain(name, "reads nothing")
        self.known.add(handle)
        try:
            self.nodes[handle] = replace(self._node(entry, name, call, tensors, output), name=handle)
        except UnsupportedLayer as error:
            self.complaints += error.complaints
        return handle

    def _node(self, entry: Entry, name: str, call: Call, tensors: Mapping[Tensor, str], output: int) -> Node:
        given = self._given(name, entry.classes)
        if given is not None and not isinstance(given, str):
            inputs = tuple(tensors[tensor] for tensor in call.tensors)
            return node(name, CUSTOM, {"function": given, **_own(entry)}, inputs)
        of_each = inner_kind(entry.kind)  # in a description of our own
        kind, config = modern(given, entry.config) if given else (of_each or entry.kind, entry.config)
        kind, config, call = read(name, kind, config, call)
        if kind in KINDS and KINDS[kind].several:
            config = {**config, "output": output}
        inputs = tuple(tensors[tensor] for tensor in call.tensors)
        if kind in RECURRENT:
            raise UnsupportedLayer([f"{name}: layers of kind {kind} are not supported; {WITHOUT_TIME}"])
        if self.keras == 1 and config.get("data_format") == "channels_first":
            raise UnsupportedLayer([f"{name}: {kind} with data_format='channels_first' {OF_KERAS_1}"])
        kind, config = of_version(self.keras, kind, config, self.version)
        config = self._with_own_activation(config)
        if self.frames > 1:
            raise UnsupportedLayer([f"{name}: a TimeDistributed in a TimeDistributed is not supported"])
        found = node(name, of_frames(kind) if self.frames or of_each else kind, config, inputs)
        for constant in leaves(list(call.arguments)):
            if not isinstance(constant, Tensor):
                self._complain(name, f"is called with {constant!r}, which is not supported")
        self._refuse_keywords(name, call.keywords)
        return found

    def _given(self, name: str, classes: Iterable[str]) -> Any:
        """What the caller gave for a layer or its class, None if nothing; what is for the layer alone goes first."""
        keys = [each for each in (name, *classes) if each in self.custom]
        self.used.update(keys)
        return self.custom[keys[0]] if keys else None

    def _with_own_activation(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """`config` with the function that the caller gave for an activation function that Keras does not have."""
        names = _names_of_activation(config.get("activation"))
        if not names or names[0] in ACTIVATIONS:
            return config
        given = self._given(names[0], names[1:])
        if isinstance(given, str):
            return {**config, "activation": given}
        return config if given is None else {**config, "activation": Activation(given, own=names[0])}

    def _refuse_keywords(self, name: str, keywords: Mapping[str, Any]) -> None:
        for key, value in keywords.items():
            if key == "training" and (self.keras >= 3 or value is False):
                continue  # Keras 3 ignores it: it calls every layer as the model is called
            if any(leaf is not None for leaf in leaves(value)):
                shown = "a tensor" if any(isinstance(leaf, Tensor) for leaf in leaves(value)) else repr(value)
                self._complain(name, f"is called with {key}={shown}, which is not supported")

    def _complain(self, name: str, sentence: str) -> None:
        self.complaints.append(f"{name}: {sentence}")


def _own(entry: Entry) -> dict[str, str]:
    """The class of a layer that the caller computes, and its options in the file, as options of our node."""
    if entry.kind == CUSTOM:  # a file of ours
        return {key: entry.config[key] for key in ("of", "settings") if key in entry.config}
    settings = {key: value for key, value in entry.config.items() if key != "name"}
    return {"of": entry.classes[0], "settings": json.dumps(settings, sort_keys=True)}


def _names_of_activation(value: Any) -> list[str]:
    """The names under which a caller may give an activation function: as in the file, and without its package."""
    if isinstance(value, Mapping):
        name = value.get("config") if value.get("class_name") == "function" else value.get("registered_name")
        value = name if isinstance(name, str) else value.get("class_name")
    return list(dict.fromkeys((value, value.rpartition(">")[2]))) if isinstance(value, str) else []


def _outputs_read(listing: Listing) -> dict[tuple[str, int], list[int]]:
    """{(layer, call): its outputs that another layer or the model returns, in order}."""
    tensors = [tensor for entry in listing.entries for call in entry.calls for tensor in call.tensors]
    found: dict[tuple[str, int], list[int]] = {}
    for layer, call, output in sorted({*tensors, *listing.outputs}):
        found.setdefault((layer, call), []).append(output)
    return found


def _say(tensors: Iterable[Tensor], known: Container[Tensor]) -> str:
    missing = dict.fromkeys(tensor for tensor in tensors if tensor not in known)
    return ", ".join(
        repr(layer) if call == output == 0 else f"output {output} of call {call} of {layer!r}"
        for layer, call, output in missing
    )


def _about_inputs(inputs: Iterable[Entry]) -> Iterator[str]:
    for entry in inputs:
        if entry.kind != "InputLayer":
            yield f"{entry.name}: is an input of the model, but no InputLayer"
        elif entry.shape is None:
            yield f"{entry.name}: its shape is not saved; call the model on an image in Keras before saving"
        elif len(entry.shape) < 2 or not all(map(_is_length, entry.shape[1:])) or entry.shape[-1] is None:
            yield f"{entry.name}: takes {tuple(entry.shape)}, which is not a batch of arrays (n, …, features)"
        if entry.config.get("sparse") or entry.config.get("ragged"):
            yield f"{entry.name}: takes sparse or ragged tensors, which are not supported"


def _is_length(length: object) -> bool:
    return length is None or (type(length) is int and length > 0)


INSTEAD = (
    "any other may be given by the name of the layer, of its class or of its activation function, custom={name: …}: a "
    "function x -> y, (weights, x) -> y if the file has weights for it, a Flax module, or the name of a kind that "
    "computes the same"
)


def _hint(complaints: Iterable[str]) -> str:
    kinds = (kind for kind in KINDS if kind not in (CUSTOM, WITH_WEIGHTS) and not kind.startswith(PREFIX))
    supported = (
        f"Supported kinds of layer: {', '.join(kinds)}; the operations outside of layers are listed in docs/layers.md; "
        f"{INSTEAD}"
    )
    unknown = next((text.partition(":")[0] for text in complaints if UNKNOWN.search(text)), None)
    if unknown is None:
        return supported
    return f'{supported}\nA layer without weights may be given as a Python function: custom={{"{unknown}": function}}'

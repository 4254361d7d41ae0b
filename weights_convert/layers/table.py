"""KINDS: the table of the kinds of Keras layers, one row for each. `kind.py` says how to add one.

The law: nothing that changes the result is ignored silently. Every key of a layer's config is either an option of its
row, which the layer then honours, or does not matter at inference. `node` refuses all other keys by name.
"""

from dataclasses import replace
from typing import Any

from ..errors import UnsupportedLayer
from ..graph import Node
from . import (
    attention,
    custom,
    identity,
    images,
    linear,
    merging,
    nonlinear,
    normalization,
    operations,
    pooling,
    shaping,
)
from . import options as o
from .functions import Activation
from .kind import Config, Kind

# Keys that any layer may have, and that change nothing at inference. (`dtype`: all networks here are float32.)
HARMLESS = {"name", "trainable", "dtype", "input_dtype", "batch_input_shape", "batch_shape", "activity_regularizer"}

FAMILIES = (linear, normalization, attention, nonlinear, pooling, merging, shaping, images, identity, operations)


class Kinds(dict[str, Kind]):
    """{kind: its row}. The row of `TimeDistributed(Conv2D)`, which is not listed, is made from that of `Conv2D`."""

    def __missing__(self, name: str) -> Kind:
        row = dict.__getitem__(self, inner_kind(name) or name)
        parts = {part: f"layer/{attribute}" for part, attribute in row.parts.items()}
        return replace(row, frames=True, elementwise=False, prepares="", parts={"": "layer"} | parts)


def of_frames(kind: str) -> str:
    """The kind that computes each frame as `kind` computes an image."""
    return f"{TIME_DISTRIBUTED}({kind})"


def inner_kind(kind: str) -> str:
    """The inverse of `of_frames`; "" for any other kind."""
    return kind[len(TIME_DISTRIBUTED) + 1 : -1] if kind.startswith(f"{TIME_DISTRIBUTED}(") else ""


TIME_DISTRIBUTED = "TimeDistributed"
KINDS = Kinds({name: kind for family in FAMILIES for name, kind in family.KINDS.items()})

TENSORFLOW = {
    function: (name, spelling) for name, kind in KINDS.items() for function, spelling in kind.tensorflow.items()
}
"""{function of TensorFlow, as Keras 2 saves its name: (the kind of its operation, how it is spelled)}"""

OVER = tuple(name for name, kind in KINDS.items() if kind.does_nothing)
"""The kinds that return their input at inference, such as Dropout and the augmentations."""


def node(name: str, kind: str, config: Config, inputs: tuple[str, ...]) -> Node:
    """The Node of a Keras layer: its config is checked, and Keras' defaults are filled in.

    Args:
        name: of the layer.
        kind: Keras' name of its class.
        config: its options, as Keras writes them.
        inputs: the names of the nodes, or of inputs of the network, that the layer reads.

    Raises:
        UnsupportedLayer: an unknown kind, a missing option, or a key or a value that the row does not honour.
    """
    if (inner_kind(kind) or kind) not in KINDS:
        raise UnsupportedLayer([f"{name}: layers of kind {kind} are not supported"])
    row = KINDS[kind]
    read, complaints = {}, []
    for key, option in row.options.items():
        value = config.get(key, option.default)
        if value is o.REQUIRED:
            complaints.append(f"{name}: {kind} without {key!r}")
            continue
        try:
            read[key] = option.read(value)
        except ValueError as expected:
            complaints.append(f"{name}: {kind} with {key}={value!r}; supported is {expected}")
    for key, value in config.items():
        if value is not None and key not in row.options and key not in {*row.harmless, *row.training, *HARMLESS}:
            complaints.append(f"{name}: {kind} with {key}={value!r}, an option that is not supported")
    if complaints:
        raise UnsupportedLayer(complaints)
    training = tuple((key, value) for key, value in config.items() if key in row.training and _is_plain(value))
    return Node(name=name, kind=kind, config=tuple(read.items()), inputs=inputs, training=training)


def _is_plain(value: object) -> bool:
    """Whether this is a number, a string or a list of them. From anything else in a config, Keras makes objects."""
    if isinstance(value, list):
        return all(item is None or _is_plain(item) for item in value)
    return isinstance(value, int | float | str)


def attributes(node: Node) -> dict[str, str]:
    """{Keras' name of a weight: the attribute of the layer's module that holds it}, in Keras' order."""
    if node.kind != custom.WITH_WEIGHTS:
        return dict(KINDS[node.kind].weights)
    weights: Any = dict(node.config)["weights"]
    return {name: custom.attribute(number) for number, (name, _) in enumerate(weights)}


def activation(node: Node) -> Activation | None:
    """The activation function that a layer ends in; None if it has none."""
    return KINDS[node.kind].activation(dict(node.config))

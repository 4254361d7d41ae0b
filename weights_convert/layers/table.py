"""KINDS: what each kind of Keras layer computes at inference, one row a kind.

A row is a promise: every key of a layer's config is either an option of its row, which the row honours, or harmless at
inference. `node` refuses the rest by name, so a file can never mean something that is silently left out.
"""

from ..errors import UnsupportedLayer
from ..graph import Node
from . import identity, images, linear, merging, nonlinear, normalization, operations, pooling, shaping
from . import options as o
from .functions import Activation
from .kind import Config, Kind

# Keys that any layer may carry, and that change nothing at inference. (`dtype`: everything here is float32.)
HARMLESS = {"name", "trainable", "dtype", "input_dtype", "batch_input_shape", "batch_shape", "activity_regularizer"}

FAMILIES = (linear, normalization, nonlinear, pooling, merging, shaping, images, identity, operations)
KINDS: dict[str, Kind] = {name: kind for family in FAMILIES for name, kind in family.KINDS.items()}

# The kinds that leave their input as it is, once training is over.
OVER = (*identity.KINDS, *images.AUGMENTATIONS)


def node(name: str, kind: str, config: Config, inputs: tuple[str, ...]) -> Node:
    """The Node of a Keras layer, its options read and Keras' defaults filled in.

    Raises:
        UnsupportedLayer: an unknown kind, a missing option, a value or a key that the row does not honour.
    """
    if kind not in KINDS:
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
        if value is not None and key not in row.options and key not in row.harmless | row.training | HARMLESS:
            complaints.append(f"{name}: {kind} with {key}={value!r}, an option that is not supported")
    if complaints:
        raise UnsupportedLayer(complaints)
    training = tuple((key, value) for key, value in config.items() if key in row.training and _is_plain(value))
    return Node(name, kind, tuple(read.items()), inputs, training)


def _is_plain(value: object) -> bool:
    """Whether this is a number, a word or a list of them. All else that a config may hold, Keras makes objects of."""
    if isinstance(value, list):
        return all(item is None or _is_plain(item) for item in value)
    return isinstance(value, int | float | str)


def activation(node: Node) -> Activation | None:
    """The non-linearity that ends a layer, None if it is linear."""
    return KINDS[node.kind].activation(dict(node.config))

"""KINDS: what each kind of Keras layer computes at inference, one row a kind.

A row is a promise: every key of a layer's config is either an option of its row, which the row honours, or harmless at
inference. `node` refuses the rest by name, so a file can never mean something that is silently left out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from . import options as o
from .activations import ACTIVATIONS, Activation, rectify
from .errors import UnsupportedLayer
from .graph import Node
from .options import Option

Config = Mapping[str, Any]
Shape = tuple[int | None, ...]

# Keys that any layer may carry, and that change nothing at inference. (`dtype`: everything here is float32.)
HARMLESS = {"name", "trainable", "dtype", "input_dtype", "batch_input_shape", "batch_shape", "activity_regularizer"}


def _identity(config: Config, x: Array) -> Array:
    return x


@dataclass(frozen=True)
class Kind:
    """How one kind of layer runs: by a flax `module` if it has weights, else by a `function` of config and inputs.

    `weights` is {Keras' name: flax' name}, in the order in which Keras saves them. `activation` is the non-linearity
    that follows, None where there is none: what the module or function returns is the layer's `/pre`.
    """

    options: Mapping[str, Option]
    function: Callable[..., Array] = _identity
    module: Callable[[Config, Shape, nnx.Rngs], nnx.Module] | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    activation: Callable[[Config], Activation | None] = lambda config: None
    harmless: frozenset[str] = frozenset()


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
        if value is not None and key not in row.options and key not in row.harmless | HARMLESS:
            complaints.append(f"{name}: {kind} with {key}={value!r}, an option that is not supported")
    if complaints:
        raise UnsupportedLayer(complaints)
    return Node(name, kind, tuple(read.items()), inputs)


def activation(node: Node) -> Activation | None:
    """The non-linearity that ends a layer, None if it is linear."""
    return KINDS[node.kind].activation(dict(node.config))


def _length(shape: Shape, axis: int = -1) -> int:
    length = shape[axis]
    if length is None:
        raise ValueError("the number of features depends on the size of the image, which is left open")
    return length


def _convolution(config: Config, shape: Shape, rngs: nnx.Rngs) -> nnx.Module:
    return nnx.Conv(
        _length(shape),
        config["filters"],
        config["kernel_size"],
        config["strides"],
        padding=config["padding"].upper(),
        kernel_dilation=config["dilation_rate"],
        feature_group_count=config["groups"],
        use_bias=config["use_bias"],
        rngs=rngs,
    )


def _dense(config: Config, shape: Shape, rngs: nnx.Rngs) -> nnx.Module:
    return nnx.Linear(_length(shape), config["units"], use_bias=config["use_bias"], rngs=rngs)


def _batch_normalization(config: Config, shape: Shape, rngs: nnx.Rngs) -> nnx.Module:
    return nnx.BatchNorm(
        _length(shape, config["axis"]),
        use_running_average=True,
        axis=config["axis"],
        epsilon=config["epsilon"],
        use_bias=config["center"],
        use_scale=config["scale"],
        rngs=rngs,
    )


def _max_pooling(config: Config, x: Array) -> Array:
    return nnx.max_pool(x, config["pool_size"], config["strides"] or config["pool_size"], config["padding"].upper())


def _average_pooling(config: Config, x: Array) -> Array:
    window, strides = config["pool_size"], config["strides"] or config["pool_size"]
    # Keras divides by the part of the window that lies inside the image.
    return nnx.avg_pool(x, window, strides, config["padding"].upper(), count_include_pad=False)


def _global_average_pooling(config: Config, x: Array) -> Array:
    return x.mean(axis=(1, 2), keepdims=config["keepdims"])


def _global_max_pooling(config: Config, x: Array) -> Array:
    return x.max(axis=(1, 2), keepdims=config["keepdims"])


def _zero_padding(config: Config, x: Array) -> Array:
    return jnp.pad(x, ((0, 0), *config["padding"], (0, 0)))


def _flatten(config: Config, x: Array) -> Array:
    return x.reshape(x.shape[0], -1)


def _rescaling(config: Config, x: Array) -> Array:
    return x * jnp.asarray(config["scale"], x.dtype) + jnp.asarray(config["offset"], x.dtype)


def _add(config: Config, *xs: Array) -> Array:
    return sum(xs[1:], start=xs[0])


def _named(config: Config) -> Activation | None:
    return None if config["activation"] == "linear" else ACTIVATIONS[config["activation"]]


CHANNELS_LAST = Option(o.one_of("channels_last"), "channels_last")
PADDING = Option(o.one_of("valid", "same"), "valid")
ACTIVATION = Option(o.activation, "linear")

# How the weights started and what held them back during training.
TRAINING = frozenset(
    f"{weight}_{role}"
    for weight in ("kernel", "bias", "gamma", "beta")
    for role in ("initializer", "regularizer", "constraint")
)
# How the moving statistics of batch normalisation were gathered.
STATISTICS = frozenset(
    {"moving_mean_initializer", "moving_variance_initializer", "momentum", "synchronized", "fused"}
    | {"renorm", "renorm_clipping", "renorm_momentum"}
)
POOLING = {
    "pool_size": Option(o.pair, (2, 2)),
    "strides": Option(o.optional(o.pair), None),
    "padding": PADDING,
    "data_format": CHANNELS_LAST,
}
GLOBAL_POOLING = {"data_format": CHANNELS_LAST, "keepdims": Option(o.flag, False)}

KINDS: dict[str, Kind] = {
    "Conv2D": Kind(
        options={
            "filters": Option(o.size),
            "kernel_size": Option(o.pair),
            "strides": Option(o.pair, (1, 1)),
            "padding": PADDING,
            "data_format": CHANNELS_LAST,
            "dilation_rate": Option(o.pair, (1, 1)),
            "groups": Option(o.size, 1),
            "activation": ACTIVATION,
            "use_bias": Option(o.flag, True),
        },
        module=_convolution,
        weights={"kernel": "kernel", "bias": "bias"},
        activation=_named,
        harmless=TRAINING,
    ),
    "Dense": Kind(
        options={"units": Option(o.size), "activation": ACTIVATION, "use_bias": Option(o.flag, True)},
        module=_dense,
        weights={"kernel": "kernel", "bias": "bias"},
        activation=_named,
        harmless=TRAINING,
    ),
    "BatchNormalization": Kind(
        options={
            "axis": Option(o.axis, -1),
            "epsilon": Option(o.number, 1e-3),
            "center": Option(o.flag, True),
            "scale": Option(o.flag, True),
        },
        module=_batch_normalization,
        weights={"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"},
        harmless=TRAINING | STATISTICS,
    ),
    "MaxPooling2D": Kind(POOLING, _max_pooling),
    "AveragePooling2D": Kind(POOLING, _average_pooling),
    "GlobalAveragePooling2D": Kind(GLOBAL_POOLING, _global_average_pooling),
    "GlobalMaxPooling2D": Kind(GLOBAL_POOLING, _global_max_pooling),
    "ZeroPadding2D": Kind(
        {"padding": Option(o.margins, ((1, 1), (1, 1))), "data_format": CHANNELS_LAST}, _zero_padding
    ),
    "Flatten": Kind({"data_format": CHANNELS_LAST}, _flatten),
    "Dropout": Kind({}, harmless=frozenset({"rate", "seed", "noise_shape"})),
    "Rescaling": Kind({"scale": Option(o.numbers), "offset": Option(o.numbers, 0.0)}, _rescaling),
    "Add": Kind({}, _add),
    "Activation": Kind({"activation": Option(o.activation)}, activation=_named),
    "ReLU": Kind(
        {
            "max_value": Option(o.optional(o.number), None),
            "negative_slope": Option(o.number, 0.0),
            "threshold": Option(o.number, 0.0),
        },
        activation=lambda config: lambda x: rectify(x, **config),
    ),
    "LeakyReLU": Kind(
        {"negative_slope": Option(o.number, 0.3)},
        activation=lambda config: lambda x: rectify(x, **config),
    ),
    "Softmax": Kind(
        {"axis": Option(o.axis, -1)},
        activation=lambda config: lambda x: jax.nn.softmax(x, config["axis"]),
    ),
}

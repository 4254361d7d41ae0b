"""Operations that are an activation function, a normalisation, a pooling, or that resize an image."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from . import options as o
from .functions import ACTIVATIONS, Activation, gelu, rectify
from .images import METHODS, resize_as
from .kind import Config, Kind, Spelling
from .operands import all_within, operation, spelled, within
from .options import Option
from .pooling import average, largest


def _named(name: str, *tensorflow: str, module: str = "nn", **assumed: Any) -> Kind:
    """The row of an activation function without options."""
    function = ACTIVATIONS[name]
    spellings = {each: spelled("x", **assumed) for each in tensorflow}
    return operation(module, activation=lambda config: function, tensorflow=spellings)


def _made(
    make: Callable[..., Activation], options: Mapping[str, Option], *, module: str = "nn", **tensorflow: Spelling
) -> Kind:
    """The row of an activation function with options, which `make` takes by keyword."""
    spellings = {name.replace("__", "."): spelling for name, spelling in tensorflow.items()}
    return operation(module, options=options, activation=lambda config: make(**config), tensorflow=spellings)


def _mixing(name: str, along: Callable[[Array, int], Array], *tensorflow: str) -> Kind:
    """The row of an activation function that mixes the numbers along one axis."""

    def make(axis: int) -> Activation:
        return replace(ACTIVATIONS[name], function=lambda x: along(x, within(axis, x.ndim)))

    spellings = {each: spelled("x axis", axis=-1) for each in tensorflow}
    return operation(
        "nn",
        options={"axis": Option(o.axis, -1)},
        activation=lambda config: make(config["axis"]),
        tensorflow=spellings,
    )


def _last(function: Callable[[Array], Array]) -> Callable[[Array, int], Array]:
    """`function`, which works along the last axis, along any axis."""
    return lambda x, axis: jnp.moveaxis(function(jnp.moveaxis(x, axis, -1)), -1, axis)


def _rectifier(negative_slope: float, max_value: float | None = None, threshold: float = 0.0) -> Activation:
    function = partial(rectify, negative_slope=negative_slope, max_value=max_value, threshold=threshold)
    return Activation(function, never_negative=negative_slope == 0 and threshold >= 0)


def _elu(alpha: float) -> Activation:
    return Activation(lambda x: jax.nn.elu(x, alpha))


def _celu(alpha: float) -> Activation:
    return Activation(lambda x: jax.nn.celu(x, alpha))


def _gelu(approximate: bool) -> Activation:
    return Activation(partial(gelu, approximate=approximate))


def _squareplus(b: float) -> Activation:
    return Activation(lambda x: jax.nn.squareplus(x, b), never_negative=True)


def _hard_shrink(threshold: float) -> Activation:
    return Activation(lambda x: jnp.where(jnp.abs(x) > threshold, x, 0.0))


def _soft_shrink(threshold: float) -> Activation:
    return Activation(lambda x: jnp.sign(x) * jnp.maximum(jnp.abs(x) - threshold, 0.0))


def _threshold(threshold: float, default_value: float) -> Activation:
    return Activation(lambda x: jnp.where(x > threshold, x, default_value))


def _normalize(config: Config, x: Array) -> Array:
    # Keras' epsilon bounds the norm from below. Here its square is bounded, so that the gradient at 0 is not NaN.
    axes = all_within(config["axis"], x.ndim)
    square = jnp.square(x).sum(axes, keepdims=True)
    epsilon = 1e-7 if config["epsilon"] is None else config["epsilon"]
    return x * lax.rsqrt(jnp.maximum(square, epsilon**2))


def _second(value: object) -> int:
    """The reader of the order of a norm."""
    if value != 2:
        raise ValueError("2")
    return 2


def _bounded(given: dict[str, Any]) -> dict[str, Any]:
    """TensorFlow's epsilon bounds the square of the norm."""
    epsilon = given.get("epsilon")
    return given | {"epsilon": epsilon**0.5 if isinstance(epsilon, float) else epsilon}


def _standardize(config: Config, x: Array) -> Array:
    """tf.image.per_image_standardization."""
    axes = tuple(range(x.ndim - 3, x.ndim))
    size = x.shape[-1] * x.shape[-2] * x.shape[-3]
    mean, deviation = x.mean(axes, keepdims=True), x.std(axes, keepdims=True)
    return (x - mean) / jnp.maximum(deviation, size**-0.5)


def _grey(config: Config, x: Array) -> Array:
    return x @ jnp.array([[0.2989], [0.587], [0.114]], x.dtype)  # Keras' and TensorFlow's weights


def _pool(function: Callable[..., Array], config: Config, x: Array) -> Array:
    rank = x.ndim - 2
    return function({**config} | {key: _spread(config[key], rank) for key in ("pool_size", "strides")}, x)


def _spread(value: Any, rank: int) -> Any:
    """A number for each axis of the image."""
    if value is None:
        return None
    value = (value,) if isinstance(value, int) else value
    return value * rank if len(value) == 1 else value


def _windowed(given: dict[str, Any]) -> dict[str, Any]:
    """TensorFlow may write a 1 for the batch and one for the channels."""
    for key in ("pool_size", "strides"):
        value = given.get(key)
        if isinstance(value, list) and len(value) > 2 and value[0] == value[-1] == 1:
            given[key] = value[1:-1]
    return given


def _windows(function: Callable[..., Array], *tensorflow: str) -> Kind:
    return operation(
        "nn",
        partial(_pool, function),
        {
            "pool_size": Option(o.nested),
            "strides": Option(o.optional(o.nested), None),
            "padding": Option(o.lower("valid", "same"), "valid"),
            "data_format": LAST,
        },
        tensorflow=dict.fromkeys(tensorflow, spelled("x ksize strides padding data_format", _windowed)),
    )


LAST = Option(o.optional(o.lower("channels_last", "nhwc", "nwc", "ndhwc")), None)

KINDS: dict[str, Kind] = {
    # activation functions without options
    "ops.Relu": _named("relu", "nn.relu"),
    "ops.Relu6": _named("relu6", "nn.relu6"),
    "ops.Selu": _named("selu", "nn.selu"),
    "ops.Silu": _named("silu", "nn.silu", beta=1.0),
    "ops.Mish": _named("mish", module="activations"),
    "ops.Sigmoid": _named("sigmoid", "math.sigmoid", "nn.sigmoid"),
    "ops.Tanh": _named("tanh", "math.tanh", "nn.tanh", module="numpy"),
    "ops.Softplus": _named("softplus", "math.softplus", "nn.softplus"),
    "ops.Softsign": _named("softsign", "nn.softsign"),
    "ops.LogSigmoid": _named("log_sigmoid", "math.log_sigmoid"),
    "ops.HardSigmoid": _named("hard_sigmoid"),
    "ops.HardSilu": _named("hard_silu"),
    "ops.HardTanh": _named("hard_tanh"),
    "ops.TanhShrink": _named("tanh_shrink"),
    "ops.SparsePlus": _named("sparse_plus"),
    "ops.SparseSigmoid": _named("sparse_sigmoid"),
    # activation functions with options
    "ops.ReLU": _made(
        _rectifier,
        {
            "negative_slope": Option(o.number, 0.0),
            "max_value": Option(o.optional(o.number), None),
            "threshold": Option(o.number, 0.0),
        },
        module="activations",
    ),
    "ops.LeakyRelu": _made(
        _rectifier, {"negative_slope": Option(o.number, 0.2)}, nn__leaky_relu=spelled("x alpha", alpha=0.2)
    ),
    "ops.Elu": _made(_elu, {"alpha": Option(o.number, 1.0)}, nn__elu=spelled("x")),
    "ops.Celu": _made(_celu, {"alpha": Option(o.number, 1.0)}),
    "ops.Gelu": _made(
        _gelu, {"approximate": Option(o.flag, True)}, nn__gelu=spelled("x approximate", approximate=False)
    ),
    "ops.Squareplus": _made(_squareplus, {"b": Option(o.number, 4.0)}),
    "ops.HardShrink": _made(_hard_shrink, {"threshold": Option(o.number, 0.5)}),
    "ops.SoftShrink": _made(_soft_shrink, {"threshold": Option(o.number, 0.5)}),
    "ops.Threshold": _made(_threshold, {"threshold": Option(o.number), "default_value": Option(o.number)}),
    # activation functions along one axis
    "ops.Glu": _mixing("glu", _last(ACTIVATIONS["glu"])),
    "ops.Softmax": _mixing("softmax", jax.nn.softmax, "nn.softmax", "compat.v1.nn.softmax"),
    "ops.LogSoftmax": _mixing("log_softmax", jax.nn.log_softmax, "nn.log_softmax"),
    "ops.Sparsemax": _mixing("sparsemax", _last(ACTIVATIONS["sparsemax"])),
    # normalisations
    "ops.Normalize": operation(
        "nn",
        _normalize,
        {
            "axis": Option(o.axes, -1),
            "epsilon": Option(o.optional(o.number), None),
            "order": Option(_second, 2),
        },
        tensorflow={"math.l2_normalize": spelled("x axis epsilon", _bounded, epsilon=1e-12)},
    ),
    "ops.PerImageStandardization": operation(
        "image", _standardize, keras_3=False, tensorflow={"image.per_image_standardization": "image"}
    ),
    # poolings
    "ops.MaxPool": _windows(largest, *(f"nn.max_pool{end}" for end in ("", "1d", "2d", "3d"))),
    "ops.AveragePool": _windows(average, *(f"nn.avg_pool{end}" for end in ("", "1d", "2d", "3d"))),
    # images
    "ops.Resize": operation(
        "image",
        resize_as,
        {
            "size": Option(o.each(2)),
            "interpolation": Option(o.one_of("nearest", *METHODS), "bilinear"),
            "antialias": Option(o.flag, False),
            "crop_to_aspect_ratio": Option(o.flag, False),
            "pad_to_aspect_ratio": Option(o.flag, False),
            "fill_mode": Option(o.one_of("constant"), "constant"),
            "fill_value": Option(o.number, 0.0),
            "data_format": LAST,
        },
        prepares="size",
        tensorflow={"image.resize": spelled("images size method antialias", preserve_aspect_ratio=False)},
    ),
    "ops.RGBToGrayscale": operation(
        "image", _grey, {"data_format": LAST}, tensorflow={"image.rgb_to_grayscale": "images"}
    ),
}

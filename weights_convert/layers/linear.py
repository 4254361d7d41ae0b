"""Convolutions and dense layers: they are linear before their activation function."""

from functools import partial
from typing import Any

from flax import nnx
from jax import Array, lax

from . import options as o
from .kind import (
    ACTIVATION,
    CHANNELS_LAST,
    Config,
    Kind,
    Shape,
    Weighted,
    drawn,
    kernel,
    length,
    named,
    training,
    zeros,
)
from .options import Option

Weights = dict[str, Any]


def _convolve(config: Config, kernel: Array, x: Array, groups: int) -> Array:
    """The convolution of x [n ... i] with `kernel` [... i/groups o]; the config has strides, padding and dilation."""
    space = "DHW"[-(x.ndim - 2) :]
    padding = config["padding"].upper()
    if padding == "CAUSAL":  # along one axis: an output depends on no later input
        padding = [(config["dilation_rate"][0] * (kernel.shape[0] - 1), 0)]
    return lax.conv_general_dilated(
        x,
        kernel,
        config["strides"],
        padding,
        rhs_dilation=config["dilation_rate"],
        feature_group_count=groups,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
    )


def _convolution(config: Config, shape: Shape, rngs: nnx.Rngs) -> nnx.Module:
    return nnx.Conv(
        length(shape),
        config["filters"],
        config["kernel_size"],
        config["strides"],
        padding=config["padding"].upper(),
        kernel_dilation=config["dilation_rate"],
        feature_group_count=config["groups"],
        use_bias=config["use_bias"],
        kernel_init=drawn,
        rngs=rngs,
    )


def _transposed(config: Config, shape: Shape, rngs: nnx.Rngs) -> nnx.Module:
    rank = len(config["kernel_size"])
    return nnx.ConvTranspose(
        length(shape),
        config["filters"],
        config["kernel_size"],
        config["strides"],
        padding=[_margins(config, axis) for axis in range(rank)],
        kernel_dilation=config["dilation_rate"],
        use_bias=config["use_bias"],
        transpose_kernel=True,
        kernel_init=drawn,
        rngs=rngs,
    )


def _margins(config: Config, axis: int) -> tuple[int, int]:
    """(before, after): by how much a transposed convolution pads its input along one axis.

    The input's pixels are put a stride apart first. The layer is the transpose of a convolution from an image of length
    `out` to one of length n. Without padding, n pixels that are a stride apart reach (n - 1) stride + window. If `out`
    is shorter, the difference is cut off, half of it at the start.
    """
    stride = config["strides"][axis]
    window = config["dilation_rate"][axis] * (config["kernel_size"][axis] - 1) + 1
    if config["output_padding"] is not None:
        extra = config["output_padding"][axis]
        surplus = extra - 2 * (window // 2) if config["padding"] == "same" else extra
    elif config["padding"] == "same":
        surplus = stride - window  # out = n stride
    else:
        surplus = max(stride - window, 0)  # out = n stride + the part of the window that reaches further
    before = max(-surplus, 0) // 2
    return window - 1 - before, window - 1 + before + surplus


def _depthwise(config: Config, shape: Shape, rngs: nnx.Rngs) -> nnx.Module:
    channels, multiplier = length(shape), config["depth_multiplier"]
    return Weighted(
        _run_depthwise,
        config,
        kernel=kernel(rngs, *config["kernel_size"], channels, multiplier),
        bias=zeros(channels * multiplier, wanted=config["use_bias"]),
    )


def _run_depthwise(config: Config, weights: Weights, x: Array) -> Array:
    y = _each_channel(config, weights["kernel"], x)
    return y if weights["bias"] is None else y + weights["bias"]


def _each_channel(config: Config, kernel: Array, x: Array) -> Array:
    """The convolution of each channel of x [n ... i] with its part of `kernel` [... i m], as an array [n ... i·m]."""
    return _convolve(config, _side_by_side(kernel), x, groups=kernel.shape[-2])


def _side_by_side(kernel: Array) -> Array:
    """The kernel [... i m] of a depthwise convolution as [... 1 i·m], whose last axis is that of the output."""
    *window, channels, multiplier = kernel.shape
    return kernel.reshape(*window, 1, channels * multiplier)


def _across_channels(kernel: Array, x: Array) -> Array:
    """The convolution of x [n ... i] with `kernel` [1 ... i o], which combines the channels of each pixel."""
    once = (1,) * (x.ndim - 2)
    return _convolve({"strides": once, "padding": "valid", "dilation_rate": once}, kernel, x, groups=1)


def _separable(config: Config, shape: Shape, rngs: nnx.Rngs) -> nnx.Module:
    channels, multiplier, window = length(shape), config["depth_multiplier"], config["kernel_size"]
    return Weighted(
        _run_separable,
        config,
        depthwise_kernel=kernel(rngs, *window, channels, multiplier),
        pointwise_kernel=kernel(rngs, *(1 for _ in window), channels * multiplier, config["filters"]),
        bias=zeros(config["filters"], wanted=config["use_bias"]),
    )


def _run_separable(config: Config, weights: Weights, x: Array) -> Array:
    y = _across_channels(weights["pointwise_kernel"], _each_channel(config, weights["depthwise_kernel"], x))
    return y if weights["bias"] is None else y + weights["bias"]


def _dense(config: Config, shape: Shape, rngs: nnx.Rngs) -> nnx.Module:
    return nnx.Linear(length(shape), config["units"], use_bias=config["use_bias"], kernel_init=drawn, rngs=rngs)


def _options(rank: int, *paddings: str) -> dict[str, Option]:
    """The options that all convolutions along `rank` axes have."""
    once = (1,) * rank
    return {
        "kernel_size": Option(o.each(rank)),
        "strides": Option(o.each(rank), once),
        "padding": Option(o.one_of("valid", "same", *paddings), "valid"),
        "data_format": CHANNELS_LAST,
        "dilation_rate": Option(o.each(rank), once),
        "activation": ACTIVATION,
        "use_bias": Option(o.flag, True),
    }


FILTERS = {"filters": Option(o.size)}
GROUPS = {"groups": Option(o.size, 1)}
MULTIPLIER = {"depth_multiplier": Option(o.size, 1)}

_linear = partial(
    Kind, weights={"kernel": "kernel", "bias": "bias"}, activation=named, harmless=training("kernel", "bias")
)


def _conv(rank: int, *paddings: str) -> Kind:
    options = FILTERS | GROUPS | _options(rank, *paddings)
    return _linear(options, module=_convolution)


def _conv_transpose(rank: int) -> Kind:
    extra = {"output_padding": Option(o.optional(o.each(rank, o.margin)), None)}
    return _linear(
        FILTERS | extra | _options(rank), module=_transposed, harmless=training("kernel", "bias") | {"groups"}
    )


def _depthwise_conv(rank: int) -> Kind:
    # Keras also writes these keys, which belong to the parent class; this layer does not use them.
    unused = {"filters", "groups"}
    harmless = training("depthwise", "kernel", "bias") | unused
    return _linear(MULTIPLIER | _options(rank), module=_depthwise, harmless=harmless)


def _separable_conv(rank: int) -> Kind:
    return Kind(
        FILTERS | MULTIPLIER | _options(rank),
        module=_separable,
        weights={"depthwise_kernel": "depthwise_kernel", "pointwise_kernel": "pointwise_kernel", "bias": "bias"},
        activation=named,
        harmless=training("depthwise", "pointwise", "kernel", "bias") | {"groups"},
    )


KINDS = {
    "Conv1D": _conv(1, "causal"),
    "Conv2D": _conv(2),
    "Conv3D": _conv(3),
    "Conv1DTranspose": _conv_transpose(1),
    "Conv2DTranspose": _conv_transpose(2),
    "Conv3DTranspose": _conv_transpose(3),
    "DepthwiseConv1D": _depthwise_conv(1),
    "DepthwiseConv2D": _depthwise_conv(2),
    "SeparableConv1D": _separable_conv(1),
    "SeparableConv2D": _separable_conv(2),
    "Dense": _linear(
        {"units": Option(o.size), "activation": ACTIVATION, "use_bias": Option(o.flag, True)},
        module=_dense,
    ),
}

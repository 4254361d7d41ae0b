"""Poolings: they replace each window of an image, or the whole image, by one number for each channel."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx
from jax import Array

from . import options as o
from .kind import CHANNELS_LAST, Config, Kind
from .options import Option


def largest(config: Config, x: Array) -> Array:
    return nnx.max_pool(x, config["pool_size"], config["strides"] or config["pool_size"], config["padding"].upper())


def average(config: Config, x: Array) -> Array:
    window, strides = config["pool_size"], config["strides"] or config["pool_size"]
    # Keras divides by the part of the window that lies inside the image.
    return nnx.avg_pool(x, window, strides, config["padding"].upper(), count_include_pad=False)


def _global_average(config: Config, x: Array) -> Array:
    return x.mean(axis=tuple(range(1, x.ndim - 1)), keepdims=config["keepdims"])


def _global_max(config: Config, x: Array) -> Array:
    return x.max(axis=tuple(range(1, x.ndim - 1)), keepdims=config["keepdims"])


def _adaptive(reduce: Callable[..., Array]) -> Callable[[Config, Array], Array]:
    """A pooling to a given size: output i of m pools the inputs from floor(i n / m) up to ceil((i + 1) n / m)."""

    def pool(config: Config, x: Array) -> Array:
        for axis, m in enumerate(config["output_size"], start=1):
            n, before = x.shape[axis], (slice(None),) * axis
            windows = [slice(i * n // m, -((i + 1) * n // -m)) for i in range(m)]
            x = jnp.concatenate([reduce(x[*before, window], axis, keepdims=True) for window in windows], axis)
        return x

    return pool


def _windows(rank: int, function: Callable[..., Array]) -> Kind:
    options = {
        "pool_size": Option(o.each(rank), (2,) * rank),
        "strides": Option(o.optional(o.each(rank)), None),
        "padding": Option(o.one_of("valid", "same"), "valid"),
        "data_format": CHANNELS_LAST,
    }
    return Kind(options, function)


def _whole(function: Callable[..., Array]) -> Kind:
    return Kind({"data_format": CHANNELS_LAST, "keepdims": Option(o.flag, False)}, function)


def _sized(rank: int, reduce: Callable[..., Array]) -> Kind:
    return Kind({"output_size": Option(o.each(rank)), "data_format": CHANNELS_LAST}, _adaptive(reduce))


KINDS = {
    "MaxPooling1D": _windows(1, largest),
    "MaxPooling2D": _windows(2, largest),
    "MaxPooling3D": _windows(3, largest),
    "AveragePooling1D": _windows(1, average),
    "AveragePooling2D": _windows(2, average),
    "AveragePooling3D": _windows(3, average),
    "GlobalMaxPooling1D": _whole(_global_max),
    "GlobalMaxPooling2D": _whole(_global_max),
    "GlobalMaxPooling3D": _whole(_global_max),
    "GlobalAveragePooling1D": _whole(_global_average),
    "GlobalAveragePooling2D": _whole(_global_average),
    "GlobalAveragePooling3D": _whole(_global_average),
    "AdaptiveMaxPooling1D": _sized(1, jnp.max),
    "AdaptiveMaxPooling2D": _sized(2, jnp.max),
    "AdaptiveMaxPooling3D": _sized(3, jnp.max),
    "AdaptiveAveragePooling1D": _sized(1, jnp.mean),
    "AdaptiveAveragePooling2D": _sized(2, jnp.mean),
    "AdaptiveAveragePooling3D": _sized(3, jnp.mean),
}

"""Layers that move, repeat, crop or pad numbers, and compute no new ones."""

from typing import Any, Literal

import jax.numpy as jnp
from jax import Array

from . import options as o
from .images import METHODS, resize
from .kind import CHANNELS_LAST, Config, Kind
from .options import Option


def _flatten(config: Config, x: Array) -> Array:
    return x.reshape(x.shape[0], -1)


def _reshape(config: Config, x: Array) -> Array:
    return x.reshape(x.shape[0], *config["target_shape"])


def _permute(config: Config, x: Array) -> Array:
    return x.transpose(0, *config["dims"])


def _repeat_vector(config: Config, x: Array) -> Array:
    if x.ndim != 2:
        raise ValueError(f"it repeats vectors [n features]; given: {x.ndim - 1} axes")
    return jnp.broadcast_to(x[:, None], (x.shape[0], config["n"], x.shape[1]))


def _crop(config: Config, x: Array) -> Array:
    cropping = _each_axis(config["cropping"])
    for axis, (before, after) in enumerate(cropping, start=1):
        if before + after >= x.shape[axis]:
            raise ValueError(f"{x.shape[axis]} pixels are too few to crop the first {before} and the last {after}")
    kept = [slice(before, n - after) for (before, after), n in zip(cropping, x.shape[1:-1], strict=True)]
    return x[:, *kept]


def _pad(config: Config, x: Array) -> Array:
    return jnp.pad(x, ((0, 0), *_each_axis(config["padding"]), (0, 0)))


def _each_axis(margins: Any) -> tuple[tuple[int, int], ...]:
    """A pair for each axis; for one axis alone, the option is the pair itself."""
    return (margins,) if isinstance(margins[0], int) else margins


def _upsample(config: Config, x: Array) -> Array:
    if config.get("interpolation", "nearest") != "nearest":
        rows, columns = config["size"]
        return resize(x, rows * x.shape[1], columns * x.shape[2], config["interpolation"])
    size = config["size"]
    for axis, times in enumerate((size,) if isinstance(size, int) else size, start=1):
        repeated = jnp.broadcast_to(jnp.expand_dims(x, axis + 1), (*x.shape[: axis + 1], times, *x.shape[axis + 1 :]))
        x = repeated.reshape(*x.shape[:axis], x.shape[axis] * times, *x.shape[axis + 1 :])
    return x


def _cropping(rank: int) -> Kind:
    default = 0 if rank == 2 else 1  # in Keras, only Cropping2D crops nothing by default
    prepares: Literal["", "size"] = "size" if rank == 2 else ""
    options = {"cropping": Option(o.margins(rank), default), **_data_format(rank)}
    return Kind(options, _crop, prepares=prepares)


def _data_format(rank: int) -> dict[str, Option]:
    return {} if rank == 1 else {"data_format": CHANNELS_LAST}


def _padding(rank: int) -> Kind:
    prepares: Literal["", "size"] = "size" if rank == 2 else ""
    options = {"padding": Option(o.margins(rank), 1), "data_format": CHANNELS_LAST}
    return Kind(options, _pad, prepares=prepares)


KINDS = {
    "Flatten": Kind({"data_format": CHANNELS_LAST}, _flatten),
    "Reshape": Kind({"target_shape": Option(o.integers)}, _reshape),
    "Permute": Kind({"dims": Option(o.integers)}, _permute),
    "RepeatVector": Kind({"n": Option(o.size)}, _repeat_vector),
    "Cropping1D": _cropping(1),
    "Cropping2D": _cropping(2),
    "Cropping3D": _cropping(3),
    "ZeroPadding1D": _padding(1),
    "ZeroPadding2D": _padding(2),
    "ZeroPadding3D": _padding(3),
    "UpSampling1D": Kind({"size": Option(o.size, 2)}, _upsample),
    "UpSampling2D": Kind(
        {
            "size": Option(o.each(2), (2, 2)),
            "interpolation": Option(o.one_of("nearest", *METHODS), "nearest"),
            "data_format": CHANNELS_LAST,
        },
        _upsample,
    ),
    "UpSampling3D": Kind({"size": Option(o.each(3), (2, 2, 2)), "data_format": CHANNELS_LAST}, _upsample),
}

"""Operations that move, pad or repeat numbers along axes. None crosses the batch."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array

from . import options as o
from .kind import Config, Kind
from .operands import AXES, all_within, one_within, operation, spelled, within
from .options import Option

MODES = ("constant", "reflect", "symmetric")
BLOCK = {
    "block_size": Option(o.size),
    "data_format": Option(o.lower("channels_last", "nhwc"), "channels_last"),
}


def _reshape(config: Config, x: Array) -> Array:
    first, *rest = config["newshape"]
    if first != -1 and -1 in rest:
        raise ValueError("a batch of fixed length; write -1 as the first length of the new shape")
    return x.reshape(x.shape[0], *rest)


def _shape(value: object) -> tuple[int | None, ...]:
    """The reader of a new shape: the first length is that of the batch, which may be None."""
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("a list of whole numbers")
    return tuple(-1 if each is None and place == 0 else o.integer(each) for place, each in enumerate(value))


def _expand(config: Config, x: Array) -> Array:
    axes = config["axis"]
    rank = x.ndim + len(axes)
    return jnp.expand_dims(x, all_within(axes, rank))


def _squeeze(config: Config, x: Array) -> Array:
    axes = config["axis"]
    ones = tuple(axis for axis in range(1, x.ndim) if x.shape[axis] == 1)
    return jnp.squeeze(x, ones if axes is None else all_within(axes, x.ndim))


def _transpose(config: Config, x: Array) -> Array:
    axes = config["axes"]
    if axes is None or axes[0] != 0:
        raise ValueError("moving the axis of the batch")
    return x.transpose(axes)


def _swapaxes(config: Config, x: Array) -> Array:
    return jnp.swapaxes(x, within(config["axis1"], x.ndim), within(config["axis2"], x.ndim))


def _moveaxis(config: Config, x: Array) -> Array:
    return jnp.moveaxis(x, all_within(config["source"], x.ndim), all_within(config["destination"], x.ndim))


def _last_two(given: dict[str, Any]) -> dict[str, Any]:
    return given | {"axis1": -1, "axis2": -2}


def _flip(config: Config, x: Array) -> Array:
    return jnp.flip(x, all_within(config["axis"], x.ndim))


def _flipped(axis: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda given: given | {"axis": axis}


def _roll(config: Config, x: Array) -> Array:
    axes = config["axis"]
    if axes is None:
        raise ValueError("rolling the batch")
    shifts = config["shift"] if len(config["shift"]) > 1 else config["shift"] * len(axes)
    return jnp.roll(x, shifts, all_within(axes, x.ndim))


def _depth_to_space(config: Config, x: Array) -> Array:
    n, h, w, c = x.shape
    k = config["block_size"]
    return x.reshape(n, h, w, k, k, c // k**2).transpose(0, 1, 3, 2, 4, 5).reshape(n, h * k, w * k, c // k**2)


def _space_to_depth(config: Config, x: Array) -> Array:
    n, h, w, c = x.shape
    k = config["block_size"]
    return x.reshape(n, h // k, k, w // k, k, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h // k, w // k, c * k**2)


def _pad(config: Config, x: Array) -> Array:
    widths = config["pad_width"]
    widths = ((widths, widths),) * x.ndim if isinstance(widths, int) else widths
    widths = widths * x.ndim if len(widths) == 1 else widths
    if len(widths) != x.ndim or tuple(widths[0]) != (0, 0):
        raise ValueError("padding the batch, or a pair of widths is missing for an axis")
    if config["mode"] == "constant":
        return jnp.pad(x, widths, constant_values=config["constant_values"] or 0.0)
    return jnp.pad(x, widths, config["mode"])


def _padding(given: dict[str, Any]) -> dict[str, Any]:
    """TensorFlow gives a constant for every mode, Keras for one of them."""
    if str(given.get("mode", "constant")).lower() != "constant" or given.get("constant_values") == 0:
        given.pop("constant_values", None)
    return given


def _tile(config: Config, x: Array) -> Array:
    repeats = (1,) * (x.ndim - len(config["repeats"])) + config["repeats"]
    if len(repeats) != x.ndim or repeats[0] != 1:
        raise ValueError("repeating the batch, or adding an axis")
    return jnp.tile(x, repeats)


def _repeat(config: Config, x: Array) -> Array:
    times, axis = config["repeats"], one_within(config["axis"], x.ndim)
    if len(times) == 1:
        return jnp.repeat(x, times[0], axis)
    return jnp.repeat(x, jnp.array(times), axis, total_repeat_length=sum(times))


KINDS: dict[str, Kind] = {
    # moving
    "ops.Reshape": operation("numpy", _reshape, {"newshape": Option(_shape)}, tensorflow={"reshape": "tensor shape"}),
    "ops.ExpandDims": operation(
        "numpy",
        _expand,
        {"axis": Option(o.axes)},
        tensorflow={"expand_dims": "input axis"},
    ),
    "ops.Squeeze": operation(
        "numpy",
        _squeeze,
        {"axis": AXES},
        tensorflow={"squeeze": "input axis", "compat.v1.squeeze": "input axis"},
    ),
    "ops.Transpose": operation(
        "numpy",
        _transpose,
        {"axes": AXES},
        tensorflow={
            "transpose": spelled("a perm", conjugate=False),
            "compat.v1.transpose": spelled("a perm", conjugate=False),
        },
    ),
    "ops.Swapaxes": operation(
        "numpy",
        _swapaxes,
        {"axis1": Option(o.integer), "axis2": Option(o.integer)},
        tensorflow={"linalg.matrix_transpose": spelled("a", _last_two, conjugate=False)},
    ),
    "ops.Moveaxis": operation("numpy", _moveaxis, {"source": Option(o.axes), "destination": Option(o.axes)}),
    "ops.Flip": operation(
        "numpy",
        _flip,
        {"axis": AXES},
        tensorflow={
            "reverse": "tensor axis",
            "image.flip_left_right": spelled("image", _flipped(-2)),
            "image.flip_up_down": spelled("image", _flipped(-3)),
        },
    ),
    "ops.Roll": operation(
        "numpy",
        _roll,
        {"shift": Option(o.axes), "axis": AXES},
        tensorflow={"roll": "input shift axis"},
    ),
    "ops.DepthToSpace": operation(
        "nn",
        _depth_to_space,
        BLOCK,
        tensorflow={"nn.depth_to_space": "input block_size data_format"},
    ),
    "ops.SpaceToDepth": operation(
        "nn",
        _space_to_depth,
        BLOCK,
        tensorflow={"nn.space_to_depth": "input block_size data_format"},
    ),
    # padding and repeating
    "ops.Pad": operation(
        "numpy",
        _pad,
        {
            "pad_width": Option(o.nested),
            "mode": Option(o.lower(*MODES), "constant"),
            "constant_values": Option(o.optional(o.number), None),
        },
        called=("constant_values",),
        prepares="size",
        tensorflow=dict.fromkeys(("pad", "compat.v1.pad"), spelled("tensor paddings mode constant_values", _padding)),
    ),
    "ops.Tile": operation("numpy", _tile, {"repeats": Option(o.axes)}, tensorflow={"tile": "input multiples"}),
    "ops.Repeat": operation(
        "numpy",
        _repeat,
        {"repeats": Option(o.axes), "axis": Option(o.optional(o.integer), None)},
        tensorflow={"repeat": "input repeats axis"},
    ),
}

"""Operations that put arrays together along an axis, or cut parts out of one. None crosses the batch."""

from itertools import accumulate
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from . import options as o
from .kind import LIST, Config, Kind
from .operands import one_within, operation, spelled, within
from .options import Option

KEY = {"key": Option(o.key)}


def _concatenate(config: Config, *xs: Array) -> Array:
    return jnp.concatenate(xs, within(config["axis"], xs[0].ndim))


def _stack(config: Config, *xs: Array) -> Array:
    return jnp.stack(xs, within(config["axis"], xs[0].ndim + 1))


def _split(config: Config, x: Array) -> list[Array]:
    pieces = config["indices_or_sections"]
    axis = within(config["axis"], x.ndim)
    if isinstance(pieces, int):
        return jnp.split(x, pieces, axis)
    return jnp.split(x, [place + x.shape[axis] if place < 0 else place for place in pieces], axis)


def _unstack(config: Config, x: Array) -> list[Array]:
    axis = within(config["axis"], x.ndim)
    return [jnp.squeeze(each, axis) for each in jnp.split(x, x.shape[axis], axis)]


def _sections(given: dict[str, Any]) -> dict[str, Any]:
    """TensorFlow gives the lengths of the pieces, Keras where they begin. One length may be -1: what is left."""
    pieces = given.get("indices_or_sections")
    if isinstance(pieces, list) and pieces:
        rest = pieces.index(-1) if -1 in pieces else len(pieces) - 1
        after = [-each for each in accumulate(reversed(pieces[rest + 1 :]))]  # counted from the end
        given["indices_or_sections"] = [*accumulate(pieces[:rest]), *reversed(after)]
    return given


def _item(config: Config, x: Array) -> Array:
    key = tuple(... if item == "..." else slice(*item) if isinstance(item, tuple) else item for item in config["key"])
    used = len([item for item in key if item is not ... and item is not None])
    if key[0] not in (..., slice(None), slice(0, None), slice(None, None, 1)) or used > x.ndim - (key[0] is ...):
        raise ValueError("indexing the batch")
    return x[key]


def _take(config: Config, x: Array) -> Array:
    axis, indices = one_within(config["axis"], x.ndim), np.asarray(config["indices"])
    if indices.size and not -x.shape[axis] <= indices.min() <= indices.max() < x.shape[axis]:
        raise ValueError(f"an index outside of the {x.shape[axis]} numbers of axis {axis}")
    return jnp.take(x, jnp.asarray(indices), axis)


def _slice(given: dict[str, Any]) -> dict[str, Any]:
    """tf.slice: `begin` and `size` → the index; a size of -1 goes to the end."""
    begin, size = given.pop("key"), given.pop("size", None)
    if isinstance(begin, list) and isinstance(size, list) and len(begin) == len(size):
        given["key"] = [
            slice(start or None, None if length == -1 else start + length, None)
            for start, length in zip(begin, size, strict=True)
        ]
    return given


def _strided(given: dict[str, Any]) -> dict[str, Any]:
    """tf.strided_slice: lists of bounds, with bits that say where a bound does not count, → the index."""
    begin, end = given.pop("key"), given.pop("end", None)
    strides = given.pop("strides", None) or [1] * len(begin)
    masks = {name: given.pop(f"{name}_mask", 0) for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}

    def item(i: int) -> Any:
        at = {name for name, bits in masks.items() if bits >> i & 1}
        if "ellipsis" in at:
            return ...
        if "new_axis" in at:
            return None
        if "shrink_axis" in at:
            return begin[i]
        start = None if "begin" in at or begin[i] == 0 else begin[i]
        return slice(start, None if "end" in at else end[i], None if strides[i] == 1 else strides[i])

    given["key"] = [item(i) for i in range(len(begin))]
    return given


def _box(given: dict[str, Any]) -> dict[str, Any]:
    """tf.image.crop_to_bounding_box → the index."""
    top, left, height, width = (given.pop(name) for name in ("key", "offset_width", "target_height", "target_width"))
    every = slice(None)
    return given | {"key": [every, slice(top, top + height), slice(left, left + width)]}


KINDS: dict[str, Kind] = {
    # joining and cutting
    "ops.Concatenate": operation(
        "numpy",
        _concatenate,
        {"axis": Option(o.integer, 0)},
        operands=LIST,
        prepares="values",
        tensorflow={"concat": "values axis"},
    ),
    "ops.Stack": operation(
        "numpy",
        _stack,
        {"axis": Option(o.integer, 0)},
        operands=LIST,
        prepares="values",
        tensorflow={"stack": "values axis"},
    ),
    "ops.Split": operation(
        "numpy",
        _split,
        {"indices_or_sections": Option(o.nested), "axis": Option(o.integer, 0)},
        several=True,
        tensorflow={"split": spelled("value num_or_size_splits axis", _sections)},
    ),
    "ops.Unstack": operation(
        "core",
        _unstack,
        {"num": Option(o.optional(o.size), None), "axis": Option(o.integer, 0)},
        several=True,
        tensorflow={"unstack": "value num axis"},
    ),
    "ops.GetItem": operation(
        "numpy",
        _item,
        KEY,
        called=("key",),
        prepares="values",
        tensorflow={
            "__operators__.getitem": "x slice_spec",
            "slice": spelled("input_ begin size", _slice),
            "strided_slice": spelled(
                "input_ begin end strides begin_mask end_mask ellipsis_mask new_axis_mask shrink_axis_mask", _strided
            ),
            "image.crop_to_bounding_box": spelled("image offset_height offset_width target_height target_width", _box),
        },
    ),
    "ops.Take": operation(
        "numpy",
        _take,
        {"axis": Option(o.optional(o.integer), None), "indices": Option(o.nested)},
        called=("indices",),
        tensorflow={
            "gather": spelled("params axis indices", batch_dims=0),
            "compat.v1.gather": spelled("params axis indices", batch_dims=0),
        },
    ),
}

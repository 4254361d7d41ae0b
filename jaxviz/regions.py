"""Objectives of parts of a layer, and of the whole of it: a region, one place, one token, one head, the energy of all.

    Region, Neuron, Token, Head, Energy: {name: activation} -> score

They are what networks without classes are asked: a U-Net for its pixels of an object, a detector for one box, a
transformer for one token. Their positions, channels, boxes and masks are leaves, so another pixel, box or channel
compiles nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxviz.errors import InputError
from jaxviz.model import Model
from jaxviz.objectives import Objective, check_index, fitting

__all__ = ["Energy", "Head", "Neuron", "Region", "Token", "heads"]


@struct.dataclass
class Neuron(Objective):
    """One number of a layer: that of `channel` at a position, such as one pixel of a mask or one box of a detector.

        jv.Neuron("mask/pre", (10, 12), 0)      row 10, column 12, channel 0 of a layer [h w c]
        jv.Neuron("boxes", (3, 4, 0, 5))        the same without `channel`: one index for each axis of [h w anchors k]
        jv.Neuron("mixed4a", None, 11)          channel 11 in the centre of the map, whatever its size

    Attributes:
        layer: of any shape.
        position: one index for each axis but the last, or for each axis where `channel` is None. None: the centre,
            which along an axis of even length is the second of the two places in the middle, as in Lucid.
        channel: the index along the last axis.
    """

    layer: str = struct.field(pytree_node=False)
    position: Any
    channel: Any = None

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        values = jnp.asarray(activations[self.layer])
        if self.channel is not None:  # sliced first, as in `Channel`, so that `narrow` computes no other channel
            values = jax.lax.dynamic_index_in_dim(values, self.channel, -1, keepdims=False)
        return values[self._index(values.shape)]

    def _index(self, places: tuple[int, ...]) -> tuple[Any, ...]:
        """The index along each axis of an array of this shape; the centre where no position was given."""
        if self.position is None:
            return tuple(length // 2 for length in places)
        return tuple(self.position) if np.iterable(self.position) else (self.position,)

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        shape = shapes[self.layer]
        if self.position is None and self.channel is None:
            raise InputError(
                f"the neuron in the centre of {self.layer} is of one channel: Neuron({self.layer!r}, None, i)"
            )
        index = self._index(shape[:-1])
        index = index if self.channel is None else (*index, self.channel)
        if len(index) != len(shape):
            raise InputError(
                f"a neuron of {self.layer}, {list(shape)}, has {len(shape)} indices: use {fitting(self.layer, shape)}; "
                f"given: {self!r}"
            )
        for axis, (each, length) in enumerate(zip(index, shape, strict=True)):
            check_index(f"axis {axis} of {self.layer}", "place", each, length)


@struct.dataclass
class Token(Objective):
    """One token of a layer `[tokens c]`: the number of one of its channels, or the mean of them all.

    Attributes:
        layer: such as a block of a transformer, or the output of a network that labels each pixel in a row.
        index: of the token; 0 is the class token of most vision transformers.
        channel: the index of the channel; None: the mean over all channels.
    """

    layer: str = struct.field(pytree_node=False)
    index: Any
    channel: Any = None

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        token = jnp.asarray(activations[self.layer])[self.index]
        return token.mean() if self.channel is None else token[self.channel]

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        shape = shapes[self.layer]
        if len(shape) != 2:
            raise InputError(
                f"a token is of a layer [n c]; given: {self.layer}, {list(shape)}. Use {fitting(self.layer, shape)}"
            )
        check_index(self.layer, "token", self.index, shape[0])
        if self.channel is not None:
            check_index(self.layer, "channel", self.channel, shape[1])


@struct.dataclass
class Region(Objective):
    """The mean or the sum of one channel of a map over a part of it: of the pixels of an object, say.

        jv.Region("mask/pre", (4, 8, 12, 20), 0)          a box: rows 4 to 11, columns 8 to 19
        jv.Region("classes/pre", labels == 2, 2)          a mask: all pixels of class 2 (Seg-Grad-CAM)

    Attributes:
        layer: a layer with maps, `[h w c]`, `[t c]`, `[d h w c]`, `[pixels c]` …; or `[h w]` where `channel` is None.
        where: a box or a mask. A box is a tuple `(top, left, bottom, right)` in pixels of the layer, without the last
            row and column: the first index along each axis, and then the end along each axis. A mask is an array of the
            shape of the map; its numbers are weights, and True is 1. For a layer `[pixels c]` it may be `[h w]`.
        channel: the index along the last axis; None: the layer has only one channel, or none, `[h w]`.
        total: the sum, not the mean. The mean is weighted by the mask.

    Source: Vinogradova et al. 2020, Towards interpretable semantic segmentation via gradient-weighted class activation
    mapping (Seg-Grad-CAM), section 3, whose score is the sum over the region.
    """

    layer: str = struct.field(pytree_node=False)
    where: Any
    channel: Any = None
    total: bool = struct.field(pytree_node=False, default=False)

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        values = jnp.asarray(activations[self.layer])
        if self.channel is not None:
            values = jax.lax.dynamic_index_in_dim(values, self.channel, -1, keepdims=False)
        elif _one_channel(values.shape):
            values = values[..., 0]
        if isinstance(self.where, (tuple, list)):
            starts, stops = self.where[: values.ndim], self.where[values.ndim :]
            axes = jnp.indices(values.shape, sparse=True)
            weight = jnp.ones(values.shape, bool)
            for axis, start, stop in zip(axes, starts, stops, strict=True):
                weight = weight & (axis >= start) & (axis < stop)
        else:
            weight = jnp.asarray(self.where).reshape(values.shape)
        weight = weight.astype(values.dtype)
        total = (values * weight).sum()
        return total if self.total else total / weight.sum()

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        shape = shapes[self.layer]
        if self.channel is not None:
            check_index(self.layer, "channel", self.channel, shape[-1])
        places = shape if self.channel is None and not _one_channel(shape) else shape[:-1]
        if isinstance(self.where, (tuple, list)):
            return self._check_box(shape, places)
        mask = np.asarray(self.where)
        if not (mask.dtype == bool or np.issubdtype(mask.dtype, np.number)) or np.iscomplexobj(mask):
            raise InputError(f"a mask is an array of True and False, or of weights; given: {self.where!r}")
        flat = len(places) == 1 and mask.ndim > 1 and mask.size == places[0]
        if mask.shape != places and not flat:
            missing = ""
            if mask.ndim == 1 and len(mask) == 2 * len(places):
                missing = ". A box is a tuple"
            if self.channel is None and mask.shape == shape[:-1]:
                missing = f". Name the channel too, 0 to {shape[-1] - 1}: Region({self.layer!r}, mask, channel)"
            raise InputError(
                f"a mask for {self.layer}, {list(shape)}, is {list(places)}, one number for each place of the map; "
                f"given: {list(mask.shape)}{missing}"
            )
        if not np.isfinite(mask).all() or not mask.any() or (not self.total and mask.sum() == 0):
            raise InputError(f"a mask for {self.layer} has finite weights, which are not all 0 nor add up to 0")
        return None

    def _check_box(self, shape: tuple[int, ...], places: tuple[int, ...]) -> None:
        numbers = [each for each in self.where if isinstance(each, (int, np.integer)) and not isinstance(each, bool)]
        given = f"given: {self.where!r}" if len(str(self.where)) < 100 else "given: nested lists"
        ends = "(start, stop)" if len(places) == 1 else "(top, left, bottom, right)" if len(places) == 2 else "…"
        count = len(places)
        if len(self.where) != 2 * count or len(numbers) != len(self.where):
            hint = " A flat map has no box: give a mask [h w]." if count == 1 else ""
            missing = f" Name the channel too: Region({self.layer!r}, box, channel)." if self.channel is None else ""
            raise InputError(
                f"a box in {self.layer}, {list(shape)}, is a tuple {ends} of {2 * count} whole numbers, and a mask is "
                f"an array {list(places)}.{hint}{missing} {given}"
            )
        for axis, (start, stop) in enumerate(zip(self.where[:count], self.where[count:], strict=True)):
            check_index(f"axis {axis} of {self.layer}", "place", start, places[axis])
            if not start < stop <= places[axis]:
                raise InputError(
                    f"a box {ends} lies within {self.layer}, {list(places)}, and ends after it begins; {given}"
                )


def _one_channel(shape: tuple[int, ...]) -> bool:
    return len(shape) > 1 and shape[-1] == 1


HEADS = "heads are those of a layer [heads t c], such as block/attn/heads of jv.with_attention(model)"


@struct.dataclass
class Head(Objective):
    """The mean square of what one head of an attention reads: of all numbers `[t c]` of a layer `[heads t c]`.

    Such a layer is a handle of `jv.with_attention(model)`, whose name ends in `/heads`.
    """

    layer: str = struct.field(pytree_node=False)
    index: Any

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        return (jnp.asarray(activations[self.layer])[self.index] ** 2).mean()

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        shape = shapes[self.layer]
        if len(shape) != 3:
            raise InputError(f"{HEADS}; given: {self.layer}, {list(shape)}")
        check_index(self.layer, "head", self.index, shape[0])


def heads(model: Model, layer: str, indices: Iterable[int] | None = None) -> list[Head]:
    """A list with a `Head` for each of `indices` (None: all) of an attention.

    Args:
        model: of `jv.with_attention`.
        layer: such as "block_11/attn/heads".
        indices: numbers of heads.

    Raises:
        InputError: an unknown layer, one that is not `[heads t c]`, or an index out of range.
    """
    shapes = model.shapes(names=[model.check_layer(layer)])
    if layer.rpartition("/")[2].partition("#")[0] != "heads":  # a map `[h w c]` has three axes as well
        raise InputError(f"{HEADS}; given: {layer}, {list(shapes[layer])}")
    found = [Head(layer, index) for index in (range(shapes[layer][0]) if indices is None else indices)]
    for each in found:
        each.check(shapes)
    return found


@struct.dataclass
class Energy(Objective):
    """The mean square of all numbers of a layer: what DeepDream climbs, whatever the image shows already.

    A dream in several layers is a sum: `sum(jv.Energy(layer) for layer in layers)`.

    Source: Mordvintsev, Olah & Tyka 2015, Inceptionism; Lucid's `deepdream`.
    """

    layer: str = struct.field(pytree_node=False)

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        return (jnp.asarray(activations[self.layer]) ** 2).mean()

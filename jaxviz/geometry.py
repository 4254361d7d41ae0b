"""Where in the image a layer looks: the receptive field of its positions, and the place of its map in the image.

    receptive_field(model, layer) -> size, stride and offset, in pixels
    windows(model, layer, size)   -> the pixels that each of its positions sees, also at an edge
    place(network, layer, size)   -> how the layer's map is enlarged to the image's size

Law of a receptive field: position (y, x) of a layer depends on no pixel outside of
`image[offset + y · stride : … + size]`, along both axes, and in the middle of the image on its first and last row.
Only where a padding mirrors the image, it depends on the mirrored pixels instead of those beyond the edge. Where no
numbers keep this law, since the image was transposed, rolled or wrapped around, there is an error and no field.

**The rule for maps.** Keras' examples, tf-explain and the book stretch a layer's map over the whole image, whatever
lies before the layer. So does jaxviz where that is right to one position of the layer: each position is shown at the
centre of its receptive field, or next to it. Small convolutions with valid padding move the positions at the edges
inwards by up to `SMALL` positions; their maps are stretched as well, since that is everybody's convention. In all other
networks (which crop, pad, flip or transpose the image, or have large kernels with valid padding) each position is put
at the centre of its receptive field, with linear interpolation between centres. Beyond the outermost centres, the value
fades out towards the end of the outermost receptive fields, and it is 0 where the network does not look. A position at
the seam of a rolled or wrapped image sees both ends of it, so it is put next to its neighbours.
"""

import functools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxviz.compiling.positions import Lost, Positions, Sight, Sights, apart, in_order
from jaxviz.errors import InputError
from jaxviz.model import IMAGE, Model
from jaxviz.structure import Structure, handle_at, picture_shape, structure

__all__ = ["ReceptiveField", "receptive_field"]

SMALL = 2.25  # of the book's networks, with three or four valid 3 × 3 convolutions between poolings: up to 2.2

Number = int | float


class ReceptiveField(NamedTuple):
    """Position (y, x) of a layer sees `size` pixels of the image, from pixel `offset + (y, x) · stride` on.

    Each is (along height, along width), in pixels. `offset` is negative where the layer sees a padding: that part of a
    receptive field, and what reaches beyond the other end, is not in the image; a padding that mirrors the image shows
    pixels of the image there. A stride of 0 says that all positions, or units, see the same part of the image. A
    negative stride says that the network has flipped the image. Strides and offsets are whole numbers, except after an
    enlargement or another resize, where the receptive fields differ a little; `size` is large enough for each of them.
    """

    size: tuple[int, ...]
    stride: tuple[Number, ...]
    offset: tuple[Number, ...]


def receptive_field(model: Model, layer: str, size: int | tuple[int, ...] | None = None) -> ReceptiveField:
    """The `ReceptiveField` of a layer, (size, stride, offset), each (h, w) in pixels: which pixels its positions see.

    It is read off the traced network, through skips, dilation, padding, crops and enlargements. Nothing is computed.
    After an operation that mixes all positions (a dense layer, a global pooling, attention, the gate of a
    squeeze-and-excitation block), each position sees all that the network sees: the stride is 0.

    Args:
        layer: a handle of the model.
        size: of the image, for a network that takes any size; None: its own size, or 224.

    Raises:
        InputError: an unknown layer, one that does not depend on the image, or an image that is too small for it. Also
            if no such numbers exist: behind a transpose, a roll, a padding that wraps around, or a sum of two flips.

    Source: Araujo, Norris & Sim 2019, Computing receptive fields of convolutional neural networks.
    """
    sides = model.image_size(size)[:-1]
    if layer == IMAGE:
        axes = len(picture_shape(model, sides)) - 1
        return ReceptiveField((1,) * axes, (1,) * axes, (0,) * axes)
    sights, shape = _sights(model, layer, sides)
    _check_order(layer, sights, shape)
    fields = [_field(sight, shape) for sight in sights]
    return ReceptiveField(*(tuple(each) for each in zip(*fields, strict=True)))


def _check_order(layer: str, sights: Sights, shape: tuple[int, ...]) -> None:
    """Check that the positions of a layer lie in the image as its indices (y, x) do, in their order or flipped.

    Raises:
        InputError: they do not.
    """
    known = {axis: sight for axis, sight in enumerate(sights) if sight.lost is None}
    own = {axis: each for axis, sight in known.items() if (each := _positions(sight, shape))}
    along = [each.axis - 1 for each in own.values()]
    more = len(shape) - len(sights)  # the channels, and axes of length 1
    in_place = more < 1 or all(0 <= k - axis <= more for axis, k in zip(own, along, strict=True))
    if not in_place or along != sorted(along):
        why = f"axes {list(own)} of the image are axes {along} of this layer {list(shape)}, as after a transpose"
    elif any(len(sight.positions) > 1 for sight in known.values()):
        why = "its positions see several parts of the image, as after the sum with a flipped or transposed copy"
    elif not all(map(in_order, own.values())):
        why = "its positions do not follow each other in the image, as after a roll or a padding that wraps around"
    else:
        return
    raise InputError(
        f"{layer} has no receptive field of one size, stride and offset: {why}. A layer before that has one, and "
        "jv.crops cuts out what the positions of any layer see"
    )


class Window(NamedTuple):
    """The pixels, along one axis of the image, that the positions of a layer see: `first[i]` to `last[i]`.

    i is an index of the layer's axis `along`, which counts without the batch axis. If that is None, all positions of
    the layer see the same pixels, and there is one window. Next to a padding, a window reaches beyond the image.
    """

    along: int | None
    first: np.ndarray
    last: np.ndarray

    def of(self, position: Sequence[int]) -> tuple[int, int]:
        """The first and the last whole pixel that a position of the layer sees, by its index along each axis."""
        i = 0 if self.along is None else position[self.along]
        return int(np.floor(self.first[i])), int(np.ceil(self.last[i]))


def windows(model: Model, layer: str, size: int | tuple[int, ...] | None = None) -> tuple[Window, ...]:
    """The `Window` of a layer along each axis of the image, such as height and width.

    Args:
        layer: a handle of the model, or "image".
        size: of the image, for a network that takes any size; None: its own size, or 224.

    Raises:
        InputError: an unknown layer, one that does not depend on the image, or an image that is too small for it.
    """
    sides = model.image_size(size)[:-1]
    if layer == IMAGE:
        lengths = picture_shape(model, sides)[:-1]
        return tuple(Window(axis, np.arange(n), np.arange(n)) for axis, n in enumerate(lengths))
    sights, shape = _sights(model, layer, sides)
    return tuple(_window(sight, shape) for sight in sights)


def _window(sight: Sight, shape: tuple[int, ...]) -> Window:
    if sight.lost is None and len(sight.positions) == 1 and sight.positions[0].axis >= 1:
        (each,) = sight.positions
        index = np.arange(shape[each.axis - 1]) // each.inner % len(each.low)
        return Window(each.axis - 1, each.low[index], each.high[index])
    first, last = _extent(sight)
    return Window(None, np.array([first]), np.array([last]))


def _sights(model: Model, layer: str, sides: tuple[int, ...]) -> tuple[Sights, tuple[int, ...]]:
    """How a layer sees the image, and its shape.

    Raises:
        InputError: an unknown layer, one that does not depend on the image, or an image that is too small for it.
    """
    network = structure(model, model.handles[: model.handles.index(model.check_layer(layer)) + 1], sides)
    sights = network.sights[layer]
    if sights is None:
        raise InputError(f"{layer} does not depend on the image, so it has no receptive field")
    return sights, network.shapes[layer]


def _extent(sight: Sight) -> tuple[float, float]:
    """The first and the last pixel that a layer sees along height or width."""
    parts = [each.seen for each in sight.positions] + ([sight.lost[2:]] if sight.lost else [])
    return min(low for low, _ in parts), max(high for _, high in parts)


def _field(sight: Sight, shape: tuple[int, ...]) -> tuple[int, Number, Number]:
    """The size, stride and offset of a layer along height or width."""
    positions = _positions(sight, shape)
    if sight.lost is not None or positions is None:
        first, last = _extent(sight)
        return round(last - first) + 1, 0, _number(first)
    step, (first, last) = float(positions.step), positions.seen
    moves = step * np.arange(len(positions.low))
    starts, ends = (positions.low - moves).round(6), (positions.high - moves).round(6)
    kinds, counts = np.unique(starts, return_counts=True)
    usual = starts == kinds[counts.argmax()]
    beyond = (starts[usual].min() + moves < first) | (ends[usual].max() + moves > last)
    if 2 * usual.sum() > len(usual) and (usual | beyond).all():
        starts, ends = starts[usual], ends[usual]  # without those at an edge, which see mirrored pixels, say
    return int(np.ceil(ends.max() - starts.min())) + 1, _number(step), _number(starts.min())


def _number(value: float) -> Number:
    return int(value) if value == int(value) else float(value)


def _positions(sight: Sight, shape: tuple[int, ...]) -> Positions | None:
    """The positions of a layer of `shape`, without its batch axis; None if it has none, or not along one axis alone."""
    found = [each.along(shape[each.axis - 1]) for each in sight.positions if each.axis >= 1]
    return found[0] if len(found) == len(sight.positions) == 1 else None


@struct.dataclass
class Place:
    """The place of a layer's map in the image, where it is not simply stretched over the image.

    Attributes:
        weights: for height and for width, the weights `[pixels positions]` of the layer's positions in each pixel.
        shown: a factor for each pixel `[height width]`: 1 between the outermost positions, 0 where the layer does not
            look.
        order: which axes of the layer are height, width and, last, channels; others have the length 1.
    """

    weights: tuple[Any, ...]
    shown: Any
    order: tuple[int, ...] = struct.field(pytree_node=False)

    def turned(self, activation: jax.Array) -> jax.Array:
        """The activation of the layer as `[h w k]`."""
        turned = activation.transpose(self.order)
        return turned.reshape(*turned.shape[: len(self.weights)], -1)

    def enlarge(self, maps: jax.Array) -> jax.Array:
        """Maps `[h w …]` of the layer at the image's size; beyond the outermost positions, these are repeated."""
        for axis, weights in enumerate(self.weights):
            maps = jnp.moveaxis(jnp.tensordot(weights, maps, (1, axis), precision="highest"), 0, axis)
        return maps


def place(network: Structure, layer: str, size: tuple[int, ...]) -> tuple[Place | None, str]:
    """The place of a layer's map in an image of `size`; None: it is stretched. And why, if the place is not known."""
    sights, shape = network.sights[layer], network.shapes[layer]
    assert sights is not None
    found = []
    for axis, (sight, length) in enumerate(zip(sights, size, strict=True), start=1):
        positions = _positions(sight, shape) or _one(sight, shape, axis, length)
        positions = positions and apart(positions)
        if positions is None:
            return None, _why(network, sight.lost)
        found.append(positions)
    axes = [positions.axis - 1 for positions in found]
    order = (*axes, *(axis for axis in range(len(shape)) if axis not in axes))
    if len(set(order)) < len(shape) or len(order) > len(shape):
        return None, _why(network, None)
    usual = axes == sorted(axes) and order[-1] == len(shape) - 1
    if usual and all(map(_is_stretched, found, size)):
        return None, ""
    shown = functools.reduce(np.multiply.outer, map(_shown, found, size)).astype(np.float32)
    return Place(tuple(map(_weights, found, size)), shown, order), ""


def _one(sight: Sight, shape: tuple[int, ...], axis: int, length: int) -> Positions | None:
    """The one position of a layer along an axis that was averaged, say, but not removed.

    Its map is the same everywhere. A step of a sixteenth of the image keeps the map off larger parts that are not seen.
    """
    if shape[axis - 1] != 1 or sight.lost is None:
        return None
    low, high = (np.array([float(each)]) for each in sight.lost[2:])
    return Positions(axis, 1, low, high, Fraction(length, 16), sight.lost[2:])


def _why(network: Structure, lost: Lost | None) -> str:
    if lost is None:
        return "each of them sees several parts of the image, or several of them share an axis of the layer"
    layer = handle_at(lost.where, network.shapes)
    return f"{layer or 'the network'} mixes the positions of the image ({lost.operation})"


def _is_stretched(positions: Positions, length: int) -> bool:
    """Whether a map that is stretched over all pixels is right along this axis: see the rule above."""
    centres, count, step = positions.centres, len(positions.low), abs(float(positions.step))
    first, last = positions.seen
    stretched = (np.arange(count) + 0.5) * length / count - 0.5
    if first > step or last < length - 1 - step:
        return False
    inside = centres.min() >= 0 and centres.max() <= length - 1
    return bool(np.abs(centres - stretched).max() <= (SMALL if inside else 1) * step)


def _shown(positions: Positions, length: int) -> np.ndarray:
    """A factor `[length]` for each pixel: how much of the map is shown there."""
    pixels, centres, half = np.arange(length), positions.centres, abs(float(positions.step)) / 2
    first, last = centres.argmin(), centres.argmax()
    reach = centres[first] - positions.low[first], positions.high[last] - centres[last]
    beyond = centres[first] - pixels, pixels - centres[last]
    fading = [
        np.clip(
            1 - (past - half) / max(end + 0.5 - half, 1e-6), 0, 1
        )  # the end of a field is the edge of its last pixel
        for past, end in zip(beyond, reach, strict=True)
    ]
    seen = (pixels >= positions.seen[0]) & (pixels <= positions.seen[1])
    return seen * fading[0] * fading[1] if len(centres) > 1 else seen.astype(float)


def _weights(positions: Positions, length: int) -> np.ndarray:
    """The weight `[length positions]` of each position in each pixel, by linear interpolation between their centres."""
    centres, where = np.unique(positions.centres, return_inverse=True)
    one_each = (where == np.arange(len(centres))[:, None]) / np.bincount(where)[:, None]  # several may share a centre
    found = np.stack([np.interp(np.arange(length), centres, each) for each in one_each.T], 1)
    return found.astype(np.float32)

"""Transforms that move pixels and leave their values as they are; and Resize, which changes the size.

Each takes images with any number of axes before the channels: signals `[t c]`, images `[h w c]`, volumes `[d h w c]`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxviz.ascent.transforms.transform import check_fill, check_probability, places
from jaxviz.checks import lengths, whole
from jaxviz.errors import InputError


@struct.dataclass
class Jitter:
    """A random part of the image that is `pixels` smaller along each axis; nothing is invented at its edges.

    It takes one of `pixels + 1` offsets along each axis. Before it, `Pad` keeps the size. `Roll` shifts without a loss.

    Source: Lucid's `jitter`, a random crop.
    """

    pixels: int = struct.field(pytree_node=False)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        return _cut(key, image, tuple(side - self.pixels for side in places(image, "Jitter")), f"Jitter({self.pixels})")

    def check(self) -> None:
        whole("Jitter's pixels", self.pixels, 0)


@struct.dataclass
class Crop:
    """A random part of the image, `size` pixels along each axis: one number, or one for each axis but the channels'."""

    size: int | tuple[int, ...] = struct.field(pytree_node=False)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        size = lengths("Crop's size", self.size, len(places(image, "Crop")))
        return _cut(key, image, size, f"Crop({self.size})")


def _cut(key: jax.Array, image: jax.Array, size: tuple[int, ...], name: str) -> jax.Array:
    """A part of the image of this size, at a random offset.

    Raises:
        InputError: the image is smaller, or nothing is left of it.
    """
    spare = [side - new for side, new in zip(image.shape, size, strict=False)]
    if min(size) < 1 or min(spare) < 0:
        raise InputError(
            f"{name} cuts out a part of {list(size)} pixels, which an image {list(image.shape)} does not have"
        )
    offsets = jax.random.randint(key, (len(size),), 0, jnp.array(spare) + 1)
    return jax.lax.dynamic_slice(image, [*offsets, 0], (*size, image.shape[-1]))


@struct.dataclass
class Roll:
    """The image, shifted along each axis by a whole number of pixels of up to `pixels`; what leaves comes in opposite.

    Source: the `Jitter` of tf-keras-vis; Mordvintsev, Olah & Tyka 2015, DeepDream.
    """

    pixels: Any

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        axes = tuple(range(len(places(image, "Roll"))))
        most = jnp.asarray(self.pixels, jnp.int32)
        return jnp.roll(image, jax.random.randint(key, (len(axes),), -most, most + 1), axes)

    def check(self) -> None:
        whole("Roll's pixels", self.pixels, 0)


@struct.dataclass
class Flip:
    """The image, or its mirror image along `axis` with a probability; the axis -2 is the width."""

    probability: Any = 0.5
    axis: int = struct.field(pytree_node=False, default=-2)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        if self.axis % image.ndim not in range(len(places(image, "Flip"))):
            raise InputError(f"Flip mirrors along an axis before the channels; given: axis {self.axis}")
        return jnp.where(jax.random.uniform(key) < self.probability, jnp.flip(image, self.axis), image)

    def check(self) -> None:
        check_probability("Flip's probability", self.probability)


@struct.dataclass
class Pad:
    """The image in a frame, `pixels` wide at each side, of `fill`: a number, a colour `[c]`, or None: the edge repeats.

    Source: Lucid's `pad`, which fills with 0.5.
    """

    pixels: int = struct.field(pytree_node=False)
    fill: Any = 0.5

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        wide = [(self.pixels, self.pixels)] * len(places(image, "Pad")) + [(0, 0)]
        if self.fill is None:
            return jnp.pad(image, wide, mode="edge")
        fill = jnp.broadcast_to(jnp.asarray(self.fill, image.dtype), image.shape[-1:])
        fill = fill.reshape((1,) * (image.ndim - 1) + fill.shape)
        return jnp.pad(image - fill, wide) + fill

    def check(self) -> None:
        whole("Pad's pixels", self.pixels, 0)
        check_fill("Pad's fill", self.fill)


@struct.dataclass
class Resize:
    """The whole image at another size, linearly interpolated, with antialiasing where it becomes smaller.

    `sweep` adds it by itself where a network, such as one with dense layers, computes a layer at its own size only.
    """

    size: int | tuple[int, ...] = struct.field(pytree_node=False)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        size = lengths("Resize's size", self.size, len(places(image, "Resize")))
        return jax.image.resize(image, (*size, image.shape[-1]), "linear")

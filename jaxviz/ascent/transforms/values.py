"""Transforms that change the values of pixels and leave them where they are.

Each takes images with any number of axes before the channels: signals `[t c]`, images `[h w c]`, volumes `[d h w c]`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxviz.ascent.transforms.transform import check_drawn, draw, places
from jaxviz.checks import whole


@struct.dataclass
class Blur:
    """The image, smoothed by a Gaussian along each axis; the pixels at the edge repeat beyond it.

    Attributes:
        sigma: the standard deviation in pixels, drawn, above 0.
        size: how many pixels the kernel has along each axis; an even kernel moves the image by half a pixel.

    Source: the blur of xplique's transforms, whose image continues with zeros instead.
    """

    sigma: Any = 1.0
    size: int = struct.field(pytree_node=False, default=3)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        offsets = jnp.arange(self.size) - (self.size - 1) / 2
        weights = jnp.exp(-((offsets / draw(key, self.sigma)) ** 2) / 2)
        weights = weights / weights.sum()
        for axis, side in enumerate(places(image, "Blur")):
            wide = [(0, 0)] * image.ndim
            wide[axis] = ((self.size - 1) // 2, self.size // 2)
            padded = jnp.pad(image, wide, mode="edge")
            # One product and one sum for each pixel of the kernel: XLA:CPU computes depthwise convolutions slowly.
            image = sum(
                (weights[k] * jax.lax.slice_in_dim(padded, k, k + side, axis=axis) for k in range(self.size)),
                jnp.zeros_like(image),
            )
        return image

    def check(self) -> None:
        check_drawn("Blur's sigma", self.sigma, above=0)
        whole("Blur's size", self.size)


@struct.dataclass
class Noise:
    """The image with Gaussian noise on each value; `sd` is its standard deviation, drawn, in the units of the image."""

    sd: Any = 0.04

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        for_sd, for_noise = jax.random.split(key)
        return image + draw(for_sd, self.sd) * jax.random.normal(for_noise, image.shape, image.dtype)

    def check(self) -> None:
        check_drawn("Noise's sd", self.sd)


@struct.dataclass
class Contrast:
    """The image with its difference from the mean of each channel times a factor, which is drawn.

    Source: TensorFlow's `tf.image.adjust_contrast`.
    """

    factor: Any = (0.8, 1.2)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        mean = image.mean(tuple(range(len(places(image, "Contrast")))), keepdims=True)
        return mean + draw(key, self.factor) * (image - mean)

    def check(self) -> None:
        check_drawn("Contrast's factor", self.factor)

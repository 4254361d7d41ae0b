"""Pixels: the latent is the image itself.

Law: `Pixels(size)(latent)` is `latent`.
"""

from typing import Any

import jax
from flax import struct

__all__ = ["Pixels"]


@struct.dataclass
class Pixels:
    """The image itself, unbounded, starting as uniform noise between `low` and `high`.

    The default is Chollet's grey with a little noise, `random * 20 + 128` of 255 (Deep Learning with Python, 2017,
    section 5.4).
    """

    size: tuple[int, ...] = struct.field(pytree_node=False, default=(150, 150))
    low: Any = 128 / 255  # in the units of [0, 1] images; a leaf, so a number or what JAX puts in its place
    high: Any = 148 / 255

    def new(self, key: jax.Array, channels: int | None) -> jax.Array:
        """Noise `[h w channels]`, or `[h w]` without channels."""
        shape = self.size if channels is None else (*self.size, channels)
        return jax.random.uniform(key, shape, minval=self.low, maxval=self.high)

    def of(self, image: jax.Array) -> jax.Array:
        """The image."""
        return image

    def __call__(self, latent: jax.Array) -> jax.Array:
        """The latent."""
        return latent

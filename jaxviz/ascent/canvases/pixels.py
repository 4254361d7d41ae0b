"""Canvases: what gradient ascent moves, and the image that it stands for.

    Canvas  latent ─► image [h w c]

`new(key, channels)` is a fresh latent, `of(image)` the latent of an image: `canvas(canvas.of(image)) == image`.
"""

from typing import Any, Protocol, runtime_checkable

import jax
from flax import struct

__all__ = ["Pixels"]


@runtime_checkable
class Canvas(Protocol):
    """A pytree: sizes are static, ranges are leaves."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image."""

    def new(self, key: jax.Array, channels: int) -> Any: ...

    def of(self, image: jax.Array) -> Any: ...

    def __call__(self, latent: Any) -> jax.Array: ...


@struct.dataclass
class Pixels:
    """The image itself, unbounded, starting as uniform noise between `low` and `high`.

    The default is Chollet's grey with a little noise, `random * 20 + 128` of 255 (Deep Learning with Python, 5.4).
    """

    size: tuple[int, int] = struct.field(pytree_node=False, default=(150, 150))
    low: Any = 128 / 255
    high: Any = 148 / 255

    def new(self, key: jax.Array, channels: int) -> jax.Array:
        return jax.random.uniform(key, (*self.size, channels), minval=self.low, maxval=self.high)

    def of(self, image: jax.Array) -> jax.Array:
        return image

    def __call__(self, latent: jax.Array) -> jax.Array:
        return latent

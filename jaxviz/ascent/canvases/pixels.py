"""Pixels: the latent is the image itself, or what a bound makes an image of.

Law: `Pixels(size)(latent)` is `latent`, and with a bound `canvas(canvas.of(image))` is `image`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.typing import ArrayLike

from jaxviz.ascent.canvases.colors import EDGE, to_image, to_raw
from jaxviz.checks import numbers
from jaxviz.errors import InputError

__all__ = ["Pixels"]


@struct.dataclass
class Pixels:
    """The image itself, starting as uniform noise between `low` and `high`.

    The default is Chollet's grey with a little noise, `random * 20 + 128` of 255 (Deep Learning with Python, 2017,
    section 5.4), unbounded.

    Attributes:
        size: (height, width) in pixels; of a signal its length, of a volume three numbers.
        low, high: the range of the noise, in the units of [0, 1] images.
        bound: how the image stays in [0, 1]. None: it does not. "sigmoid": it is the sigmoid of the latent, so in
            (0, 1); pixels climb slowly near 0 and 1. "clip": it is the latent, cut off at 0 and 1; a pixel beyond them
            passes only a gradient that leads back ("identity_if_towards" in Google's TensorFlow Compression), so that
            it neither runs away nor stays.
    """

    size: tuple[int, ...] = struct.field(pytree_node=False, default=(150, 150))
    low: Any = 128 / 255  # a leaf, so a number or what JAX puts in its place
    high: Any = 148 / 255
    bound: str | None = struct.field(pytree_node=False, default=None)

    def new(self, key: jax.Array, channels: int | None) -> jax.Array:
        """The latent of noise `[h w channels]`, or `[h w]` without channels."""
        shape = self.size if channels is None else (*self.size, channels)
        return self.of(jax.random.uniform(key, shape, minval=self.low, maxval=self.high))

    def of(self, image: ArrayLike) -> jax.Array:
        """The image; with a sigmoid its logit, values nearer to 0 or 1 than 1/512 being moved there."""
        return to_raw(image, None, len(self.size)) if self.bound == "sigmoid" else jnp.asarray(image)

    def __call__(self, latent: ArrayLike) -> jax.Array:
        """The latent, bounded."""
        if self.bound == "sigmoid":
            return to_image(latent, None, len(self.size))
        return jnp.asarray(latent) if self.bound is None else _clip(jnp.asarray(latent))

    def check(self, channels: int | None) -> None:
        """Nothing, if the canvas can be drawn.

        Raises:
            InputError: an unknown bound, or a range that is empty, not finite, or outside of the bound.
        """
        if self.bound not in (None, "sigmoid", "clip"):
            raise InputError(f'bound is "sigmoid", "clip" or None; given: {self.bound!r}')
        least, most = (EDGE, 1 - EDGE) if self.bound == "sigmoid" else (0, 1) if self.bound else (-np.inf, np.inf)
        low, high = numbers(self.low), numbers(self.high)
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
            raise InputError(f"noise has a finite range with low ≤ high; given: low={self.low}, high={self.high}")
        if not ((low >= least).all() and (high <= most).all()):
            raise InputError(
                f'with bound="{self.bound}", noise is between {least:.4g} and {most:.4g}; given: low={self.low}, '
                f"high={self.high}"
            )


@jax.custom_vjp
def _clip(latent: jax.Array) -> jax.Array:
    return jnp.clip(latent, 0, 1)


def _backward(latent: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    """The gradient, which an optimiser descends, where the pixel is inside or the descent leads back inside."""
    stays = ((latent >= 0) | (gradient < 0)) & ((latent <= 1) | (gradient > 0))
    return (jnp.where(stays, gradient, 0),)


_clip.defvjp(lambda latent: (_clip(latent), latent), _backward)

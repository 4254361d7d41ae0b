"""Pyramid: the latent is a Laplacian pyramid, images of half the size each, whose enlarged sum is the image.

    latent (full, half, quarter, …) ─► each enlarged ─► sum ─► colours ─► sigmoid ─► image

Law: `canvas(canvas.of(image)) == image`, up to rounding and `colors.EDGE`, whatever is lost between the levels: the
level of full size takes the rest.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import ArrayLike

from jaxviz.ascent.canvases.colors import LUCID, check_colors, to_image, to_raw
from jaxviz.checks import finite, whole
from jaxviz.errors import InputError

__all__ = ["Pyramid"]


@struct.dataclass(eq=False)
class Pyramid:
    """An image in (0, 1) as the sum of images of full, half, quarter … size, enlarged linearly, starting as noise.

    A pixel of a coarse level changes many pixels of the image, so coarse shapes climb faster than with `Pixels`. All
    levels start with the deviation `sd`, as in Lucid.

    Attributes:
        size: (height, width) in pixels; of a signal its length, of a volume three numbers.
        levels: how many; level n has sides of `side // 2**n` pixels, at least one.
        sd: the deviation of the noise of each level; 0 starts from mid-grey.
        colors: a matrix `[c c]` that turns independent channels into colours, as of `Fourier`.

    Source: P. Burt & E. Adelson, The Laplacian Pyramid as a Compact Image Code, 1983; lucid, optvis/param/spatial.py.
    """

    size: tuple[int, ...] = struct.field(pytree_node=False)
    levels: int = struct.field(pytree_node=False, default=4)
    sd: Any = 0.01
    colors: Any = struct.field(default_factory=lambda: LUCID)

    def new(self, key: jax.Array, channels: int | None) -> tuple[jax.Array, ...]:
        """The levels of noise, the finest first, each `[h w channels]`, or `[h w]` without channels."""
        own = () if channels is None else (channels,)
        keys = jax.random.split(key, self.levels)
        return tuple(
            self.sd * jax.random.normal(key, (*size, *own)) for key, size in zip(keys, self._sizes(), strict=True)
        )

    def of(self, image: ArrayLike) -> tuple[jax.Array, ...]:
        """The levels of an image: each holds what the coarser ones do not show of it, shrunk."""
        rest = to_raw(image, self.colors, len(self.size))
        levels = []
        for size in reversed(self._sizes()):
            levels.append(_resize(rest, size))
            rest = rest - _resize(levels[-1], self.size)
        return tuple(reversed(levels))

    def __call__(self, latent: tuple[ArrayLike, ...]) -> jax.Array:
        """The image in (0, 1)."""
        raw = sum((_resize(jnp.asarray(level), self.size) for level in latent[1:]), jnp.asarray(latent[0]))
        return to_image(raw, self.colors, len(self.size))

    def check(self, channels: int | None) -> None:
        """Nothing, if the canvas can be drawn with so many channels.

        Raises:
            InputError: more levels than the size can be halved, or a deviation or a matrix that is no such thing.
        """
        levels, most = whole("levels", self.levels), max(self.size).bit_length()
        if levels > most:
            size = " × ".join(map(str, self.size))
            raise InputError(f"a canvas of {size} is a single pixel after {most} levels; given: levels={levels}")
        if (sd := finite("sd", self.sd)) < 0:
            raise InputError(f"sd is the deviation of the noise at the start, 0 or more; given: {sd}")
        check_colors(self.colors, channels)

    def _sizes(self) -> list[tuple[int, ...]]:
        return [tuple(max(side // 2**level, 1) for side in self.size) for level in range(self.levels)]


def _resize(raw: jax.Array, size: tuple[int, ...]) -> jax.Array:
    return jax.image.resize(raw, (*size, *raw.shape[len(size) :]), "linear")

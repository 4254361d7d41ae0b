"""Alpha: a canvas with opacity, drawn by the canvas that it wraps.

Law: the image is that of the wrapped canvas, with one more channel, which the same kind of canvas draws.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import ArrayLike

from jaxviz.ascent.canvases.canvas import Canvas, check_numbers
from jaxviz.ascent.canvases.pixels import Pixels
from jaxviz.errors import InputError

__all__ = ["Alpha"]


@struct.dataclass(eq=False)
class Alpha:
    """An image `[h w c + 1]`, whose last channel is its opacity: 0 is transparent, 1 is opaque.

    The network takes no opacity, so a sweep needs a transform that lays the image on a background, such as
    `transforms.Collapse()`, which draws a new one at each step.

    Attributes:
        canvas: a canvas in [0, 1], such as `Fourier((128, 128))`, which draws the colours with their own number of
            channels, and the opacity as an image of one channel.

    Source: A. Mordvintsev et al., Differentiable Image Parameterizations, Distill 2018, "Transparency".
    """

    canvas: Any

    @property
    def size(self) -> tuple[int, ...]:
        """The size of the wrapped canvas."""
        return self.canvas.size

    def new(self, key: jax.Array, channels: int | None) -> tuple[Any, Any]:
        """The latents of the colours and of the opacity."""
        colors, opacity = jax.random.split(key)
        return self.canvas.new(colors, channels), self.canvas.new(opacity, 1)

    def of(self, image: ArrayLike) -> tuple[Any, Any]:
        """The latents of an image `[h w c + 1]`."""
        image = jnp.asarray(image)
        return self.canvas.of(image[..., :-1]), self.canvas.of(image[..., -1:])

    def __call__(self, latent: tuple[Any, Any]) -> jax.Array:
        """The image `[h w c + 1]`."""
        return jnp.concatenate([self.canvas(part) for part in latent], -1)

    def check(self, channels: int | None) -> None:
        """Nothing, if the wrapped canvas can be drawn, and its image stays in [0, 1].

        Raises:
            InputError: no canvas, one without bounds, or an image without channels.
        """
        if not isinstance(self.canvas, Canvas) or isinstance(self.canvas, Alpha):
            raise InputError(f"Alpha wraps a canvas such as jv.Fourier((128, 128)); given: {self.canvas!r}")
        if isinstance(self.canvas, Pixels) and self.canvas.bound is None:
            raise InputError(
                'an opacity is in [0, 1], so Alpha wraps a bounded canvas, such as Pixels(size, bound="sigmoid"); '
                f"given: {self.canvas!r}"
            )
        if channels is None:
            raise InputError(
                "Alpha adds a channel, and this network takes images without channels: use its canvas alone"
            )
        check_numbers(self.canvas, channels)

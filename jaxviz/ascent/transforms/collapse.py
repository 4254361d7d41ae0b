"""Collapse: an image with opacity, put on a background.

Law: `opacity · colours + (1 - opacity) · background`, and the background is another one for each key.
"""

from typing import Any

import jax
from flax import struct

from jaxviz.ascent.canvases.fourier import Fourier
from jaxviz.ascent.transforms.transform import places
from jaxviz.errors import InputError


@struct.dataclass
class Collapse:
    """An image `[h w c]` of one with opacity `[h w c + 1]`, such as `Alpha` draws, on a random background.

    The background is noise as `Fourier` starts with. Since it is another one at each step, the objective is served only
    by what is opaque, and the rest of the image becomes transparent if an objective asks for it.

    Attributes:
        sd: the deviation of the background's Fourier coefficients; 0 is mid-grey.
        decay: the power of the frequency with which they decrease.

    Source: Lucid's `collapse_alpha_random`; Mordvintsev et al. 2018, Differentiable Image Parameterizations.
    """

    sd: Any = 0.5
    decay: Any = 1.0

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        sides = places(image, "Collapse")
        if image.shape[-1] < 2:
            raise InputError(f"Collapse takes images with an opacity as their last channel; given: {list(image.shape)}")
        canvas = Fourier(sides, decay=self.decay, sd=self.sd)
        background = canvas(canvas.new(key, image.shape[-1] - 1))
        colors, opacity = image[..., :-1], image[..., -1:]
        return opacity * colors + (1 - opacity) * background

    def check(self) -> None:
        Fourier((2, 2), decay=self.decay, sd=self.sd).check(3)

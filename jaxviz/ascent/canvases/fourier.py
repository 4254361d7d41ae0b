"""Fourier: the latent is the spectrum of the image, with high frequencies scaled down.

    latent [2 c *bins] ─► scale / 4 ─► inverse FFT ─► colours ─► sigmoid ─► image

Law: `canvas(canvas.of(image)) == image`, up to rounding and `colors.EDGE`. The scale, the 4 and the colours are linear
and are divided out again; the sigmoid is undone by its inverse.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.typing import ArrayLike

from jaxviz.ascent.canvases.colors import LUCID, check_colors, to_image, to_raw
from jaxviz.checks import finite
from jaxviz.errors import InputError

__all__ = ["Fourier"]


@struct.dataclass(eq=False)
class Fourier:
    """An image in (0, 1) by its Fourier coefficients, which start as noise and climb faster the lower their frequency.

    A coefficient of frequency f (in cycles a pixel, at least 1 / the longest side) is `latent * sqrt(h w) / f**decay`.
    The inverse FFT of the coefficients, divided by 4, is mapped to colours and goes through a sigmoid. These are the
    formulas and defaults of Lucid, for images of any size, signals and volumes. For an odd width, Lucid draws an image
    one pixel wider and crops it; here it is the inverse FFT of that width, so that each image has a latent.

    `sd` is the deviation of the real and of the imaginary parts of the latent at the start. So, before colours and
    sigmoid, the image starts as noise of deviation `sd * sqrt(2) / 4 * rms(1 / f**decay)`; with `decay=0` it is white,
    of deviation `sd * sqrt(2) / 4`, which the sigmoid divides by 4 once more. (The real and imaginary parts of
    coefficients that are their own mirror image depend on each other, as in the FFT of any image.)

    Attributes:
        size: (height, width) in pixels; of a signal its length, of a volume three numbers.
        decay: the power of the frequency; 1 as in photographs, 0 for white noise, 0.85 in xplique.
        sd: the deviation of the latent at the start; 0 starts from mid-grey.
        colors: a matrix `[c c]` that turns independent channels into colours: `jv.colors.LUCID`, `jv.colors.XPLIQUE`,
            one of `jv.colors.estimate(images)`, or None. The first two are for three channels; images of another
            number of channels, such as grey ones, do without them.

    Source: C. Olah et al., Feature Visualization, Distill 2017; lucid, optvis/param/spatial.py.
    """

    size: tuple[int, ...] = struct.field(pytree_node=False)
    decay: Any = 1.0
    sd: Any = 0.01
    colors: Any = struct.field(default_factory=lambda: LUCID)

    def new(self, key: jax.Array, channels: int | None) -> jax.Array:
        """The latent `[2 channels *bins]` of noise, or `[2 *bins]` without channels."""
        # The FFT of white noise of deviation s has parts of deviation s sqrt(n / 2), n being the number of pixels.
        noise = jax.random.normal(key, self.size if channels is None else (*self.size, channels))
        return _parts(math.sqrt(2) * self.sd * analyse(noise, self.size) / math.sqrt(math.prod(self.size)))

    def of(self, image: ArrayLike) -> jax.Array:
        """The latent of an image; values nearer to 0 or 1 than 1/512 are moved there, where the sigmoid is finite."""
        return _parts(4 * analyse(to_raw(image, self.colors, len(self.size)), self.size) / self._scale())

    def __call__(self, latent: ArrayLike) -> jax.Array:
        """The image in (0, 1)."""
        raw = synthesise(jax.lax.complex(*jnp.asarray(latent)) * self._scale(), self.size) / 4
        return to_image(raw, self.colors, len(self.size))

    def check(self, channels: int | None) -> None:
        """Nothing, if the canvas can be drawn with so many channels.

        Raises:
            InputError: a decay, a deviation or a matrix that is no such thing, or a start so strong that the sigmoid is
                exactly 0 or 1, where no gradient passes.
        """
        decay, sd = finite("decay", self.decay), finite("sd", self.sd)
        if sd < 0:
            raise InputError(f"sd is the deviation of the noise at the start, 0 or more; given: {sd}")
        check_colors(self.colors, channels)
        with np.errstate(over="ignore"):
            scale = np.maximum(frequencies(self.size), 1 / max(self.size)) ** -decay
            deviation = (
                sd * np.sqrt(2) / 4 * np.sqrt((scale**2 * column_weights(self.size)).sum() / math.prod(self.size))
            )
            largest = scale.max() * math.sqrt(math.prod(self.size))
        if deviation > SATURATED or largest > np.finfo(np.float32).max:
            shape = " × ".join(map(str, self.size))
            raise InputError(
                f"with decay={decay} and sd={sd}, an image of {shape} starts with a deviation of {deviation:.3g} "
                "before its sigmoid, which is then 0 or 1 and passes no gradient: try decay=1.0, sd=0.01"
            )

    def _scale(self) -> jax.Array:
        least = 1 / max(self.size)
        known = np.maximum(frequencies(self.size), least).astype(np.float32)
        return known ** (-jnp.asarray(self.decay, jnp.float32)) * np.float32(math.sqrt(math.prod(self.size)))


SATURATED = 16.0  # a float32 sigmoid is exactly 1 above 17, so beyond this deviation a third of the pixels are


def frequencies(size: tuple[int, ...]) -> np.ndarray:
    """The frequency of each bin of a real FFT, `[*bins]`, in cycles a pixel."""
    axes = [*map(np.fft.fftfreq, size[:-1]), np.fft.rfftfreq(size[-1])]
    return np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))


def column_weights(size: tuple[int, ...]) -> np.ndarray:
    """How many frequencies each column of a real FFT stands for: two, or one where it is its own mirror image."""
    weights = np.full(size[-1] // 2 + 1, 2.0, np.float32)
    weights[_own_mirrors(size)] = 1
    return weights


def _own_mirrors(size: tuple[int, ...]) -> list[int]:
    return [0, size[-1] // 2] if size[-1] % 2 == 0 else [0]


def mirrored(spectrum: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """The spectrum of the image that `synthesise` makes of this one, so `spectrum[-f]` is conjugate to `spectrum[f]`.

    This changes the columns that hold both f and -f, for which the inverse FFT takes the mean of the two.
    """
    axes = tuple(range(-len(size) + 1, 0))
    for column in _own_mirrors(size):
        values = spectrum[..., column]
        opposite = jnp.roll(jnp.flip(values, axes), 1, axes) if axes else values
        spectrum = spectrum.at[..., column].set((values + opposite.conj()) / 2)
    return spectrum


def analyse(raw: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """The real FFT, complex `[c *bins]`, of values `[*size c]`; `[*bins]` of values without channels."""
    first = jnp.moveaxis(raw, -1, 0) if raw.ndim > len(size) else raw
    return jnp.fft.rfftn(first, axes=range(-len(size), 0))


def synthesise(spectrum: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """The inverse of `analyse`."""
    raw = jnp.fft.irfftn(spectrum, size, range(-len(size), 0))
    return jnp.moveaxis(raw, 0, -1) if raw.ndim > len(size) else raw


def _parts(spectrum: jax.Array) -> jax.Array:
    return jnp.stack([spectrum.real, spectrum.imag])

"""MaCo: the magnitudes of an image's spectrum are those of photographs; only the phases climb.

    latent [2 c *bins] ─► direction of each coefficient ─► × magnitude ─► inverse FFT ─► colours ─► sigmoid ─► image

Law: `canvas(canvas.of(image)) == image`, up to rounding, for each image that the canvas draws; of any other image, `of`
keeps the phases. So the magnitudes of what it draws are always the given ones.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.typing import ArrayLike

from jaxviz.ascent.canvases.colors import LUCID, check_colors, to_image, to_raw
from jaxviz.ascent.canvases.fourier import analyse, column_weights, mirrored, synthesise
from jaxviz.ascent.canvases.magnitudes import photographs
from jaxviz.checks import finite, numbers
from jaxviz.errors import InputError

__all__ = ["MaCo"]


@struct.dataclass(eq=False)
class MaCo:
    """An image in (0, 1) whose Fourier magnitudes are fixed, starting with random phases.

    Ascent cannot add high frequencies, since photographs have little of them: this replaces the regularisers that deep
    networks and transformers otherwise need. Published settings: `optax.nadam(1.0)`, 256 steps, and as transforms
    random crops of half to a twentieth of the image, enlarged, with noise.

    Fel et al. climb the phase itself. Here each coefficient is a complex number of which only the direction counts, so
    that the phase has no jump from pi to -pi, and steps of one length turn it less and less, as the number grows.
    xplique and Horama instead divide the phases by their deviation. As there, the image before colours and sigmoid has
    mean 0 and a fixed deviation, `contrast`.

    Attributes:
        size: (height, width) in pixels; of a signal its length, of a volume three numbers.
        magnitude: of each frequency, `[c *bins]`, or `[*bins]` for an image without channels, as returned by
            `mean_magnitude(images, size)`. That of frequency 0, the mean, does not count. None: that of photographs,
            see `magnitudes.photographs`, for images of three channels, one or none.
        contrast: the deviation of the image before colours and sigmoid.
        colors: a matrix `[c c]` that turns independent channels into colours, as of `Fourier`; the one that
            `mean_magnitude` was called with.

    Source: T. Fel et al., Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained Optimization,
    NeurIPS 2023, eq. 4; xplique, features_visualizations/maco.py.
    """

    size: tuple[int, ...] = struct.field(pytree_node=False)
    magnitude: Any = None
    contrast: Any = 1.0
    colors: Any = struct.field(default_factory=lambda: LUCID)

    def new(self, key: jax.Array, channels: int | None) -> jax.Array:
        """Coefficients `[2 channels *bins]` of length 1 whose phases are drawn evenly."""
        bins = (*self.size[:-1], self.size[-1] // 2 + 1)
        phase = jax.random.uniform(key, bins if channels is None else (channels, *bins), maxval=2 * math.pi)
        return jnp.stack([jnp.cos(phase), jnp.sin(phase)])

    def of(self, image: ArrayLike) -> jax.Array:
        """The directions of the coefficients of an image, of length 1."""
        spectrum = analyse(to_raw(image, self.colors, len(self.size)), self.size)
        return jnp.stack(_direction(jnp.stack([spectrum.real, spectrum.imag])))

    def __call__(self, latent: ArrayLike) -> jax.Array:
        """The image in (0, 1)."""
        directions = mirrored(jax.lax.complex(*jnp.asarray(latent)), self.size)
        real, imaginary = _direction(jnp.stack([directions.real, directions.imag]))
        spectrum = jax.lax.complex(real, imaginary) * self._scaled(real.shape)
        return to_image(synthesise(spectrum, self.size), self.colors, len(self.size))

    def check(self, channels: int | None) -> None:
        """Nothing, if the canvas can be drawn with so many channels.

        Raises:
            InputError: a contrast or a matrix that is no such thing, magnitudes of another shape, negative, infinite,
                or all 0, no magnitudes for an image that is no photograph, or an image of a single pixel.
        """
        if (contrast := finite("contrast", self.contrast)) <= 0:
            raise InputError(f"contrast is a deviation, more than 0; given: {contrast}")
        check_colors(self.colors, channels)
        if math.prod(self.size) == 1:
            raise InputError(
                f"an image of a single pixel has no phases, so MaCo needs a larger size; given: {self.size}"
            )
        bins = (*self.size[:-1], self.size[-1] // 2 + 1)
        if self.magnitude is None:
            if len(self.size) != 2 or channels not in (None, 1, 3):
                raise InputError(
                    "without magnitude=, MaCo has that of photographs, for (height, width) and three channels, one or "
                    f"none; given: a size of {self.size} and {channels} channels. Try magnitude=jv.mean_magnitude("
                    "images, size) of images of your own"
                )
            return
        shape, found = bins if channels is None else (channels, *bins), numbers(self.magnitude)
        self._check_shape(found.shape, shape)
        rest = np.delete(found.reshape(-1, math.prod(bins)), 0, 1)
        if not np.isfinite(found).all() or found.min() < 0 or not rest.any():
            raise InputError(
                "magnitudes are finite, 0 or more, and not all 0 besides that of frequency 0; given: "
                f"{found.min():.4g} to {found.max():.4g}"
            )

    def _check_shape(self, given: tuple[int, ...], wanted: tuple[int, ...]) -> None:
        if given != wanted:
            raise InputError(
                f"the magnitudes of this image have shape {list(wanted)}, as from jv.mean_magnitude(images, "
                f"{self.size}); given: {list(given)}"
            )

    def _scaled(self, shape: tuple[int, ...]) -> jax.Array:
        """The magnitudes with which the image has deviation `contrast` and mean 0, of the shape of the coefficients."""
        known = self.magnitude
        if known is None:
            known = photographs(self.size)[: shape[0]] if len(shape) > len(self.size) else photographs(self.size)[0]
        known = jnp.asarray(known, jnp.float32)
        self._check_shape(known.shape, shape)
        zero = (..., *(0,) * len(self.size))
        rest = known.at[zero].set(0)
        # Parseval: the mean square of the image is the sum over all n frequencies, divided by n².
        power = (rest**2 * column_weights(self.size)).sum() / (
            math.prod(self.size) ** 2 * math.prod(shape[: -len(self.size)])
        )
        return rest * self.contrast * jax.lax.rsqrt(power)


def _direction(parts: jax.Array) -> jax.Array:
    """Complex numbers at length 1, `[2 …]`; 0 stays 0, and has a finite gradient."""
    return parts * jax.lax.rsqrt((parts**2).sum(0) + np.float32(1e-20))

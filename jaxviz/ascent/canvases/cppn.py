"""CPPN: the latent is a small network that paints a colour for each position.

    latent (weights, biases) ─► colour of each (y, x) ─► sigmoid ─► image

Law: the same latent draws the same picture at any size.
"""

import math
from typing import NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.typing import ArrayLike

from jaxviz.checks import whole
from jaxviz.errors import InputError

__all__ = ["CPPN"]


@struct.dataclass
class CPPN:
    """An image in (0, 1) that a compositional pattern-producing network paints, starting as one nearly grey colour.

    It maps the position of a pixel through dense layers to a colour. After each layer the activation is
    `(atan(x) / 0.67, atan(x)**2 / 0.6)`, which doubles the channels. Along the longest side, positions go from
    -sqrt(3) to sqrt(3), so that they have a deviation of 1, and pixels are square. The image is smooth, has no grain,
    and can be drawn at any size afterwards: `CPPN((1024, 1024))(latent)`.

    Weights start as in Lucid: truncated normal with variance 1 / inputs, the last ones 0, and biases normal with a
    deviation of 0.1. An image is not turned into a latent, so a CPPN takes no `start`. Lucid climbs it with smaller
    steps than pixels: try `optax.adam(0.005)`.

    Attributes:
        size: (height, width) in pixels; of a signal its length, of a volume three numbers.
        layers: how many hidden layers.
        hidden: the channels of each hidden layer, before its activation doubles them.

    Source: A. Mordvintsev et al., Differentiable Image Parameterizations, Distill 2018; K. Stanley, Compositional
    pattern producing networks, 2007; lucid, optvis/param/cppn.py.
    """

    size: tuple[int, ...] = struct.field(pytree_node=False)
    layers: int = struct.field(pytree_node=False, default=8)
    hidden: int = struct.field(pytree_node=False, default=24)

    def new(self, key: jax.Array, channels: int | None) -> list[tuple[jax.Array, jax.Array]]:
        """The weights `[inputs outputs]` and biases `[outputs]` of each layer."""
        initial = jax.nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")
        inputs = [len(self.size), *(2 * self.hidden,) * (self.layers - 1)]
        layers = []
        for at, count in enumerate(inputs):
            weights, biases = jax.random.split(jax.random.fold_in(key, at))
            layers.append((initial(weights, (count, self.hidden)), 0.1 * jax.random.normal(biases, (self.hidden,))))
        outputs = () if channels is None else (channels,)
        biases = 0.1 * jax.random.normal(jax.random.fold_in(key, self.layers), outputs)
        return [*layers, (jnp.zeros((2 * self.hidden, *outputs)), biases)]

    def of(self, image: ArrayLike) -> NoReturn:
        """Nothing: there is no inverse.

        Raises:
            InputError: always.
        """
        raise InputError(
            "a CPPN starts from noise, since an image has no latent. What starts from an image needs another "
            "canvas, such as Fourier(size)"
        )

    def __call__(self, latent: list[tuple[jax.Array, jax.Array]]) -> jax.Array:
        """The image in (0, 1)."""
        values = jnp.asarray(positions(self.size))
        *layers, (weights, biases) = latent
        for inner, bias in layers:
            values = _activation(jnp.matmul(values, inner, precision="highest") + bias)
        return jax.nn.sigmoid(jnp.matmul(values, weights, precision="highest") + biases)

    def check(self, channels: int | None) -> None:
        """Nothing, if layers and hidden are whole numbers, 1 or more; else an InputError."""
        whole("layers", self.layers)
        whole("hidden", self.hidden)


def positions(size: tuple[int, ...]) -> np.ndarray:
    """The position of each pixel, `[*size axes]`, from -sqrt(3) to sqrt(3) along the longest side."""
    half = max(max(size) - 1, 1) / 2
    axes = [(np.arange(side) - (side - 1) / 2) * math.sqrt(3) / half for side in size]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).astype(np.float32)


def _activation(values: jax.Array) -> jax.Array:
    """Both parts have a root mean square of 1 if the values are standard normal (lucid's `_composite_activation`)."""
    angles = jnp.arctan(values)
    return jnp.concatenate([angles / 0.67, angles**2 / 0.6], -1)

"""Keras' named activations, as Keras 3 defines them.

At a kink of a ReLU the gradient is TensorFlow's: 0 at 0, where dead channels sit, and 0 at the cut of relu6.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


def rectify(x: Array, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0) -> Array:
    """ReLU with all of Keras' options: linear above `threshold`, cut at `max_value`, sloped below."""
    if max_value is None and negative_slope == threshold == 0:
        return jax.nn.relu(x)  # the plain one, which others recognise
    y = jnp.where(x > threshold, x, negative_slope * (x - threshold))
    return y if max_value is None else jnp.where(y >= max_value, max_value, y)


def _linear(x: Array) -> Array:
    return x


def _relu6(x: Array) -> Array:
    return rectify(x, max_value=6.0)


def _leaky_relu(x: Array) -> Array:
    return rectify(x, negative_slope=0.2)  # the activation's default; the layer LeakyReLU has 0.3


def _gelu(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=False)


Activation = Callable[[Array], Array]

ACTIVATIONS: dict[str, Activation] = {
    "linear": _linear,
    "relu": jax.nn.relu,
    "relu6": _relu6,
    "leaky_relu": _leaky_relu,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "celu": jax.nn.celu,
    "gelu": _gelu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "mish": jax.nn.mish,
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
    "exponential": jnp.exp,
    "sigmoid": jax.nn.sigmoid,
    "log_sigmoid": jax.nn.log_sigmoid,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_silu": jax.nn.hard_silu,
    "hard_swish": jax.nn.hard_silu,
    "tanh": jnp.tanh,
    "hard_tanh": jax.nn.hard_tanh,
    "softmax": jax.nn.softmax,
    "log_softmax": jax.nn.log_softmax,
}

"""Keras' named activations, as Keras 3 defines them.

At a kink of a ReLU the gradient is TensorFlow's: 0 at 0, where dead channels sit, and 0 at the cut of relu6.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


def rectify(x: Array, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0) -> Array:
    """ReLU with all of Keras' options: linear above `threshold`, cut at `max_value`, sloped below."""
    if negative_slope == 0 and threshold >= 0:
        y = jax.nn.relu(x)  # the plain one, which others recognise
        y = jnp.where(x > threshold, y, 0.0) if threshold else y
    else:
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


def _glu(x: Array) -> Array:
    value, gate = jnp.split(x, 2, -1)
    return value * jax.nn.sigmoid(gate)


def _hard_sigmoid_of_keras_2(x: Array) -> Array:
    return jnp.clip(0.2 * x + 0.5, 0.0, 1.0)


def _hard_shrink(x: Array) -> Array:
    return jnp.where(jnp.abs(x) > 0.5, x, 0.0)


def _soft_shrink(x: Array) -> Array:
    return jnp.sign(x) * jnp.maximum(jnp.abs(x) - 0.5, 0.0)


def _tanh_shrink(x: Array) -> Array:
    return x - jnp.tanh(x)


def _sparsemax(x: Array) -> Array:
    """Keras' sparsemax, which is Martins & Astudillo's of 2016 where one number is far above the others.

    Its tau is the sum of the cumulative sums of the support, where the paper's is the last of them (Keras 3.15).
    """
    z = jnp.flip(jnp.sort(x, -1), -1)
    sums, k = jnp.cumsum(z, -1), jnp.arange(1, x.shape[-1] + 1)
    support = k * z > sums - 1
    tau = (jnp.where(support, sums, 0.0).sum(-1, keepdims=True) - 1) / support.sum(-1, keepdims=True)
    return jnp.maximum(x - tau, 0.0)


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
    "glu": _glu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "mish": jax.nn.mish,
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
    "exponential": jnp.exp,
    "sigmoid": jax.nn.sigmoid,
    "log_sigmoid": jax.nn.log_sigmoid,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_sigmoid_of_keras_2": _hard_sigmoid_of_keras_2,
    "hard_silu": jax.nn.hard_silu,
    "hard_swish": jax.nn.hard_silu,
    "tanh": jnp.tanh,
    "hard_tanh": jax.nn.hard_tanh,
    "tanh_shrink": _tanh_shrink,
    "hard_shrink": _hard_shrink,
    "soft_shrink": _soft_shrink,
    "squareplus": jax.nn.squareplus,
    "sparse_plus": jax.nn.sparse_plus,
    "sparse_sigmoid": jax.nn.sparse_sigmoid,
    "softmax": jax.nn.softmax,
    "softmax_v2": jax.nn.softmax,  # as Keras 2 names tf.nn.softmax
    "log_softmax": jax.nn.log_softmax,
    "log_softmax_v2": jax.nn.log_softmax,
    "sparsemax": _sparsemax,
}

MIXING = ("softmax", "softmax_v2", "log_softmax", "log_softmax_v2", "sparsemax")
"""The activations whose every number depends on all units."""

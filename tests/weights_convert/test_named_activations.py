"""Every named activation against Keras, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf
from keras import activations
from keras_oracle import TOLERANCE, error

from weights_convert.activations import ACTIVATIONS, rectify

# Both signs, small and large, and the kinks: 0, ±1, ±3, 6.
X = np.concatenate([np.linspace(-9, 9, 73), [0.0, -1.0, 1.0, -3.0, 3.0, 6.0]]).astype(np.float32).reshape(1, -1)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values(name):
    assert error(ACTIVATIONS[name](jnp.asarray(X)), activations.get(name)(X)) <= TOLERANCE


@pytest.mark.parametrize("name", ["relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "softplus", "sigmoid", "tanh"])
def test_gradients(name):
    x = tf.constant(X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(activations.get(name)(x))
    assert error(jax.grad(lambda x: ACTIVATIONS[name](x).sum())(X), tape.gradient(y, x)) <= TOLERANCE


@pytest.mark.parametrize("name", ["relu", "relu6"])
def test_a_dead_channel_has_no_gradient(name):
    assert jax.grad(ACTIVATIONS[name])(0.0) == 0


def test_rectify_lets_nan_through():
    assert np.isnan(rectify(jnp.array(np.nan), max_value=6.0))

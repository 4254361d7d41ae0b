"""Activation functions.

Law: every activation function has the values and gradients of Keras' function of the same name; and each field of
`Activation` is true of its values.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from keras.src import activations
from keras_oracle import TOLERANCE, error

from weights_convert.layers.functions import ACTIVATIONS, rectify

# Both signs, small and large, and the kinks: 0, ±1, ±3, 6.
X = np.concatenate([np.linspace(-9, 9, 73), [0.0, -1.0, 1.0, -3.0, 3.0, 6.0, 40.0]]).astype(np.float32).reshape(1, -1)


# Names that Keras 2 wrote, and the function that it meant.
KERAS_2 = {
    "softmax_v2": tf.nn.softmax,
    "log_softmax_v2": tf.nn.log_softmax,
    "hard_sigmoid_of_keras_2": lambda x: tf_keras.activations.hard_sigmoid(tf.constant(x)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values(name):
    theirs = KERAS_2[name] if name in KERAS_2 else activations.get(name)
    assert error(ACTIVATIONS[name](jnp.asarray(X)), theirs(X)) <= TOLERANCE


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_fields_are_true(name):
    activation = ACTIVATIONS[name]
    values = np.asarray(activation(jnp.asarray(X)))
    assert activation.never_negative == (values >= 0).all()
    assert activation.keras_3 == (name not in KERAS_2)
    close = jnp.linspace(-0.2, -0.1, 6)  # where Keras' sparsemax makes none of them 0
    slopes = np.array(jax.jacobian(activation)(close))
    np.fill_diagonal(slopes, 1.0)  # of a number by itself
    assert activation.mixes == (slopes != 0).all()
    if activation.probabilities:
        probabilities = values if activation.never_negative else np.exp(values)
        assert ((probabilities >= 0) & (probabilities <= 1)).all()


def test_every_name_that_needs_no_argument_is_here():
    assert set(activations.ALL_OBJECTS_DICT) - set(ACTIVATIONS) == {"threshold"}


@pytest.mark.parametrize("name", sorted(set(vars(tf_keras.activations)) & set(ACTIVATIONS) - {"hard_sigmoid"}))
def test_keras_2_means_the_same(name):
    assert error(ACTIVATIONS[name](jnp.asarray(X)), getattr(tf_keras.activations, name)(tf.constant(X))) <= TOLERANCE


def test_sparsemax_of_numbers_close_together():
    x = np.random.default_rng(0).random((5, 7), np.float32)
    found, wanted = ACTIVATIONS["sparsemax"](jnp.asarray(x)), activations.sparsemax(x)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


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

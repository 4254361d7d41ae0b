"""Arithmetic with tensors outside of layers.

Law: an operation that Keras 2 or 3 saved computes the same here as there; any other operation is refused by name.
"""

import json
import re
from importlib import import_module

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from keras_oracle import TOLERANCE, error

import weights_convert
from weights_convert import UnsupportedLayer
from weights_convert.config.describe import describe
from weights_convert.config.parsing import parse

SHAPE = (6, 5, 3)
COLOURS = np.array([0.5, -1.0, 2.0], np.float32)

EITHER = {
    "add": lambda x: x + 3.0,
    "add to": lambda x: 1 + x,
    "subtract": lambda x: x - 2.5,
    "subtract from": lambda x: 1.0 - x,
    "multiply": lambda x: 2 * x * (1.0 / 6.0),
    "divide": lambda x: x / 127.5,
    "divide by": lambda x: 1.0 / (x * x + 1.0),
    "two tensors": lambda x: x * (x + 1) - x / (x * x + 1),
    "colours": lambda x: x * COLOURS + COLOURS,
    "reverse": lambda x: x[..., ::-1],
    "one channel": lambda x: x[..., 1],
    "crop": lambda x: x[:, 1:-1, ::2],
}
KERAS_3 = {
    "stack": lambda x: keras.ops.stack([x[..., 2], x[..., 0]], axis=-1),
    "relu": keras.ops.relu,
    "relu6": keras.ops.relu6,
    "elu": keras.ops.elu,
    "selu": keras.ops.selu,
    "silu": keras.ops.silu,
    "sigmoid": keras.ops.sigmoid,
    "tanh": keras.ops.tanh,
    "softmax": keras.ops.softmax,
}
KERAS_2 = {
    "math.add": lambda x: tf.math.add(x, 1.0),
    "math.divide": lambda x: tf.math.divide(x, 3.0),
    "bias_add": lambda x: tf.nn.bias_add(x, COLOURS),
    **{
        name: getattr(getattr(tf, name.split(".")[0]), name.split(".")[1])
        for name in (
            *("nn.relu", "nn.relu6", "nn.elu", "nn.selu", "nn.silu", "nn.softmax", "math.sigmoid", "math.tanh"),
        )
    },
}


def preprocess(package, mode):
    imagenet = import_module(f"{package.__name__}.src.applications.imagenet_utils")
    return lambda x: imagenet.preprocess_input(x, data_format="channels_last", mode=mode)


CASES = [
    *(pytest.param(keras, f, id=f"keras 3: {name}") for name, f in {**EITHER, **KERAS_3}.items()),
    *(pytest.param(tf_keras, f, id=f"keras 2: {name}") for name, f in {**EITHER, **KERAS_2}.items()),
    *(
        pytest.param(package, preprocess(package, mode), id=f"{package.__name__}: preprocess_input {mode}")
        for package in (keras, tf_keras)
        for mode in ("tf", "torch", "caffe")
    ),
]


@pytest.mark.parametrize(("package", "function"), CASES)
def test_against_keras(package, function, tmp_path):
    image = package.Input(SHAPE)
    model = package.Model(image, function(image))
    model.save(tmp_path / "m.h5")
    net = weights_convert.load(tmp_path / "m.h5")
    images = 20 * np.random.default_rng(0).standard_normal((2, *SHAPE)).astype(np.float32)
    assert error(net(images), model(images)) <= TOLERANCE
    assert parse(json.loads(json.dumps(describe(net.graph)))) == net.graph
    weights_convert.save(net, tmp_path / "again.keras")
    again = keras.models.load_model(tmp_path / "again.keras", compile=False)
    assert error(again(images), model(images)) <= TOLERANCE


@pytest.mark.parametrize("name", [*EITHER, "stack"])
def test_keras_3_understands_our_description(name):
    """A round trip through the description: Keras builds the same network from it."""
    image = keras.Input(SHAPE)
    model = keras.Model(image, {**EITHER, **KERAS_3}[name](image))
    described = describe(parse(json.loads(model.to_json())))
    again = type(model).from_config(described["config"])
    images = np.random.default_rng(0).random((2, *SHAPE), np.float32)
    np.testing.assert_array_equal(again(images), model(images))


@pytest.mark.parametrize(
    ("package", "function", "complaint"),
    [
        (keras, lambda x: keras.ops.power(x, 2), "power: layers of kind Power are not supported"),
        (tf_keras, lambda x: x**2, "tf.math.pow: calls tf.math.pow, which is not supported"),
        (tf_keras, lambda x: tf.concat([x, x], -1), "tf.concat: calls tf.concat, which is not supported"),
        (
            tf_keras,
            lambda x: tf.nn.softmax(x, axis=1),
            "tf.nn.softmax: is called with axis=1, which is not supported",
        ),
    ],
)
def test_anything_else_is_refused_by_name(package, function, complaint):
    image = package.Input(SHAPE)
    config = json.loads(package.Model(image, function(image)).to_json())
    with pytest.raises(UnsupportedLayer) as error:
        parse(config)
    [found] = error.value.complaints
    assert re.sub(r"_\d+:", ":", found) == complaint  # Keras numbers its names


@pytest.mark.parametrize(
    "function",
    [lambda x: x[0], lambda x: keras.ops.stack([x, x], axis=0), lambda x: x + np.ones((2, 6, 5, 3))],
    ids=["index", "stack", "constant"],
)
def test_the_batch_is_left_alone(function, tmp_path):
    image = keras.Input(SHAPE, batch_size=2)
    model = keras.Model(image, function(image))
    model.save(tmp_path / "m.h5")
    with pytest.raises(UnsupportedLayer, match=r"does not fit its input .*the batch"):
        weights_convert.load(tmp_path / "m.h5")

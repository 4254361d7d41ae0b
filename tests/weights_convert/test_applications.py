"""The applications of Keras, from every kind of file.

Law: every application computes the same here as in Keras, from every file that Keras writes of it. A few are tested
here; `benchmarks/keras_applications.py` tests all of them.
"""

import json

import jax
import jax.numpy as jnp
import keras
import keras_applications
import numpy as np
import pytest
import tf_keras
from flax import nnx
from keras_applications import FORMATS, NAMES, TOLERANCE
from memory import give_back

import weights_convert

# The cheap families, and each kind of file. EfficientNetV2 has a test of its own below.
SAMPLE = {
    "VGG16": ["weights"],
    "MobileNet": ["h5", "keras", "keras 2 h5", "weights.h5", "weights"],
    "ConvNeXtTiny": ["weights.h5", "weights"],
}

# Keras on the small images; what it builds for published weights is the same for all sizes.
# And Keras 2 on its own EfficientNetV2 as it saves it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square:UserWarning"),
    pytest.mark.filterwarnings("ignore:The `keras.initializers.serialize:UserWarning"),
]


def check(name, formats):
    found = keras_applications.row(name, tuple(formats), float64=False)
    assert {*formats} == {*FORMATS} & {*found}
    assert all(error <= TOLERANCE for key in formats for error in found[key].values()), found
    give_back()


@pytest.mark.parametrize("name", SAMPLE)
def test_an_application(name):
    check(name, SAMPLE[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_application_from_every_file(name):
    within(name, keras_applications.row(name))


def test_a_file_of_keras_2_is_the_same_network_in_float64(tmp_path):
    """To twelve digits: no constant is another one, such as an epsilon."""
    model, images = keras_applications.build(tf_keras, "EfficientNetV2B0", 32)
    model.save(tmp_path / "model.h5")
    ours = keras_applications.here_in_float64(weights_convert.load(tmp_path / "model.h5"), model, images)
    tf_keras.backend.set_floatx("float64")
    try:
        wide = tf_keras.applications.EfficientNetV2B0(weights=None, input_shape=images.shape[1:])
        wide.set_weights(model.get_weights())
        for layer in keras_applications.leaves(wide):
            if isinstance(layer, tf_keras.layers.Rescaling):
                layer.scale = np.float64(layer.scale)  # it would round 1/255 to float32
        theirs = keras_applications.in_keras(wide, images.astype(np.float64))
    finally:
        tf_keras.backend.set_floatx("float32")
    for found, expected in zip(ours, theirs, strict=True):
        assert found.dtype == expected.dtype == np.float64
        assert keras_applications.error(found, expected) <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EfficientNetB0", "InceptionV3", "ResNet152"])
def test_no_weight_is_invisible(name, tmp_path):
    """A weight in the wrong order would be seen: each moves the output by more than the tolerance."""
    model, images = keras_applications.build(keras, name, keras_applications.SIZES.get(name, 32))
    model.save(tmp_path / "model.keras")
    net = weights_convert.load(tmp_path / "model.keras")
    graphdef, state = nnx.split(net)
    output = jax.jit(lambda state: nnx.merge(graphdef, state)(images))
    wanted = output(state)
    for layer, weights in net.weights().items():
        for weight, variable in weights.items():
            right = variable.get_value()
            if right.size > 1:
                variable.set_value(jnp.roll(right, 1, max(axis for axis, size in enumerate(right.shape) if size > 1)))
                assert keras_applications.error(output(nnx.state(net)), wanted) > 2 * TOLERANCE, (layer, weight)
                variable.set_value(right)


def test_the_committed_table():
    devices = json.loads((keras_applications.RESULTS / "keras_applications.json").read_text(encoding="utf-8"))
    for device in devices.values():
        assert [*device["results"]] == NAMES
        for name, row in device["results"].items():
            within(name, row)


def within(name, row):
    assert {*FORMATS} <= {*row}
    for key in FORMATS:
        assert max(row[key].values()) <= TOLERANCE, (name, key, row)

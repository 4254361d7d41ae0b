"""How networks are fed.

Law: each `Inputs` computes the same as the mode of Keras' `preprocess_input` with its name.
"""

import numpy as np
import pytest
from keras.src.applications.imagenet_utils import preprocess_input
from keras_oracle import error

from weights_convert import INPUTS, UNIT, Inputs

IMAGES = np.random.default_rng(0).random((2, 5, 4, 3), np.float32)


@pytest.mark.parametrize("name", ["caffe", "torch", "tf"])
def test_modes_of_keras(name):
    assert error(INPUTS[name](IMAGES), preprocess_input(255 * IMAGES, "channels_last", mode=name)) <= 1e-6


def test_unit_changes_nothing():
    np.testing.assert_array_equal(UNIT(IMAGES), IMAGES)


def test_raw255():
    np.testing.assert_array_equal(INPUTS["raw255"](IMAGES), 255 * IMAGES)


def test_one_image_or_many():
    np.testing.assert_array_equal(INPUTS["caffe"](IMAGES)[0], INPUTS["caffe"](IMAGES[0]))


@pytest.mark.parametrize("name", ["unit", "raw255", "tf"])
def test_grey_images(name):
    assert INPUTS[name](IMAGES[..., :1]).shape == (2, 5, 4, 1)


@pytest.mark.parametrize("name", ["caffe", "torch"])
def test_grey_images_have_no_colours_to_reorder(name):
    with pytest.raises(ValueError, match=f"inputs='{name}' is for images of 3 channels; given: 1 channels; .*\"unit\""):
        INPUTS[name](IMAGES[..., :1])


def test_is_a_value():
    assert Inputs("tf", scale=2.0, mean=(1.0,)) == INPUTS["tf"]
    assert len({*INPUTS.values(), Inputs("tf", scale=2.0, mean=(1.0,))}) == 5

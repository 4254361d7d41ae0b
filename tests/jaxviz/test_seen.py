"""What the network sees in an ascent.

Laws:
- Shapes are checked after the transform.
- A layer that can be computed at the network's own size only sees the image resized to it; other layers see it as it
  is, whatever else is in the sweep.
"""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial
from networks import keras_model

import jaxviz as jv
from jaxviz.ascent.transforms import Crop, Pad, Resize

SETTINGS = {"canvas": jv.Pixels((20, 26)), "optimizer": Partial(optax.adam, learning_rate=0.05), "steps": 4}


@pytest.fixture(scope="module")
def model():
    return keras_model()


def test_a_layer_of_one_size_sees_the_image_resized(model):
    objectives = [jv.Unit("head/pre", 0), jv.Channel("second/pre", 1), jv.Unit("head/pre", 2)]
    found = jv.sweep(model, objectives, **SETTINGS)
    assert found.image.shape == (3, 20, 26, 3)
    assert (np.diff(found.scores) > 0).all()
    by_hand = jv.sweep(model, objectives, transform=Resize((12, 12)), **SETTINGS)
    np.testing.assert_array_equal(found.scores[[0, 2]], by_hand.scores[[0, 2]])
    assert not np.allclose(found.scores[1], by_hand.scores[1])


def test_a_function_of_such_a_layer_does_too(model):
    found = jv.ascend(model, lambda acts: acts["head/pre"][0], transform=Pad(3), **SETTINGS)
    assert found.image.shape == (20, 26, 3)
    assert (np.diff(found.scores) > 0).all()


@pytest.mark.parametrize(
    ("transform", "sentence"),
    [
        (Crop(1), "an image of 1 × 1 does not fit second: it needs at least 2 × 2"),
        (
            lambda key, image: jnp.concatenate([image, image[..., :1]], -1),
            r"the image has an alpha channel, \[20, 26, 4\], and the network takes 3 channels: a transform such as",
        ),
        (lambda key, image: image.mean(-1), r"the transform returns an image for a network .* given: \[20, 26\]"),
        (lambda key, image: image + jnp.ones(7), r"the transform fails on an image \[20, 26, 3\]: \w+Error: "),
        (lambda key, image: None, "the transform returns .*; given: None"),
    ],
)
def test_what_the_network_cannot_see_is_one_sentence(model, transform, sentence):
    with pytest.raises(jv.InputError, match=sentence):
        jv.sweep(model, [jv.Channel("second", 0)], transform=transform, **SETTINGS)

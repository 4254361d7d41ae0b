"""The views that a monitor draws.

Laws:
- A view is the picture of an existing function, pixel by pixel, and the same model gives the same picture.
- Red and blue of a map are symmetric about zero, and zero is white.
"""

import functools

import jax
import numpy as np
import pytest
from flax import nnx

from jaxviz.ascent.climb import sweep
from jaxviz.ascent.recipes import chollet
from jaxviz.attribution.cams import grad_cam
from jaxviz.attribution.explain import Attribution
from jaxviz.errors import InputError
from jaxviz.forward_pass import activations
from jaxviz.networks.wrap import wrap
from jaxviz.objectives import Channel, Unit, channels
from jaxviz.rendering import rgb
from jaxviz.training.views import SIDE, Activations, Filters, Map, Overlay

# A map may be blank before a network has learnt anything; what is drawn then is no matter of these tests.
pytestmark = pytest.mark.filterwarnings("ignore::jaxviz.BlankMap")


class Net(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 10, (3, 3), rngs=rngs)
        self.dense = nnx.Linear(10, 4, rngs=rngs)

    def __call__(self, x):
        return self.dense(nnx.relu(self.conv(x)).mean((1, 2)))


MODEL = wrap(Net(nnx.Rngs(0)), image_shape=(12, 9, 3))
IMAGES = np.random.default_rng(0).random((3, 12, 9, 3), np.float32)


def enlarged(picture):
    factor = SIDE // max(picture.shape[:2])
    return np.kron(picture, np.ones((factor, factor, 1), np.uint8))


def signed(values):
    """An attribution method that returns these values for every image."""
    return lambda model, images, target=None: Attribution(np.stack([values] * len(images)), np.zeros(len(images)))


def test_activations_are_the_grid_of_the_layer():
    values = activations(MODEL, IMAGES[0], "conv")["conv"]
    picture = Activations(IMAGES[0], "conv", columns=4, cmap="gray")(MODEL)
    np.testing.assert_array_equal(picture, enlarged(rgb.activation_grid(values, 4, "gray", margin=1)[0]))
    assert picture.shape == (13 * (3 * 12 + 2), 13 * (4 * 9 + 3), 3)


def test_a_dense_layer_is_a_square_for_each_unit():
    values = activations(MODEL, IMAGES[0], "dense")["dense"]
    picture = Activations(IMAGES[0], "dense", columns=2)(MODEL)
    assert picture.shape == (SIDE, SIDE, 3)
    np.testing.assert_array_equal(picture[:: SIDE // 2, :: SIDE // 2].reshape(1, 4, 3), rgb.heat(values[None]))


def test_filters_are_a_sweep_from_the_same_noise_each_time():
    objectives = channels(MODEL, "conv", range(3))
    view = Filters(objectives, chollet(size=16, steps=2))
    images = sweep(MODEL, objectives, **chollet(size=16, steps=2)).image
    expected = rgb.tile(np.stack([rgb.stretch(image) for image in images]), 3, margin=1)
    np.testing.assert_array_equal(view(MODEL), enlarged(expected))
    np.testing.assert_array_equal(view(MODEL), view(MODEL))


def test_filters_have_the_size_of_the_network_and_any_objective():
    picture = Filters([Unit("dense", 1)])(MODEL)
    assert picture.shape == (12 * (SIDE // 12), 9 * (SIDE // 12), 3)
    assert np.unique(picture).size > 2


def test_an_overlay_has_the_image_and_its_map():
    values = grad_cam(MODEL, IMAGES, [0, 1, 2], layer="conv").values
    picture = Overlay(functools.partial(grad_cam, layer="conv"), IMAGES, [0, 1, 2], "jet", 0.4)(MODEL)
    each = [rgb.overlay(image, one, "jet", 0.4) for image, one in zip(IMAGES, values, strict=True)]
    np.testing.assert_array_equal(picture, enlarged(rgb.tile(np.stack(each), 3, margin=1)))
    alone = Overlay(grad_cam, IMAGES[1], 1)(MODEL)
    np.testing.assert_array_equal(alone, enlarged(rgb.overlay(IMAGES[1], values[1])))


def test_a_map_is_symmetric_about_zero_and_sums_the_colours():
    values = np.zeros((12, 9, 3), np.float32)
    values[0, 0], values[1, 1], values[2, 2] = (1, 1, 1), (-1, -1, -1), (5, -5, 0)
    picture = Map(signed(values), IMAGES[0], percentile=100)(MODEL)
    red, white, blue = rgb.colour_table("RdBu_r")[[255, 127, 0]]
    factor = SIDE // 12
    np.testing.assert_array_equal(picture[0, 0], red)
    np.testing.assert_array_equal(picture[factor, factor], blue)
    np.testing.assert_array_equal(picture[2 * factor, 2 * factor], white)


def test_one_spike_does_not_blank_a_map_and_a_map_of_zeros_is_white():
    values = np.ones((12, 9), np.float32)
    values[0, 0] = 1e6
    values[1, 0] = 0
    picture = Map(signed(values), IMAGES[:1], percentile=90)(MODEL)
    red, white = rgb.colour_table("RdBu_r")[[255, 127]]
    np.testing.assert_array_equal(picture[-1, -1], red)
    assert (Map(signed(0 * values), IMAGES[0])(MODEL) == white).all()
    values[:] = 0
    values[3, 3] = -1  # fewer than the percentile: the scale ends at the largest
    assert (Map(signed(values), IMAGES[0])(MODEL) != white).any()


def test_pictures_of_many_images_are_rows_of_eight_and_large_ones_keep_their_size():
    picture = Overlay(grad_cam, np.zeros((9, 12, 9, 3), np.float32), 0)(MODEL)
    height, width = 2 * 12 + 1, 8 * 9 + 7
    assert picture.shape == (height * (SIDE // width), width * (SIDE // width), 3)
    large = wrap(lambda params, images: images, image_shape=(300, 700, 1))
    assert Map(signed(np.zeros((300, 700), np.float32)), np.zeros((300, 700, 1)))(large).shape == (300, 700, 3)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (Activations(IMAGES[0], "conw"), "did you mean conv"),
        (Activations(IMAGES, "conv"), "one image"),
        (Activations(IMAGES[0] * 255, "conv"), r"\[0, 1\]"),
        (Filters([Channel("conv", 10)]), "conv has 10 channels"),
        (Filters([]), "at least one objective"),
        (Overlay(grad_cam, IMAGES, [0]), "one for each of 3"),
        (Overlay(grad_cam, IMAGES[0], 0, "viridid"), "viridis"),
    ],
)
def test_what_a_view_cannot_draw_is_said(view, message):
    with pytest.raises(InputError, match=message):
        view(MODEL)


def test_a_view_is_a_plain_value():
    view = Activations(IMAGES[0], "conv")
    with pytest.raises(AttributeError):
        view.layer = "dense"
    assert jax.tree.leaves(view) == [view]

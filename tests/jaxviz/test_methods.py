"""The methods of the command line.

Law: every public attribution is a method, found by its signature; `show` draws regions over the photograph and pixels
alone.
"""

import numpy as np
import pytest

import jaxviz as jv
from jaxviz.cli import methods


@pytest.fixture(scope="module")
def dog(pets):
    return pets[1]


def test_every_public_attribution_is_a_method():
    assert all(method is getattr(jv, name) for name, method in methods.METHODS.items())
    assert {"gradient", "smoothgrad", "guided_grad_cam", "lrp", "grad_cam", "score_cam", "occlusion", "rise"} <= set(
        methods.METHODS
    )
    assert {"cam", "smooth", "predict"}.isdisjoint(methods.METHODS)  # they need more than an image and a target


def test_the_decision_has_the_highest_score(cats_and_dogs, pets):
    assert [methods.decided(cats_and_dogs, image) for image in pets] == [0, 1]  # one sigmoid unit


def test_smoothgrad_keeps_to_the_decision(cats_and_dogs, dog, relative):
    undecided = jv.smoothgrad(cats_and_dogs, dog, samples=3)
    named = jv.smoothgrad(cats_and_dogs, dog, 1, samples=3)
    np.testing.assert_array_equal(undecided.values, named.values)
    still = jv.smoothgrad(cats_and_dogs, dog, 1, samples=1, noise=0)
    assert relative(still.values, jv.gradient(cats_and_dogs, dog, 1).values) < 1e-5


def test_guided_grad_cam_is_zero_where_grad_cam_is(cats_and_dogs, dog):
    values = jv.guided_grad_cam(cats_and_dogs, dog, 1, layer="conv2d_13").values
    assert values.shape == dog.shape
    assert values.any()
    assert not values[jv.grad_cam(cats_and_dogs, dog, 1, layer="conv2d_13").values == 0].any()


def test_an_occluding_window_is_a_fifth_of_the_image(cats_and_dogs, dog):
    ours = jv.occlusion(cats_and_dogs, dog, 1)
    np.testing.assert_array_equal(ours.values, jv.occlusion(cats_and_dogs, dog, 1, window=51).values)


def test_each_method_gets_the_options_that_it_takes():
    options = {"layer": ["conv"], "window": 8}
    assert methods.share(["gradient", "occlusion", "guided_grad_cam"], options) == {
        "gradient": {},
        "occlusion": {"window": 8},
        "guided_grad_cam": {"layer": ["conv"]},
    }
    with pytest.raises(jv.InputError, match="window is an option of occlusion; given: grad_cam, lrp"):
        methods.share(["grad_cam", "lrp"], options)


def test_an_unknown_method_is_answered_with_all():
    with pytest.raises(
        jv.InputError, match=r"'gradcam': did you mean .*grad_cam.*\? The methods are .*grad_cam, .*rise"
    ):
        methods.share(["gradcam"], {})


def test_regions_lie_over_the_photograph_and_pixels_alone():
    photograph = np.full((500, 600, 3), 0.5, np.float32)  # too large to be enlarged
    regions = jv.Attribution(np.float32([[0, 1], [-1, 0]]), np.float32(1))

    over = methods.show("occlusion", photograph, regions).axes[0]
    assert over.get_title() == "occlusion"
    assert over.images[0].get_array().shape == (500, 600, 3)
    assert not over.child_axes
    pixels = regions._replace(values=np.stack([regions.values] * 3, -1))
    for figure in (
        methods.show("lrp", photograph, pixels),
        methods.show("occlusion", photograph, regions, signed=True),
    ):
        alone = figure.axes[0]
        assert len(alone.child_axes) == 1  # the colour bar
        picture = alone.images[0].get_array()
        assert picture.shape == (500, 600, 3)
        assert picture[0, -1].argmax() == 0  # red
        assert picture[-1, 0].argmax() == 2  # blue
    relative = jv.RelativeAttribution(*regions)
    lowest = methods.show("rise", photograph, relative, signed=True).axes[0].images[0].get_array()[-1, 0]
    assert lowest.min() > 240  # white: only the differences of its map mean something

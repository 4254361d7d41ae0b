"""The portrait of a filter, and its figure.

Laws:
- Its parts are those of `sweep`, `top_images`, `crops`, `spectra` and `expanded_weights`.
- The figure draws them value by value, in rows, and gives all weights one scale.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import images, keras_model

import jaxviz as jv
from jaxviz.ascent.recipes import RECIPES
from jaxviz.filters.portrait import _inputs
from jaxviz.rendering import rgb

SETTINGS = {"recipe": "chollet", "steps": 3, "size": 12}


@pytest.fixture(scope="module")
def model():
    return keras_model()


@pytest.fixture(scope="module")
def found(model):
    return jv.top_images(model, images(9), "second", top=3)


@pytest.fixture(scope="module")
def portrait(model, found):
    return jv.portray(model, "second", 4, found, inputs=2, diverse=2, **SETTINGS)


def climbed(model, objectives, key=None):
    style = RECIPES["chollet"]
    found = jv.sweep(style.feed(model), objectives, key=key, **style.settings(steps=3, size=12))
    return style.pictures(found)


def test_optima_are_those_of_a_sweep(model, portrait):
    """Before the ReLU, so that the opposite of a filter is no dead end."""
    filter_ = jv.Channel("second/pre", 4)
    best, worst = climbed(model, [1.0 * filter_, -1.0 * filter_])
    np.testing.assert_array_equal(portrait.optimum, best)
    np.testing.assert_array_equal(portrait.opposite, worst)
    assert (portrait.optimum != portrait.opposite).any()


def test_different_optima_climb_together(model, portrait):
    """To be different is worth a fifth of what the optimum is worth for the filter."""
    filter_, style = jv.Channel("second/pre", 4), RECIPES["chollet"]
    settings = style.settings(steps=3, size=12)
    weight = abs(float(jv.ascend(style.feed(model), 1.0 * filter_, key=keys(1), **settings).scores[-1]))
    apart = [filter_ + 0.2 * weight * jv.Diversity("second")] * 2
    key = jax.random.fold_in(jax.random.key(0), 1)
    found = jv.sweep(style.feed(model), apart, key=key, group=2, **settings)
    np.testing.assert_array_equal(portrait.diverse, style.pictures(found))
    assert (portrait.diverse[0] != portrait.diverse[1]).any()


def test_what_it_sees_are_crops_of_images(model, found, portrait):
    spectra = jv.spectra(found)
    for seen, at in ((portrait.best, found), (portrait.ordinary, spectra)):
        np.testing.assert_array_equal(seen.score, at.score[4])
        for ours, theirs in zip(seen.crops, jv.crops(model, found, 4, at), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(portrait.ordinary.percentile, spectra.percentile)


def test_what_it_reads_are_the_largest_weights(model, portrait):
    weights = jv.expanded_weights(model, "second", 4, "first")
    order = np.argsort(-np.linalg.norm(weights, axis=(0, 1)))[:2]
    assert portrait.inputs.source == "first"
    np.testing.assert_array_equal(portrait.inputs.index, order)
    np.testing.assert_array_equal(portrait.inputs.weights, np.moveaxis(weights, -1, 0)[order])
    expected = climbed(model, [jv.Channel("first/pre", i) for i in order.tolist()], keys(4)[2:])
    np.testing.assert_array_equal(portrait.inputs.pictures, expected)


def keys(count):
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), np.arange(count))


def test_the_figure_has_a_row_for_each_part(portrait):
    figure = jv.show_portrait(portrait)
    titles = [axes.get_title() for axes in figure.axes]
    first, second = portrait.inputs.index
    assert titles[:4] == ["second · 4", "opposite", "different optima", ""]
    assert titles[4:7] == [
        f"{how}{score:.4g}" for how, score in zip(("highest: ", "", ""), portrait.best.score, strict=True)
    ]
    assert titles[7] == f"50 %: {portrait.ordinary.score[0]:.4g}"
    assert titles[15:17] == [f"reads first · {first}", str(second)]
    drawn = [axes.images[0].get_array() for axes in figure.axes]
    np.testing.assert_array_equal(drawn[0], portrait.optimum)
    np.testing.assert_array_equal(drawn[4], np.rint(255 * portrait.best.crops[0]).astype(np.uint8))
    np.testing.assert_array_equal(drawn[15], portrait.inputs.pictures[0])
    high = float(np.abs(portrait.inputs.weights).max())
    for picture, weights in zip(drawn[17:], portrait.inputs.weights, strict=True):
        np.testing.assert_array_equal(picture, rgb.heat(weights, "RdBu_r", low=-high, high=high))
    tops = [axes.get_position().y1 for axes in figure.axes]
    assert tops[0] > tops[4] > tops[7] > tops[15] > tops[17]


def test_a_filter_of_the_first_layer_reads_the_image(model):
    figure = jv.show_filter(model, "first", 1, diverse=0, **SETTINGS)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:2] == ["first · 1", "opposite"]
    assert titles[2].startswith("reads image: ")
    assert {title.split()[-2] for title in titles[2:]} == {"red", "green", "blue"}


def test_a_channel_is_a_colour_only_among_three():
    grey = jv.wrap(lambda params, batch: jnp.concatenate([batch, 1 - batch], -1), image_shape=(12, 12, 1))
    figure = jv.show_filter(grey, "output", 1, diverse=0, **SETTINGS)
    assert figure.axes[2].get_title().startswith("reads image: 0 -1")


def test_a_unit_has_a_portrait_too(model):
    """At the network's own size, which the layer needs."""
    portrait = jv.portray(model, "head", 1, images(3), recipe="chollet", inputs=2, diverse=0, steps=2)
    assert portrait.optimum.shape == (12, 12, 3)
    assert portrait.inputs.weights.shape == (2, 6, 6)
    assert _inputs(model, "head", 1, "flat", 5).weights.shape == (5, 1, 1)
    assert portrait.best.crops[0].shape == (12, 12, 3)


def test_portraits_that_cannot_be_made(model, found):
    for settings, message in (
        ({"recipe": "cholet"}, r"no recipe 'cholet': did you mean chollet.*there are "),
        ({"recipe": "chollet", "stps": 3}, "the recipe chollet has no stps: did you mean steps"),
        ({"inputs": 0}, "inputs is a whole number"),
        ({"diverse": 1}, "diverse is a whole number, 2 or more; given: 1"),
    ):
        with pytest.raises(jv.InputError, match=message):
            jv.portray(model, "second", 4, **settings)
    with pytest.raises(jv.InputError, match="second has 6 filters, 0 to 5; given: 6"):
        jv.portray(model, "second", 6)
    with pytest.raises(jv.InputError, match="those that top_images found for first; given: for second"):
        jv.portray(model, "first", 0, found)
    signal = jv.wrap(lambda params, batch: batch, image_shape=(40, 2))
    with pytest.raises(jv.InputError, match=r"a portrait has pictures \[h w c\], and this network takes \[40, 2\]"):
        jv.portray(signal, "output", 0)
    inputs = SimpleNamespace(source="a", index=np.arange(2), weights=np.zeros((2, 3)), pictures=[])
    bare = SimpleNamespace(
        layer="b", index=0, optimum=np.zeros((4, 4, 3), np.uint8), opposite=np.zeros((4, 4, 3), np.uint8)
    )
    with pytest.raises(jv.InputError, match=r"weights must be \[n h w\] and not empty; given: shape \[2, 3\]"):
        jv.show_portrait(SimpleNamespace(**vars(bare), diverse=[], best=None, ordinary=None, inputs=inputs))

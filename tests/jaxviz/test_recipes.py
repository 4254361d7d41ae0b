"""Recipes: the settings of published ascents.

Laws:
- A recipe holds the numbers of its source (file and line in each source's own units), as leaves of values.
- One step of its optimiser is the source's, computed with NumPy.
- Each recipe raises the score.
- A style shows pictures as its source does.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import keras_model

import jaxviz as jv
from jaxviz.ascent.recipes import RECIPES
from jaxviz.rendering import rgb
from weights_convert import INPUTS

pytestmark = pytest.mark.filterwarnings("ignore:.* objectives do not move:jaxviz.JaxvizWarning")


def moves(recipe, *gradients):
    """What the optimiser of a recipe adds to an array, step by step, for gradients of the score."""
    optimizer, added = recipe["optimizer"](), []
    memory = optimizer.init(jnp.zeros_like(gradients[0]))
    for gradient in gradients:
        update, memory = optimizer.update(-jnp.asarray(gradient), memory)
        added.append(np.asarray(update))
    return added


def gradient(seed=0, scale=1e-4):
    return (scale * np.random.default_rng(seed).normal(size=(5, 4, 3))).astype(np.float32)


def noise(recipe, seed=0):
    return np.asarray(recipe["canvas"].new(jax.random.key(seed), 3))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_raises_the_score(name):
    model = keras_model()
    objective = jv.Channel("second/pre", 1)
    recipe = RECIPES[name].recipe(size=12, steps=4)
    start = recipe["canvas"](recipe["canvas"].new(jax.random.fold_in(jax.random.key(0), 0), 3))
    found = jv.ascend(model, objective, **recipe)
    before, after = (float(objective(model(jnp.asarray(image), objective.layers))) for image in (start, found.image))
    assert after > before


def test_chollets_numbers():
    """x += gradient / (sqrt(mean(gradient²)) + 1e-5), in levels of 0–255, from random * 20 + 128."""
    recipe = jv.recipes.chollet()
    assert (recipe["canvas"].size, recipe["steps"]) == ((150, 150), 40)
    start = 255 * noise(recipe)
    assert 128 <= start.min() < 128.1
    assert 147.9 < start.max() <= 148
    g = gradient(scale=1e-5) / 255  # of a level: comparable with the book's 1e-5
    expected = g / (np.sqrt(np.mean(g**2)) + 1e-5)
    np.testing.assert_allclose(255 * moves(recipe, 255 * g)[0], expected, rtol=1e-5)
    np.testing.assert_allclose(255 * moves(jv.recipes.chollet(step=0.1), 255 * g)[0], 0.1 * expected, rtol=1e-5)


def test_the_numbers_of_the_third_edition():
    """x += 10 * keras.ops.normalize(gradient): each pixel's colours have norm 1, and Keras' epsilon is 1e-7."""
    recipe = jv.recipes.chollet_3rd_edition()
    assert (recipe["canvas"].size, recipe["steps"]) == ((200, 200), 30)
    start = noise(recipe)
    assert 0.4 <= start.min() < 0.401
    assert 0.599 < start.max() <= 0.6
    g = gradient()
    g[0, 0], g[0, 1] = 0, 1e-8
    expected = 10 * g * np.minimum(1 / np.sqrt(np.maximum((g**2).sum(-1, keepdims=True), 1e-30)), 1e7)
    np.testing.assert_allclose(moves(recipe, g)[0], expected, rtol=1e-5)


def test_keras_ios_numbers():
    """x += 10 * l2_normalize(gradient) in ResNet50V2's units, [-1, 1], from (U - 0.5) / 4."""
    recipe = jv.recipes.keras_io()
    assert (recipe["canvas"].size, recipe["steps"]) == ((180, 180), 30)
    start = 2 * noise(recipe) - 1
    assert -0.125 <= start.min() < -0.12
    assert 0.12 < start.max() <= 0.125
    g = gradient()
    np.testing.assert_allclose(2 * moves(recipe, 2 * g)[0], 10 * g / np.sqrt((g**2).sum()), rtol=1e-5)


def test_a_style_has_the_size_and_the_look_of_its_source():
    style = RECIPES["keras_io"]
    assert style.defaults == {"size": 180, "steps": 30, "step": 10.0, "start": None}
    settings, same = style.settings(steps=7, size=60), jv.recipes.keras_io(steps=7, size=60)
    assert jax.tree.structure(settings) == jax.tree.structure(same)
    assert jax.tree.leaves(settings) == jax.tree.leaves(same)
    assert RECIPES["chollet"].settings()["canvas"].size == (64, 64)
    image = np.random.default_rng(0).normal(size=(60, 61, 3)).astype(np.float32)
    x = (image - image.mean()) / image.std() * 0.15  # keras.io: the contrast is that of the whole image
    x = np.clip(x[25:-25, 25:-25] + 0.5, 0, 1) * 255
    np.testing.assert_allclose(style.picture(image), x, atol=1.01)  # the cast to uint8 cuts off
    np.testing.assert_array_equal(RECIPES["chollet"].picture(image), rgb.stretch(image, 0.1))
    with pytest.raises(jv.InputError, match="keras_io cuts 25 pixels off each side, so size is more than 50; given"):
        style.settings(size=50)
    with pytest.raises(jv.InputError, match="the recipe keras_io has no stp: did you mean step"):
        style.settings(stp=1)


@pytest.mark.parametrize(
    ("name", "own", "fed"),
    [
        ("chollet", "caffe", "raw255"),
        ("chollet", "tf", "tf"),
        ("chollet_3rd_edition", "tf", "unit"),
        ("keras_io", "caffe", "caffe"),
    ],
)
def test_a_network_is_fed_as_the_source_feeds_it(name, own, fed):
    model = keras_model().replace(inputs=INPUTS[own])
    assert RECIPES[name].feed(model).inputs == INPUTS[fed]


def test_every_contrast_has_a_name():
    assert {style.std for style in RECIPES.values()} <= set(rgb.CONTRASTS)


@pytest.mark.parametrize("name", [name for name, style in RECIPES.items() if "step" in style.defaults])
@pytest.mark.parametrize("length", [0, -1.0, float("nan"), float("inf")])
def test_a_step_that_leads_nowhere_is_refused(name, length):
    with pytest.raises(jv.InputError, match="step is the length of a step, more than 0; given"):
        RECIPES[name].recipe(step=length)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("size", [0, (0, 3)])
def test_a_size_that_is_none_is_refused(name, size):
    with pytest.raises(jv.InputError, match="size is a whole number"):
        RECIPES[name].recipe(size=size)

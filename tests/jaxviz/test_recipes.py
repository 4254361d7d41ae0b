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
from jaxviz.ascent.recipes.phases import Box
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
    """The last third of the scores is above the first: with a transform, single scores depend on its draw."""
    model = keras_model()
    objectives = RECIPES[name].objectives(model, "second/pre", [1])
    recipe = RECIPES[name].settings(size=64 if RECIPES[name].crop else 32, steps=8)
    scores = jv.sweep(model, objectives, **recipe).scores[0]
    third = len(scores) // 3
    assert scores[-third:].mean() > scores[:third].mean()


def test_a_start_of_one_colour_can_be_stretched():
    canvas = jv.recipes.xplique(size=16)["canvas"]
    latent = canvas.of(jnp.full((16, 16, 3), 0.5))
    assert np.isfinite(canvas(latent)).all()
    slope = jax.grad(lambda latent: (canvas(latent) ** 2 + canvas(latent)).sum())(latent)
    assert np.isfinite(slope).all()


def test_xpliques_transforms_fit_any_sides():
    for size in ((40, 16), (16, 40)):
        recipe = jv.recipes.xplique(size=size)
        seen = jax.eval_shape(recipe["transform"], jax.random.key(0), jax.ShapeDtypeStruct((*size, 3), jnp.float32))
        assert seen.shape == (*(int(0.92 * (side - 8)) - 2 for side in size), 3)


def test_a_canvas_of_the_whole_shape_has_no_channels():
    """What Lucid's transform would take for channels is a row of pixels there."""
    model = jv.wrap(lambda params, x: x.mean((1, 2))[:, None], jnp.zeros(()), (6, 5))
    found = jv.sweep(model, [jv.Unit("output", 0)], canvas=jv.Fourier((6, 5)), steps=2)
    assert found.image.shape == (1, 6, 5)
    assert jv.recipes.lucid_for(model, (6, 5))["transform"] is None
    assert jv.recipes.lucid_for(model, (6,))["transform"] is not None


def test_without_a_canvas_a_sweep_is_lucids():
    model, objectives = keras_model(), [jv.Channel("second", 1)]
    found, same = jv.sweep(model, objectives, steps=2), jv.sweep(model, objectives, **jv.recipes.lucid(steps=2))
    assert found.image.shape == (1, 128, 128, 3)
    np.testing.assert_array_equal(found.image, same.image)
    plain = jv.sweep(model, objectives, canvas=jv.Pixels((32, 32)), steps=2)
    book = jv.sweep(model, objectives, **jv.recipes.chollet(size=32, steps=2))
    np.testing.assert_array_equal(plain.image, book.image)
    there = jv.sweep(model, objectives, canvas=jv.Fourier((32, 32)), steps=2)
    lucids = jv.sweep(model, objectives, **jv.recipes.lucid(size=32, steps=2) | {"transform": None})
    np.testing.assert_array_equal(there.image, lucids.image)
    begun = jv.sweep(model, objectives, start=np.full((32, 30, 3), 0.5, np.float32), steps=1)
    assert begun.image.shape == (1, 32, 30, 3)


@pytest.mark.parametrize(
    ("shape", "size"), [((40, 2), (40,)), ((12, 10, 8, 1), (12, 10, 8)), ((20, 18), (20, 18)), ((30,), (30,))]
)
def test_lucids_recipe_for_signals_volumes_and_images_without_channels(shape, size):
    weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    model = jv.wrap(lambda w, x: jnp.tanh((x * w).sum(tuple(range(1, x.ndim))))[:, None], weight, shape)
    recipe = jv.recipes.lucid_for(model)
    assert recipe["canvas"].size == size
    found = jv.sweep(model, [jv.Unit("output", 0)], steps=2)
    assert found.image.shape == (1, *shape)
    assert 0 < found.image.min() < found.image.max() < 1


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


def adam(gradients, rate):
    """Adam (Kingma & Ba 2015, algorithm 1): how far it goes along each of the gradients."""
    first = second = 0
    for t, g in enumerate(gradients, 1):
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        yield rate * first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)


@pytest.mark.parametrize("name", ["lucid", "lucid_chain", "xplique"])
def test_lucid_and_xplique_climb_by_adam(name):
    gradients = [gradient(seed) for seed in range(3)]
    found = moves(RECIPES[name].recipe(), *gradients)
    np.testing.assert_allclose(found, list(adam(gradients, 0.05)), rtol=1e-4)


def test_lucids_numbers():
    recipe = jv.recipes.lucid()
    canvas, transform = recipe["canvas"], recipe["transform"]
    assert (canvas.size, recipe["steps"]) == ((128, 128), 256)
    assert (canvas.decay, canvas.sd, recipe["relu"]) == (1.0, 0.01, "pre")
    root = np.array([[0.26, 0.09, 0.02], [0.27, 0, -0.05], [0.27, -0.09, 0.03]])
    np.testing.assert_allclose(canvas.colors, root / np.linalg.norm(root, axis=0).max(), rtol=1e-6)
    assert (transform.jitter, transform.scale, transform.degrees) == (8.0, (0.9, 1.1), 10.0)
    assert (transform.upright, transform.fill, transform.shear, transform.size) == (0.2, 0.5, 0.0, None)
    assert jv.recipes.lucid(size=32)["transform"].jitter == 4.0
    for size in ((64,), (16, 16, 16)):  # a signal and a volume are shifted, in a frame of mid-grey
        transform, image = jv.recipes.lucid(size=size)["transform"], jnp.zeros((*size, 2))
        shifted = {float(transform(jax.random.key(i), image).mean()) for i in range(4)}
        assert len(shifted) > 1
        assert 0 <= min(shifted) < max(shifted) < 0.5


def test_the_numbers_of_lucids_own_chain():
    recipe = jv.recipes.lucid_chain()
    pad, crop, scale, turn, again = recipe["transform"].transforms
    assert (recipe["steps"], recipe["relu"]) == (512, "redirect")
    assert (pad.pixels, pad.fill, crop.pixels, again.pixels) == (12, 0.5, 8, 4)
    np.testing.assert_allclose(scale.scale.values, np.arange(0.9, 1.101, 0.02))
    assert turn.degrees.values == [*range(-10, 11), 0, 0, 0, 0, 0]
    seen = jax.eval_shape(recipe["transform"], jax.random.key(0), jnp.zeros((128, 128, 3)))
    assert seen.shape == (140, 140, 3)


def test_xpliques_numbers():
    recipe = jv.recipes.xplique()
    canvas = recipe["canvas"]
    assert (canvas.size, recipe["steps"]) == ((512, 512), 256)
    assert (canvas.canvas.decay, canvas.canvas.sd) == (0.85, 0.01)
    matrix = [[0.5628, 0.5845, 0.5845], [0.1948, 0, -0.1948], [0.0433, -0.1082, 0.0649]]
    np.testing.assert_allclose(canvas.canvas.colors.T, matrix, atol=1e-4)
    frame, *crops, scale, blur, first, second, flip = recipe["transform"].transforms
    assert (frame.pixels, frame.fill) == (128, 0)
    assert [crop.pixels for crop in crops] == [64, 64, 128, 128, 128]
    assert (scale.scale, scale.degrees, scale.jitter) == ((0.92, 0.96), 0, 0)
    assert (blur.sigma, blur.size, first.pixels, second.pixels) == ((1.0, 1.1), 10, 32, 32)
    assert (flip.probability, flip.axis) == (0.5, -2)
    small = jv.recipes.xplique(size=32)["canvas"]
    image = np.asarray(small(small.new(jax.random.key(0), 3)))
    assert (image.min(), image.max()) == (0, 1)
    raw = np.asarray(small.canvas(small.new(jax.random.key(0), 3)))
    np.testing.assert_allclose(image, (raw - raw.min()) / np.ptp(raw), atol=1e-6)


def test_the_numbers_of_tf_keras_vis():
    """RMSprop(1.0, rho=0.999) on pixels of 0–255; total variation and 0.3 × the mean, of pixels of 0–255."""
    recipe = jv.recipes.tf_keras_vis()
    roll, turn = recipe["transform"].transforms
    assert (recipe["canvas"].size, recipe["steps"]) == ((224, 224), 200)
    assert (roll.pixels, turn.degrees) == (4, 1.0)
    start = noise(recipe)
    assert start.min() < 0.01
    assert start.max() > 0.99
    square, expected = 0, []
    gradients = [gradient(seed, scale=1e-3) for seed in range(3)]  # in 0–255 units, comparable with Keras' 1e-7
    for g in gradients:
        square = 0.999 * square + 0.001 * g**2
        expected.append(g / np.sqrt(square + 1e-7))
    np.testing.assert_allclose(255 * np.stack(moves(recipe, *(255 * g for g in gradients))), expected, rtol=1e-4)
    image = np.random.default_rng(0).random((7, 6, 3)).astype(np.float32)
    levels = 255 * image
    variation = (np.abs(np.diff(levels, axis=0)).sum() + np.abs(np.diff(levels, axis=1)).sum()) / levels.size
    penalty = RECIPES["tf_keras_vis"].penalty({"image": jnp.asarray(image)})
    assert float(penalty) == pytest.approx(variation + 0.3 * levels.mean(), rel=1e-5)
    climbed = RECIPES["tf_keras_vis"].penalized(jv.Unit("head", 1))
    score = climbed({"image": jnp.asarray(image), "head": jnp.array([5.0, 7.0])})
    assert float(score) == pytest.approx(7 - float(penalty), rel=1e-5)
    assert RECIPES["lucid"].penalized(climbed) is climbed


def test_macos_numbers():
    """Nadam (Dozat 2016, without a schedule) by the mean of 32 gradients; boxes as of `tf.image.crop_and_resize`."""
    recipe = jv.recipes.maco()
    box, normal, even = recipe["transform"].transforms
    assert (recipe["canvas"].size, recipe["steps"]) == ((512, 512), 256 * 32)
    assert (box.side, box.deviation, box.least, box.spread, box.seen) == ((0.05, 0.5), 0.05, 0.05, 0.15, 224)
    assert (2 * normal.sd, 2 * even.most) == (0.08, 0.04)  # xplique's images reach from -1 to 1
    np.testing.assert_allclose(recipe["canvas"].colors[:, 0], [0.5628, 0.5845, 0.5845], atol=1e-4)
    gradients = [gradient(seed) for seed in range(4)]
    found = moves(jv.recipes.maco(crops=2), *gradients)
    first = second = 0
    for t, g in enumerate((np.mean(gradients[:2], 0), np.mean(gradients[2:], 0)), 1):
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        ahead = 0.9 * first / (1 - 0.9 ** (t + 1)) + 0.1 * g / (1 - 0.9**t)
        expected = ahead / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        assert not found[2 * t - 2].any()
        np.testing.assert_allclose(found[2 * t - 1], expected, rtol=1e-4)


def test_a_box_is_a_part_of_the_image():
    """On a ramp, a linear interpolation is the place itself, and the places are evenly apart."""
    ramp = np.stack(np.meshgrid(np.arange(41.0), np.arange(31.0), indexing="ij"), -1).astype(np.float32)
    ramp = jnp.asarray(ramp)
    inside = Box(side=0.4, deviation=0.0, spread=0.0, seen=5)
    found = np.asarray(inside(jax.random.key(0), ramp))
    np.testing.assert_allclose(found[:, 0, 0], 40 * np.linspace(0.3, 0.7, 5), rtol=1e-5)
    np.testing.assert_allclose(found[0, :, 1], 30 * np.linspace(0.3, 0.7, 5), rtol=1e-5)
    found = np.asarray(
        jax.vmap(lambda key: Box(spread=0.01, seen=3)(key, ramp))(jax.random.split(jax.random.key(0), 20))
    )
    sides = (found[:, 2, 0, 0] - found[:, 0, 0, 0]) / 40
    assert 0.05 - 1e-5 <= sides.min() < 0.2 < 0.35 < sides.max() < 0.7
    outside = Box(side=0.2, deviation=0.0, spread=100.0, seen=3)
    assert (np.asarray(outside(jax.random.key(0), ramp)) == 0.5).all()


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
    with pytest.raises(jv.InputError, match=r"step is (the length of a step, more than 0|a finite number); given"):
        RECIPES[name].recipe(step=length)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("size", [0, (0, 3)])
def test_a_size_that_is_none_is_refused(name, size):
    with pytest.raises(jv.InputError, match="size is a whole number"):
        RECIPES[name].recipe(size=size)

"""DeepDream.

Laws:
- The sizes and the detail are those of Mordvintsev's loop, written here in NumPy.
- The gradient of an image is that of its tiles side by side, wherever they begin; one program serves all sizes.
- The same key gives the same image, whatever the batch, and the energy of the layer rises.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import convolutions, linear_model

import jaxviz as jv
from jaxviz.ascent import dream as module
from jaxviz.rendering.images import resize


@pytest.fixture(scope="module")
def model():
    return convolutions()


@pytest.fixture(scope="module")
def photograph():
    return np.random.default_rng(0).random((40, 27, 3), np.float32)


def test_mordvintsevs_loop(model, photograph):
    """The energy of the image itself has a gradient along the image, whatever the tiles."""
    octaves = [resize(photograph, (round(40 / 1.2**k), round(27 / 1.2**k))) for k in (2, 1, 0)]
    detail = np.zeros_like(octaves[0])
    for base in octaves:
        image = np.clip(base + resize(detail, base.shape[:2]), 0, 1)
        for _ in range(2):
            image = np.clip(image + 7 / 255 * image / np.abs(image).mean(), 0, 1)
        detail = image - base
    found = jv.dream(model, photograph, "image", octaves=3, scale=1.2, steps=2, step=7, tile=16)
    np.testing.assert_allclose(found.image, image, atol=1e-5)
    assert found.scores.shape == (6,)


def test_the_gradient_is_that_of_the_tiles(model, photograph):
    objective = jv.Channel("second", 1)
    slope = jax.grad(lambda tile: model(tile, ["second"])["second"][..., 1].mean())
    wide = np.concatenate([photograph, photograph[:, ::-1]], 1)
    endless = np.tile(np.concatenate([wide, wide[::-1]]), (3, 3, 1))
    for draw, top, left in (((0.0, 0.0), 0, 0), ((0.99, 0.5), 56, 19)):  # of 56 and 37 pixels to spare
        gradient, score = module._of_tiles(model, objective, photograph, (32, 32), np.array(draw), 2)
        mirrored = endless[80 - top :, 54 - left :]
        expected, scores = np.zeros((96, 64, 3)), []
        for y in (0, 32, 64):
            for x in (0, 32):
                tile = jnp.asarray(mirrored[y : y + 32, x : x + 32])
                expected[y : y + 32, x : x + 32] = slope(tile)
                scores.append(model(tile, ["second"])["second"][..., 1].mean())
        np.testing.assert_allclose(gradient, expected[top : top + 40, left : left + 27], atol=1e-6)
        assert score == pytest.approx(np.mean(scores), rel=1e-4)


def test_one_program_for_all_sizes_and_batches_change_nothing(model, photograph):
    settings = {"octaves": 2, "steps": 2, "tile": 16, "key": jax.random.key(3)}
    first = jv.dream(model, photograph, {"second": 1.0, "first": 0.5}, batch=1, **settings)
    compiled = module._gradients.compiled()._cache_size()
    jv.dream(model, photograph[:30], {"second": 0.2, "first": 3}, batch=1, **settings)
    assert module._gradients.compiled()._cache_size() == compiled
    again = jv.dream(model, photograph, {"second": 1.0, "first": 0.5}, batch=3, **settings)
    np.testing.assert_allclose(again.image, first.image, atol=1e-5)
    other = jv.dream(model, photograph, {"second": 1.0, "first": 0.5}, batch=1, **settings | {"key": jax.random.key(4)})
    assert np.abs(other.image - first.image).max() > 0.01


def test_a_dream_excites_its_layer(model, photograph):
    found = jv.dream(model, photograph, ["second"], octaves=2, steps=4, tile=16)
    before, after = (
        (jv.activations(model, image, "second")["second"] ** 2).mean() for image in (photograph, found.image)
    )
    assert after > 1.2 * before
    assert found.image.shape == photograph.shape
    assert found.image.min() >= 0
    assert found.image.max() <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "secnd"}, "no layer 'secnd' in this model: did you mean second"),
        ({"objective": []}, r"a dream needs a layer or an objective; given: \[\]"),
        (
            {"objective": ["second", jv.Energy("first")]},
            r"a list is of names of layers; .*layer\) \+ Energy",
        ),
        ({"objective": {"second": "x"}}, "multiplied by one finite number; given: 'x'"),
        ({"scale": float("nan")}, "scale is a finite number; given: nan"),
        ({"key": jax.random.split(jax.random.key(0), 2)}, r"there is one key here.*; given: \[2\] keys"),
        ({"scale": 1}, "scale is the ratio of one size to the next, more than 1; given: 1"),
        ({"octaves": 0}, "octaves is a whole number, 1 or more; given: 0"),
        ({"step": -1.0}, "step is the mean change of a pixel in 0–255 units, more than 0; given: -1"),
        ({"octaves": 5}, "the smallest of 5 sizes is 10 × 7 pixels, and needs 16: take fewer octaves"),
        ({"tile": 0}, "tile is a whole number of pixels"),
        ({"image": np.zeros((2, 40, 40, 3))}, "an image is .*; dream takes one image, so call it for each"),
        ({"image": np.full((40, 40, 3), 255.0)}, r"images have values in \[0, 1\]"),
    ],
)
def test_what_cannot_be_dreamt(model, photograph, settings, message):
    arguments = {"image": photograph, "objective": "second", "tile": 16, "octaves": 1} | settings
    with pytest.raises(jv.InputError, match=message):
        jv.dream(model, **arguments)


def test_a_layer_that_needs_another_size():
    dense = linear_model(np.ones((12, 12, 3), np.float32))
    with pytest.raises(jv.InputError, match=r"an image of 16 × 16 does not fit .*: .* needs"):
        jv.dream(dense, np.full((40, 40, 3), 0.5), jv.Unit(dense.output, 0), tile=16, octaves=1)


def test_an_objective_without_a_gradient(model, photograph):
    with pytest.warns(jv.JaxvizWarning, match="the image has not changed: the objective has no gradient there"):
        found = jv.dream(model, photograph, 0.0 * jv.Channel("second", 0), octaves=1, steps=1, tile=16)
    np.testing.assert_array_equal(found.image, photograph)

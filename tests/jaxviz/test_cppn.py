"""The CPPN.

Laws:
- The image is that of Lucid's layers, written in NumPy, at Lucid's positions.
- The same latent draws the same picture at any size.
- It starts as one colour, and does not start from an image.
"""

import jax
import numpy as np
import pytest

import jaxviz as jv
from jaxviz.ascent.canvases.cppn import positions

draw = jax.jit(lambda canvas, latent: canvas(latent))
new = jax.jit(lambda canvas, key, channels: canvas.new(key, channels), static_argnums=2)


def latent(canvas, channels):
    """A latent whose last weights are not 0, as they are at the start."""
    *layers, (weights, biases) = new(canvas, jax.random.key(0), channels)
    return [*layers, (weights + np.random.default_rng(0).normal(size=weights.shape).astype(np.float32), biases)]


def test_the_image_is_that_of_lucids_layers():
    canvas = jv.CPPN((6, 6), layers=2, hidden=5)
    layers = latent(canvas, 3)
    along = np.linspace(-(3**0.5), 3**0.5, 6)
    values = np.stack(np.meshgrid(along, along, indexing="ij"), -1)
    for weights, biases in layers[:-1]:
        angles = np.arctan(values @ np.asarray(weights, np.float64) + biases)
        values = np.concatenate([angles / 0.67, angles**2 / 0.6], -1)
    weights, biases = layers[-1]
    np.testing.assert_allclose(draw(canvas, layers), 1 / (1 + np.exp(-(values @ weights + biases))), atol=1e-5)


@pytest.mark.parametrize("channels", [3, None])
def test_a_latent_draws_the_same_picture_at_any_size(channels):
    small, large = jv.CPPN((5, 9), 3), jv.CPPN((9, 17), 3)
    layers = latent(small, channels)
    np.testing.assert_allclose(draw(large, layers)[::2, ::2], draw(small, layers), atol=1e-5)


def test_pixels_are_square_and_positions_have_a_deviation_of_one():
    found = positions((101, 51))
    np.testing.assert_allclose(np.diff(found[:, 0, 0])[0], np.diff(found[0, :, 1])[0], rtol=1e-4)
    assert found[..., 0].std() == pytest.approx(1, rel=0.02)


def test_it_starts_as_one_colour_of_normal_activations():
    """Weights of variance 1 / inputs, so that the numbers of each layer stay about normal."""
    canvas = jv.CPPN((64, 64))
    layers = new(canvas, jax.random.key(1), 3)
    assert np.ptp(draw(canvas, layers), (0, 1)).max() == 0
    for weights, biases in layers[1:-1]:
        assert np.std(weights) == pytest.approx(1 / np.sqrt(48), rel=0.1)
        assert np.std(biases) == pytest.approx(0.1, rel=0.6)


def test_an_image_has_no_latent():
    with pytest.raises(jv.InputError, match=r"a CPPN starts from noise, since an image has no latent\. What starts"):
        jv.CPPN((4, 4)).of(np.zeros((4, 4, 3), np.float32))

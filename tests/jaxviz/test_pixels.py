"""Pixels and their bounds.

Laws:
- Without a bound, the latent is the image.
- With a bound, the image is in [0, 1], and `canvas(canvas.of(image))` is the image.
- A clipped pixel passes a gradient inside, and outside only one whose descent leads back.
- Noise lies between low and high, whatever the bound.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxviz as jv

image = np.random.default_rng(0).uniform(0.01, 0.99, (5, 6, 3)).astype(np.float32)


def test_without_a_bound_the_latent_is_the_image():
    canvas = jv.Pixels((5, 6))
    outside = 3 * image - 1
    np.testing.assert_array_equal(canvas(canvas.of(outside)), outside)


@pytest.mark.parametrize("bound", ["sigmoid", "clip"])
def test_with_a_bound_the_image_is_in_0_to_1(bound):
    canvas = jv.Pixels((5, 6), bound=bound)
    np.testing.assert_allclose(canvas(canvas.of(image)), image, atol=1e-6)
    drawn = np.asarray(canvas(8 * image - 4))
    expected = 1 / (1 + np.exp(4 - 8 * image)) if bound == "sigmoid" else np.clip(8 * image - 4, 0, 1)
    np.testing.assert_allclose(drawn, expected, atol=1e-6)


@pytest.mark.parametrize("slope", [1.0, -1.0])
def test_a_clipped_pixel_only_comes_back(slope):
    """An optimiser descends, so a slope of 1 makes each pixel darker: that leads back from above 1."""
    canvas = jv.Pixels((5,), bound="clip")
    latent = jnp.array([-0.5, 0.0, 0.5, 1.0, 1.5])
    passed = np.asarray(jax.grad(lambda latent: slope * canvas(latent).sum())(latent))
    expected = np.array([0.0, 1, 1, 1, 1] if slope > 0 else [1.0, 1, 1, 1, 0]) * slope
    np.testing.assert_array_equal(passed, expected)


@pytest.mark.parametrize("bound", [None, "sigmoid", "clip"])
def test_noise_lies_between_low_and_high(bound):
    canvas = jv.Pixels((40, 40), 0.3, 0.4, bound=bound)
    noise = np.asarray(canvas(canvas.new(jax.random.key(0), 3)))
    assert 0.3 - 1e-6 < noise.min() < 0.302
    assert 0.398 < noise.max() < 0.4 + 1e-6

"""The Laplacian pyramid.

Laws:
- The image is the sigmoid of the colours of the sum of the levels, each enlarged linearly.
- `canvas(canvas.of(image))` is the image, of any sides, signals and volumes.
- A coarse level of an image holds its coarse part.
"""

import jax
import numpy as np
import pytest

import jaxviz as jv

random = np.random.default_rng(0)
again = jax.jit(lambda canvas, image: canvas(canvas.of(image)))


def enlarged(level: np.ndarray, size: int) -> np.ndarray:
    """A signal at the centres of more pixels, linearly, and constant beyond the outer centres."""
    centres = (np.arange(size) + 0.5) * len(level) / size - 0.5
    return np.stack([np.interp(centres, np.arange(len(level)), column) for column in level.T], -1)


def test_the_image_is_the_sum_of_the_enlarged_levels():
    levels = tuple(random.normal(size=(size, 3)).astype(np.float32) for size in (11, 5, 2))
    raw = sum(enlarged(level, 11) for level in levels) @ jv.colors.LUCID.T
    np.testing.assert_allclose(jv.Pyramid((11,), 3)(levels), 1 / (1 + np.exp(-raw)), atol=1e-5)


@pytest.mark.parametrize(("size", "channels"), [((12, 9), 3), ((20,), 2), ((4, 5, 8), 1), ((8, 11), None)])
def test_a_canvas_draws_the_image_that_it_was_given(size, channels):
    image = random.uniform(0.01, 0.99, size if channels is None else (*size, channels)).astype(np.float32)
    np.testing.assert_allclose(again(jv.Pyramid(size, 3), image), image, atol=1e-5)


def test_a_smooth_image_lies_in_its_coarse_level():
    ramp = np.linspace(0.2, 0.8, 32, dtype=np.float32)[:, None, None] * np.ones((1, 32, 1), np.float32)
    levels = jv.Pyramid((32, 32), 3).of(ramp)
    assert [level.shape for level in levels] == [(32, 32, 1), (16, 16, 1), (8, 8, 1)]
    fine, middle, coarse = (np.abs(level).mean() for level in levels)
    assert max(fine, middle) < 0.1 * coarse

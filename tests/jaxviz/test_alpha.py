"""The alpha channel.

Laws:
- The image is that of the wrapped canvas and one more channel, which the same canvas draws.
- `canvas(canvas.of(image))` is the image, with its opacity.
- Colours and opacity start from noise of their own.
"""

import jax
import numpy as np
import pytest

import jaxviz as jv

random = np.random.default_rng(0)


@jax.jit
def parts(canvas, image):
    """The image that the canvas draws of an image, and what the wrapped canvas draws of its two latents."""
    latent = canvas.of(image)
    return canvas(latent), *map(canvas.canvas, latent)


@pytest.mark.parametrize("inner", [jv.Fourier((7, 6)), jv.Pixels((7, 6), bound="clip"), jv.Pyramid((7, 6), 2)])
def test_the_last_channel_is_drawn_by_the_same_canvas(inner):
    canvas = jv.Alpha(inner)
    assert canvas.size == (7, 6)
    image = random.uniform(0.01, 0.99, (7, 6, 4)).astype(np.float32)
    found, colors, opacity = parts(canvas, image)
    np.testing.assert_allclose(found, image, atol=1e-5)
    np.testing.assert_allclose(colors, image[..., :3], atol=1e-5)
    np.testing.assert_allclose(opacity, image[..., 3:], atol=1e-5)


def test_opacity_has_noise_of_its_own():
    start = jax.jit(lambda canvas, key: canvas(canvas.new(key, 1)))
    found = np.asarray(start(jv.Alpha(jv.Fourier((32, 32))), jax.random.key(0)))
    assert found.shape == (32, 32, 2)
    assert abs(np.corrcoef(found.reshape(-1, 2).T)[0, 1]) < 0.5


def test_what_has_no_opacity():
    with pytest.raises(jv.InputError, match="Alpha adds a channel, and this network takes images without channels"):
        jv.Alpha(jv.Fourier((8, 8))).check(None)
    for inner in (8, jv.Alpha(jv.Fourier((8, 8)))):
        with pytest.raises(jv.InputError, match="Alpha wraps a canvas such as"):
            jv.Alpha(inner).check(3)

"""The Fourier canvas and its colours.

Laws:
- The image is that of Lucid's formulas, written in NumPy.
- `canvas(canvas.of(image))` is the image, of odd and even sides, signals and volumes; an 8-bit picture keeps its bits.
- Before colours and sigmoid, noise has the deviation that the docstring states, and with decay 0 it is white.
- An estimated colour matrix is a square root of the covariance of the colours.
"""

import jax
import numpy as np
import pytest

import jaxviz as jv
from jaxviz.ascent.canvases.colors import LUCID, XPLIQUE, check_colors, to_image, to_raw

SHAPES = [((8, 6), 3), ((7, 9), 3), ((6, 7), 3), ((1, 1), 3), ((9,), 2), ((4, 3, 5), 1), ((4, 5), None)]
random = np.random.default_rng(0)
draw = jax.jit(lambda canvas, latent: canvas(latent))
again = jax.jit(lambda canvas, image: canvas(canvas.of(image)))


@jax.jit
def starts(canvas, keys):
    """Noise before the sigmoid, of two channels."""
    return jax.vmap(lambda key: to_raw(canvas(canvas.new(key, 2)), None, len(canvas.size)))(keys)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def lucid(parts, h, w, decay, matrix):
    """lucid, optvis/param/spatial.py and color.py, for an even width."""
    frequency = np.sqrt(np.fft.fftfreq(h)[:, None] ** 2 + np.fft.fftfreq(w)[: w // 2 + 1] ** 2)
    scale = 1.0 / np.maximum(frequency, 1.0 / max(w, h)) ** decay * np.sqrt(w * h)
    image = np.fft.irfft2(scale * (parts[0] + 1j * parts[1])).transpose(1, 2, 0) / 4.0
    if matrix is not None:
        image = image @ (matrix / np.linalg.norm(matrix, axis=0).max()).T
    return sigmoid(image)


@pytest.mark.parametrize(("h", "w"), [(8, 6), (6, 8), (7, 10)])
@pytest.mark.parametrize("decay", [0.0, 1.0, 1.5])
def test_the_formulas_are_lucids(h, w, decay):
    parts = random.normal(size=(2, 3, h, w // 2 + 1)).astype(np.float32)
    matrix = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
    found = draw(jv.Fourier((h, w), decay), parts)
    np.testing.assert_allclose(found, lucid(parts, h, w, decay, matrix), atol=1e-5)
    plain = draw(jv.Fourier((h, w), decay, colors=None), parts)
    np.testing.assert_allclose(plain, lucid(parts, h, w, decay, None), atol=1e-5)


def test_xpliques_matrix_is_that_of_xplique():
    """xplique multiplies from the right by rows of independent channels, and does not divide by a norm."""
    theirs = [
        [0.56282854, 0.58447580, 0.58447580],
        [0.19482528, 0.0, -0.19482528],
        [0.0432945, -0.10823626, 0.06494176],
    ]
    raw = random.normal(size=(4, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(to_image(raw, XPLIQUE, 2), sigmoid(raw @ np.array(theirs)), atol=1e-6)


@pytest.mark.parametrize(("size", "channels"), SHAPES)
def test_a_canvas_draws_the_image_that_it_was_given(size, channels):
    image = random.uniform(0.01, 0.99, size if channels is None else (*size, channels)).astype(np.float32)
    for settings in ({}, {"decay": 2.0, "colors": XPLIQUE}, {"decay": 0.0, "colors": None}):
        canvas = jv.Fourier(size, **settings)
        np.testing.assert_allclose(again(canvas, image), image, atol=1e-5)


def test_an_8_bit_picture_keeps_its_bits():
    """Also 0 and 255, which no sigmoid reaches, and which have a latent that is finite."""
    picture = random.choice([0, 1, 77, 254, 255], (24, 31, 3))
    for canvas in (jv.Fourier((24, 31)), jv.Pixels((24, 31), bound="sigmoid")):
        found = again(canvas, (picture / 255).astype(np.float32))
        np.testing.assert_array_equal(np.round(255 * np.asarray(found)), picture)


@pytest.mark.parametrize("size", [(16, 16), (15, 17), (101,), (5, 6, 7)])
@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_noise_has_the_deviation_that_is_stated(size, decay):
    canvas = jv.Fourier(size, decay, 0.02, colors=None)
    found = starts(canvas, jax.random.split(jax.random.key(0), 400))
    axes = np.meshgrid(*map(np.fft.fftfreq, size), indexing="ij")
    frequency = np.maximum(np.sqrt(sum(axis**2 for axis in axes)), 1 / max(size))
    stated = 0.02 * np.sqrt(2) / 4 * np.sqrt((frequency ** (-2 * decay)).mean())
    # A quarter of the power is in few frequencies when decay is 1, so its estimate is less sure.
    assert np.std(found) == pytest.approx(stated, rel=0.01 if decay == 0 else 0.05)
    if decay == 0:  # white: all frequencies have the same power, also those that are their own mirror image
        power = np.abs(np.fft.fftn(found, axes=range(1, found.ndim - 1)) ** 2).mean((0, -1))
        np.testing.assert_allclose(power / power.mean(), 1, atol=0.3)
        corner = (0,) * len(size)
        assert power[corner] / power.mean() == pytest.approx(1, abs=0.2)


def test_the_latent_has_the_deviation_sd():
    latent = np.asarray(
        jax.jit(lambda canvas, key: canvas.new(key, 3))(jv.Fourier((64, 64), sd=0.5), jax.random.key(0))
    )
    assert latent.shape == (2, 3, 64, 33)
    np.testing.assert_allclose(latent[..., 1:-1].std((1, 2, 3)), 0.5, rtol=0.03)


def test_grey_is_drawn_without_the_colours_of_photographs():
    image = random.uniform(0.1, 0.9, (6, 6, 1)).astype(np.float32)
    np.testing.assert_allclose(to_image(image, LUCID, 2), sigmoid(image), atol=1e-6)


def test_an_estimated_matrix_is_a_root_of_the_covariance():
    pixels = random.normal(size=(3, 20, 30, 4)) @ random.normal(size=(4, 4)) * 0.05 + 0.5
    images = np.clip(pixels, 0, 1).astype(np.float32)
    matrix = jv.colors.estimate(images)
    covariance = np.cov(images.reshape(-1, 4).T.astype(np.float64), ddof=0)
    np.testing.assert_allclose(matrix @ matrix.T * np.linalg.eigvalsh(covariance)[-1], covariance, rtol=1e-4, atol=1e-7)
    norms = np.linalg.norm(matrix, axis=0)
    assert norms[0] == pytest.approx(1, rel=1e-5)
    assert (np.diff(norms) < 0).all()
    parts = (part for image in images for part in (image[:9], image[9:]))  # of other sizes, one at a time
    np.testing.assert_allclose(jv.colors.estimate(parts), matrix, atol=1e-6)
    check_colors(matrix, 4)


def test_what_has_no_colour_matrix():
    grey = np.repeat(random.random((5, 5, 1), np.float32), 3, -1)
    with pytest.raises(jv.InputError, match="3 channels of these images depend on each other, as in grey images"):
        jv.colors.estimate([grey])
    with pytest.raises(jv.InputError, match="at least one image; given: none"):
        jv.colors.estimate([])
    with pytest.raises(jv.InputError, match="all images have the same channels; given: 3 and 1"):
        jv.colors.estimate([grey, grey[..., :1]])
    with pytest.raises(jv.InputError, match="given: 0 to 255"):
        jv.colors.estimate([255 * np.round(grey)])
    with pytest.raises(jv.InputError, match=r"an image without channels has no colour matrix; given: \[2, 2\]"):
        check_colors(np.eye(2), None)

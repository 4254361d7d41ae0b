"""MaCo and the magnitudes of photographs.

Laws:
- The magnitudes of an image are the given ones, whatever the latent, and its deviation is the contrast.
- The image is that of the paper's formula, written in NumPy.
- `canvas(canvas.of(image))` is the image, of all that the canvas draws; an image with its own magnitude draws itself.
- A mean magnitude leaves out the seam between opposite edges.
- Magnitudes are taken to another size by frequency, exactly where they are 1 / frequency.
- The default is what its script makes of the photographs.
"""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxviz as jv
from jaxviz.ascent.canvases.colors import to_image, to_raw
from jaxviz.ascent.canvases.magnitudes import periodic_spectrum, photographs, resample

SHAPES = [((8, 6), 3), ((7, 9), 3), ((12,), 2), ((3, 4, 5), 1), ((6, 5), None)]
random = np.random.default_rng(0)
draw = jax.jit(lambda canvas, latent: canvas(latent))
again = jax.jit(lambda canvas, image: canvas(canvas.of(image)))


def axes(size):
    return tuple(range(len(size)))


def own_magnitude(size, channels):
    """An image, and the magnitude of its FFT."""
    own = () if channels is None else (channels,)
    image = random.uniform(0.1, 0.9, (*size, *own)).astype(np.float32)
    magnitude = np.abs(np.fft.rfftn(np.asarray(to_raw(image, None, len(size))), axes=axes(size)))
    return (magnitude if channels is None else np.moveaxis(magnitude, -1, 0)), image


@pytest.mark.parametrize(("size", "channels"), SHAPES)
def test_magnitudes_are_fixed_whatever_the_latent(size, channels):
    magnitude, _ = own_magnitude(size, channels)
    canvas = jv.MaCo(size, magnitude, 0.7, colors=None)
    latent = random.normal(size=(2, *magnitude.shape)).astype(np.float32)
    image = draw(canvas, latent)
    raw = np.asarray(to_raw(image, None, len(size)))
    assert raw.mean() == pytest.approx(0, abs=1e-5)
    assert raw.std() == pytest.approx(0.7, rel=1e-4)
    found = np.abs(np.fft.rfftn(raw, axes=axes(size)))
    found = np.moveaxis(found, -1, 0) if channels else found
    ratio = (found / magnitude).reshape(-1, found[0].size if channels else found.size)[:, 1:]
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=2e-3)
    np.testing.assert_allclose(again(canvas, image), image, atol=2e-5)


def test_the_formula_is_the_papers():
    """Fel et al. 2023, eq. 4, with xplique's standardisation, at phases that a real image has."""
    phase = np.angle(np.fft.rfft2(random.normal(size=(3, 8, 10))))
    magnitude = np.abs(np.fft.rfft2(random.normal(size=(3, 8, 10))))
    magnitude[:, 0, 0] = 0
    latent = np.stack([np.cos(phase), np.sin(phase)]).astype(np.float32)
    raw = np.fft.irfft2(magnitude * np.cos(phase) + 1j * magnitude * np.sin(phase)).transpose(1, 2, 0)
    raw = (raw - raw.mean()) / raw.std()
    expected = to_image(raw.astype(np.float32), jv.colors.LUCID, 2)
    np.testing.assert_allclose(draw(jv.MaCo((8, 10), magnitude), latent), expected, atol=1e-5)


def test_an_image_with_its_own_magnitude_draws_itself():
    magnitude, image = own_magnitude((9, 8), 2)
    raw = np.asarray(to_raw(image, None, 2))
    raw = raw - raw.mean((0, 1))
    image = np.asarray(to_image(raw, None, 2))
    np.testing.assert_allclose(again(jv.MaCo((9, 8), magnitude, raw.std(), colors=None), image), image, atol=1e-5)


def test_a_latent_of_zeros_is_grey_and_has_a_finite_gradient():
    canvas = jv.MaCo((8, 8))
    zeros = np.zeros((2, 3, 8, 5), np.float32)
    image, gradient = jax.jit(jax.value_and_grad(lambda latent: canvas(latent).sum()))(zeros)
    assert image == pytest.approx(0.5 * 8 * 8 * 3)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(("own", "size"), [((8, 6), (8, 6)), ((8, 6), (16, 18)), ((64, 64), (100, 33)), ((9,), (5,))])
def test_magnitudes_are_taken_to_another_size_by_frequency(own, size):
    def inverse(sides, half):
        *rows, columns = (np.fft.fftfreq(side) for side in sides)
        columns = np.fft.rfftfreq(sides[-1]) if half else columns
        frequency = np.sqrt(sum(axis**2 for axis in np.meshgrid(*rows, columns, indexing="ij")))
        frequency.flat[0] = np.inf
        return 1 / frequency

    found = resample(inverse(own, False)[None], own, size)[0]
    expected = inverse(size, True) * np.sqrt(np.prod(size) / np.prod(own))  # noise of one deviation at both sizes
    np.testing.assert_allclose(found.ravel()[1:], expected.ravel()[1:], rtol=1e-6)


def test_a_mean_magnitude_is_that_of_the_periodic_parts():
    images = random.uniform(0.1, 0.9, (3, 6, 7, 3)).astype(np.float32)
    raw = np.moveaxis(np.asarray(to_raw(images, jv.colors.LUCID, 3)), -1, 1)
    found = jv.mean_magnitude(iter(images), (6, 7))
    expected = np.abs([periodic_spectrum(each, 2) for each in raw]).mean(0)[..., :4]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(9,), (6, 7), (1, 5), (3, 4, 5)])
def test_the_periodic_part_has_the_laplacian_of_the_image_without_the_seam(size):
    """Moisan 2011, the equation that defines it."""
    image = random.normal(size=size)
    periodic = np.fft.ifftn(periodic_spectrum(image, len(size)))
    assert np.abs(periodic.imag).max() < 1e-12
    assert periodic.real.mean() == pytest.approx(image.mean())
    around = sum(np.roll(periodic.real, way, axis) - periodic.real for axis in axes(size) for way in (1, -1))
    inside = np.zeros(size)
    for axis in axes(size):
        steps = np.diff(image, axis=axis)
        inside += np.diff(steps, axis=axis, prepend=0, append=0)
    np.testing.assert_allclose(around, inside, atol=1e-10)


def test_the_default_is_what_its_script_makes():
    file = Path(__file__).parents[1] / "golden" / "make_maco.py"
    spec = importlib.util.spec_from_file_location("make_maco", file)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with np.load(script.FILE) as arrays:
        np.testing.assert_allclose(arrays["magnitude"], script.magnitude(), rtol=2e-3)
    assert photographs((40, 30)).shape == (3, 40, 16)


def test_grey_images_have_the_brightness_of_photographs():
    latent = np.asarray(jv.MaCo((16, 16)).new(jax.random.key(0), None))
    alone = draw(jv.MaCo((16, 16)), latent)
    one = draw(jv.MaCo((16, 16)), latent[:, None])
    np.testing.assert_allclose(alone, one[..., 0], atol=1e-6)
    known = jv.MaCo((16, 16), photographs((16, 16))[0])
    np.testing.assert_allclose(alone, draw(known, latent), atol=1e-6)


def test_what_has_no_magnitude():
    image = random.uniform(0.1, 0.9, (6, 7, 3)).astype(np.float32)
    with pytest.raises(jv.InputError, match="a mean magnitude is that of at least one image; given: none"):
        jv.mean_magnitude([], (6, 7))
    with pytest.raises(jv.InputError, match=r"the 2 axes of size, and one of channels; given: \[1, 6, 7, 3\]"):
        jv.mean_magnitude([image[None]], (6, 7))
    with pytest.raises(jv.InputError, match="all images have the same channels; given: 3 and 1"):
        jv.mean_magnitude([image, image[..., :1]], (6, 7))
    with pytest.raises(jv.InputError, match=r"without magnitude=, MaCo has that of photographs.*size of \(9,\)"):
        jv.MaCo((9,)).check(2)
    with pytest.raises(jv.InputError, match=r"have shape \[1, 6, 4\], .*given: \[3, 6, 4\]"):
        jax.eval_shape(jv.MaCo((6, 7), np.ones((3, 6, 4))), np.ones((2, 1, 6, 4), np.float32))
    with pytest.raises(jv.InputError, match=r"size of \(9, 9\) and 5 channels"):
        jv.MaCo((9, 9)).check(5)

"""Transforms.

Laws:
- The resample is the interpolation between four pixels, which NumPy computes one by one; its gradient is its adjoint.
- Every other transform is what NumPy, SciPy or Pillow computes from the same numbers.
- A transform of no strength changes nothing; the same key gives the same bits; another strength compiles nothing.
- What is drawn fills its range.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from networks import keras_model
from PIL import Image

import jaxviz as jv
from jaxviz.ascent import slots
from jaxviz.ascent.transforms import (
    Affine,
    Blur,
    Chain,
    Collapse,
    Contrast,
    Crop,
    Flip,
    Jitter,
    Noise,
    OneOf,
    Pad,
    Resize,
    Roll,
)
from jaxviz.ascent.transforms.transform import check

KEY = jax.random.key(5)
KEYS = jax.random.split(KEY, 300)
NO_STRENGTH = [
    Affine(),
    Blur(size=1),
    Chain(()),
    Contrast(1.0),
    Crop((9, 12)),
    Flip(0.0),
    Jitter(0),
    Noise(0.0),
    Pad(0),
    Resize((9, 12)),
    Roll(0),
]
LUCID = Chain(
    (
        Pad(12),
        Jitter(8),
        Affine(scale=OneOf([0.9 + 0.02 * i for i in range(11)]), degrees=OneOf([*range(-10, 11), 0, 0, 0, 0, 0])),
        Jitter(4),
    )
)


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape or (9, 12, 3), np.float32)


def run(transform, values):
    return np.asarray(jax.jit(transform)(KEY, jnp.asarray(values)))


def interpolated(values: np.ndarray, forward: np.ndarray, shift: float, size: tuple, fill: np.ndarray | None):
    """Each pixel by itself in float64: a place of the image, found by the inverse of what moves the image."""
    height, width, channels = values.shape
    out = np.empty((*size, channels))
    inverse = np.linalg.inv(forward)

    def pixel(y, x):
        if fill is None:
            return values[min(max(y, 0), height - 1), min(max(x, 0), width - 1)]
        return values[y, x] if 0 <= y < height and 0 <= x < width else fill

    for row in range(size[0]):
        for column in range(size[1]):
            offset = np.array([row - (size[0] - 1) / 2 - shift, column - (size[1] - 1) / 2 - shift])
            y, x = inverse @ offset + [(height - 1) / 2, (width - 1) / 2]
            top, left = math.floor(y), math.floor(x)
            out[row, column] = sum(
                (1 - abs(y - i)) * (1 - abs(x - j)) * pixel(i, j) for i in (top, top + 1) for j in (left, left + 1)
            )
    return out


@pytest.mark.parametrize("fill", [0.5, (0.1, 0.5, 0.7), None])
def test_the_resample_against_a_slow_exact_one(fill):
    values, shift, scale, degrees, shear = image(), 1.3, 0.8, 25.0, 12.0
    size = None if fill == 0.5 else (14, 7)
    transform = Affine((shift, shift), scale, (degrees, degrees), (shear, shear), fill=fill, size=size)
    # Of (y, x), y downwards: turned counter-clockwise, the point to the right of the centre moves up.
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    forward = scale * np.array([[cos, -sin], [sin, cos]]) @ [[1, 0], [math.tan(math.radians(shear)), 1]]
    colour = None if fill is None else np.broadcast_to(fill, 3)
    exact = interpolated(values, forward, shift, size or (9, 12), colour)
    np.testing.assert_allclose(run(transform, values), exact, atol=1e-5)


def test_a_right_angle_counter_clockwise_is_a_turn_of_the_array():
    values = image(8, 8, 2)
    np.testing.assert_allclose(run(Affine(degrees=(90, 90)), values), np.rot90(values), atol=1e-5)


def test_the_gradient_of_the_resample_by_finite_differences():
    """The resample is linear in the image, so a difference is exact at any distance."""
    transform = Affine(jitter=3.0, scale=(0.8, 1.2), degrees=30.0)
    values, weights = image(), np.random.default_rng(1).normal(size=(9, 12, 3)).astype(np.float32)

    @jax.jit
    def score(values):
        return (transform(KEY, values) * weights).sum()

    gradient = jax.grad(score)(jnp.asarray(values))
    for at in [(0, 0, 0), (4, 5, 1), (8, 11, 2), (2, 9, 0)]:
        step = np.zeros_like(values)
        step[at] = 1
        difference = float(score(jnp.asarray(values + step)) - score(jnp.asarray(values - step))) / 2
        assert float(gradient[at]) == pytest.approx(difference, abs=1e-4)


@pytest.mark.parametrize("transform", NO_STRENGTH, ids=lambda each: type(each).__name__)
def test_no_strength_changes_nothing(transform):
    values = image(9, 12, 5)
    check(transform)
    np.testing.assert_allclose(run(transform, values), values, atol=1e-6)


def test_the_same_key_gives_the_same_bits_and_another_key_others():
    values = jnp.asarray(image(40, 41, 3))
    strong = Chain((Affine(jitter=3.0), Blur((0.5, 1.0)), Noise(), Flip(), Crop(20)))
    seen = jax.jit(lambda key, values: strong(key, values))
    first, same, other = (seen(key, values) for key in (KEYS[0], KEYS[0], KEYS[1]))
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, other)


def test_lucids_transforms_are_a_chain():
    """Pad 12, jitter 8, scale, rotate, jitter 4: a canvas of 128 pixels is seen at 140."""
    LUCID.check()
    assert jax.eval_shape(LUCID, KEY, jnp.zeros((128, 128, 3))).shape == (140, 140, 3)


def drawn(transform, values=None):
    return np.asarray(jax.jit(jax.vmap(lambda key: transform(key, jnp.asarray(values))))(KEYS))


def ramp() -> np.ndarray:
    """An image whose value at each place says the place: its column, then its row."""
    y, x = np.mgrid[:21, :21].astype(np.float32) - 10
    return np.stack([x, y], -1)


def test_the_shift_fills_its_range_along_both_axes():
    shifts = -drawn(Affine(jitter=3.0, fill=None), ramp())[:, 10, 10]
    assert np.abs(shifts).max() <= 3 + 1e-5
    assert (shifts.max(0) > 2.8).all()
    assert (shifts.min(0) < -2.8).all()
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.2


def test_scale_and_angle_fill_their_ranges_and_some_stay_upright():
    seen = drawn(Affine(scale=(0.8, 1.25), degrees=10.0, upright=0.2, fill=None), ramp())
    (x, y) = (seen[:, 10, 13] - seen[:, 10, 10]).T / 3  # where the image is seen one pixel to the right
    scale, angle = 1 / np.hypot(x, y), np.degrees(np.arctan2(y, x))
    assert 0.8 - 1e-5 <= scale.min() < 0.82
    assert 1.23 < scale.max() <= 1.25 + 1e-5
    assert -10.001 <= angle.min() < -9.7
    assert 9.7 < angle.max() <= 10.001
    assert 0.12 < (np.abs(angle) < 1e-4).mean() < 0.28


def test_one_of_several_is_drawn_as_often_as_it_is_listed():
    numbers = np.asarray(jax.vmap(OneOf([1.0, 2.0, 2.0, 7.0]))(KEYS))
    assert set(numbers.tolist()) == {1, 2, 7}
    assert 0.4 < (numbers == 2).mean() < 0.6


@pytest.mark.parametrize("shape", [(30, 2), (9, 12, 3), (5, 6, 7, 2)])
def test_a_jitter_is_one_part_of_the_image_and_each_part_is_drawn(shape):
    """The first pixel of a part of a numbered image says where the part begins."""
    values = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    places = math.prod(shape[:-1])
    for transform, size in [(Jitter(2), [side - 2 for side in shape[:-1]]), (Crop(4), [4] * (len(shape) - 1))]:
        found = drawn(transform, values)
        firsts = np.unravel_index(found.reshape(len(KEYS), -1)[:, 0].astype(int) // shape[-1], shape[:-1])
        for part, *first in zip(found, *firsts, strict=True):
            window = tuple(slice(at, at + side) for at, side in zip(first, size, strict=True))
            np.testing.assert_array_equal(part, values[window])
        spare = [side - new + 1 for side, new in zip(shape[:-1], size, strict=True)]
        assert len(set(zip(*firsts, strict=True))) >= 0.8 * min(math.prod(spare), 100) <= places


@pytest.mark.parametrize("shape", [(30, 2), (9, 12, 3), (5, 6, 7, 2)])
def test_a_roll_is_numpys(shape):
    values = image(*shape)
    axes = tuple(range(len(shape) - 1))
    rolled = {
        np.roll(values, shift, axes).tobytes()
        for shift in np.ndindex(*(3,) * len(axes))
        for shift in [np.array(shift) - 1]
    }
    assert {part.tobytes() for part in drawn(Roll(1), values)} == rolled


@pytest.mark.parametrize("shape", [(30, 2), (9, 12, 3), (5, 6, 7, 2)])
def test_a_flip_happens_as_often_as_it_is_said(shape):
    values = image(*shape)
    flipped = [np.array_equal(part, np.flip(values, -2)) for part in drawn(Flip(0.25), values)]
    kept = [np.array_equal(part, values) for part in drawn(Flip(0.25), values)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    assert 0.17 < np.mean(flipped) < 0.33


@pytest.mark.parametrize("shape", [(30, 2), (9, 12, 3), (5, 6, 7, 2)])
def test_pad_blur_noise_and_contrast_against_numpy(shape):
    values = image(*shape)
    wide = [(2, 2)] * (len(shape) - 1) + [(0, 0)]
    np.testing.assert_allclose(run(Pad(2), values), np.pad(values, wide, constant_values=0.5), atol=1e-6)
    np.testing.assert_allclose(run(Pad(2, None), values), np.pad(values, wide, mode="edge"))

    for size in (3, 4):
        offsets = np.arange(size) - (size - 1) / 2
        weights = np.exp(-(offsets**2) / (2 * 0.7**2))
        blurred = values.astype(np.float64)
        for axis in range(len(shape) - 1):  # SciPy's even kernels begin one pixel further to the left
            blurred = scipy.ndimage.correlate1d(
                blurred, weights / weights.sum(), axis, mode="nearest", origin=0 if size % 2 else -1
            )
        np.testing.assert_allclose(run(Blur(0.7, size), values), blurred, atol=1e-5)

    noise = drawn(Noise(0.3), values) - values
    assert noise.std() == pytest.approx(0.3, rel=0.05)
    assert abs(noise.mean()) < 0.01

    mean = values.mean(tuple(range(len(shape) - 1)))
    np.testing.assert_allclose(run(Contrast(1.5), values), mean + 1.5 * (values - mean), atol=1e-5)


def test_a_resize_is_pillows():
    """Pillow's bilinear filter is a triangle as wide as the reduction, as ours is."""
    values = image(20, 30, 2)
    for size in [(7, 11), (25, 40)]:
        theirs = [Image.fromarray(values[..., c]).resize(size[::-1], Image.Resampling.BILINEAR) for c in range(2)]
        np.testing.assert_allclose(run(Resize(size), values), np.stack(theirs, -1), atol=1e-5)


def test_opacity_mixes_with_a_background_of_each_key():
    values = np.dstack([image(9, 12, 3), np.zeros((9, 12))]).astype(np.float32)
    clear, half, opaque = (
        run(Collapse(), values + np.array([0, 0, 0, opacity], np.float32)) for opacity in (0.0, 0.5, 1.0)
    )
    np.testing.assert_allclose(opaque, values[..., :3], atol=1e-6)
    np.testing.assert_allclose(half, (clear + opaque) / 2, atol=1e-6)
    assert 0 < clear.min() < clear.max() < 1
    backgrounds = drawn(Collapse(), values)
    assert backgrounds.std(0).min() > 0.05
    with pytest.raises(jv.InputError, match=r"an opacity as their last channel; given: \[9, 12, 1\]"):
        run(Collapse(), image(9, 12, 1))


def test_an_image_with_opacity_climbs_on_its_backgrounds():
    model = keras_model()
    settings = {"canvas": jv.Alpha(jv.Fourier((12, 12))), "steps": 2}
    found = jv.ascend(model, jv.Channel("first/pre", 0), transform=Collapse(), **settings)
    assert found.image.shape == (12, 12, 4)
    assert 0 < found.image.min() < found.image.max() < 1
    with pytest.raises(jv.InputError, match=r"alpha channel, \[12, 12, 4\], .* jv.transforms.Collapse"):
        jv.ascend(model, jv.Channel("first/pre", 0), **settings)


def test_another_strength_compiles_nothing_and_items_have_transforms_of_their_own():
    model = keras_model()
    settings = {"canvas": jv.Pixels((12, 12)), "steps": 3, "start": image(12, 12, 3)}
    objectives = [jv.Channel("first/pre", 0)] * 2

    twice = lambda key, image: 2 * image  # noqa: E731
    first = jv.sweep(model, objectives, transform=Chain((Affine(1.0, (0.9, 1.1)), twice)), **settings)
    compiled = slots._climb.compiled()._cache_size()
    other = jv.sweep(model, objectives, transform=Chain((Affine(2.0, (0.8, 1.1)), twice)), **settings)
    assert slots._climb.compiled()._cache_size() == compiled
    assert not np.allclose(first.scores, other.scores)
    assert len(np.unique(first.scores)) == first.scores.size


@pytest.mark.parametrize(
    ("transform", "sentence"),
    [
        (Affine(scale=0.0), r"Affine's scale is a number, a pair .* above 0; given: 0.0"),
        (Affine(scale=(1.1, 0.9)), r"Affine's scale is .*given: \(1.1, 0.9\)"),
        (Affine(jitter=float("nan")), "Affine's jitter is a number, a pair .*given: nan"),
        (Affine(degrees="10"), "Affine's degrees is a number"),
        (Affine(degrees=OneOf([])), "Affine's degrees is a number"),
        (Affine(upright="x"), "Affine's upright is a probability, from 0 to 1; given: 'x'"),
        (Affine(upright=2), "Affine's upright is a probability, from 0 to 1; given: 2"),
        (Affine(fill=float("inf")), "Affine's fill is a number, a colour"),
        (Affine(size=0), "Affine's size is a whole number of pixels"),
        (Chain((Flip(-1.0),)), "Flip's probability is a probability, from 0 to 1; given: -1.0"),
        (Chain(Flip()), "a Chain takes a tuple of transforms"),
        (Pad(2, "red"), r"Pad's fill is a number, a colour \[c\], or None to repeat the edge; given: 'red'"),
        (Affine, "a transform is a function .*; given: <class"),
        (Jitter(-1), "Jitter's pixels is a whole number, 0 or more; given: -1"),
        (Jitter(12), r"Jitter\(12\) cuts out a part of \[0, 0\] pixels"),
        (Crop(13), r"Crop\(13\) cuts out a part of \[13, 13\] pixels, which an image \[12, 12, 3\] does not have"),
        (Blur(sigma=0), "Blur's sigma is .* above 0; given: 0"),
        (Collapse(sd=-1.0), "sd is the deviation of the noise at the start, 0 or more; given: -1.0"),
        (Flip(axis=-1), "Flip mirrors along an axis before the channels; given: axis -1"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(transform, sentence):
    model = keras_model()
    with pytest.raises(jv.InputError, match=sentence):
        jv.sweep(model, [jv.Channel("first", 0)], canvas=jv.Pixels((12, 12)), steps=1, transform=transform)


@pytest.mark.parametrize(("transform", "shape"), [(Affine(), (30, 2)), (Affine(), (4, 5, 6, 1)), (Roll(1), (784,))])
def test_an_image_that_has_no_such_axes_is_one_sentence(transform, shape):
    with pytest.raises(jv.InputError, match=f"{type(transform).__name__} takes images .*; given: an image"):
        transform(KEY, jnp.zeros(shape))

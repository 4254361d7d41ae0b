"""Occlusion and RISE.

Law: on a linear network f(x) = w · x a window loses the sum of w · (x - fill) over its pixels, whatever the size of a
batch; a window that changes nothing loses nothing.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import image, images, keras_model, linear_model

import jaxviz as jv
from jaxviz.attribution import perturbation


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(3).standard_normal((6, 9, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(4).random((6, 9, 2), np.float32)


@pytest.mark.parametrize("fill", [0.5, [0.1, 0.7], "image"])
def test_a_window_of_a_linear_network_loses_its_own_sum(weights, pixels, fill, relative):
    fill = pixels[::-1, ::-1] if fill == "image" else fill
    found = jv.occlusion(linear_model(weights), pixels, 0, window=3, fill=fill)
    shares = (weights * (pixels - np.asarray(fill))).sum(-1)
    sums = shares.reshape(2, 3, 3, 3).sum((1, 3))
    assert relative(found.values, np.kron(sums, np.ones((3, 3)))) < 1e-4
    assert found.score == pytest.approx((weights * pixels).sum(), rel=1e-5)


def test_disjoint_windows_add_up(weights, pixels):
    model = linear_model(weights)
    found = jv.occlusion(model, pixels, 0, window=(2, 3), fill=0)
    assert found.values.sum() / 6 == pytest.approx(float(found.score), rel=1e-4)


def test_windows_are_cut_at_the_edge_and_overlaps_averaged(weights, pixels):
    shares = (weights * (pixels - 0.5)).sum(-1)
    found = jv.occlusion(linear_model(weights), pixels, 0, window=4, stride=2)
    total, count = np.zeros((6, 9)), np.zeros((6, 9))
    for y in (0, 2):
        for x in (0, 2, 4, 6):
            total[y : y + 4, x : x + 4] += shares[y : y + 4, x : x + 4].sum()
            count[y : y + 4, x : x + 4] += 1
    np.testing.assert_allclose(found.values, total / count, atol=1e-4)


def test_a_window_that_changes_nothing_loses_nothing():
    """Exactly: the two scores are not merely equal up to rounding."""
    model, half = keras_model(), image()
    half[:, :6] = 0.5
    found = jv.occlusion(model, half, 1, window=6, fill=0.5)
    assert not found.values[:, :6].any()
    assert found.values[:, 6:].all()


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_chunks_change_nothing(batch):
    model = keras_model()
    found = jv.occlusion(model, image(), 1, window=5, batch=batch)
    np.testing.assert_allclose(found.values, jv.occlusion(model, image(), 1, window=5).values, atol=1e-5)
    masked = jv.rise(model, image(), 1, samples=10, batch=batch)
    np.testing.assert_allclose(masked.values, jv.rise(model, image(), 1, samples=10).values, atol=1e-5)


def test_a_batch_is_a_loop():
    model, batch = keras_model(), images(2)
    together = jv.occlusion(model, batch, [3, 0], window=4)
    assert together.values.shape == (2, 12, 12)
    for i, target in enumerate([3, 0]):
        np.testing.assert_allclose(
            together.values[i], jv.occlusion(model, batch[i], target, window=4).values, atol=1e-5
        )
    keys = jax.random.split(jax.random.key(7), 2)
    masked, own = jv.rise(model, batch, 1, samples=8), jv.rise(model, batch, 1, samples=8, key=keys)
    for i in (0, 1):
        np.testing.assert_allclose(masked.values[i], jv.rise(model, batch[i], 1, samples=8).values, atol=1e-5)
        alone = jv.rise(model, batch[i], 1, samples=8, key=keys[i])
        np.testing.assert_allclose(own.values[i], alone.values, atol=1e-5)
    assert not np.allclose(own.values, masked.values, atol=1e-3)
    with pytest.raises(jv.InputError, match=r"one for each of 2; given: \[3\] keys"):
        jv.rise(model, batch, 1, samples=2, key=jax.random.split(keys[0], 3))


def test_rise_compiles_once_whatever_the_keys_and_keeps_to_its_memory():
    model, batch = keras_model(), images(3)
    found = jv.rise(model, batch, 1, samples=8)
    compiled = perturbation._masked.compiled()._cache_size()
    for count in (2, 3):
        jv.rise(model, batch[:count], 1, samples=8, key=jax.random.split(jax.random.key(7), count))
    assert perturbation._masked.compiled()._cache_size() == compiled
    bounded = jv.rise(model.replace(execution=jv.Execution(memory="1 MB")), batch, 1, samples=8)
    np.testing.assert_allclose(bounded.values, found.values, atol=1e-5)


def test_rise_finds_the_pixels_that_count():
    """On a linear network E[score · mask(p)] / E[mask] is largest where the weight is."""
    weights = np.zeros((14, 14, 1), np.float32)
    weights[3:6, 8:11] = 1
    found = jv.rise(linear_model(weights), np.ones((14, 14, 1), np.float32), 0, samples=1500, key=jax.random.key(1))
    inside, outside = found.values[3:6, 8:11].mean(), found.values[weights[..., 0] == 0].mean()
    assert inside > 1.2 * outside
    assert found.score == 9


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"window": 13}, "a window fits into the image, 12 × 12; given: 13 × 13"),
        ({"window": 0}, "window is a whole number of pixels"),
        ({"window": (3, 2, 1)}, r"window is .*given: \(3, 2, 1\)"),
        ({"window": 3, "stride": -1}, "stride is a whole number"),
        (
            {"window": 3, "stride": (3, 4)},
            "a stride is at most the window, 3 × 3, .*hidden at least once; given: 3 × 4",
        ),
        ({"stride": 3}, "a stride is at most the window, 2 × 2"),
        ({"window": 3, "fill": [0.1, 0.2]}, r"a colour \[3\] or an image \[12, 12, 3\], all finite; given: \[2\]"),
    ],
)
def test_what_cannot_be_occluded_is_one_sentence(settings, sentence):
    with pytest.raises(jv.InputError, match=sentence):
        jv.occlusion(keras_model(), image(), 0, **settings)


def test_what_cannot_be_masked_is_one_sentence():
    with pytest.raises(jv.InputError, match=r"between 0 and 1; given: 1.5"):
        jv.rise(keras_model(), image(), 0, keep=1.5)
    with pytest.raises(jv.InputError, match="keep is a finite number; given: nan"):
        jv.rise(keras_model(), image(), 0, keep=np.nan)
    with pytest.raises(jv.InputError, match="samples is a whole number, 1 or more; given: 0"):
        jv.rise(keras_model(), image(), 0, samples=0)


def test_the_decision_is_made_once_at_the_image_itself():
    """Two classes that each need another half: with one half hidden the other would win, and lose nothing."""
    weights = np.zeros((2, 4, 1), np.float32)
    weights[:, :2], weights[:, 2:] = 2, 1

    def halves(params, batch):
        left, right = (batch * params)[:, :, :2], (batch * params)[:, :, 2:]
        return jnp.stack([left.sum((1, 2, 3)), right.sum((1, 2, 3))], axis=-1)

    model = jv.wrap(halves, weights, (2, 4, 1))
    pixels = np.ones((2, 4, 1), np.float32)
    found = jv.occlusion(model, pixels, window=2, fill=0)
    np.testing.assert_array_equal(found.values[0], [8, 8, 0, 0])
    assert found.score == 8

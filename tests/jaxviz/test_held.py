"""The held score.

Laws:
- It is the mean over draws, computed here one by one, of the picture that NumPy brought to one mean and contrast.
- Neither brightness nor contrast of a picture changes it; one item's result does not depend on the others.
- The energy above half the Nyquist frequency is that of known waves, and of white noise the area outside a circle.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import convolutions

import jaxviz as jv
from jaxviz.ascent.held import PERTURBED


@pytest.fixture(scope="module")
def model():
    return convolutions()


def pictures(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(60, 200, (count, 24, 24, 3)).astype(np.uint8)


def test_the_score_is_the_mean_over_draws_of_the_normalised_picture(model):
    shown = pictures()
    found = jv.held_score(model, shown, jv.channels(model, "second", [1, 2]), jax.random.key(3))
    assert found.score.shape == found.retention.shape == found.high.shape == (2,)
    for at, channel in enumerate([1, 2]):
        levels = shown[at].astype(np.float64)
        image = ((levels - levels.mean()) / levels.std() * 0.15 + 0.5).astype(np.float32)
        keys = jax.random.split(jax.random.fold_in(jax.random.key(3), at), 32)
        seen = jax.jit(jax.vmap(PERTURBED, (0, None)))(keys, image)
        assert seen.shape == (32, 12, 12, 3)
        score = np.asarray(model(seen, ["second"])["second"])[..., channel].mean()
        plain = np.asarray(model(jnp.asarray(image), ["second"])["second"])[..., channel].mean()
        assert found.score[at] == pytest.approx(score, rel=1e-4)
        assert found.retention[at] == pytest.approx(score / plain, rel=1e-4)


def test_brightness_contrast_and_other_items_change_nothing(model):
    objectives = jv.channels(model, "second", [1, 2])
    base = pictures().astype(np.float64) / 255
    known = jv.held_score(model, base, objectives)
    paler = jv.held_score(model, 0.5 * base + 0.3, objectives)
    np.testing.assert_allclose(paler.score, known.score, rtol=1e-2)  # 8 bits are fewer levels in a pale picture
    np.testing.assert_allclose(paler.high, known.high, rtol=1e-2)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), np.arange(2))
    alone = jv.held_score(model, base[1:], objectives[1:], keys[1:])
    for one, all_ in zip(alone, known, strict=True):
        np.testing.assert_array_equal(one, all_[1:])


def test_the_energy_of_known_waves(model):
    y, x = np.mgrid[:40, :40]
    waves = [0.5 + 0.3 * np.sin(2 * np.pi * cycles * along) for cycles, along in ((0.1, y), (0.4, x), (0.2, x + y))]
    noise = np.random.default_rng(0).uniform(0, 1, (40, 40))
    shown = np.stack([np.repeat(wave[..., None], 3, -1) for wave in [*waves, noise, np.full((40, 40), 0.5)]])
    found = jv.held_score(model, shown, [bright] * 5)
    np.testing.assert_allclose(found.high, [0, 1, 1, 1 - np.pi / 16, 0], atol=0.03)
    np.testing.assert_allclose(found.score, 0.5, atol=0.01)


def bright(activations):
    return activations["image"].mean()


def test_a_score_that_is_not_above_0_has_no_retention(model):
    with pytest.warns(jv.JaxvizWarning, match=r"no part of it, so their retention is NaN; positions: \[1\]"):
        found = jv.held_score(model, pictures(), [bright, lambda activations: -bright(activations)])
    assert np.isnan(found.retention).tolist() == [False, True]


@pytest.mark.parametrize(
    ("shown", "count", "sentence"),
    [
        (pictures()[0], 1, r"pictures are \[n h w c\], here \[n h w 3\]"),
        (pictures(), 1, "each image has an objective; given: 2 images, 1 objectives"),
        (pictures() * 1.0, 2, r"values in \[0, 1\]"),
        (pictures()[:, :12], 2, r"Jitter\(12\) cuts out a part of \[0, 12\] pixels"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(model, shown, count, sentence):
    with pytest.raises(jv.InputError, match=sentence):
        jv.held_score(model, shown, jv.channels(model, "second", range(count)))


def test_scores_that_are_nan_are_refused(model):
    broken = model.replace(params=jax.tree.map(lambda leaf: leaf * np.nan, model.params))
    with pytest.raises(
        jv.InputError, match=r"scores are NaN or infinite, in positions \[0, 1\]: numbers in the network"
    ):
        jv.held_score(broken, pictures(), jv.channels(broken, "second", [0, 1]))
    with pytest.raises(jv.InputError, match=r"pictures are \[n h w c\], .* given: str"):
        jv.held_score(model, "pictures", jv.channels(model, "second", [0, 1]))

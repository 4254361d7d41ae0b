"""The rule that ends a climb, and the slots in which items climb.

Laws:
- `Plateau` is the rule that its docstring states, which NumPy applies to all scores; neither the scale of the scores
  nor a number added to them changes it.
- An item that is ended at step k is the item of an ascent of k steps, whatever the chunk; no step is computed for it
  after its end.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial
from networks import convolutions

import jaxviz as jv
from jaxviz.ascent import slots

RULE = jv.Plateau(window=2, gain=0.2)
SETTINGS = {
    "canvas": jv.Pixels((8, 8)),
    "transform": jv.transforms.Noise(0.3),
    "optimizer": Partial(optax.adam, learning_rate=0.1),
    "steps": 24,
}


def ended(scores: np.ndarray, window: int, gain: float) -> int:
    """The number of steps after which the rule ends a climb with these scores, or all of them."""
    means = [scores[at : at + window].mean() for at in range(0, len(scores) - window + 1, window)]
    for at in range(1, len(means)):
        if means[at] - means[at - 1] <= gain * (means[at] - means[0]):
            return (at + 1) * window
    return len(scores)


@jax.jit
@jax.vmap
def ends(rule: jv.Plateau, scores: jax.Array) -> jax.Array:
    _, ends = jax.lax.scan(lambda memory, score: rule(memory, score), rule.new(), scores)
    return ends


def test_the_rule_is_the_one_that_is_stated():
    random = np.random.default_rng(0)
    rise = 1 - np.exp(-np.arange(60) / random.uniform(3, 40, (50, 1)))
    scores = (3 * rise + random.normal(0, 0.2, (50, 60))).astype(np.float32)
    windows, gains = random.integers(2, 9, 50), random.uniform(0, 0.5, 50).astype(np.float32)
    rules = jv.Plateau(jnp.asarray(windows), jnp.asarray(gains))
    found = np.asarray(ends(rules, scores))
    steps = np.where(found.any(1), found.argmax(1) + 1, 60)
    known = [ended(each, window, gain) for each, window, gain in zip(scores, windows, gains, strict=True)]
    assert steps.tolist() == known
    assert len(set(known)) > 10
    other = np.asarray(ends(rules, 1000 * scores - 300))
    assert (other.argmax(1) == found.argmax(1)).mean() > 0.95  # up to rounding at the border


@pytest.fixture(scope="module")
def model():
    return convolutions()


@pytest.fixture(scope="module")
def objectives(model):
    return jv.channels(model, "second", range(5))


@pytest.fixture(scope="module")
def whole(model, objectives):
    return jv.sweep(model, objectives, batch=5, **SETTINGS)


def test_an_item_ends_where_the_rule_says(model, objectives, whole):
    found = jv.sweep(model, objectives, batch=5, stop=RULE, **SETTINGS)
    assert found.steps.tolist() == [ended(scores, 2, 0.2) for scores in whole.scores]
    assert len(set(found.steps)) > 1
    assert found.steps.max() <= 24
    for at, steps in enumerate(found.steps):
        np.testing.assert_array_equal(found.scores[at, :steps], whole.scores[at, :steps])
        np.testing.assert_array_equal(found.scores[at, steps:], found.scores[at, steps - 1])
    assert whole.steps.tolist() == [24] * 5
    shorter = jv.sweep(model, objectives, batch=5, **SETTINGS | {"steps": int(found.steps.min())})
    at = int(found.steps.argmin())
    np.testing.assert_array_equal(found.image[at], shorter.image[at])


@pytest.mark.parametrize("batch", [1, 2])
def test_the_chunk_changes_nothing_and_an_end_saves_its_steps(model, objectives, monkeypatch, batch):
    known = jv.sweep(model, objectives, batch=5, stop=RULE, **SETTINGS)
    real, computed = slots._climb, []

    def counted(*args, **kwargs):
        state, scores, taken = real(*args, **kwargs)
        computed.append(int(taken) * len(scores))
        return state, scores, taken

    monkeypatch.setattr(slots, "_climb", counted)
    seen = []
    found = jv.sweep(
        model, objectives, batch=batch, stop=RULE, watch=lambda where, done, _: seen.append((where, done)), **SETTINGS
    )
    assert found.steps.tolist() == known.steps.tolist()
    np.testing.assert_allclose(found.image, known.image, atol=1e-5)
    np.testing.assert_allclose(found.scores, known.scores, atol=1e-5)
    last = {position: done for where, done in seen for position in where}
    assert [last[position] for position in range(5)] == found.steps.tolist()
    if batch == 1:
        assert sum(computed) == found.steps.sum()
    else:  # a slot may be empty once no item waits
        assert sum(computed) <= found.steps.sum() + found.steps.max()


def test_another_rule_of_the_same_kind_compiles_nothing(model, objectives):
    jv.sweep(model, objectives, batch=5, stop=RULE, **SETTINGS)
    compiled = slots._climb.compiled()._cache_size()
    found = jv.sweep(model, objectives, batch=5, stop=jv.Plateau(window=5, gain=0.0), **SETTINGS)
    assert slots._climb.compiled()._cache_size() == compiled
    assert set(found.steps) <= {10, 15, 20, 24}


@pytest.mark.parametrize(
    ("stop", "sentence"),
    [
        (jv.Plateau(window=0), "Plateau's window is a whole number, 1 or more; given: 0"),
        (jv.Plateau(gain=2), "Plateau's gain is a part of the whole rise, from 0 to 1; given: 2"),
        (jv.Plateau, r"stop is a rule such as jv.Plateau\(\); given: <class"),
    ],
)
def test_what_is_no_rule_is_one_sentence(model, objectives, stop, sentence):
    with pytest.raises(jv.InputError, match=sentence):
        jv.sweep(model, objectives, stop=stop, **SETTINGS)

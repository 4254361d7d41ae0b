"""Objectives that compare the images of a group.

Laws:
- The scores of a group add up to Lucid's formulas, and each image follows the gradient of their sum.
- Groups do not see each other: a sweep of several groups is a loop over them, whatever the chunks.
- Without a group, and with the weight 0, each objective climbs as it does alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import images, keras_model

import jaxviz as jv
from jaxviz.ascent import slots
from jaxviz.groups import in_groups

SETTINGS = jv.recipes.keras_io(size=12, steps=4, step=0.2)


@pytest.fixture(scope="module")
def model():
    return keras_model()


@pytest.fixture(scope="module")
def acts(model):
    """Of six images."""
    return jv.activations(model, images(6), ["second", "first"])


def scores(objective, acts, group):
    return jax.jit(in_groups(objective, group))(acts)


def cosines(acts):
    """Lucid's: of the Gram matrices of each pair."""
    flat = acts.reshape(len(acts), -1, acts.shape[-1]).astype(np.float64)
    grams = np.einsum("npc,npd->ncd", flat, flat)
    grams /= np.linalg.norm(grams, axis=(1, 2), keepdims=True)
    return np.einsum("icd,jcd->ij", grams, grams)


def test_diversity_is_lucids(acts):
    found = scores(jv.Diversity("second"), acts, 6)
    others = cosines(acts["second"]) - np.eye(6)
    np.testing.assert_allclose(found, 1 - others.sum(1) / 5, atol=1e-6)
    lucids = others.sum() / 6  # of a batch of 6
    assert float((1 - found).sum()) * 5 / 6 == pytest.approx(lucids, rel=1e-5)
    alike = {"second": np.repeat(acts["second"][:1], 6, axis=0)}
    np.testing.assert_allclose(scores(jv.Diversity("second"), alike, 6), 0, atol=1e-6)
    disjoint = {"vector": np.eye(3, dtype=np.float32)}
    np.testing.assert_allclose(scores(jv.Diversity("vector"), disjoint, 3), 1)


@pytest.mark.parametrize("decay", [2.0, 3.0])
def test_alignment_is_lucids(acts, decay):
    values, total = acts["first"].astype(np.float64), 0.0
    for distance in (1, 2, 3, 4):
        for i in range(6 - distance):
            total -= ((values[i] - values[i + distance]) ** 2).mean() / decay**distance
    found = scores(jv.Alignment("first", decay), acts, 6)
    assert float(found.sum()) == pytest.approx(total, rel=1e-5)


def test_the_gradient_is_that_of_the_sum_of_the_group(acts):
    objective = jv.Diversity("second") + 0.3 * jv.Alignment("second") - jv.Energy("second")
    values = {"second": jnp.asarray(acts["second"])}
    _, found = jax.jit(in_groups(jax.value_and_grad(objective), 3))(values)
    expected = jax.jit(jax.grad(lambda acts: scores(objective, acts, 3).sum()))(values)
    np.testing.assert_allclose(found["second"], expected["second"], atol=1e-6)


def test_groups_do_not_see_each_other(model):
    """Nor does it matter how many of them climb at a time."""
    objectives = [
        jv.Channel("second/pre", i) + weight * jv.Diversity("second/pre") for i in (0, 1, 3) for weight in (1.0, 2.0)
    ]
    together = jv.sweep(model, objectives, group=2, batch=5, **SETTINGS)
    one = jv.sweep(model, objectives, group=2, batch=1, **SETTINGS)
    np.testing.assert_allclose(one.image, together.image, atol=1e-5)
    np.testing.assert_allclose(one.scores, together.scores, atol=1e-5)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), np.arange(6))
    for i in (0, 2, 4):
        alone = jv.sweep(model, objectives[i : i + 2], group=2, key=keys[i : i + 2], batch=1, **SETTINGS)
        np.testing.assert_allclose(alone.image, together.image[i : i + 2], atol=1e-5)


def test_diverse_images_differ_more_and_other_weights_compile_nothing(model):
    start = 0.5 + 0.01 * np.random.default_rng(0).random((4, 12, 12, 3))
    settings = {**SETTINGS, "steps": 20, "start": start}

    def sweep(weight):
        objectives = [jv.Channel("second/pre", 2) + weight * jv.Diversity("first")] * 4
        return jv.sweep(model, objectives, group=4, **settings)

    plain = sweep(0)
    compiled = slots._climb.compiled()._cache_size()
    diverse = sweep(5)
    assert slots._climb.compiled()._cache_size() == compiled
    found = np.concatenate([plain.image, diverse.image])
    style = scores(jv.Diversity("first"), model(jnp.asarray(found), ["first"]), 4)
    assert float(style[4:].sum()) > 2 * float(style[:4].sum())
    alone = jv.sweep(model, [jv.Channel("second/pre", 2)] * 4, **settings)
    np.testing.assert_allclose(alone.image, plain.image, atol=1e-4)


def test_three_steps_raise_the_score_of_the_group(model):
    def apart(acts):
        return jnp.square(jv.gather(acts["head/pre"]) - acts["head/pre"]).mean()

    for objective in (jv.Diversity("second"), jv.Alignment("second/pre"), apart):
        found = jv.sweep(model, [objective] * 3, group=3, **{**SETTINGS, "start": images(3)})
        assert (np.diff(found.scores.sum(0)) > 0).all()


def test_a_group_ends_together(model):
    """Those that wait then take its places, and get what they get alone."""
    objectives = [jv.Channel("second/pre", i) + jv.Diversity("first") for i in (0, 0, 1, 1, 2, 2)]
    settings = {**SETTINGS, "steps": 40, "stop": jv.Plateau(window=4, gain=0.5), "group": 2}
    found = jv.sweep(model, objectives, batch=4, **settings)
    assert (found.steps[::2] == found.steps[1::2]).all()
    assert len(set(found.steps.tolist())) > 1
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), np.arange(6))
    for mine in (slice(0, 2), slice(2, 4), slice(4, 6)):
        alone = jv.sweep(model, objectives[mine], key=keys[mine], **settings)
        np.testing.assert_array_equal(alone.steps, found.steps[mine])
        np.testing.assert_allclose(alone.image, found.image[mine], atol=1e-4)


def test_a_row_from_one_objective_to_another(acts):
    first, last = jv.Channel("second", 0), jv.Channel("second", 1)
    one = {name: values[0] for name, values in acts.items()}
    row = [float(each(one)) for each in jv.interpolate(first, last, 5)]
    np.testing.assert_allclose(row, np.linspace(float(first(one)), float(last(one)), 5), rtol=1e-5)
    with pytest.raises(jv.InputError, match="count is a whole number, 2 or more; given: 1"):
        jv.interpolate(first, last, 1)


CHANNEL = jv.Channel("second", 0)


@pytest.mark.parametrize(
    ("objectives", "group", "sentence"),
    [
        ([CHANNEL + jv.Diversity("second")] * 2, None, "compares the images of a group, and here each image is alone"),
        ([CHANNEL] * 5, 2, "their number is a multiple of 2; given: 5"),
        ([CHANNEL] * 2, 1, "group is a whole number, 2 or more; given: 1"),
        ([CHANNEL, jv.Channel("first", 0)], 2, "of one kind and differ in numbers only; given: .* positions 0 to 1"),
        ([CHANNEL + jv.Alignment("second", 0.0)] * 2, 2, "decay is more than 0, such as 2; given: 0.0"),
    ],
)
def test_what_cannot_climb_together_is_one_sentence(model, objectives, group, sentence):
    with pytest.raises(jv.InputError, match=sentence):
        jv.sweep(model, objectives, group=group, **SETTINGS)


def test_an_own_function_and_a_target_need_a_group_too(model):
    with pytest.raises(jv.InputError, match="here each image is alone"):
        jv.ascend(model, lambda acts: jv.gather(acts["second"]).mean(), **SETTINGS)
    with pytest.raises(jv.InputError, match="here each image is alone"):
        jv.gradient(model, images(1)[0], jv.Diversity("second"))


def test_a_grid_between_four_objectives_is_a_row_of_rows():
    """As in the guide: bilinear weights, and one structure, so one compilation."""
    corners = [jv.Channel("second", index) for index in range(4)]
    left, right = jv.interpolate(corners[0], corners[2], 3), jv.interpolate(corners[1], corners[3], 3)
    grid = [each for first, last in zip(left, right, strict=True) for each in jv.interpolate(first, last, 3)]
    activation = np.random.default_rng(0).random((2, 3, 4), np.float32)
    a, b, c, d = activation.mean((0, 1))
    expected = [a, (a + b) / 2, b, (a + c) / 2, (a + b + c + d) / 4, (b + d) / 2, c, (c + d) / 2, d]
    np.testing.assert_allclose([float(each({"second": activation})) for each in grid], expected, rtol=1e-5)
    assert len({jax.tree.structure(each) for each in grid}) == 1

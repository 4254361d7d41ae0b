"""Objectives that cannot move at their start.

Laws:
- The redirected gradient is Lucid's: it differs from the usual one only if nothing else comes back, and pushes inwards.
- Where a gradient comes back by itself, `relu="redirect"` is `relu="keep"`, item by item.
- What does not move is reported by its position, and drawn as nothing.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from networks import Nnx, keras_model

import jaxviz as jv
from jaxviz.ascent.dead_starts import REDIRECTED, before_activation, redirected
from jaxviz.objectives import Scaled
from jaxviz.rendering import rgb

SETTINGS = jv.recipes.keras_io(size=12, steps=24, step=0.6)
FILTERS = [0, 1, 3]


def biased(bias):
    """A network whose filter 1 has this bias."""
    model = keras_model()
    where = model.params["layers"]["second"]["bias"]
    where[...] = where[...].at[1].set(bias)
    return model


@pytest.fixture(scope="module")
def asleep():
    """Its filter 1 is off for all that looks like noise, and on for other images."""
    return biased(-1.0)


@pytest.fixture(scope="module")
def kept(asleep):
    with pytest.warns(jv.JaxvizWarning, match=r'1 of 3 .*too small: relu="pre", relu="redirect".*positions: \[1\]'):
        return jv.sweep(asleep, jv.channels(asleep, "second", FILTERS), **SETTINGS)


def lucids(x, gradient, high):
    """Lucid's two functions, in NumPy; the gradient is that of a loss."""
    usual = np.where((x < 0) | (x > high), 0, gradient)
    wrong = ((x < 0) & (gradient > 0)) | ((x > high) & (gradient < 0))
    return usual if np.linalg.norm(usual) > 0 else np.where(wrong, 0, gradient)


@pytest.mark.parametrize("relu", [jax.nn.relu, jax.nn.relu6])
@pytest.mark.parametrize("low", [-9.0, -1.0])
def test_the_redirected_gradient_is_lucids(relu, low):
    """Of several images; all values of the first are below 0, and of others none or some are."""
    random = np.random.default_rng(0)
    gradients = random.normal(size=(3, 40)).astype(np.float32)
    x = np.stack([random.uniform(low, -0.1, 40), random.uniform(low, 3, 40), random.uniform(6.1, 9, 40)]).astype(
        np.float32
    )

    def backward(early):
        def of_one(x, gradient, early):
            value, pull = jax.vjp(redirected(lambda x: relu(x), early), x)
            return value, *pull(gradient)

        return jax.jit(jax.vmap(of_one))(x, gradients, np.full(3, early))

    value, found = backward(True)
    np.testing.assert_array_equal(value, relu(x))
    high = 6 if relu is jax.nn.relu6 else np.inf
    np.testing.assert_array_equal(found, [lucids(*each, high) for each in zip(x, gradients, strict=True)])
    assert np.any(found[0])
    np.testing.assert_array_equal(backward(False)[1], jax.vjp(relu, x)[1](gradients)[0])


def test_relus_are_found_behind_calls():
    inner = jax.jit(lambda x: 2 * jax.nn.relu(x - 1))
    gradient = jax.grad(redirected(lambda x: -inner(x).sum(), jnp.array(True)))(jnp.array([-1.0, -2.0]))
    np.testing.assert_array_equal(gradient, [-2, -2])


def test_what_sleeps_is_woken_and_the_others_are_as_they_were(asleep, kept):
    assert kept.moved.tolist() == [True, False, True]
    assert not kept.scores[1].any()
    found = jv.sweep(asleep, jv.channels(asleep, "second", FILTERS), relu="redirect", **SETTINGS)
    assert found.moved.all()
    assert found.scores[1, -1] > found.scores[1, 0] == 0
    np.testing.assert_allclose(found.image[[0, 2]], kept.image[[0, 2]], atol=1e-5)
    plainly = asleep.replace(execution=jv.Execution(rewrite=False))  # as on a GPU, where the slice is not moved up
    same = jv.sweep(plainly, jv.channels(asleep, "second", FILTERS), relu="redirect", **SETTINGS)
    np.testing.assert_allclose(same.image, found.image, atol=1e-4)
    before = jv.sweep(asleep, jv.channels(asleep, "second", FILTERS), relu="pre", **SETTINGS)
    assert before.moved.all()
    assert (np.diff(before.scores) > 0).all()
    assert before.scores[1, 0] < 0


def test_after_sixteen_steps_a_relu_is_itself():
    """A filter that nothing wakes moves in the first steps alone."""
    dead = biased(-1e3)
    objectives = jv.channels(dead, "second", FILTERS)
    ends = [
        jv.sweep(dead, objectives, relu="redirect", **{**SETTINGS, "steps": steps}).image
        for steps in (REDIRECTED - 1, REDIRECTED, REDIRECTED + 4)
    ]
    np.testing.assert_array_equal(ends[1][1], ends[2][1])
    assert not np.allclose(ends[0][1], ends[1][1])
    assert not np.allclose(ends[1][0], ends[2][0])


def test_any_network_can_be_redirected():
    """A Flax module has no handles before its activation functions."""
    module = Nnx(nnx.Rngs(0))
    module.blocks[0].bias[...] = -2.0
    model = jv.wrap(module, image_shape=(12, 12, 3))
    head = model.layers[-1]
    with pytest.warns(jv.JaxvizWarning, match=r'1 of 1 .*relu="redirect", or another key.*positions: \[0\]'):
        jv.ascend(model, jv.Unit(head, 1), relu="pre", **SETTINGS)
    assert jv.ascend(model, jv.Unit(head, 1), relu="redirect", **SETTINGS).moved


def test_only_what_reads_single_values_is_read_before_the_activation():
    model = keras_model()
    for objective in (jv.Channel("second", 1, border=1), jv.Neuron("second", None, 2), jv.Unit("head", 3)):
        assert before_activation(model, objective) == objective.replace(layer=f"{objective.layer}/pre")
    a, b = jv.Channel("first", 0), jv.Unit("head", 1)
    assert before_activation(model, a - 2 * b) == jv.Channel("first/pre", 0) - 2 * jv.Unit("head/pre", 1)
    assert before_activation(model, Scaled(2.0, jv.Energy("first"))) == 2 * jv.Energy("first")
    for objective in (jv.Channel("pool", 0), jv.Channel("first/pre", 0), jv.Energy("first"), jv.TotalVariation(), len):
        assert before_activation(model, objective) == objective
    with pytest.raises(jv.InputError, match="relu is one of keep, pre, redirect; given: 'off'"):
        jv.ascend(model, a, relu="off")


def test_nothing_is_drawn_for_what_did_not_move(kept):
    (axes,) = jv.show_filters(kept, columns=3, margin=0).axes
    tiles = np.split(np.asarray(axes.images[0].get_array()), 3, axis=1)
    np.testing.assert_array_equal(tiles[1], rgb.nothing(12, 12))
    np.testing.assert_array_equal(tiles[0], rgb.stretch(kept.image[0]))
    assert set(np.unique(tiles[1])) == {0, 80}
    assert rgb.nothing(3, 7).shape == (3, 7, 3)
    style = jv.recipes.RECIPES["chollet"]
    drawn = [style.picture(kept.image[0]), rgb.nothing(12, 12), style.picture(kept.image[2])]
    np.testing.assert_array_equal(style.pictures(kept), drawn)
    np.testing.assert_array_equal(style.pictures(replace(kept, moved=None))[1], style.picture(kept.image[1]))
    (one,) = jv.show_filters(jv.Ascent(kept.image[1], kept.scores[1], moved=kept.moved[1])).axes
    np.testing.assert_array_equal(one.images[0].get_array(), rgb.nothing(12, 12))


def test_no_curve_is_drawn_for_a_signal_that_did_not_move():
    signals = np.random.default_rng(0).random((2, 20, 1), np.float32)
    found = jv.Ascent(signals, np.ones((2, 3), np.float32), np.full(2, 3), np.array([True, False]))
    drawn, empty = jv.show_filters(found).axes
    assert [len(axes.lines[0].get_xdata()) for axes in (drawn, empty)] == [20, 0]

"""Gradient ascent.

Laws:
- A sweep of n objectives is n ascents, whatever the chunks; and a loop of `step` is a sweep.
- The same key gives the same image, and each objective has its own.
- Other channels, keys, step counts and step sizes compile nothing.
- The book's ascent gives the scores that the book's code gives in Keras, step by step.
- Ctrl-C keeps what is finished, and the rest can be climbed later with the same result.
"""

import jax
import numpy as np
import optax
import pytest
from flax import struct
from jax.tree_util import Partial
from networks import keras_model

import jaxviz as jv
from jaxviz.ascent import slots
from jaxviz.ascent.arguments import alike, as_constructor, check_kinds
from jaxviz.ascent.step import begin, step
from jaxviz.compiling.batches import at_once

# Keras 3.15 on TensorFlow 2.21, the real VGG16 base, block3_conv1, 150 × 150, Chollet's ascent from
# default_rng(1234).random((4, 150, 150, 3)) * 20 + 128: the loss of filters 0, 27, 100, 255 at steps 0, 1, 10, 19.
FILTERS = [0, 27, 100, 255]
KERAS = np.array(
    [
        (69.28, 150.81, 1326.7, 2474.1),
        (83.62, 228.35, 1224.2, 2080.6),
        (9.185, 22.98, 148.8, 394.1),
        (200.86, 345.66, 1220.9, 2167.8),
    ]
)

# A filter of the small network is dead, which matters to one test alone.
pytestmark = pytest.mark.filterwarnings("ignore:.* objectives do not move:jaxviz.JaxvizWarning")


@pytest.fixture(scope="module")
def start():
    return (np.random.default_rng(1234).random((4, 150, 150, 3)) * 20 + 128).astype(np.float32) / 255


def small(**settings):
    return {"canvas": jv.Pixels((12, 12)), "steps": 5, **settings}


def test_chollets_ascent_on_the_real_vgg16(vgg, start):
    found = jv.sweep(vgg, jv.channels(vgg, "block3_conv1", FILTERS), **jv.recipes.chollet(steps=20, start=start))
    assert found.image.shape == (4, 150, 150, 3)
    assert found.scores.shape == (4, 20)
    error = np.abs(found.scores[:, [0, 1, 10, 19]] / KERAS - 1)
    assert error[:, :2].max() < 3e-4  # the figures above have four digits
    assert error.max() < 5e-3


def test_chollets_ascent_against_keras_itself(vgg, vgg_in_keras, start):
    """The book's loop, step by step, on the same weights in Keras: three steps to 1e-4, twenty to 5e-3."""
    import keras
    import tensorflow as tf

    filters = keras.Model(vgg_in_keras.inputs, vgg_in_keras.get_layer("block3_conv1").output)
    image, losses = tf.constant(255 * start[1:2]), []
    for _ in range(20):
        with tf.GradientTape() as tape:
            tape.watch(image)
            loss = tf.reduce_mean(filters(image)[:, :, :, 27])
        gradient = tape.gradient(loss, image)
        image += gradient / (tf.sqrt(tf.reduce_mean(tf.square(gradient))) + 1e-5)
        losses.append(float(loss))
    ours = jv.ascend(vgg, jv.Channel("block3_conv1", 27), **jv.recipes.chollet(steps=20, start=start[1]))
    error = np.abs(ours.scores / np.array(losses) - 1)
    assert error[:3].max() < 1e-4
    assert error.max() < 5e-3
    assert np.abs(255 * ours.image - image[0]).max() < 0.05 * np.abs(image[0]).max()


def test_a_sweep_is_a_loop_of_ascents_whatever_the_chunks():
    model = keras_model()
    objectives = jv.channels(model, "second", range(5))
    together = jv.sweep(model, objectives, **small())
    for batch in (1, 2, 3):
        again = jv.sweep(model, objectives, batch=batch, **small())
        np.testing.assert_allclose(again.image, together.image, atol=1e-5)
        np.testing.assert_allclose(again.scores, together.scores, atol=1e-5)
    start = np.random.default_rng(0).random((5, 12, 12, 3)).astype(np.float32)
    found = jv.sweep(model, objectives, **small(start=start))
    for i, objective in enumerate(objectives):
        alone = jv.ascend(model, objective, **small(start=start[i]))
        np.testing.assert_allclose(alone.image, found.image[i], atol=1e-5)


def test_an_ascent_unpacks_to_images_and_scores():
    found = jv.Ascent(np.zeros((2, 4, 4, 3), np.float32), np.ones((2, 5), np.float32), np.full(2, 5))
    images, scores = found
    assert images is found.image
    assert scores is found.scores


def test_a_loop_of_steps_is_a_sweep():
    """The step of a user's own loop is the one that `sweep` loops."""
    model, canvas, optimizer = keras_model(), jv.Pixels((12, 12)), optax.adam(0.05)

    def flash(key, image):
        return image * jax.random.uniform(key)

    objectives = jv.channels(model, "second", range(3))
    found = jv.sweep(model, objectives, transform=flash, **small(optimizer=optimizer))
    stack = jax.tree.map(lambda *leaves: np.stack(leaves), *objectives)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), np.arange(3))
    state = begin(canvas, optimizer, keys, channels=3)
    for at in range(5):
        step_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, at)
        state, scores = step(model, stack, step_keys, state, canvas=canvas, optimizer=optimizer, transform=flash)
        np.testing.assert_allclose(scores, found.scores[:, at], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state.latent, found.image, atol=1e-5)


def test_the_key_decides():
    model = keras_model()
    objectives = jv.channels(model, "second", [0, 0])
    first = jv.sweep(model, objectives, key=jax.random.key(7), **small())
    same = jv.sweep(model, objectives, key=jax.random.key(7), **small())
    other = jv.sweep(model, objectives, key=jax.random.key(8), **small())
    np.testing.assert_array_equal(first.image, same.image)
    assert not np.allclose(first.image, other.image)
    assert not np.allclose(first.image[0], first.image[1])  # each position has its own noise


def test_objectives_of_different_kinds_keep_their_order():
    model = keras_model()
    mixed = [jv.Channel("second", 1), jv.Unit("head/pre", 2), jv.Channel("first", 0), jv.Channel("second", 3)]
    found = jv.sweep(model, mixed, **small())
    for i, objective in enumerate(mixed):
        keys = jax.random.key(0)
        start = jv.Pixels((12, 12)).new(jax.random.fold_in(keys, i), 3)
        alone = jv.ascend(model, objective, **small(start=np.asarray(start)))
        np.testing.assert_allclose(found.scores[i], alone.scores, atol=1e-5)


def test_other_filters_steps_and_step_sizes_compile_nothing():
    model = keras_model()
    jv.sweep(model, jv.channels(model, "second", [0, 1]), **jv.recipes.chollet(size=12))
    compiled = slots._climb.compiled()._cache_size()
    jv.sweep(model, jv.channels(model, "second", [3, 2]), **jv.recipes.chollet(size=12, steps=77, step=0.3))
    assert slots._climb.compiled()._cache_size() == compiled


def test_a_long_run_is_the_same_in_stretches(monkeypatch):
    model = keras_model()
    settings = small(steps=11, optimizer=Partial(optax.adam, learning_rate=0.05))
    whole = jv.ascend(model, jv.Channel("second", 0), **settings)
    monkeypatch.setattr(slots, "STRETCH", 4)
    slots._climb.compiled().clear_cache()
    parts = jv.ascend(model, jv.Channel("second", 0), **settings)
    slots._climb.compiled().clear_cache()
    np.testing.assert_allclose(parts.scores, whole.scores, atol=1e-6)


def test_any_optax_transformation_climbs():
    model = keras_model()
    transformation = optax.sgd(0.1)
    found = jv.ascend(model, jv.Channel("second/pre", 0), **small(optimizer=transformation))
    assert (np.diff(found.scores) > 0).all()
    compiled = slots._climb.compiled()._cache_size()
    jv.ascend(model, jv.Channel("second/pre", 1), **small(optimizer=transformation))
    assert slots._climb.compiled()._cache_size() == compiled


def test_a_transform_is_drawn_anew_at_each_step_and_for_each_item():
    def flash(key, image):
        return image * jax.random.uniform(key)

    model = keras_model()
    objectives = [jv.Channel("first/pre", 0)] * 2
    start = np.full((12, 12, 3), 0.5, np.float32)
    found = jv.sweep(model, objectives, transform=flash, start=start, **small(optimizer=optax.sgd(0.0)))
    assert len(np.unique(found.scores)) == found.scores.size


@struct.dataclass
class Tint:
    """A transform that is a pytree, and its only leaf an array."""

    colours: jax.Array

    def __call__(self, key, image):
        return image * self.colours


def test_a_transform_may_be_a_pytree_whose_only_leaf_is_an_array():
    """It is passed as a pytree, so that another array compiles nothing."""
    model = keras_model()
    objectives = [jv.Channel("first/pre", 0)]
    start = np.full((12, 12, 3), 0.5, np.float32)
    settings = {"start": start, **small(steps=1)}
    white = jv.sweep(model, objectives, transform=Tint(jax.numpy.ones(3)), **settings)
    compiled = slots._climb.compiled()._cache_size()
    red = jv.sweep(model, objectives, transform=Tint(jax.numpy.array([1.0, 0.0, 0.0])), **settings)
    assert slots._climb.compiled()._cache_size() == compiled
    np.testing.assert_array_equal(white.scores, jv.sweep(model, objectives, **settings).scores)
    tinted = jv.sweep(model, objectives, start=start * np.array([1, 0, 0], np.float32), **small(steps=1))
    np.testing.assert_allclose(red.scores, tinted.scores, atol=1e-6)


def test_ctrl_c_keeps_what_is_finished(monkeypatch):
    model = keras_model()
    draw, calls = slots._draw, []

    def interrupted(*args):
        if len(calls) == 4:  # each chunk is drawn at its start and at its end
            raise KeyboardInterrupt
        calls.append(args)
        return draw(*args)

    monkeypatch.setattr(slots, "_draw", interrupted)
    with pytest.raises(jv.Interrupted, match="4 objectives finished") as stop:
        jv.sweep(model, jv.channels(model, "second"), batch=2, **small())
    monkeypatch.undo()
    whole = jv.sweep(model, jv.channels(model, "second"), batch=2, **small())
    assert stop.value.positions == [0, 1, 2, 3]
    np.testing.assert_array_equal(stop.value.finished.image, whole.image[:4])
    np.testing.assert_array_equal(stop.value.finished.scores, whole.scores[:4])


@pytest.mark.parametrize("new", [jax.random.key, jax.random.PRNGKey])
def test_a_sweep_goes_on_where_it_stopped(new):
    """A key for each objective: the rest is what it would have been in one go."""
    model, key = keras_model(), new(3)
    objectives = jv.channels(model, "second")
    whole = jv.sweep(model, objectives, key=key, **small())
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, np.arange(len(objectives)))
    rest = jv.sweep(model, objectives[4:], key=keys[4:], **small())
    np.testing.assert_array_equal(rest.image, whole.image[4:])
    with pytest.raises(jv.InputError, match="a key is one, or one for each of 2 objectives"):
        jv.sweep(model, objectives[:2], key=keys[:3], **small())


def test_ctrl_c_before_anything_is_finished(monkeypatch):
    model = keras_model()

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(slots, "_draw", interrupted)
    with pytest.raises(jv.Interrupted) as stop:
        jv.sweep(model, jv.channels(model, "second"), **small())
    assert stop.value.finished is None


def test_memory_is_that_of_one_chunk(vgg):
    """The compiled step's buffers depend on the batch, not on how many filters wait."""
    recipe = jv.recipes.chollet(size=64)
    canvas, optimizer = recipe["canvas"], recipe["optimizer"]
    sizes = []
    for count in (64, 512):
        batch = at_once(*canvas.size)
        ((_, stack),) = alike([jv.Channel("block4_conv1", i) for i in range(count)])
        some = slots.Group(stack, jax.random.split(jax.random.key(0), count), None).members(np.arange(batch))
        state = slots._begin(canvas, optimizer, None, some.keys, None, channels=3)
        done, live = np.zeros(batch, np.int32), np.ones(batch, bool)
        step = slots._climb.compiled().lower(
            vgg, some.objectives, some.keys, state, done, live, 1, canvas, None, optimizer, None
        )
        sizes.append(step.compile().memory_analysis().temp_size_in_bytes)
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"objectives": []}, "at least one objective"),
        ({"objectives": [3]}, "climbs objectives, such as .*given: 3"),
        ({"steps": 0}, "steps is a whole number, 1 or more; given: 0"),
        ({"batch": 0}, "batch is a whole number, 1 or more; given: 0"),
        ({"objectives": [jv.Channel("secnd", 0)]}, "no layer 'secnd' .*did you mean second"),
        ({"objectives": [jv.Channel("second", 6)]}, "second has 6 channels, 0 to 5; given: 6"),
        ({"objectives": [jv.Channel("second", -1)]}, "0 to 5; given: -1"),
        ({"objectives": [jv.Channel("second", 0.5)]}, "a channel is a whole number; given: 0.5"),
        ({"objectives": [jv.Channel("head", 0)]}, r"head has shape \[5\]: for its units use Unit"),
        ({"objectives": [jv.Unit("second", 0)]}, r"for its channels use Channel"),
        ({"objectives": [jv.Channel("second", 0, border=3)]}, "second is 6 × 6 here: nothing is left inside a border"),
        ({"objectives": jv.Channel("second", 0)}, r"several objectives, \[Channel.*ascend climbs one"),
        ({"canvas": jv.Pixels((1, 1))}, "1 × 1 does not fit second: it needs at least"),
        ({"start": np.zeros((3, 12, 12, 3), np.float32)}, r"one for each of 6 objectives; given: \[3, 12, 12, 3\]"),
        ({"start": np.full((12, 12, 3), 128.0)}, r"values in \[0, 1\]; given: 128"),
        ({"objectives": [[1, 2] * jv.Channel("second", 0)]}, r"multiplied by one finite number; given: \[1, 2\]"),
        ({"objectives": [float("nan") * jv.Channel("second", 0)]}, "multiplied by one finite number; given: nan"),
        ({"optimizer": Partial(optax.adam)}, "an optimizer is an optax transformation.*missing 1 required"),
        ({"key": jax.random.split(jax.random.key(0), 2)}, "a key is one, or one for each of 6 objectives"),
    ],
)
def test_what_cannot_be_climbed_is_one_sentence(settings, sentence):
    model = keras_model()
    settings = {"objectives": jv.channels(model, "second"), **small(), **settings}
    with pytest.raises(jv.InputError, match=sentence):
        jv.sweep(model, settings.pop("objectives"), **settings)


def test_an_ascent_that_leaves_the_numbers_says_so():
    model = keras_model()
    settings = small(optimizer=Partial(optax.sgd, learning_rate=float("inf")))
    with pytest.warns(UserWarning, match=r"positions \[0, 1\] ended in NaN or infinity: try smaller steps"):
        jv.sweep(model, jv.channels(model, "second", [0, 1]), **settings)


def test_nan_in_the_weights_is_not_put_down_to_the_steps():
    model = keras_model()
    model = model.replace(params=jax.tree.map(lambda leaf: leaf * np.nan, model.params))
    with pytest.warns(UserWarning, match=r"NaN or infinity: so is their first score already, as with NaN in a network"):
        jv.sweep(model, jv.channels(model, "second", [0, 1]), **small())


def test_a_dead_filter_says_so():
    """Its image is the noise of the start, bit by bit, also after a single step."""
    model = keras_model()
    bias = model.params["layers"]["second"]["bias"]
    bias[...] = bias[...].at[1].set(-1e3)
    with pytest.warns(jv.JaxvizWarning, match=r"1 of 3 objectives do not move, .* dead filter, .*; positions: \[1\]"):
        found = jv.sweep(model, jv.channels(model, "second", [0, 1, 3]), **small(steps=1))
    assert not found.scores[1].any()


def test_a_sweep_stays_within_the_memory_and_finds_the_same(monkeypatch):
    """XLA counts the temporaries of each program that runs."""
    model, real, seen = keras_model(), slots._climb, []

    class Watched:
        lower = real.lower

        def __call__(self, *args, **kwargs):
            seen.append(
                (len(args[2]), real.lower(None, *args, **kwargs).compile().memory_analysis().temp_size_in_bytes)
            )
            return real(*args, **kwargs)

    monkeypatch.setattr(slots, "_climb", Watched())
    objectives = [jv.Channel("second", i % 6) for i in range(24)]
    free = jv.sweep(model, objectives, **small())
    ((count, needed),) = seen
    assert count == 24
    seen.clear()
    bounded = jv.sweep(model.replace(execution=jv.Execution(memory=needed // 3)), objectives, **small())
    assert all(0.5 * needed // 3 < size <= needed // 3 for _, size in seen)
    assert 1 < seen[0][0] < 12
    np.testing.assert_allclose(bounded.scores, free.scores, atol=1e-5)
    with pytest.raises(jv.InputError, match="enough for one item"):
        jv.sweep(model.replace(execution=jv.Execution(memory=1000)), objectives, **small())


@pytest.mark.parametrize(
    "optimizer",
    ["adam", optax.adam, 0.1, None, Partial(lambda: 3)],
    ids=["a name", "its maker", "a number", "nothing", "makes no optimizer"],
)
def test_what_is_no_optimizer(optimizer):
    with pytest.raises(jv.InputError, match=r"an optimizer is an optax transformation, such as .*; given: "):
        as_constructor(optimizer)


@pytest.mark.parametrize("objectives", [None, 3, len, jv.Channel("second", 0)], ids=repr)
def test_objectives_are_a_list(objectives):
    with pytest.raises(jv.InputError, match=r"objectives are a list, such as \[.*\] or .*; given: "):
        check_kinds(objectives)

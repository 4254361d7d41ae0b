"""Interventions: ablation, patching, steering, paths, and the model in which they act.

Law: patched with another image, a layer gives that image's output exactly; patched with the image itself, steered by 0,
or ablated by its own value, it changes nothing. Interventions at one layer act in the order in which they were given.
Law: the same intervention in Keras, nnx and linen has the same result. On a network of two linear paths, the effect of
each path is known exactly. Other units, images and directions compile nothing.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, struct
from networks import SHAPE, convolutions, image, images, keras_model, three_of_a_kind

import jaxviz as jv
from jaxviz.model import compute


@pytest.fixture(scope="module")
def model() -> jv.Model:
    return keras_model()


class TwoPaths(nnx.Module):
    """A linear network: out = head(left(stem) + right(stem)), with two paths from the stem to the sum."""

    def __init__(self, rngs: nnx.Rngs):
        self.stem = nnx.Linear(12, 4, rngs=rngs)
        self.left = nnx.Linear(4, 5, rngs=rngs)
        self.right = nnx.Linear(4, 5, rngs=rngs)
        self.both = nnx.Linear(5, 5, rngs=rngs)
        self.head = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x):
        stem = self.stem(x.reshape(len(x), -1))
        return self.head(self.both(self.left(stem) + self.right(stem)))


@pytest.fixture(scope="module")
def two() -> tuple[TwoPaths, jv.Model, np.ndarray]:
    module = TwoPaths(nnx.Rngs(0))
    return module, jv.wrap(module, image_shape=(2, 2, 3)), np.random.default_rng(0).random((2, 2, 2, 3), np.float32)


def test_a_whole_layer_from_another_image_gives_that_image_s_output(model):
    ours, theirs = images(2)
    for layer in ("first/pre", "first", "pool", "second", "head/pre"):
        changed = jv.edited(model, jv.patch(model, layer, theirs))
        np.testing.assert_array_equal(jv.predict(changed, ours), jv.predict(model, theirs))
        found = jv.activations(changed, ours, layer)[layer]
        np.testing.assert_array_equal(found, jv.activations(model, theirs, layer)[layer])


def test_what_changes_nothing(model):
    one = image()
    own = jv.activations(model, one, "second")["second"]
    nothing = [
        jv.patch(model, "second", one),
        jv.steer(model, "second", np.ones(6), 0),
        jv.steer(model, "second", np.zeros((6, 6, 6)), 3),
        jv.ablate(model, "second", [2, 3], by=own),
        jv.ablate(model, "second", places=np.zeros((6, 6), bool)),
    ]
    for each in nothing:
        np.testing.assert_array_equal(jv.predict(jv.edited(model, each), one), jv.predict(model, one))
    assert jv.edited(model).interventions == ()


def test_units_and_places_are_where_an_intervention_acts(model):
    one, other = images(2)
    places = np.zeros((6, 6), bool)
    places[1:3, 4] = True
    before = jv.activations(model, one, "second")["second"]
    theirs = jv.activations(model, other, "second")["second"]
    both = places[..., None] & np.isin(np.arange(6), [0, 5])
    made = {
        "ablate": (jv.ablate(model, "second", [0, 5], places=places, by=0.5), np.where(both, 0.5, before)),
        "means": (jv.ablate(model, "second", 3, by=np.arange(6.0)), np.where(np.arange(6) == 3, 3.0, before)),
        "patch": (jv.patch(model, "second", other, [0, 5], places=places), np.where(both, theirs, before)),
        "steer": (
            jv.steer(model, "second", np.arange(6), 2, places=places),
            before + places[..., None] * 2 * np.arange(6),
        ),
    }
    for name, (intervention, expected) in made.items():
        found = jv.activations(jv.edited(model, intervention), one, "second")["second"]
        np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=name)


def test_the_order_at_one_layer_is_the_order_in_which_they_were_given(model):
    zero, up = jv.ablate(model, "head/pre"), jv.steer(model, "head/pre", np.arange(5))
    one = image()

    def logits(*interventions):
        return jv.activations(jv.edited(model, *interventions), one, "head/pre")["head/pre"]

    np.testing.assert_array_equal(logits(zero, up), np.arange(5))
    np.testing.assert_array_equal(logits(up, zero), np.zeros(5))
    twice = jv.edited(jv.edited(model, zero), up)
    np.testing.assert_array_equal(jv.activations(twice, one, "head/pre")["head/pre"], np.arange(5))


def test_the_same_intervention_in_keras_nnx_and_linen(relative):
    keras, nnx_model, linen, _ = three_of_a_kind()
    batch, direction = images(2), np.linspace(-1, 1, 6)
    found = []
    for model, first, second, output in [
        (keras, "first/pre", "second/pre", "head/pre"),
        (nnx_model, "first", "blocks/0", "head"),
        (linen, "first", "second", "output"),
    ]:
        interventions = (
            jv.ablate(model, first, [1, 2]),
            jv.patch(model, second, batch[1], 4),
            jv.steer(model, second, direction, 0.5),
        )
        found.append(jv.activations(jv.edited(model, *interventions), batch, output)[output])
    assert relative(found[1], found[0]) < 1e-6
    assert relative(found[2], found[0]) < 1e-6


def test_a_batch_gives_what_single_images_give(model, relative):
    batch = images(3)
    changed = jv.edited(model, jv.patch(model, "pool", image(7), [0, 2]))
    singles = np.stack([jv.predict(changed, one) for one in batch])
    assert relative(jv.predict(changed, batch), singles) < 1e-6


def test_an_edited_model_answers_the_questions_of_a_model(model, relative):
    one, other = images(2)
    changed = jv.edited(model, jv.ablate(model, "second", 2), jv.steer(model, "second", np.ones(6), 0.1))
    maps = jv.activations(changed, one, "second")["second"]
    assert (maps[..., 2] == np.float32(0.1)).all()
    # The gradient at the layer is that of the model itself at the changed activation, so Grad-CAM has a closed form.
    kernel = np.asarray(model.params["layers"]["head"]["kernel"][...])[:, 3].reshape(6, 6, 6)
    expected = (maps * kernel.mean((0, 1))).sum(-1)
    found = jv.grad_cam(changed, one, 3, layer="second", relu=False)
    at = jv.grad_cam(changed.replace(interventions=()), one, 3, layer="second", relu=False)
    assert not np.allclose(found.values, at.values)
    assert relative(found.values[::11, ::11], expected[::5, ::5]) < 1e-5  # the corners are not interpolated
    patched = jv.edited(model, jv.patch(model, "second", other))
    assert (
        relative(
            jv.gradient(patched, one, jv.Channel("first", 0)).values,
            jv.gradient(model, one, jv.Channel("first", 0)).values,
        )
        < 1e-6
    )
    with pytest.warns(jv.JaxvizWarning, match="do not move"):  # the ablated channel cannot
        climbed = jv.sweep(changed, jv.channels(changed, "second", [2, 3]), **jv.recipes.chollet(size=12, steps=2))
    np.testing.assert_allclose(climbed.scores[0], 0.1, rtol=1e-6)
    assert climbed.scores[1, -1] > climbed.scores[1, 0]
    assert "edited at second" in repr(changed)
    assert "edited" not in repr(model)


def test_other_units_images_and_directions_compile_nothing(model):
    one, other = images(2, seed=3)
    program = compute.compiled()

    def run(units, source, strength):
        interventions = (
            jv.ablate(model, "first", units),
            jv.patch(model, "pool", source, units),
            jv.steer(model, "second", np.arange(6) * strength, strength),
        )
        jv.predict(jv.edited(model, *interventions), one)

    run(0, other, 1.0)
    before = program._cache_size()
    run([1, 3], one, -2)
    run(None, other, 0)
    assert program._cache_size() == before


def test_an_effect_by_one_path_of_two(two, relative):
    """Through the left path, the head sees the stem's change times the weights of that path; so it is on the right."""
    module, model, (ours, theirs) = two
    stem = [jv.activations(model, each, "stem")["stem"] for each in (ours, theirs)]
    left, right, both, head = (
        np.asarray(part.kernel[...]) for part in (module.left, module.right, module.both, module.head)
    )
    swap = jv.patch(model, "stem", theirs)

    def output(*interventions):
        return jv.predict(jv.edited(model, *interventions), ours) - jv.predict(model, ours)

    moved = stem[1] - stem[0]
    assert relative(output(jv.through(model, ours, swap, "left")), moved @ left @ both @ head) < 1e-5
    assert relative(output(jv.through(model, ours, swap, "right")), moved @ right @ both @ head) < 1e-5
    # To `both` there are two paths, of which the frozen layer closes one.
    assert relative(output(jv.through(model, ours, swap, "both", ["right"])), moved @ left @ both @ head) < 1e-5
    assert relative(output(jv.through(model, ours, swap, "both", "left")), moved @ right @ both @ head) < 1e-5
    assert relative(output(jv.through(model, ours, swap, "both")), output(swap)) < 1e-5
    np.testing.assert_allclose(output(jv.through(model, ours, swap, "both", ["left", "right"])), 0, atol=1e-6)
    # Any intervention may be at the beginning of the path.
    steered = jv.through(model, ours, jv.steer(model, "stem", [1, 0, 0, 0]), "left")
    assert relative(output(steered), left[0] @ both @ head) < 1e-5


def test_a_network_of_any_size_takes_what_fits_the_image():
    model = convolutions()
    small, large = np.random.default_rng(0).random((9, 9, 3), np.float32), image()
    changed = jv.edited(model, jv.ablate(model, "first", 1))
    for one in (small, large):
        assert (jv.activations(changed, one, "first")["first"][..., 1] == 0).all()
    patched = jv.edited(model, jv.patch(model, "first", small))
    assert jv.activations(patched, small, "second")["second"].shape == (5, 5, 5)
    with pytest.raises(jv.InputError, match="images of the same size only"):
        jv.activations(patched, large, "second")
    places = np.zeros((9, 9), bool)
    where = jv.edited(model, jv.ablate(model, "first", places=places))
    assert jv.activations(where, small, "first")["first"].shape == (9, 9, 4)
    with pytest.raises(jv.InputError, match=r"a mask for first .* given: \[9, 9, 4\]"):
        jv.activations(where, large, "first")


@struct.dataclass
class Doubled(jv.Intervention):
    layer: str = struct.field(pytree_node=False)
    factor: float = 2.0

    def __call__(self, activation):
        return self.factor * activation


@struct.dataclass
class Pooled(jv.Intervention):
    layer: str = struct.field(pytree_node=False)

    def __call__(self, activation):
        return activation.mean((1, 2))


def test_a_plain_function():
    flat = jv.wrap(lambda weight, batch: weight * batch.mean((1, 2)), jnp.ones(3), SHAPE)
    changed = jv.edited(flat, jv.steer(flat, "output", [1, 2, 3]), jv.ablate(flat, "output", 0))
    expected = (image().mean((0, 1)) + np.arange(1, 4)) * [0, 1, 1]
    np.testing.assert_allclose(jv.predict(changed, image()), expected, rtol=1e-6)


def test_an_intervention_of_one_s_own(model):
    one = image()
    found = jv.activations(jv.edited(model, Doubled("pool")), one, "pool")["pool"]
    np.testing.assert_array_equal(found, 2 * jv.activations(model, one, "pool")["pool"])
    with pytest.raises(jv.InputError, match=r"keeps the shape of its layer, pool, \[6, 6, 4\].*returns \[4\]"):
        jv.edited(model, Pooled("pool"))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_values_are_float32_in_every_precision(model, precision):
    changed = jv.edited(model, jv.steer(model, "first", np.full(4, 1e-3)))
    coarse = changed.replace(execution=jv.Execution(dtype=precision))
    found = jv.activations(coarse, image(), "first")["first"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, jv.activations(changed, image(), "first")["first"], rtol=0.02, atol=0.02)


WRONG = {
    "layer": (lambda m: jv.ablate(m, "secnd"), r"no layer 'secnd' in this model: did you mean second"),
    "unit": (lambda m: jv.ablate(m, "second", [0, 6]), r"second has 6 units, 0 to 5; given: 6"),
    "negative unit": (lambda m: jv.patch(m, "second", image(), -1), r"second has 6 units, 0 to 5; given: -1"),
    "no units": (lambda m: jv.ablate(m, "second", []), r"units of second are one or more numbers, or None for all"),
    "half a unit": (lambda m: jv.ablate(m, "second", 0.5), r"a unit is a whole number; given: 0.5"),
    "by": (lambda m: jv.ablate(m, "second", by=[1, 2]), r"by for second, \[6, 6, 6\], is \[6\].*given: \[2\]"),
    "nan": (lambda m: jv.ablate(m, "second", by=np.nan), r"by for second has finite numbers only"),
    "direction": (lambda m: jv.steer(m, "head/pre", np.ones(4)), r"a direction for head/pre, \[5\], is \[5\].*\[4\]"),
    "number": (lambda m: jv.steer(m, "second", 1.0), r"a direction in second, \[6, 6, 6\], is \[6\] or \[6, 6, 6\]"),
    "strength": (lambda m: jv.steer(m, "second", np.ones(6), np.inf), r"strength is a finite number; given: inf"),
    "places": (lambda m: jv.ablate(m, "second", places=np.ones((3, 3), bool)), r"are a mask \[6, 6\].*bool\[3, 3\]"),
    "weights": (lambda m: jv.ablate(m, "second", places=np.ones((6, 6))), r"True and False; given: float64\[6, 6\]"),
    "no places": (lambda m: jv.ablate(m, "head", places=np.array(True)), r"places in head, \[5\], are a mask"),
    "batch": (lambda m: jv.patch(m, "second", images(2)), r"of one image, without a batch axis; given: \[2, "),
    "size": (lambda m: jv.patch(m, "second", image()[:8]), r"this network takes images \[12 12 3\]"),
    "object": (lambda m: jv.edited(m, "second"), r"an intervention is a value that jv.ablate.*given: 'second'"),
    "shape": (
        lambda m: jv.edited(m, jv.Replacement("pool", np.ones((6, 4)))),
        r"a value for pool is a number, \[4\], or",
    ),
    "backwards": (
        lambda m: jv.through(m, image(), jv.ablate(m, "second"), "first"),
        r"the receiver of a path, first, must depend on the layer of the intervention, second",
    ),
}


@pytest.mark.parametrize("composite", jv.rules.COMPOSITES)
def test_lrp_of_an_ablated_unit_is_that_of_a_unit_without_weights(composite):
    model = keras_model()

    def without(path, leaf):
        return leaf.at[..., 1].set(0) if "first" in jax.tree_util.keystr(path) else leaf

    plain = model.replace(params=jax.tree_util.tree_map_with_path(without, model.params))
    ablated = jv.edited(model, jv.ablate(model, "first", 1))
    ours, theirs = (jv.lrp(each, image(), 0, composite=composite) for each in (ablated, plain))
    np.testing.assert_allclose(ours.values, theirs.values, atol=1e-6 * np.abs(theirs.values).max())


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_get_a_sentence(model, case):
    call, message = WRONG[case]
    with pytest.raises(jv.InputError, match=message):
        call(model)

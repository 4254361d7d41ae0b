"""Objectives.

Laws:
- The score is what NumPy computes from the activations, and three steps along its gradient raise it.
- `(a + 2 * b)(acts) == a(acts) + 2 * b(acts)`; numbers are leaves and names are static, so others compile nothing.
- An objective of an image is highest at that image.
- The class with the highest score is the decision, and its probability is the highest.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial
from networks import SHAPE, image, images, keras_model

import jaxviz as jv
from jaxviz.ascent import slots
from jaxviz.comparisons import FLOOR
from jaxviz.objectives import Scaled, class_score, decision, probabilities

LAYERS = ("image", "first", "second", "second/pre", "head/pre", "head")
THEIRS = np.random.default_rng(8).normal(0.3, 1, (6, 6, 6)).astype(np.float32)  # an activation of `second`
VECTOR = THEIRS[0, 0]
BOX = (1, 2, 4, 6)


def cosine(a, b):
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def along(a, b, power):
    return ((a * b).sum(-1) * np.maximum(cosine(a, b), 0.1) ** power).mean()


def total_variation(a):
    return np.abs(a[1:] - a[:-1]).sum() + np.abs(a[:, 1:] - a[:, :-1]).sum()


def blurred(a):
    """Pixel by pixel: the mean of the neighbours that exist, with twice the weight for the pixel itself."""
    found = np.zeros_like(a)
    for row, column in np.ndindex(a.shape[:2]):
        near = a[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        found[row, column] = (near.sum((0, 1)) + a[row, column]) / (near.shape[0] * near.shape[1] + 1)
    return found


def busiest(acts):
    return jnp.max(acts["second/pre"])


# {name: (objective, its score in NumPy from the activations, in 64 bits)}
EXAMPLES = {
    "channel": (jv.Channel("second/pre", 2), lambda a: a["second/pre"][..., 2].mean()),
    "inside of a border": (jv.Channel("first", 1, border=2), lambda a: a["first"][2:-2, 2:-2, 1].mean()),
    "neuron": (jv.Neuron("second/pre", (1, 4), 3), lambda a: a["second/pre"][1, 4, 3]),
    "centre": (jv.Neuron("second/pre", None, 3), lambda a: a["second/pre"][3, 3, 3]),
    "region": (jv.Region("second/pre", BOX, 0), lambda a: a["second/pre"][1:4, 2:6, 0].mean()),
    "logit": (jv.Unit("head/pre", 3), lambda a: a["head/pre"][3]),
    "probability": (jv.Unit("head", 3), lambda a: a["head"][3]),
    "highest": (jv.Highest("head/pre"), lambda a: a["head/pre"].max()),
    "head": (jv.Head("second", 3), lambda a: (a["second"][3] ** 2).mean()),
    "energy": (jv.Energy("second"), lambda a: (a["second"] ** 2).mean()),
    "direction": (jv.Direction("second", VECTOR), lambda a: (a["second"] @ VECTOR).mean()),
    "direction × cosine": (jv.Direction("second", VECTOR, 2.0), lambda a: along(a["second"], VECTOR, 2)),
    "of units": (jv.Direction("head/pre", VECTOR[:5], 1.0), lambda a: along(a["head/pre"], VECTOR[:5], 1)),
    "caricature": (jv.Direction("second/pre", THEIRS, 1.5), lambda a: along(a["second/pre"], THEIRS, 1.5)),
    "match": (jv.Match("second", THEIRS), lambda a: -((a["second"] - THEIRS) ** 2).sum() / (THEIRS**2).sum()),
    "similarity": (jv.Similarity("second", VECTOR), lambda a: cosine(a["second"].mean((0, 1)), VECTOR)),
    "total variation": (jv.TotalVariation(), lambda a: total_variation(a["image"]) / 432),
    "of a layer": (jv.TotalVariation("first", total=True), lambda a: total_variation(a["first"])),
    "L1": (jv.L1(), lambda a: np.abs(a["image"]).mean()),
    "L1 about grey": (jv.L1("image", 0.5, total=True), lambda a: np.abs(a["image"] - 0.5).sum()),
    "L2": (jv.L2(), lambda a: np.sqrt((a["image"] ** 2).mean())),
    "L2 from a photograph": (
        jv.L2("image", image(9), total=True),
        lambda a: np.linalg.norm(a["image"] - image(9)),
    ),
    "blur": (jv.Blur(), lambda a: 0.5 * ((a["image"] - blurred(a["image"])) ** 2).sum()),
    "negative": (-jv.Channel("second/pre", 2), lambda a: -a["second/pre"][..., 2].mean()),
    "several layers": (
        sum(jv.Energy(layer) for layer in ("first", "second")),
        lambda a: (a["first"] ** 2).mean() + (a["second"] ** 2).mean(),
    ),
    "regularized": (
        jv.Channel("second/pre", 0) - 0.1 * jv.L2() - 3 * jv.TotalVariation(),
        lambda a: (
            a["second/pre"][..., 0].mean()
            - 0.1 * np.sqrt((a["image"] ** 2).mean())
            - 3 * total_variation(a["image"]) / 432
        ),
    ),
    "function": (busiest, lambda a: a["second/pre"].max()),
}


@pytest.fixture(scope="module")
def model():
    return keras_model()


@pytest.fixture(scope="module")
def acts(model):
    return jv.activations(model, image(), LAYERS[1:]) | {"image": image()}


@pytest.fixture(scope="module")
def graded():
    """{name: activations -> (score, its gradient in them)}, compiled once for all tests below."""
    return {name: jax.jit(jax.value_and_grad(objective)) for name, (objective, _) in EXAMPLES.items()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_values(acts, graded, name):
    wide = {layer: values.astype(np.float64) for layer, values in acts.items()}
    score, _ = graded[name](acts)
    assert float(score) == pytest.approx(float(EXAMPLES[name][1](wide)), rel=3e-6)


@pytest.fixture(scope="module")
def passes(model):
    """image -> activations, and (image, gradient in the activations) -> gradient in the image; compiled once."""

    def forward(x):
        return model(x, LAYERS)

    return jax.jit(forward), jax.jit(lambda x, gradient: jax.vjp(forward, x)[1](gradient)[0])


@pytest.mark.parametrize("name", EXAMPLES)
def test_three_steps_raise_the_score(graded, passes, name):
    forward, back = passes
    x, scores = image(3), []
    for _ in range(4):
        score, gradient = graded[name](forward(x))
        uphill = np.asarray(back(x, gradient))
        x = x + 0.01 * uphill / np.linalg.norm(uphill)
        scores.append(float(score))
    assert (np.diff(scores) > 0).all()


def test_gradients_are_finite_where_nothing_is_active(acts, graded):
    for name, grade in graded.items():
        score, gradient = grade({layer: np.zeros_like(values) for layer, values in acts.items()})
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((score, gradient))), name


def test_the_highest_of_one_logit_is_the_decision():
    for logit in (-2.0, 3.0):
        assert jv.Highest("x")({"x": np.array([logit])}) == abs(logit)


@pytest.mark.parametrize(("head", "units"), [("softmax", 5), ("sigmoid", 1)])
def test_scores_decision_and_probabilities_agree(head, units):
    model = keras_model(head, units)
    assert model.is_binary == (units == 1)
    for seed in range(5):
        found = jv.activations(model, image(seed), [model.scores, model.output])
        shares = probabilities(found[model.output], model.is_binary)
        each = [float(class_score(model.scores, i, model.is_binary)(found)) for i in range(len(shares))]
        assert len(shares) == max(2, units)
        assert shares.sum() == pytest.approx(1)
        assert decision(found[model.scores], model.is_binary) == np.argmax(each) == np.argmax(shares)
        assert jv.Highest(model.scores)(found) == max(each)


def test_algebra(acts):
    a, b = jv.Channel("first", 0), jv.Unit("head", 1)
    assert (a + b)(acts) == a(acts) + b(acts)
    assert (a - b)(acts) == a(acts) - b(acts)
    assert (2.5 * a)(acts) == (a * 2.5)(acts) == 2.5 * a(acts)
    assert (-a)(acts) == -a(acts)
    assert (a + b).layers == ("first", "head")
    assert (a, b) == (jv.Channel("first", 0), jv.Unit("head", 1))  # unchanged by what was made of them


def test_objectives_only_combine_with_objectives_and_numbers():
    a = jv.Channel("first", 0)
    with pytest.raises(TypeError):
        a + 1
    with pytest.raises(TypeError):
        a * a


def test_names_are_static_and_numbers_are_leaves():
    assert jax.tree.leaves(Scaled(3.0, jv.Channel("first", 7))) == [3.0, 7]
    assert jax.tree.structure(jv.Channel("a", 1)) == jax.tree.structure(jv.Channel("a", 2))
    assert jax.tree.structure(jv.Channel("a", 1)) != jax.tree.structure(jv.Channel("b", 1))


def test_channels_of_a_layer():
    model = keras_model()
    assert jv.channels(model, "first") == [jv.Channel("first", i) for i in range(4)]
    assert jv.channels(model, "first", [2, 0], border=1) == [jv.Channel("first", 2, 1), jv.Channel("first", 0, 1)]
    with pytest.raises(jv.InputError, match="first has 4 channels, 0 to 3; given: 4"):
        jv.channels(model, "first", [0, 4])
    with pytest.raises(jv.InputError, match="for its units use Unit"):
        jv.channels(model, "head")
    with pytest.raises(jv.InputError, match="no layer 'third'"):
        jv.channels(model, "third")
    with pytest.raises(jv.InputError, match="border is a whole number, 0 or more; given: -1"):
        jv.channels(model, "first", border=-1)


def test_the_floor_of_a_cosine_is_lucids():
    opposite = {"second": -np.broadcast_to(VECTOR, (6, 6, 6))}
    length = (VECTOR**2).sum()
    assert float(jv.Direction("second", VECTOR, 1.0)(opposite)) == pytest.approx(-FLOOR * length, rel=1e-5)
    assert float(jv.Direction("second", VECTOR, 3.0)(opposite)) == pytest.approx(-(FLOOR**3) * length, rel=1e-5)


def test_a_step_down_a_blur_blurs():
    """Lucid's law: a step of rate 1 on `-k * Blur()` is `image ← (1 - k) image + k blurred`."""
    k, before = 0.3, image(4)
    gradient = jax.grad(lambda x: (-k * jv.Blur())({"image": x}))(before)
    np.testing.assert_allclose(before + gradient, (1 - k) * before + k * blurred(before), atol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda x: jv.Blur()({"image": x}))(np.ones(SHAPE, np.float32)), 0, atol=1e-6)


def test_regularizers_of_tf_keras_vis(model):
    """`TotalVariation2D(w)` and `Norm(w, p)` of 0–255 pixels, as tf-keras-vis 0.8.7 computes them."""
    x, weight = image(2), 0.3
    pixels = 255.0 * x.astype(np.float64)
    norms = {p: weight * (np.abs(pixels) ** p).sum() ** (1 / p) / pixels.size ** (1 / p) for p in (1, 2)}
    ours = {"image": x}
    assert float((255 * weight * jv.L1())(ours)) == pytest.approx(norms[1], rel=1e-5)
    assert float((255 * weight * jv.L2())(ours)) == pytest.approx(norms[2], rel=1e-5)
    variation = weight * total_variation(pixels) / pixels.size
    assert float((255 * weight * jv.TotalVariation())(ours)) == pytest.approx(variation, rel=1e-5)


def test_an_objective_of_an_image_is_highest_at_it(model):
    mine, others = image(5), images(20, seed=6)
    for make in (jv.match, jv.similarity):
        objective = make(model, "second", mine)
        values = jv.activations(model, np.concatenate([mine[None], others]), "second")["second"]
        scores = [float(objective({"second": each})) for each in values]
        assert np.argmax(scores) == 0
        assert scores[0] == pytest.approx({jv.match: 0, jv.similarity: 1}[make], abs=1e-6)
    caricature = jv.direction(model, "second", mine, power=2.0)
    theirs = jv.activations(model, mine, "second")["second"]
    np.testing.assert_array_equal(caricature.vector, theirs)
    assert float(caricature({"second": theirs})) == pytest.approx((theirs**2).sum(-1).mean(), rel=1e-5)


def test_classes_are_their_scores_before_the_softmax(model, acts):
    names = model.replace(labels=("ant", "bee", "cat", "dog", "elk"))
    assert jv.classes(names, ["dog", 0]) == [1.0 * jv.Unit("head/pre", 3), 1.0 * jv.Unit("head/pre", 0)]
    assert [float(each(acts)) for each in jv.classes(model)] == acts["head/pre"].tolist()
    binary = jv.classes(keras_model("sigmoid", 1))
    assert [float(each({"head/pre": np.array([3.0])})) for each in binary] == [-3, 3]
    with pytest.raises(jv.InputError, match="head/pre has 5 units, 0 to 4; given: 5"):
        jv.classes(model, [5])
    with pytest.raises(jv.InputError, match=r"a list of classes, such as \['dog'\]"):
        jv.classes(names, "dog")


def test_other_numbers_compile_nothing(model):
    settings = {"canvas": jv.Pixels((12, 12)), "steps": 2, "optimizer": Partial(optax.sgd, learning_rate=0.1)}

    def terms(seed):
        random = np.random.default_rng(seed)
        yield jv.Channel("second/pre", seed) - random.random() * jv.TotalVariation() - seed * jv.L2("image", 0.5 * seed)
        yield jv.Direction("second/pre", random.random(6).astype(np.float32), 0.5 * seed)
        yield jv.Match("second", random.random((6, 6, 6)).astype(np.float32))
        yield jv.Neuron("second/pre", None, seed)

    jv.ascend(model, sum(terms(1)), **settings)
    compiled = slots._climb.compiled()._cache_size()
    jv.ascend(model, sum(terms(2)), **settings)
    assert slots._climb.compiled()._cache_size() == compiled


def test_each_item_has_its_own_weight(model):
    """Weights of one sweep are weights of as many."""
    settings = {"canvas": jv.Pixels((12, 12)), "steps": 3, "start": image(3)}
    objectives = [jv.Channel("second/pre", 1) - weight * jv.L2() for weight in (0, 0.5, 20)]
    together = jv.sweep(model, objectives, **settings)
    for i, objective in enumerate(objectives):
        np.testing.assert_allclose(jv.sweep(model, [objective] * 3, **settings).image[0], together.image[i], atol=1e-5)
    assert np.linalg.norm(together.image[2]) < np.linalg.norm(together.image[0])


@pytest.mark.parametrize(
    ("objective", "sentence"),
    [
        (jv.Direction("second", np.ones(5)), r"a direction in second, \[6, 6, 6\], is \[6\].*given: \[5\]"),
        (jv.Direction("second", np.zeros(6)), "a direction has finite numbers, not all 0"),
        (jv.Direction("second", np.ones(6), -1.0), "power is of the cosine, 0 or more; given: -1.0"),
        (jv.Direction("second", np.ones(6), "x"), "power is of the cosine, 0 or more; given: 'x'"),
        (jv.L2("image", "grey"), "an origin in image has finite numbers; given: 'grey'"),
        (jv.Match("second", np.ones((5, 5, 6))), r"to match in second is \[6, 6, 6\].*given: \[5, 5, 6\]"),
        (jv.Match("second", np.zeros((6, 6, 6))), "an activation to match has finite numbers, not all 0"),
        (jv.Neuron("second", None), r"the centre of second is that of one channel|Neuron\('second', None, i\)"),
        (jv.Neuron("second", None, 6), "0 to 5; given: 6"),
        (jv.TotalVariation("head"), r"a total variation is of an image or a layer with maps.*given: head, \[5\]"),
        (jv.Blur("head"), r"a blur is of an image or a layer with maps.*given: head, \[5\]"),
        (jv.L2("image", np.ones(3)), r"an origin in image is a number or an array \[12, 12, 3\].*given: \[3\]"),
        (jv.L1("image", float("nan")), "an origin in image has finite numbers"),
    ],
)
def test_what_does_not_fit_is_one_sentence(model, objective, sentence):
    with pytest.raises(jv.InputError, match=sentence):
        jv.ascend(model, objective, canvas=jv.Pixels((12, 12)), steps=1)

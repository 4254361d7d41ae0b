"""Objectives of networks without classes: regions, places, tokens, similarity, and the user's own.

Law: the score is what NumPy computes from the activations, and its gradient is JAX's. Positions, boxes, masks and
channels are leaves. What has been compiled for an objective of the user's is never used for another one.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, struct

import jaxviz as jv
from jaxviz.attribution.gradients import gradients
from jaxviz.networks.keras import from_net
from weights_convert import Graph, KerasNet
from weights_convert.layers import node

SHAPE = (8, 6, 2)
MASK = np.zeros(SHAPE[:2], bool)
MASK[2:5, 1:3] = True
SOFT = 0.5 * MASK + MASK[::-1]


@pytest.fixture(scope="module")
def model() -> jv.Model:
    """A network that labels each pixel, as a map `[h w k]`, as boxes `[h w a k]` and, at its end, as `[pixels k]`."""
    rows = [
        ("first", "Conv2D", {"filters": 4, "kernel_size": (3, 3), "padding": "same", "activation": "relu"}),
        ("map", "Conv2D", {"filters": 6, "kernel_size": (1, 1)}),
        ("boxes", "Reshape", {"target_shape": (8, 6, 2, 3)}),
        ("flat", "Reshape", {"target_shape": (48, 6)}),
        ("out", "Softmax", {}),
    ]
    sources = ["image", *(name for name, _, _ in rows)]
    nodes = [node(name, kind, each, (source,)) for (name, kind, each), source in zip(rows, sources, strict=False)]
    return from_net(KerasNet(Graph.of_image(SHAPE, tuple(nodes)), rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).random(SHAPE, np.float32)


class Plain(jv.Objective):
    """What somebody writes first: no pytree."""

    layers = ("boxes",)

    def __init__(self, row):
        self.row = row

    def __call__(self, acts):
        return acts["boxes"][self.row, 4, 0, 2]


@struct.dataclass
class Leafy(jv.Objective):
    row: int

    @property
    def layers(self):
        return ("boxes",)

    def __call__(self, acts):
        return acts["boxes"][self.row, 4, 0, 2]


def pixel(acts):
    return acts["map"][3, 4].sum()


def weights(*where, value=1.0) -> np.ndarray:
    """The weight of each number of `map` in a score: `value` at an index, 0 elsewhere."""
    found = np.zeros((8, 6, 6))
    found[where] = value
    return found


# {name: (target, its weights)}
TARGETS = {
    "box": (jv.Region("map", (2, 1, 5, 3), 4), weights(MASK, 4, value=1 / 6)),
    "sum of a mask": (jv.Region("map", MASK, 4, total=True), weights(MASK, 4)),
    "mask of a flat map": (jv.Region("flat", MASK, 4), weights(MASK, 4, value=1 / 6)),
    "weights": (jv.Region("map", SOFT, 1), weights(..., 1, value=SOFT / SOFT.sum())),
    "one place": (jv.Neuron("map", (7, 5), 3), weights(7, 5, 3)),
    "one box": (jv.Neuron("boxes", (7, 5, 1, 0)), weights(7, 5, 3)),
    "token": (jv.Token("flat", 7, 2), weights(1, 1, 2)),
    "mean of a token": (jv.Token("flat", 7), weights(1, 1, value=1 / 6)),
    "channel of boxes": (jv.Channel("boxes", 1), weights(..., slice(1, None, 3), value=1 / 96)),
    "function": (pixel, weights(3, 4)),
    "own class": (Plain(2), weights(2, 4, 2)),
    "own dataclass": (Leafy(2), weights(2, 4, 2)),
    "own in a sum": (2 * Plain(2) - jv.Channel("map", 0), weights(2, 4, 2, value=2) - weights(..., 0, value=1 / 48)),
}


def test_scores_and_gradients(model, image, relative):
    """All of these scores are weighted sums of `map`, so JAX's Jacobian of `map` is their oracle."""
    values = jv.activations(model, image, "map")["map"]
    jacobian = jax.jit(jax.jacrev(lambda x: model(x, ["map"])["map"]))(image)
    for name, (target, weight) in TARGETS.items():
        found = jv.gradient(model, image, target)
        assert found.score == pytest.approx(float((weight * values).sum()), rel=1e-5, abs=1e-6), name
        assert relative(found.values, np.tensordot(weight, jacobian, 3)) < 1e-5, name


def test_similarity_is_the_cosine_of_pooled_activations(model, image, relative):
    other = image[::-1, :, ::-1]
    pooled = jv.activations(model, other, "first")["first"].mean((0, 1))

    def cosine(x):
        ours = model(x, ["first"])["first"].mean((0, 1))
        return ours @ pooled / jnp.linalg.norm(ours) / jnp.linalg.norm(pooled)

    target = jv.similarity(model, "first", other)
    found = jv.gradient(model, image, target)
    value, gradient = jax.jit(jax.value_and_grad(cosine))(image)
    assert found.score == pytest.approx(float(value), rel=1e-6)
    assert relative(found.values, gradient) < 1e-5
    assert float(target(model(jnp.asarray(other), target.layers))) == pytest.approx(
        1
    )  # there, a gradient is 0 up to rounding
    with pytest.raises(jv.InputError, match=r"of one image, without a batch axis; given: \[1, 8, 6, 2\]"):
        jv.similarity(model, "first", image[None])
    with pytest.raises(jv.InputError, match="all 0: a cosine needs a direction"):
        jv.gradient(model, image, jv.Similarity("first", np.zeros(4)))


def test_targets_are_taken_everywhere(model, image):
    region = jv.Region("flat", MASK, 4)
    score = jv.activations(model, image, "map")["map"][MASK][:, 4].mean()
    for method in (jv.grad_cam, jv.lrp, partial(jv.tf_explain.grad_cam, layer="first")):
        found = method(model, image, region)
        assert found.score == pytest.approx(score, rel=1e-5)
        assert np.abs(found.values).max() > 0
    # An occlusion of all that the region sees leaves what a grey image has there.
    found = jv.occlusion(model, image, region, window=SHAPE[:2])
    grey = jv.gradient(model, np.full_like(image, 0.5), region).score
    np.testing.assert_allclose(found.values, score - grey, rtol=1e-4)
    for scores in jv.sweep(model, [Plain(2), pixel], canvas=jv.Pixels(SHAPE[:2]), steps=3).scores:
        assert scores[0] < scores[1] < scores[2]
    view = jv.views.Map(jv.grad_cam, image, [region])
    assert view(model).shape == (512, 384, 3)
    batch = jv.gradient(
        model, np.stack([image, image]), [jv.Region("map", (0, 0, 2, 2), 1), jv.Region("map", (2, 1, 5, 3), 4)]
    )
    assert batch.score[1] == pytest.approx(score, rel=1e-5)


def test_another_place_compiles_nothing_and_another_own_objective_is_another(model, image):
    jv.gradient(model, image, jv.Neuron("map", (0, 0), 0))
    jv.gradient(model, image, jv.Region("map", (0, 0, 2, 2), 0))
    jv.gradient(model, image, jv.Region("map", MASK, 0))
    jv.gradient(model, image, Leafy(1))
    own = Plain(1)
    before = jv.gradient(model, image, own).score
    count = gradients.compiled()._cache_size()
    values = jv.activations(model, image, ["map", "boxes"])
    for target, value in (
        (jv.Neuron("map", (7, 5), 3), values["map"][7, 5, 3]),
        (jv.Region("map", (2, 1, 5, 3), 4), values["map"][2:5, 1:3, 4].mean()),
        (jv.Region("map", ~MASK, 5), values["map"][~MASK][:, 5].mean()),
        (Leafy(5), values["boxes"][5, 4, 0, 2]),
        (Plain(1), before),  # equal attributes: the same
    ):
        assert jv.gradient(model, image, target).score == pytest.approx(value, rel=1e-5)
    assert gradients.compiled()._cache_size() == count
    own.row = 5  # changed after it was compiled
    assert jv.gradient(model, image, own).score == pytest.approx(values["boxes"][5, 4, 0, 2], rel=1e-5)


class NoLayers(jv.Objective):
    def __call__(self, acts):
        return acts["map"].mean()


class Checked(NoLayers):
    layers = ("map",)

    def check(self, shapes):
        raise jv.InputError(f"not of {shapes['map']}")


class OneName(NoLayers):
    layers = "map"


class OtherLayer(NoLayers):
    layers = ("flat",)


@dataclasses.dataclass
class Unhashable(jv.Objective):
    rows: list
    layers = ("map",)

    def __call__(self, acts):
        return acts["map"][jnp.array(self.rows), 0, 0].sum()


@struct.dataclass
class Named(jv.Objective):
    name: str
    layers = ("map",)

    def __call__(self, acts):
        return acts["map"].mean()


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (None, r"give the target as Channel\('out/pre', channel\).*Region\('out/pre', mask.*Token\('out/pre'"),
        (2, r"Channel\('out/pre', 2\).*Token\('out/pre', i, 2\), at one place; given: 2"),
        (jv.Unit("map", 1), r"for its channels use Channel\('map', 1\).*Neuron\('map', \(row, column\), 1\)"),
        (jv.Highest("map"), r"Highest is of a layer \[units\].*Use Channel"),
        (jv.Channel("map", 6), "map has 6 channels, 0 to 5; given: 6"),
        (jv.Region("map", MASK), r"is \[8, 6, 6\].*Name the channel too, 0 to 5"),
        (jv.Region("map", MASK.T, 0), r"is \[8, 6\], one number for each place of the map; given: \[6, 8\]"),
        (jv.Region("map", MASK & False, 0), "finite weights, which are not all 0"),
        (jv.Region("map", (0, 0, 9, 3), 0), r"lies within map, \[8, 6\], and ends after it begins; given"),
        (jv.Region("map", (3, 3, 3, 5), 0), "ends after it begins"),
        (jv.Region("map", np.array([2, 1, 5, 3]), 0), r"given: \[4\]. A box is a tuple"),
        (jv.Region("map", MASK.tolist(), 0), "and a mask is an array .* given: nested lists"),
        (jv.Region("map", (0, 3), 0), r"a tuple \(top, left, bottom, right\) of 4 whole numbers"),
        (jv.Region("flat", (0, 0, 2, 2), 0), r"A flat map has no box: give a mask \[h w\]"),
        (jv.Region("map", MASK, 6), "map has 6 channels, 0 to 5; given: 6"),
        (jv.Neuron("map", (8, 0), 0), "axis 0 of map has 8 places, 0 to 7; given: 8"),
        (jv.Neuron("map", (1, 0)), r"a neuron of map, \[8, 6, 6\], has 3 indices"),
        (jv.Token("map", 0, 0), r"a token is of a layer \[n c\]; .*Use Channel"),
        (jv.Token("flat", 48, 0), "flat has 48 tokens, 0 to 47; given: 48"),
        (jv.Similarity("map", np.ones(5)), r"an embedding in map, .* is \[6\].*given: \[5\]"),
        (NoLayers(), "an Objective says in `layers` what it reads.*given: none of NoLayers"),
        (Checked(), r"not of \(8, 6, 6\)"),
        (OneName(), r"such as \('block5_conv3',\); given: 'map' of OneName"),
        (OtherLayer(), r"OtherLayer reads the activation 'map', which is not among its layers.*given: \('flat',\)"),
        (Named("x"), r"Named fails.*struct.field\(pytree_node=False\)"),
        (lambda acts: acts["map"], r"a score is one real number.*returns float32\[8, 6, 6\]"),
        (lambda acts: 1.0, "reads no activation: a function that is a target takes"),
        (lambda acts: acts["mapp"].mean(), "no layer 'mapp' in this model: did you mean map"),
        (lambda acts: acts["map"][0, 0, 0] if acts["map"].max() > 0 else 0.0, "cannot be traced by JAX.*use jnp.where"),
        (lambda acts: acts["map"] + jnp.ones(7), "the target <lambda> fails on the activations that it reads: "),
        (Plain, r"an Objective itself, such as Plain\(…\); given: the class"),
        (1.5, r"no classes"),
    ],
)  # fmt: skip
def test_targets_that_do_not_fit_are_told_what_would(model, image, target, sentence):
    with pytest.raises(jv.InputError, match=sentence):
        jv.gradient(model, image, target)


def test_attributes_of_any_type(model, image):
    values = jv.activations(model, image, "map")["map"]
    own = Unhashable([1, 2])
    assert jv.gradient(model, image, own).score == pytest.approx(values[[1, 2], 0, 0].sum(), rel=1e-5)
    own.rows.append(3)
    assert jv.gradient(model, image, own).score == pytest.approx(values[[1, 2, 3], 0, 0].sum(), rel=1e-5)

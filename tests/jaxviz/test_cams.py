"""Class activation maps.

Law: a CAM is `weigh(activation, gradient)` of one layer, cut at zero and enlarged, with the formula of its paper. On
convolution → global average → dense, Grad-CAM is CAM itself.
"""

import inspect
import re

import jax
import numpy as np
import pytest
from flax import nnx
from networks import image, images, keras_model, linear_model, three_of_a_kind

import jaxviz as jv
from jaxviz.attribution import cams
from jaxviz.networks.forwards import KerasForward
from jaxviz.networks.keras import from_net
from weights_convert import Graph, KerasNet
from weights_convert.layers import node


def test_against_tensorflow_on_the_real_files(cats_and_dogs, cats_and_dogs_file, pets, relative):
    """The book's formula, with the score before the sigmoid, computed by TensorFlow on Keras' own model."""
    import keras
    import tensorflow as tf

    theirs = keras.models.load_model(cats_and_dogs_file, compile=False)
    theirs.layers[-1].activation = keras.activations.linear
    layers = [theirs.get_layer(name) for name in cats_and_dogs.layers]
    before = keras.Model(theirs.inputs, theirs.get_layer("conv2d_14").output)
    ours = jv.grad_cam(cats_and_dogs, pets, 1)
    with tf.GradientTape() as tape:
        maps = score = before(pets)
        tape.watch(maps)
        for layer in layers[cats_and_dogs.layers.index("conv2d_14") + 1 :]:
            score = layer(score)
        total = tf.reduce_sum(score)
    weights = tf.reduce_mean(tape.gradient(total, maps), (1, 2), keepdims=True)
    wanted = tf.image.resize(tf.nn.relu(tf.reduce_sum(maps * weights, -1, keepdims=True)), (256, 256))[..., 0]
    assert relative(ours.score, score[:, 0]) < 1e-5
    assert relative(ours.values, wanted) < 1e-4


def test_against_tensorflow_on_a_vgg16_classifier(tumor, tumor_in_keras, photograph, relative):
    import keras
    import tensorflow as tf

    photo = jv.read_image(photograph, 240)
    names = [layer.name for layer in tumor_in_keras.layers]
    before = keras.Model(tumor_in_keras.inputs, tumor_in_keras.get_layer("block5_conv3").output)
    with tf.GradientTape() as tape:
        maps = x = before(photo[None])
        tape.watch(maps)
        for name in names[names.index("block5_conv3") + 1 :]:
            x = tumor_in_keras.get_layer(name)(x)
        score = x[0, 1]
    weights = tf.reduce_mean(tape.gradient(score, maps), (1, 2), keepdims=True)
    wanted = tf.image.resize(tf.nn.relu(tf.reduce_sum(maps * weights, -1, keepdims=True)), (240, 240))[0, ..., 0]
    ours = jv.grad_cam(tumor, photo, 1)
    assert float(ours.score) == pytest.approx(float(score), rel=1e-4)
    assert relative(ours.values, wanted) < 1e-4


def test_a_batch_is_a_loop_with_one_target_for_each():
    model = keras_model()
    batch = images(5)
    targets = [0, 4, 2, 2, 1]
    together = jv.grad_cam(model, batch, targets, relu=False, batch=2)
    assert together.values.shape == (5, 12, 12)
    assert together.score.shape == (5,)
    for i in range(5):
        alone = jv.grad_cam(model, batch[i], targets[i], relu=False)
        assert alone.values.shape == (12, 12)
        np.testing.assert_allclose(together.values[i], alone.values, atol=1e-6)
        np.testing.assert_allclose(together.score[i], alone.score, rtol=1e-5)


def test_the_score_is_the_logit_of_the_decision():
    model = keras_model()
    logits = jv.activations(model, image(), ["head/pre"])["head/pre"]
    assert jv.grad_cam(model, image(), relu=False).score == pytest.approx(logits.max(), rel=1e-5)
    assert jv.grad_cam(model, image(), 3, relu=False).score == pytest.approx(logits[3], rel=1e-5)
    best = jv.grad_cam(model, image(), int(logits.argmax()), relu=False)
    np.testing.assert_allclose(jv.grad_cam(model, image(), relu=False).values, best.values, atol=1e-7)


def test_a_sigmoid_unit_has_two_classes():
    model = keras_model("sigmoid", units=1)
    logit = jv.activations(model, image(), ["head/pre"])["head/pre"][0]
    zero, one = jv.grad_cam(model, image(), 0, relu=False), jv.grad_cam(model, image(), 1, relu=False)
    assert (zero.score, one.score) == (pytest.approx(-logit), pytest.approx(logit))
    decided = jv.grad_cam(model, image(), relu=False)
    np.testing.assert_allclose(decided.values, (one if logit > 0 else zero).values, atol=1e-7)


def test_another_class_or_image_compiles_nothing():
    model = keras_model()
    jv.grad_cam(model, image(), 0, relu=False)
    compiled = cams._cams.compiled()._cache_size()
    jv.grad_cam(model, image(1), 3, relu=False)
    jv.grad_cam(model, image(1), np.int64(2), relu=False)
    assert cams._cams.compiled()._cache_size() == compiled


def test_the_layer_is_the_last_convolution_before_the_target():
    for model, name in zip(three_of_a_kind()[:3], ("second", "blocks/0", "second"), strict=True):
        assert cams.last_convolution(model, jv.Unit(model.output, 0)) == name
    assert cams.last_convolution(keras_model(), jv.Channel("pool", 0)) == "first"


def test_an_objective_is_a_target(relative):
    """Explained at its own layer, a channel's mean is its own positive map, divided by the number of pixels."""
    model = keras_model()
    channel = jv.activations(model, image(), ["second"])["second"].mean((0, 1)).argmax()
    found = jv.grad_cam(model, image(), jv.Channel("second", int(channel)), layer="second")
    maps = jv.activations(model, image(), ["second"])["second"]
    wanted = jax.image.resize(maps[..., channel] / 36, (12, 12), "bilinear")
    assert relative(found.values, wanted) < 1e-5


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"target": 5}, "head/pre has 5 units, 0 to 4; given: 5"),
        ({"target": -1}, "0 to 4; given: -1"),
        ({"target": 1.5}, "a class number, a class name, an Objective or None; given: 1.5"),
        ({"target": "cornet"}, "no class names, so a target is a class number; given: 'cornet'"),
        ({"target": [1, 2]}, "one for each of 1; given: 2"),
        ({"layer": "secund"}, "no layer 'secund' .*did you mean second"),
        ({"layer": "flat"}, r"a CAM needs a layer with maps \[h w c\]; given: flat, \[216\]"),
        ({"target": jv.Channel("second", 9)}, "second has 6 channels"),
        ({"target": jv.Channel("second", np.array([0, 1]))}, r"a channel is a whole number; given: array\(\[0, 1\]"),
        ({"target": jv.Channel("second", 0, border=-1)}, "border is a whole number, 0 or more; given: -1"),
        ({"target": jv.Highest("second")}, r"Highest is of a layer \[units\], .*given: second, \[6, 6, 6\]"),
        ({"layer": []}, "at least one layer: give names"),
    ],
)
def test_what_cannot_be_explained_is_one_sentence(settings, sentence):
    with pytest.raises(jv.InputError, match=sentence):
        jv.grad_cam(keras_model(), image(), **settings)


@pytest.mark.parametrize(
    "several", [[2, 0], (2, 0), np.array([2, 0]), jax.numpy.array([2, 0])], ids=lambda t: str(type(t))
)
def test_targets_of_a_batch_may_be_an_array(several):
    found = jv.hires_cam(keras_model(), images(2), several, relu=False)
    np.testing.assert_array_equal(found.values, jv.hires_cam(keras_model(), images(2), [2, 0], relu=False).values)


def test_targets_of_a_batch_are_of_one_kind():
    with pytest.raises(jv.InputError, match="of one kind"):
        jv.grad_cam(keras_model(), images(2), [1, jv.Channel("second", 0)])


def test_class_names():
    model = keras_model().replace(labels=("ant", "bee", "cat", "dog", "eel"))
    named, numbered = (jv.grad_cam(model, image(), target, relu=False) for target in ("cat", 2))
    np.testing.assert_array_equal(named.values, numbered.values)
    with pytest.raises(jv.InputError, match="no class named 'cot' among 5: did you mean cat"):
        jv.grad_cam(model, image(), "cot")


def test_a_network_without_classes_needs_an_objective(vgg):
    with pytest.raises(jv.InputError, match=r"ends in block5_pool, .* has no classes: give the target as Channel"):
        jv.grad_cam(vgg, np.zeros((64, 64, 3), np.float32))


def test_a_function_has_no_convolution_to_look_at():
    model = linear_model(np.ones((3, 3, 1), np.float32))
    with pytest.raises(jv.InputError, match="no convolution between the image and the target"):
        jv.grad_cam(model, np.zeros((3, 3, 1), np.float32))


# The family, written once more in NumPy from the papers: (activation [h w k], gradient [h w k]) -> map [h w].


def plus_plus(a, g):
    alpha = np.zeros_like(g)
    for y, x, k in np.ndindex(*g.shape):
        below = 2 * g[y, x, k] ** 2 + a[..., k].sum() * g[y, x, k] ** 3
        alpha[y, x, k] = g[y, x, k] ** 2 / below if below else 0
    return sum((alpha[..., k] * np.maximum(g[..., k], 0)).sum() * a[..., k] for k in range(a.shape[-1]))


FORMULAS = {
    jv.grad_cam: lambda a, g: sum(g[..., k].mean() * a[..., k] for k in range(a.shape[-1])),
    jv.grad_cam_plus_plus: plus_plus,
    jv.hires_cam: lambda a, g: (g * a).sum(-1),
    jv.layer_cam: lambda a, g: (np.maximum(g, 0) * a).sum(-1),
    jv.x_grad_cam: lambda a, g: sum(
        (g[..., k] * a[..., k]).sum() / (a[..., k].sum() + 1e-7) * a[..., k] for k in range(a.shape[-1])
    ),
}


@pytest.fixture(scope="module")
def looked_at():
    """A network, and what its last convolution saw and what moved the score there."""
    model = keras_model()
    x = jax.numpy.asarray(image())
    activation = model(x, ["second"])["second"]
    gradient = jax.grad(lambda a: model(x, ["head/pre"], {"second": lambda _: a[None]})["head/pre"][1])(activation)
    return model, np.asarray(activation, np.float64), np.asarray(gradient, np.float64)


@pytest.mark.parametrize("method", FORMULAS, ids=lambda method: method.__name__)
def test_each_member_against_its_paper(method, looked_at, relative):
    model, activation, gradient = looked_at
    wanted = jax.image.resize(FORMULAS[method](activation, gradient), (12, 12), "bilinear")
    assert relative(method(model, image(), 1, relu=False).values, wanted) < 1e-4
    positive = np.maximum(FORMULAS[method](activation, gradient), 0)
    if positive.any():
        wanted = jax.image.resize(positive, (12, 12), "bilinear")
        assert relative(method(model, image(), 1).values, wanted) < 1e-4


def test_score_cam_against_its_paper(looked_at, relative):
    model, activation, _ = looked_at
    large = np.asarray(jax.image.resize(activation.astype(np.float32), (12, 12, 6), "bilinear"))
    masks = [(m - m.min()) / (m.max() - m.min()) if m.max() > m.min() else 0 * m for m in np.moveaxis(large, -1, 0)]
    masked = np.stack([image() * mask[..., None] for mask in masks])
    scores = jv.activations(model, masked, ["head/pre"])["head/pre"][:, 1]
    weights = np.exp(scores - scores.max())
    wanted = jax.image.resize((activation * weights / weights.sum()).sum(-1), (12, 12), "bilinear")
    assert relative(jv.score_cam(model, image(), 1, relu=False).values, wanted) < 1e-4


def test_eigen_cam_is_the_principal_component_and_points_at_activity(looked_at, relative):
    model, activation, _ = looked_at
    pixels = activation.reshape(-1, 6)
    centred = pixels - pixels.mean(0)
    component = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    values = centred @ component
    values *= np.sign(values @ pixels.sum(-1))
    wanted = jax.image.resize(values.reshape(6, 6), (12, 12), "bilinear")
    assert relative(jv.eigen_cam(model, image(), 1, relu=False).values, wanted) < 1e-4


@pytest.mark.parametrize("shape", [(20, 30, 4), (2, 3, 40)])
def test_eigen_cam_of_few_and_of_many_channels(shape, relative):
    activation = np.random.default_rng(0).random(shape, np.float32) ** 3
    centred = activation.reshape(-1, shape[2]) - activation.mean((0, 1))
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    wanted = (left[:, 0] * singular[0]).reshape(shape[:2])
    wanted *= np.sign((wanted * activation.sum(-1)).sum())
    assert relative(cams.weigh_eigen_cam(jax.numpy.asarray(activation), jax.numpy.zeros(shape)), wanted) < 1e-4


def test_grad_cam_is_cam_where_the_head_is_an_average():
    """On convolution → global average → dense, Grad-CAM is CAM (Zhou et al. 2016) up to the number of pixels."""
    rows = [
        ("maps", "Conv2D", {"filters": 6, "kernel_size": 3, "padding": "same", "activation": "relu"}),
        ("mean", "GlobalAveragePooling2D", {}),
        ("head", "Dense", {"units": 3}),
    ]
    names = ["image", "maps", "mean"]
    nodes = tuple(node(name, kind, config, (source,)) for (name, kind, config), source in zip(rows, names, strict=True))
    model = from_net(KerasNet(Graph.of_image((12, 12, 3), nodes), rngs=nnx.Rngs(0)))
    maps = jv.activations(model, image(), ["maps"])["maps"]
    kernel = np.asarray(model.params["layers"]["head"]["kernel"][...])
    for target in range(3):
        found = jv.grad_cam(model, image(), target, relu=False)
        np.testing.assert_allclose(found.values * 144, maps @ kernel[:, target], atol=1e-5)


def test_several_layers_are_fused_at_one_scale():
    model = keras_model()
    fused = jv.layer_cam(model, image(), 1, layer=["first", "second"])
    each = [jv.layer_cam(model, image(), 1, layer=layer).values for layer in ("first", "second")]
    np.testing.assert_allclose(fused.values, sum(values / values.max() for values in each) / 2, atol=1e-6)


def test_guided_grad_cam_is_a_product():
    model = keras_model()
    for pixels, target, layer in ((images(2), [1, 3], "first"), (image(), 1, "second")):
        regions = jv.grad_cam(model, pixels, target, layer=layer).values
        details = jv.guided_gradient(model, pixels, target).values
        found = jv.guided_grad_cam(model, pixels, target, layer=layer)
        assert found.values.any()
        np.testing.assert_array_equal(found.values, details * regions[..., None])


def squared(activation, gradient):
    return ((activation * gradient) ** 2).sum(-1)


def test_a_formula_of_ones_own(looked_at, relative):
    model, activation, gradient = looked_at
    wanted = jax.image.resize(((activation * gradient) ** 2).sum(-1), (12, 12), "bilinear")
    assert relative(jv.cam(model, image(), 1, weigh=squared).values, wanted) < 1e-4
    same = jv.cam(model, image(), 1, weigh=cams.weigh_hires_cam, layer="first", relu=False)
    np.testing.assert_array_equal(same.values, jv.hires_cam(model, image(), 1, layer="first", relu=False).values)


@pytest.mark.parametrize("target", [None, 1])
def test_a_cam_traces_the_network_three_times(target, monkeypatch):
    """For the shape of the scores, for the structure of the network, and for the gradient. The decision for a target
    None takes no further trace, nor does a second image."""
    traced = []
    forward = KerasForward.__call__
    monkeypatch.setattr(KerasForward, "__call__", lambda *args: traced.append(args) or forward(*args))
    jax.clear_caches()
    model = keras_model()
    jv.grad_cam(model, image(), target)
    assert len(traced) <= 3
    traced.clear()
    jv.grad_cam(model, image(1), target)
    assert not traced


def test_help_of_each_cam_is_complete():
    for method in (*FORMULAS, jv.eigen_cam, jv.cam, jv.score_cam):
        names = list(inspect.signature(method).parameters)[1:]
        described = re.findall(r"^ +(\w+): ", method.__doc__, re.MULTILINE)
        assert set(names) <= set(described), method


def test_a_layer_that_the_score_does_not_depend_on():
    with pytest.raises(jv.InputError, match="the target, first, does not depend on second"):
        jv.grad_cam(keras_model(), image(), jv.Channel("first", 0), layer="second")


def test_a_blank_map_says_whether_all_speaks_against_the_target():
    model = keras_model()
    for target in range(5):
        signed = jv.hires_cam(model, image(), jv.Unit("head/pre", target), layer="second", relu=False)
        assert signed.values.any()
    against = -1 * jv.Channel("second", int(jv.activations(model, image(), ["second"])["second"].mean((0, 1)).argmax()))
    with pytest.warns(jv.BlankMap, match="speaks against the target.*relu=False"):
        assert not jv.grad_cam(model, image(), against, layer="second").values.any()
    with pytest.warns(jv.BlankMap, match="the score does not move"):
        jv.grad_cam(model, 0 * image(), jv.Channel("second", 0), layer="second")


def test_a_blank_score_cam_says_whether_the_layer_is_inactive():
    """Its weights are shares, never negative, so a map is blank only where the layer is inactive or negative."""
    model = keras_model()
    for by, reason in ((0.0, "the layer is inactive"), (-1.0, "the layer has negative numbers. relu=False shows")):
        edited = jv.edited(model, jv.ablate(model, "second", by=by))
        with pytest.warns(jv.BlankMap, match=reason):
            jv.score_cam(edited, image(), 0, layer="second")

"""Layer-wise relevance propagation.

Law: without biases the relevance of the pixels sums to the score, and each rule shares relevance by its formula. The
maps of a real classifier are those of zennit.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from flax import nnx
from networks import image, keras_model

import jaxviz as jv
from jaxviz.attribution.lrp import lrp
from jaxviz.attribution.lrp_rules import (
    ADDING,
    COMPOSITES,
    LINEAR,
    Affine,
    AlphaBeta,
    Epsilon,
    Gamma,
    Gradient,
    Pass,
    ZBox,
    ZPlus,
)
from jaxviz.networks.keras import from_net
from weights_convert import CAFFE, UNIT, Graph, Inputs, KerasNet
from weights_convert.layers import node

GOLDEN = Path(__file__).parents[1] / "golden" / "zennit.npz"
SHAPE = (8, 8, 3)
CONV = {"filters": 6, "kernel_size": 3, "use_bias": False}
SAME = {**CONV, "padding": "same", "activation": "relu"}
HEAD = ("head", "Dense", {"units": 4, "use_bias": False, "activation": "softmax"})


def network(*rows, inputs: Inputs = UNIT, seed: int = 0) -> KerasNet:
    """A random KerasNet of rows (name, kind, config[, sources]): each reads the one before if it names no sources."""
    nodes, previous = [], "image"
    for name, kind, config, *sources in rows:
        nodes.append(node(name, kind, config, tuple(sources) or (previous,)))
        previous = name
    return KerasNet(Graph.of_image(SHAPE, tuple(nodes)), inputs, rngs=nnx.Rngs(seed))


def pixels(count: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, *SHAPE), np.float32)


def randomise(net: KerasNet, kind: str, seed: int = 0, *, shift: bool = True) -> None:
    """Weights away from their start for all layers of a kind; a batch normalisation's scales are of both signs."""
    random = np.random.default_rng(seed)
    for row in (row for row in net.graph.nodes if row.kind == kind):
        layer = net.layers[row.name]
        if kind == "BatchNormalization":
            shape = layer.scale.shape
            layer.scale[...] = jnp.asarray(random.uniform(0.5, 2, shape) * random.choice([-1, 1], shape), jnp.float32)
            layer.var[...] = jnp.asarray(random.uniform(0.5, 2, shape), jnp.float32)
            if not shift:
                continue
            layer.mean[...] = jnp.asarray(random.normal(0, 0.3, shape), jnp.float32)
        layer.bias[...] = jnp.asarray(random.normal(0, 0.3, layer.bias.shape), jnp.float32)


# What each rule gives, from the contributions x_i w_ij of one matrix.


def stable(z):
    return z + np.where(z < 0, -1e-6, 1e-6)


def up(x):
    return np.maximum(x, 0)


def down(x):
    return np.minimum(x, 0)


def epsilon(x, w, b, r):
    z = x[:, None] * w
    return z @ (r / stable(z.sum(0) + b))


def z_plus(x, w, b, r):
    z = up(x[:, None] * w)
    return z @ (r / stable(z.sum(0) + up(b)))


def alpha_beta(x, w, b, r):
    z = down(x[:, None] * w)
    return 2 * z_plus(x, w, b, r) - z @ (r / stable(z.sum(0) + down(b)))


def gamma(x, w, b, r):
    z = x[:, None] * w
    above = (z.sum(0) + b) > 0
    own, bias = np.where(above, up(z), down(z)), np.where(above, up(b), down(b))
    return (z + 0.25 * own) @ (r / stable((z + 0.25 * own).sum(0) + b + 0.25 * bias))


def z_box(x, w, b, r):
    z = x[:, None] * w - LOW * up(w) - HIGH * down(w)
    return z @ (r / stable(z.sum(0)))


LOW, HIGH = -1.5, 2.0
FORMULAS = [(Epsilon(), epsilon), (ZPlus(), z_plus), (AlphaBeta(), alpha_beta), (Gamma(), gamma), (ZBox(), z_box)]


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize(("rule", "formula"), FORMULAS)
def test_a_rule_shares_relevance_out_by_its_formula(rule, formula, unsigned, relative):
    random = np.random.default_rng(1)
    x, r = random.uniform(0 if unsigned else LOW, HIGH, (3, 7)), random.normal(size=(3, 5))
    w, b = random.normal(size=(7, 5)), random.normal(size=5)
    box = jnp.full(7, LOW), jnp.full(7, HIGH)
    layer = Affine(lambda kernel, x: x @ kernel, jnp.asarray(w), jnp.asarray(b), unsigned, box)
    found = rule(layer, jnp.asarray(x), jnp.asarray(r))
    assert relative(found, [formula(one, w, b, relevance) for one, relevance in zip(x, r, strict=True)]) < 1e-4


WIDE = {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same"}
GROUPED = {"filters": 6, "kernel_size": 2, "dilation_rate": 2, "groups": 3}


@pytest.mark.parametrize(
    ("rule", "formula", "kind", "config"),
    [
        (*FORMULAS[0], "Dense", {"units": 4}),
        (*FORMULAS[3], "Dense", {"units": 4}),
        *((*each, "Conv2D", WIDE) for each in FORMULAS),
        (*FORMULAS[2], "Conv2D", GROUPED),
        (*FORMULAS[4], "Conv2D", GROUPED),
    ],
)
def test_a_layer_is_the_matrix_of_its_contributions(rule, formula, kind, config, relative):
    inputs = Inputs("box", HIGH - LOW, (-LOW,))
    net = network(("layer", kind, config), ("pool", "GlobalAveragePooling2D", {}), inputs=inputs)
    randomise(net, kind)
    bias = np.asarray(net.layers["layer"].bias[...])
    net.layers["layer"].bias[...] = jnp.zeros_like(bias)
    basis = jnp.eye(np.prod(SHAPE)).reshape(-1, *SHAPE)
    matrix = np.asarray(net.activations(basis, ["layer"])["layer"], np.float64)
    net.layers["layer"].bias[...] = jnp.asarray(bias)

    model, picture = from_net(net), pixels(1)[0]
    found = lrp(model, picture, jv.Unit("pool", 1), composite={**COMPOSITES["epsilon_plus"], kind: rule})
    x = np.asarray(inputs(picture), np.float64).ravel()
    z = (x @ matrix.reshape(len(x), -1)).reshape(matrix.shape[1:]) + bias
    r = np.zeros(z.shape)
    r[..., 1] = z[..., 1] / (z.shape[0] * z.shape[1])  # the average pooling's shares
    expected = formula(x, matrix.reshape(len(x), -1), np.broadcast_to(bias, z.shape).ravel(), r.ravel())
    assert relative(found.values, expected.reshape(SHAPE)) < 1e-4


PLAIN = (
    ("pad", "ZeroPadding2D", {"padding": 1}),
    ("one", "Conv2D", {**CONV, "activation": "relu"}),
    ("max", "MaxPooling2D", {}),
    ("two", "Conv2D", SAME),
    ("average", "AveragePooling2D", {"padding": "same", "pool_size": 3, "strides": 1}),
    ("drop", "Dropout", {"rate": 0.5}),
    ("flat", "Flatten", {}),
    ("dense", "Dense", {"units": 16, "use_bias": False, "activation": "leaky_relu"}),
    HEAD,
)
SKIP = (
    ("one", "Conv2D", SAME),
    ("two", "Conv2D", {**CONV, "padding": "same"}),
    ("norm", "BatchNormalization", {}),
    ("add", "Add", {}, "one", "norm"),
    ("relu", "ReLU", {}),
    ("three", "Conv2D", SAME),
    ("again", "Add", {}, "relu", "three", "one"),
    ("before", "BatchNormalization", {}),
    ("pool", "GlobalAveragePooling2D", {}),
    HEAD,
)


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("rows", [PLAIN, SKIP], ids=["plain", "skip"])
def test_relevance_is_conserved_without_biases(rows, composite):
    net = network(*rows)
    randomise(net, "BatchNormalization", shift=False)
    model = from_net(net)
    found = lrp(model, pixels(4), composite=composite)
    logits = jv.activations(model, pixels(4), ["head/pre"])["head/pre"]
    np.testing.assert_allclose(found.score, logits.max(-1), rtol=1e-5)
    np.testing.assert_allclose(found.values.sum((1, 2, 3)), found.score, rtol=1e-4)


NORMS = (
    ("first", "BatchNormalization", {}),
    ("one", "Conv2D", SAME),
    ("norm", "BatchNormalization", {}),
    ("pad", "ZeroPadding2D", {"padding": 1}),
    ("max", "MaxPooling2D", {}),  # of windows with a shifted and an unshifted part
    ("two", "Conv2D", SAME),
    ("add", "Add", {}, "two", "max"),
    ("average", "AveragePooling2D", {}),
    ("three", "Conv2D", {"filters": 6, "kernel_size": 2}),
    ("third", "BatchNormalization", {}),
    ("relu", "ReLU", {}),
    ("flat", "Flatten", {}),
    ("head", "Dense", {"units": 4}),
)


@pytest.mark.parametrize("rows", [PLAIN, NORMS], ids=["plain", "norms"])
def test_small_epsilon_is_gradient_times_input(rows, relative):
    """Whatever the biases: a batch normalisation's too, wherever it stands."""
    net, one = network(*rows), pixels(1)
    randomise(net, "BatchNormalization", seed=1)
    common = COMPOSITES["epsilon_plus"]
    tiny = {kind: Epsilon(1e-12) if isinstance(rule, Epsilon | ZPlus) else rule for kind, rule in common.items()}
    model = from_net(net)
    found = lrp(model, one, 2, composite=tiny)

    def score(x):
        return net.activations(x, [model.scores])[model.scores][0, 2]

    assert relative(found.values, one * jax.grad(score)(jnp.asarray(one))) < 1e-4


def test_a_batch_is_its_images_one_by_one(relative):
    model, batch, targets = from_net(network(*SKIP)), pixels(3), [2, 0, 3]
    together = lrp(model, batch, targets, composite="epsilon_gamma_box", batch=2)
    assert together.values.shape == batch.shape
    assert together.score.shape == (3,)
    for i, one in enumerate(batch):
        alone = lrp(model, one, targets[i], composite="epsilon_gamma_box")
        assert alone.values.shape == SHAPE
        assert relative(together.values[i], alone.values) < 1e-5
        assert relative(together.score[i], alone.score) < 1e-5


def test_a_one_unit_sigmoid_head_has_two_opposite_maps():
    model = keras_model("sigmoid", 1)
    yes, no = lrp(model, image(), 1), lrp(model, image(), 0)
    np.testing.assert_array_equal(yes.values, -no.values)
    assert yes.score == -no.score


def test_an_inner_layer_is_explained_by_what_is_below_it():
    model = from_net(network(*PLAIN))
    found = lrp(model, pixels(), jv.Channel("two", 1) + 2 * jv.Channel("one", 0), composite="epsilon_plus")
    np.testing.assert_allclose(found.values.sum((1, 2, 3)), found.score, rtol=1e-4)


# Batch normalisation


def copied(net: KerasNet, *rows, **scaled) -> KerasNet:
    """A network of other rows with the weights of `net`; `scaled` {layer: (kernel, bias)} are set."""
    other = network(*rows)
    for name, layer in other.layers.items():
        kernel, bias = scaled.get(name, (None, None))
        layer.kernel[...] = net.layers[name].kernel[...] if kernel is None else kernel
        layer.bias[...] = net.layers[name].bias[...] if bias is None else bias
    return other


def affine(norm) -> tuple[jnp.ndarray, jnp.ndarray]:
    scale = norm.scale[...] / jnp.sqrt(norm.var[...] + norm.epsilon)
    return scale, norm.bias[...] - norm.mean[...] * scale


@pytest.mark.parametrize("composite", ["epsilon_alpha2_beta1", "epsilon_gamma_box"])
def test_a_batch_normalisation_is_part_of_the_layer_before_it(composite, relative):
    def rows(*norm):
        return (
            ("one", "Conv2D", {"filters": 6, "kernel_size": 3}),
            *norm,
            ("relu", "Activation", {"activation": "relu"}),
            ("flat", "Flatten", {}),
            ("head", "Dense", {"units": 4}),
        )

    net = network(*rows(("norm", "BatchNormalization", {})))
    randomise(net, "BatchNormalization")
    randomise(net, "Conv2D")
    scale, shift = affine(net.layers["norm"])
    one = net.layers["one"]
    merged = copied(net, *rows(), one=(one.kernel[...] * scale, one.bias[...] * scale + shift))
    ours, theirs = (lrp(from_net(each), pixels(), 1, composite=composite) for each in (net, merged))
    assert relative(ours.score, theirs.score) < 1e-5
    assert relative(ours.values, theirs.values) < 1e-4


@pytest.mark.parametrize("composite", ["epsilon_alpha2_beta1", "epsilon_gamma_box"])
@pytest.mark.parametrize("between", [(), (("max", "MaxPooling2D", {}), ("drop", "Dropout", {"rate": 0.5}))])
def test_a_batch_normalisation_after_an_activation_is_part_of_the_layer_after_it(between, composite, relative):
    def rows(*norm):
        return (
            ("one", "Conv2D", {"filters": 6, "kernel_size": 3, "activation": "relu"}),
            *norm,
            *between,
            ("two", "Conv2D", {"filters": 5, "kernel_size": 2}),
            ("relu", "ReLU", {}),
            ("flat", "Flatten", {}),
            ("head", "Dense", {"units": 4}),
        )

    net = network(*rows(("norm", "BatchNormalization", {})))
    randomise(net, "BatchNormalization")
    if between:  # only with positive scales is it the same network to normalise after the pooling
        net.layers["norm"].scale[...] = abs(net.layers["norm"].scale[...])
    scale, shift = affine(net.layers["norm"])
    two = net.layers["two"]
    bias = two.bias[...] + jnp.einsum("hwio,i->o", two.kernel[...], shift)
    merged = copied(net, *rows(), two=(two.kernel[...] * scale[:, None], bias))
    ours, theirs = (lrp(from_net(each), pixels(), 1, composite=composite) for each in (net, merged))
    assert relative(ours.score, theirs.score) < 1e-5
    assert relative(ours.values, theirs.values) < 1e-4


def test_a_layer_that_others_read_too_is_not_merged_with_its_batch_normalisation():
    rows = (
        ("one", "Conv2D", {**CONV, "padding": "same"}),
        ("norm", "BatchNormalization", {}),
        ("add", "Add", {}, "one", "norm"),
        ("pool", "GlobalAveragePooling2D", {}),
        HEAD,
    )
    net = network(*rows)
    randomise(net, "BatchNormalization", shift=False)
    found = lrp(from_net(net), pixels())
    np.testing.assert_allclose(found.values.sum((1, 2, 3)), found.score, rtol=1e-4)


# What the network is fed


def test_relevance_comes_back_in_the_images_own_channels(relative):
    net, turned = network(*PLAIN, inputs=CAFFE), network(*PLAIN)
    kernel = net.layers["one"].kernel[...]
    turned.layers["one"].kernel[...] = kernel[:, :, ::-1]
    straight = Inputs("straight", CAFFE.scale, CAFFE.mean[::-1])
    ours = lrp(from_net(net), pixels(), 1, composite="epsilon_gamma_box")
    theirs = lrp(from_net(turned, inputs=straight), pixels(), 1, composite="epsilon_gamma_box")
    assert relative(ours.values, theirs.values) < 1e-4


def test_the_box_is_that_of_the_network_whatever_feeds_it(relative):
    """Scaling inside the network, by a layer, is scaling before it."""
    inside = network(("scale", "Rescaling", {"scale": 2.0, "offset": -1.0}), *PLAIN[1:])
    before = network(*PLAIN[1:], inputs=Inputs("tf", 2.0, (1.0,)))
    ours, theirs = (lrp(from_net(net), pixels(), 1, composite="epsilon_gamma_box") for net in (inside, before))
    assert relative(ours.values, theirs.values) < 1e-5


# Convolutions of single channels: the same network in other layers, and real networks of Keras


DEPTHWISE = {"kernel_size": 3, "strides": 2, "padding": "same", "depth_multiplier": 2}
REST = (("norm", "BatchNormalization", {}), ("relu", "ReLU", {}), ("flat", "Flatten", {}), HEAD)


@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_depthwise_convolution_is_one_with_zeros_between_channels(composite, relative):
    net = network(("layer", "DepthwiseConv2D", DEPTHWISE), *REST)
    whole = network(("layer", "Conv2D", {"filters": 6, "kernel_size": 3, "strides": 2, "padding": "same"}), *REST)
    randomise(net, "DepthwiseConv2D")
    randomise(net, "BatchNormalization")
    kernel = np.zeros((3, 3, 3, 6), np.float32)
    for channel in range(3):
        kernel[:, :, channel, 2 * channel :][:, :, :2] = net.layers["layer"].kernel[...][:, :, channel]
    copy_weights(net, whole, ["norm", "head"])
    whole.layers["layer"].kernel[...] = jnp.asarray(kernel)
    whole.layers["layer"].bias[...] = net.layers["layer"].bias[...]
    found, expected = (lrp(from_net(each), pixels(), 1, composite=composite) for each in (net, whole))
    assert relative(found.values, expected.values) < 1e-5


@pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon_alpha2_beta1"])
def test_a_separable_convolution_is_its_two_convolutions(composite, relative):
    net = network(("layer", "SeparableConv2D", {**DEPTHWISE, "filters": 5}), *REST)
    two = network(
        ("depth", "DepthwiseConv2D", {**DEPTHWISE, "use_bias": False}),
        ("point", "Conv2D", {"filters": 5, "kernel_size": 1}),
        *REST,
    )
    randomise(net, "SeparableConv2D")
    randomise(net, "BatchNormalization")
    copy_weights(net, two, ["norm", "head"])
    two.layers["depth"].kernel[...] = net.layers["layer"].depthwise_kernel[...]
    two.layers["point"].kernel[...] = net.layers["layer"].pointwise_kernel[...]
    two.layers["point"].bias[...] = net.layers["layer"].bias[...]
    found, expected = (lrp(from_net(each), pixels(), 1, composite=composite) for each in (net, two))
    assert relative(found.values, expected.values) < 1e-5


def copy_weights(source: KerasNet, target: KerasNet, layers: list[str]) -> None:
    for layer in layers:
        nnx.update(target.layers[layer], nnx.state(source.layers[layer]))


@pytest.mark.parametrize(("name", "size"), [("MobileNetV2", 32), pytest.param("Xception", 71, marks=pytest.mark.slow)])
def test_all_contributions_in_a_network_without_biases_are_input_times_gradient(name, size, tmp_path, relative):
    """Which is a law of networks of ReLUs; of Keras' own, with ReLU6 below its 6, sums and separable convolutions."""
    network = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3))
    random = np.random.default_rng(0)
    for layer in network.layers:
        for weight in (weight for weight in layer.weights if len(weight.shape) > 1):
            of_one_channel = "Depthwise" in type(layer).__name__ or "depthwise" in weight.name
            fan_in = np.prod(weight.shape[:2] if of_one_channel else weight.shape[:-1])
            weight.assign(random.standard_normal(weight.shape) * np.sqrt(1.5 / fan_in))
    network.layers[1].kernel.assign(0.1 * network.layers[1].kernel)  # and so is everything behind it
    network.save(tmp_path / "model.keras")
    model, picture = jv.load(tmp_path / "model.keras"), random.random((size, size, 3), np.float32)
    rules = {**COMPOSITES["epsilon_plus"], **dict.fromkeys((*LINEAR, *ADDING), Epsilon(1e-12))}
    found, expected = lrp(model, picture, 1, composite=rules), jv.input_x_gradient(model, picture, 1)
    assert relative(found.values, expected.values) < 1e-3


# zennit


@pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon_alpha2_beta1", "epsilon_gamma_box"])
def test_the_map_of_a_real_classifier_is_zennits(composite, tumor, photograph, relative):
    golden = np.load(GOLDEN)
    picture = jv.read_image(photograph)[30:270, 100:340]
    found = lrp(tumor, picture, int(golden["target"]), composite=composite)
    assert relative(found.score, golden["score"]) < 1e-4
    assert relative(found.values[::3, ::3], golden[composite]) < 1e-3
    assert relative(found.values.sum(dtype=np.float64), golden[f"{composite}_sum"]) < 1e-3


# Errors


@pytest.mark.parametrize(
    ("composite", "says"),
    [
        (
            "epsilon",
            "no composite 'epsilon': did you mean epsilon_plus.* there are epsilon_plus, .*, epsilon_gamma_box",
        ),
        ({"Dense": Epsilon(), "Flatten": Gradient()}, "no rule for first, a Conv2D.* Dense, Flatten"),
        ({**COMPOSITES["epsilon_plus"], "Conv2D": "gamma"}, "maps layers to rules.* 'Conv2D': 'gamma'"),
        ({**COMPOSITES["epsilon_plus"], "Conv2D": ZBox()}, "ZBox is for the first convolution.* second, a Conv2D"),
        ({**COMPOSITES["epsilon_plus"], "pool": ZPlus()}, "with weights, convolution and dense; .* pool, a Max"),
    ],
)
def test_a_composite_that_does_not_fit_is_refused(composite, says):
    with pytest.raises(jv.InputError, match=says):
        lrp(keras_model(), image(), composite=composite)


@pytest.mark.parametrize("function", ["softmax_v2", "log_softmax"])
def test_another_mixture_of_classes_is_refused(function):
    with pytest.raises(jv.InputError, match=r"softmax mixes all classes.*explain head/pre instead"):
        lrp(keras_model(head=function), image(), jv.Unit("head", 1))


def test_a_probability_is_refused():
    with pytest.raises(jv.InputError, match=r"softmax mixes all classes.*explain head/pre instead"):
        lrp(keras_model(), image(), jv.Unit("head", 1))


def test_a_transposed_convolution_is_a_convolution():
    """Of a linear layer without bias, Epsilon shares out the whole score."""
    head = node("head", "Dense", {"units": 2, "use_bias": False}, ("flat",))
    large = node("large", "Conv2DTranspose", {"filters": 2, "kernel_size": 3, "use_bias": False}, ("image",))
    graph = Graph.of_image((6, 6, 3), (large, node("flat", "Flatten", {}, ("large",)), head))
    model = from_net(KerasNet(graph, rngs=nnx.Rngs(0)))
    picture = np.random.default_rng(0).random((6, 6, 3), np.float32)
    found = lrp(model, picture, 1, composite={**COMPOSITES["epsilon_plus"], "Conv2DTranspose": Epsilon(0.0)})
    np.testing.assert_allclose(found.values, jv.input_x_gradient(model, picture, 1).values, rtol=1e-4, atol=1e-6)


def test_pass_is_what_arrives():
    relevance = jnp.arange(3.0)
    assert Pass()(Affine(lambda kernel, x: x), relevance, relevance) is relevance


@pytest.mark.parametrize("kind", ["Conv1D", "SeparableConv1D"])
def test_a_convolution_along_one_axis_conserves_relevance(kind, tmp_path):
    """Rows of the image as a sequence. Without biases, the relevance of the pixels sums to the score."""
    layers = keras.layers
    convolution = getattr(layers, kind)(5, 3, activation="relu", use_bias=False)
    network = [keras.Input((12, 12, 3)), layers.Reshape((12, 36)), convolution, layers.GlobalAveragePooling1D()]
    keras.Sequential([*network, layers.Dense(3, use_bias=False)]).save(tmp_path / "m.keras")
    rules = {**COMPOSITES["epsilon_plus"], **dict.fromkeys((*LINEAR, *ADDING), Epsilon(1e-12))}
    found = lrp(jv.load(tmp_path / "m.keras"), image(), 1, composite=rules)
    assert found.values.any()
    assert abs(found.values.sum() - found.score) < 1e-4 * abs(found.score)

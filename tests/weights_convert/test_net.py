"""KerasNet.

Laws: every handle gives the activation of its step; an edit changes what comes after it and nothing else; only the
steps that are asked for, and those that they depend on, are run; a KerasNet works wherever an `nnx.Module` does.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from flax import nnx
from keras import layers as L  # noqa: N812
from keras_oracle import described, error, images_for, save, sequential

import weights_convert
import weights_convert.net as net_module
from weights_convert import CAFFE, UNIT, Graph, KerasNet, UnsupportedLayer
from weights_convert.architectures import ARCHITECTURES
from weights_convert.config.parsing import parse
from weights_convert.layers import node


@pytest.fixture(scope="module")
def model():
    return sequential(
        (12, 12, 3),
        L.Conv2D(4, 3, activation="relu", name="conv"),
        L.MaxPooling2D(2, name="pool"),
        L.Conv2D(5, 3, name="linear"),
        L.BatchNormalization(name="norm"),
        L.ReLU(name="relu"),
        L.Flatten(name="flat"),
        L.Dense(4, activation="softmax", name="scores"),
    )


@pytest.fixture(scope="module")
def net(model, tmp_path_factory):
    return weights_convert.load(save(model, tmp_path_factory.mktemp("net") / "m.h5"))


@pytest.fixture(scope="module")
def images(model):
    return images_for(model)


def test_names_in_execution_order_with_both_handles_of_a_non_linearity(net):
    assert net.names == (
        "conv/pre", "conv", "pool", "linear", "norm", "relu/pre", "relu", "flat", "scores/pre", "scores",
    )  # fmt: skip


def test_pre_is_what_the_activation_maps(net, images):
    found = net.activations(images, net.names)
    np.testing.assert_array_equal(jax.nn.relu(found["conv/pre"]), found["conv"])
    np.testing.assert_array_equal(found["relu/pre"], found["norm"])
    np.testing.assert_array_equal(jax.nn.softmax(found["scores/pre"]), found["scores"])


def test_calling_gives_the_output(net, model, images):
    assert error(net(images), model(images, training=False)) <= 1e-5
    assert net.classes == 4


def test_the_image_is_a_handle(net, images):
    np.testing.assert_array_equal(net.activations(images, ["image"])["image"], images)
    edited = net.activations(images, ["image", "scores"], {"image": lambda x: 0 * x})
    np.testing.assert_array_equal(edited["image"], 0 * images)
    np.testing.assert_array_equal(edited["scores"], net(0 * images))


@pytest.mark.parametrize("name", ["conv/pre", "conv", "pool", "relu"])
def test_everything_downstream_sees_an_edit(name, net, images):
    plain = net.activations(images, net.names)
    edited = net.activations(images, net.names, {name: lambda x: x.at[..., 0].set(7.0)})
    assert (edited[name][..., 0] == 7).all()
    position = net.names.index(name)
    assert all((plain[before] == edited[before]).all() for before in net.names[:position])
    assert not any((plain[after] == edited[after]).all() for after in net.names[position + 1 :])


def test_an_edit_of_the_identity_changes_nothing(net, images):
    np.testing.assert_array_equal(net.activations(images, ["scores"], {"pool": lambda x: x})["scores"], net(images))


def test_only_ancestors_are_computed(net, images):
    larger = np.concatenate([images, images], axis=1)
    assert net.activations(larger, ["relu"])["relu"].shape == (2, 9, 3, 5)
    jaxpr = str(jax.make_jaxpr(lambda x: net.activations(x, ["conv/pre"]))(images))
    assert jaxpr.count("conv_general_dilated[") == 1
    assert "max" not in jaxpr


def test_vgg16_runs_on_a_small_canvas_up_to_its_head():
    net = nnx.eval_shape(lambda: KerasNet(ARCHITECTURES["vgg16"].graph, CAFFE, rngs=nnx.Rngs(0)))

    def shape(name):
        graph, state = nnx.split(net)
        forward = lambda state, x: nnx.merge(graph, state).activations(x, [name])[name]  # noqa: E731
        return jax.eval_shape(forward, state, jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32)).shape

    assert shape("block3_conv1") == (1, 32, 32, 256)
    with pytest.raises(
        ValueError, match=r"layer 'flatten' has 25088 features for \(224, 224, 3\).* but 8192 for these"
    ):
        shape("fc1")


def test_unknown_names_are_answered_with_near_ones_and_all(net, images):
    with pytest.raises(ValueError, match=r"no layer 'scor'; did you mean 'scores'.* its layers are: image, conv/pre,"):
        net.activations(images, ["scor"])
    with pytest.raises(ValueError, match=r"no layer 'zzz'; its layers are: image, "):
        net.activations(images, ["conv"], {"zzz": lambda x: x})


@pytest.mark.parametrize("shape", [(12, 12, 3), (1, 12, 12, 1)])
def test_images_that_the_network_does_not_take(shape, net):
    with pytest.raises(ValueError, match=r"this network takes \[n h w c\] with c = 3"):
        net(jnp.zeros(shape))


def test_is_an_ordinary_module(net, images):
    graph, parameters, rest = nnx.split(net, nnx.Param, ...)
    hash(graph)
    weights = {("layers", layer, name) for layer in ("conv", "linear", "scores") for name in ("kernel", "bias")}
    assert {path for path, _ in nnx.to_flat_state(parameters)} == weights | {
        ("layers", "norm", "scale"),
        ("layers", "norm", "bias"),
    }
    loss = lambda parameters: nnx.merge(graph, parameters, rest)(images)[:, 0].sum()  # noqa: E731
    gradients = jax.jit(jax.grad(loss))(parameters)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_batch_normalization_uses_its_stored_statistics(net, images):
    np.testing.assert_allclose(net(images)[:1], net(images[:1]), rtol=1e-5)


def test_starts_random_without_a_file():
    graph = Graph.of_image((4, 4, 1), (node("conv", "Conv2D", {"filters": 2, "kernel_size": 3}, ("image",)),))
    net = KerasNet(graph, rngs=nnx.Rngs(0))
    assert net.inputs == UNIT
    assert net(jnp.ones((1, 4, 4, 1))).any()


def test_shapes_are_those_of_keras_and_open_where_the_image_is():
    image = keras.Input((None, None, 1))
    model = keras.Model(image, L.GlobalAveragePooling2D()(L.AveragePooling2D(3, padding="same")(L.Conv2D(4, 3)(image))))
    net = nnx.eval_shape(lambda: KerasNet(parse(described(model)), rngs=nnx.Rngs(0)))
    assert [shape for _, shape in net.shapes] == [(1, *layer.output.shape[1:]) for layer in model.layers]


def test_layers_that_do_not_fit_their_input():
    dense = node("scores", "Dense", {"units": 2}, ("flat",))
    open_size = Graph.of_image((None, None, 3), (node("flat", "Flatten", {}, ("image",)), dense))
    with pytest.raises(UnsupportedLayer, match=r"scores: does not fit its input .*depends on the size of the image"):
        KerasNet(open_size, rngs=nnx.Rngs(0))
    closed = Graph.of_image((1, 1, 3), (node("pool", "MaxPooling2D", {}, ("image",)), replace(dense, inputs=("pool",))))
    assert nnx.eval_shape(lambda: KerasNet(closed, rngs=nnx.Rngs(0))).shapes[1] == ("pool", (1, 0, 0, 3))
    flat = node("flat", "Flatten", {}, ("pool",))
    with pytest.raises(UnsupportedLayer, match="scores: does not fit its input"):  # no features are left
        KerasNet(Graph.of_image((1, 1, 3), (closed.nodes[0], flat, dense)), rngs=nnx.Rngs(0))
    pool = node("pool", "MaxPooling2D", {}, ("image",))
    unequal = Graph.of_image((9, 9, 3), (pool, node("sum", "Add", {}, ("image", "pool"))))
    with pytest.raises(UnsupportedLayer, match="sum: does not fit its input"):
        KerasNet(unequal, rngs=nnx.Rngs(0))


def test_a_layer_that_is_called_again_keeps_its_weights():
    """`dense` was made for 3 features, and cannot take the 4 that `other` takes, which has the same options."""
    dense, other = node("dense", "Dense", {"units": 4}, ("image",)), node("other", "Dense", {"units": 4}, ("dense",))
    again = node("dense#2", "Dense", {"units": 4}, ("dense",))
    assert KerasNet(Graph.of_image((3,), (dense, other)), rngs=nnx.Rngs(0)).classes == 4
    with pytest.raises(UnsupportedLayer, match="dense#2: does not fit its input"):
        KerasNet(Graph.of_image((3,), (dense, other, again)), rngs=nnx.Rngs(0))


def test_equal_layers_are_traced_once(monkeypatch):
    traced, trace = [], net_module._output_shape
    monkeypatch.setattr(net_module, "_output_shape", lambda *given: traced.append(1) or trace(*given))
    layers = [node(f"dense{at}", "Dense", {"units": 3}, (f"dense{at - 1}" if at else "image",)) for at in range(5)]
    KerasNet(Graph.of_image((3,), tuple(layers)), rngs=nnx.Rngs(0))
    assert len(traced) == 1

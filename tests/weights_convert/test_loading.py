"""Loading.

Law: the weights of a file and the graph agree completely, or nothing is loaded; a loaded network agrees with Keras,
layer by layer.
"""

import importlib.util
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as L  # noqa: N812
from keras_oracle import (
    TOLERANCE,
    assert_same,
    error,
    every_layer,
    images_for,
    randomize,
    save,
    save_weights,
    sequential,
)
from memory import give_back
from PIL import Image

import weights_convert
from weights_convert import ARCHITECTURES, CAFFE, UNIT, KerasFileError, UnsupportedLayer, WeightMismatch

CATS_OR_DOGS = Path(importlib.util.find_spec("catsordogs").origin).parent


def cats_dogs(first_conv=5, last_dense=4):
    """The network of Chollet 2017, section 5.2, under the names that Keras numbered its layers with."""
    layers = []
    for i, filters in enumerate((32, 64, 128, 128), start=first_conv):
        layers += [
            L.Conv2D(filters, 3, activation="relu", name=f"conv2d_{i}"),
            L.MaxPooling2D(name=f"max_pooling2d_{i}"),
        ]
    return sequential(
        (150, 150, 3),
        *layers,
        L.Flatten(name="flatten_2"),
        L.Dropout(0.5, name="dropout_1"),
        L.Dense(512, activation="relu", name=f"dense_{last_dense - 1}"),
        L.Dense(1, activation="sigmoid", name=f"dense_{last_dense}"),
    )


def test_the_books_network(tmp_path):
    model = cats_dogs()
    assert model.count_params() == 3_453_121
    full = weights_convert.load(save(model, tmp_path / "cats_and_dogs_small_2.h5"))
    assert_same(full, model, images_for(model))
    assert full.inputs == UNIT

    bare = weights_convert.load(save_weights(model, tmp_path / "w.h5"), architecture="cats_dogs")
    assert bare.graph == full.graph == ARCHITECTURES["cats_dogs"].graph
    np.testing.assert_array_equal(bare(images_for(model)), full(images_for(model)))


def test_the_files_names_become_the_handles(tmp_path):
    model = cats_dogs(first_conv=21, last_dense=12)
    net = weights_convert.load(save_weights(model, tmp_path / "w.h5"), architecture="cats_dogs")
    assert_same(net, model, images_for(model, n=1))


def test_a_file_that_lists_its_weights_only_keeps_the_architectures_names(tmp_path):
    path = save_weights(cats_dogs(first_conv=21), tmp_path / "w.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = [name for name in file.attrs["layer_names"] if name.startswith(("conv", "dense"))]
    assert weights_convert.load(path, architecture="cats_dogs").graph == ARCHITECTURES["cats_dogs"].graph


@pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`:UserWarning")  # Keras 3 on a file of Keras 2
def test_a_network_trained_by_others():
    """Real weights and photographs: the file as Keras 2.13 wrote it, 256 × 256 grey."""
    model = keras.models.load_model(CATS_OR_DOGS / "model.h5", compile=False)
    net = weights_convert.load(CATS_OR_DOGS / "model.h5")
    photographs = [Image.open(CATS_OR_DOGS / f"test{i}.jpeg", formats=["JPEG"]) for i in (1, 2)]
    images = np.stack(
        [np.asarray(each.convert("L").resize((256, 256)), np.float32)[..., None] / 255 for each in photographs]
    )
    assert_same(net, model, images)
    cat, dog = net(net.inputs(images))[:, 0]
    assert cat < 0.5 < dog


def test_functional_models_with_branches(tmp_path):
    image = keras.Input((16, 16, 3))
    x = L.Conv2D(8, 3, padding="same", use_bias=False)(image)
    x = L.ReLU()(L.BatchNormalization()(x))
    y = L.Conv2D(8, 1, strides=2)(x)
    x = L.Conv2D(8, 3, strides=2, padding="same", activation="gelu")(L.ZeroPadding2D(0)(x))
    x = L.Activation("swish")(L.Add()([x, y]))
    model = randomize(keras.Model(image, L.Dense(10, activation="softmax")(L.GlobalAveragePooling2D()(x))))
    assert_same(weights_convert.load(save(model, tmp_path / "m.h5")), model, images_for(model))


# Recipes for layers, not layers: Keras draws random numbers where it builds one.
paddings = st.sampled_from(["same", "valid"])
convolutions = st.builds(
    lambda *given: lambda: L.Conv2D(*given[:3], padding=given[3], activation=given[4]),
    st.integers(1, 5),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.integers(1, 2),
    paddings,
    st.sampled_from(["relu", "linear", "elu"]),
)
pools = st.builds(
    lambda pool, *given: lambda: pool(*given),
    st.sampled_from([L.MaxPooling2D, L.AveragePooling2D]),
    st.integers(1, 3),
    st.integers(1, 2),
    paddings,
)
others = st.sampled_from([L.BatchNormalization, L.LeakyReLU, L.ZeroPadding2D])


@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(st.integers(30, 40), st.integers(30, 40), st.integers(1, 4)),
    layers=st.lists(convolutions | pools | others, min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_any_stack_of_layers(shape, layers, seed, tmp_path_factory):
    model = sequential(shape, *(build() for build in layers), L.Flatten(), L.Dense(3), seed=seed)
    net = weights_convert.load(save(model, tmp_path_factory.mktemp("stack") / "m.h5"))
    assert_same(net, model, images_for(model, seed=seed))


def test_any_size_of_image(tmp_path):
    model = sequential((None, None, 1), L.Conv2D(3, 3, strides=2, padding="same"), L.GlobalMaxPooling2D(), L.Dense(2))
    net = weights_convert.load(save(model, tmp_path / "m.h5"))
    for size in (7, 8):
        images = np.random.default_rng(size).random((2, size, size + 3, 1), np.float32)
        assert error(net(images), model(images, training=False)) <= 1e-5


def test_with_a_full_model_the_architecture_is_an_assertion(tmp_path):
    path = save(sequential((224, 224, 3), L.ReLU()), tmp_path / "m.h5")
    with pytest.raises(
        KerasFileError, match=r"m.h5 is a full model, but not 'vgg16'; leave `architecture` out to load it"
    ):
        weights_convert.load(path, architecture="vgg16")


def test_unknown_architectures():
    with pytest.raises(
        ValueError, match=r"unknown architecture 'vgg20'; did you mean 'vgg.*known are vgg16, vgg19, .* and cats_dogs"
    ):
        weights_convert.load("w.h5", architecture="vgg20")


def test_weights_without_a_graph(tmp_path):
    path = save_weights(cats_dogs(), tmp_path / "w.h5")
    with pytest.raises(
        KerasFileError, match=r"holds weights only.*its shapes fit 'cats_dogs': pass architecture='cats_dogs'"
    ):
        weights_convert.load(path)
    path = save_weights(sequential((8, 8, 3), L.Conv2D(2, 3)), tmp_path / "v.h5")
    with pytest.raises(KerasFileError, match=r"known are vgg16, .* its shapes fit none of them"):
        weights_convert.load(path)


def small():
    return sequential((8, 8, 3), L.Conv2D(2, 3, name="conv"), L.Flatten(name="flat"), L.Dense(4, name="dense"))


def test_all_differences_are_reported_at_once(tmp_path):
    path = save(small(), tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        group = file["model_weights"]
        del group["conv/net/conv/kernel"]
        group["conv/net/conv/kernel"] = np.full((3, 3, 3, 7), np.nan, np.float32)  # compared, never read
        group["dense"].attrs["weight_names"] = ["net/dense/kernel"]
        group["flat/extra/gamma"] = np.zeros(5)
        group["flat"].attrs["weight_names"] = ["extra/gamma"]
    with pytest.raises(WeightMismatch) as error:
        weights_convert.load(path)
    assert str(error.value).splitlines() == [
        f"{path} does not fit the network (- what the network needs, + what the file has):",
        "- conv kernel (3, 3, 3, 2)",
        "+ conv kernel (3, 3, 3, 7)",
        "- dense bias (4,)",
        "+ flat gamma (5,)",
    ]


def test_differences_from_an_architecture(tmp_path):
    path = save_weights(small(), tmp_path / "w.h5")
    with pytest.raises(WeightMismatch) as error:
        weights_convert.load(path, architecture="cats_dogs")
    assert "- conv2d_5 kernel (3, 3, 3, 32)\n- conv2d_5 bias (32,)\n+ conv kernel (3, 3, 3, 2)" in str(error.value)
    assert str(error.value).endswith("- dense_4 kernel (512, 1)\n- dense_4 bias (1,)")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(value, tmp_path):
    model = small()
    model.layers[2].bias.assign([0, 0, value, 0])
    with pytest.raises(WeightMismatch, match=r"m.h5: weight 'bias' of layer 'dense' holds NaN or infinity"):
        weights_convert.load(save(model, tmp_path / "m.h5"))


def keras_1_file(model, path):
    """The layout of the official VGG16 files: all layers are listed, weights are `<layer>_W_1:0`, `<layer>_b_1:0`."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}_W_1:0", f"{layer.name}_b_1:0"] if layer.weights else []
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = np.asarray(weight)
    return path


def test_the_layout_of_the_official_vgg16_files(tmp_path):
    model = keras.applications.VGG16(weights=None, include_top=False)
    net = weights_convert.load(keras_1_file(model, tmp_path / "w.h5"), architecture="vgg16_notop")
    assert net.inputs == CAFFE
    images = np.random.default_rng(0).random((1, 48, 64, 3), np.float32)
    wanted = model(np.asarray(CAFFE(images)), training=False)
    assert error(net(net.inputs(images)), wanted) <= 1e-5


def test_vgg16_with_its_head_on_small_images(tmp_path):
    """Of its 138 M weights, 100 M are the first dense layer's, which has 49 times fewer here."""
    model = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3))
    net = weights_convert.load(save(model, tmp_path / "vgg16.h5"))
    assert net.graph.nodes == ARCHITECTURES["vgg16"].graph.nodes
    assert_same(net, model, np.asarray(CAFFE(np.random.default_rng(0).random((1, 32, 32, 3), np.float32))))


@pytest.mark.slow
def test_vgg16_with_its_head(tmp_path):
    """All of them, which take 1.4 GB: once through a file that is full, then the same file as weights only."""
    model = keras.applications.VGG16(weights=None)
    path = save(model, tmp_path / "vgg16.h5")
    images = CAFFE(np.random.default_rng(0).random((1, 224, 224, 3), np.float32))
    wanted = every_layer(model, np.asarray(images))
    del model  # 553 MB, as has the network below
    give_back()

    net = weights_convert.load(path, architecture="vgg16")
    assert net.inputs == CAFFE
    assert net.graph == ARCHITECTURES["vgg16"].graph
    assert list(wanted) == [node.name for node in net.graph.nodes]
    found = net.activations(images, wanted)
    assert max(error(found[name], wanted[name]) for name in wanted) <= TOLERANCE
    output = found[list(wanted)[-1]]
    del net
    give_back()

    with h5py.File(path, "r+") as file:
        del file.attrs["model_config"]
    bare = weights_convert.load(path, architecture="vgg16")
    np.testing.assert_array_equal(bare(images), output)
    path.unlink()  # pytest would keep 553 MB of each of the last three runs


def test_layers_that_the_caller_computes(tmp_path):
    model = sequential((8, 8, 3), L.Lambda(lambda x: x * 3, name="trick"), L.Conv2D(2, 3, name="conv"), L.Flatten())
    path = save(model, tmp_path / "m.h5")
    with pytest.raises(UnsupportedLayer, match="trick: layers of kind Lambda are not supported"):
        weights_convert.load(path)
    net = weights_convert.load(path, custom={"trick": lambda x: x * 3})
    assert_same(net, model, images_for(model))
    with pytest.raises(UnsupportedLayer, match="conv: has weights in the file, which a function cannot take"):
        weights_convert.load(path, custom={"trick": lambda x: x, "conv": lambda x: x})
    with pytest.raises(UnsupportedLayer, match=r"trick: does not fit its input .* Incompatible shapes"):
        weights_convert.load(path, custom={"trick": lambda x: x + np.ones((5, 5))})
    bare = save_weights(model, tmp_path / "w.h5")
    with pytest.raises(ValueError, match="custom functions are for the layers of a full model"):
        weights_convert.load(bare, architecture="cats_dogs", custom={"trick": lambda x: x})


def test_a_custom_function_need_not_be_hashable(tmp_path):
    class Scaled:
        __hash__ = None

        def __call__(self, x):
            return 3 * x

    model = sequential((5, 5, 3), L.Lambda(lambda x: x * 3, name="trick"), L.Conv2D(2, 3, name="conv"))
    net = weights_convert.load(save(model, tmp_path / "m.h5"), custom={"trick": Scaled()})
    assert_same(net, model, images_for(model))


@pytest.fixture
def half_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    yield
    keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_a_network_in_training(suffix, half_precision, tmp_path):
    """What is in the file for training alone is passed over: policies, penalties, limits, losses, the optimizer."""
    image = keras.Input((8, 8, 3))
    base = keras.Sequential([image, L.Conv2D(4, 3), L.BatchNormalization(), L.Conv2D(4, 3)], name="base")
    x = L.Dropout(0.2)(L.Flatten()(base(L.RandomFlip()(image))))
    x = L.Dense(8, kernel_regularizer=keras.regularizers.L1L2(), bias_constraint=keras.constraints.NonNeg())(x)
    outputs = {"kind": L.Dense(3, dtype="float32", name="kind")(x), "age": L.Dense(1, dtype="float32", name="age")(x)}
    model = keras.Model(image, outputs)
    base.layers[0].trainable = False
    model.compile(keras.optimizers.RMSprop(1e-3), {"kind": "mse", "age": "mae"}, metrics={"age": ["mse"]})
    images = images_for(model)
    model.fit(images, {"kind": np.eye(3)[:2], "age": np.ones((2, 1))}, verbose=0)
    model.save(tmp_path / f"m{suffix}")
    wanted = model(images, training=False)
    found = weights_convert.load(tmp_path / f"m{suffix}")(images)
    # Keras rounds to half precision. Both outputs are compared on one scale, since a single number can be close to 0.
    assert error(np.hstack(found), np.hstack([wanted["age"], wanted["kind"]])) < 1e-2

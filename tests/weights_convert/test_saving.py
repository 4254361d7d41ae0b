"""Saving.

Law: in every format, both `load` and Keras give back the network that was saved.
"""

import itertools
import json
import zipfile

import keras
import numpy as np
import pytest
from flax import nnx
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from keras import layers as L  # noqa: N812
from keras_dags import SIZE, Draft, randomize
from keras_oracle import error, save, sequential

import weights_convert
from weights_convert import CAFFE, Inputs, KerasNet, NotReadable, UnsupportedLayer
from weights_convert.config.keras_order import keras_order
from weights_convert.config.parsing import parse
from weights_convert.files.write_keras import HEADER

FORMATS = (".h5", ".hdf5", ".keras", ".safetensors")


def assert_equal(net, other):
    """The same graph, fed in the same way, and the same bits."""
    assert (other.graph, other.inputs, other.names) == (net.graph, net.inputs, net.names)
    for layer, weights in net.weights().items():
        for name, variable in weights.items():
            np.testing.assert_array_equal(other.weights()[layer][name][...], variable[...])


def outputs(model, images):
    found = model(images if len(images) > 1 else images[0], training=False)
    return [np.asarray(each) for each in (found if isinstance(found, list | tuple) else [found])]


@settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow],
)
@given(data=st.data(), seed=st.integers(0, 99), suffix=st.sampled_from([".h5", ".keras"]))
def test_any_graph(data, seed, suffix, tmp_path_factory):
    """Branches, shared layers, nested models, several inputs and outputs: lossless, and to Keras the same network."""
    draft = Draft(data, keras, itertools.count(), depth=2)
    inputs = [keras.Input((SIZE, SIZE, c), name=f"input_{c}") for c in range(1, data.draw(st.integers(1, 2)) + 1)]
    model = randomize(draft.model(inputs, "net", outputs=data.draw(st.integers(1, 3))), seed)
    folder = tmp_path_factory.mktemp("save")
    model.save(folder / "theirs.h5")
    net = weights_convert.load(folder / "theirs.h5")
    path = folder / f"ours{suffix}"
    weights_convert.save(net, path)
    assert_equal(net, weights_convert.load(path))

    again = keras.models.load_model(path, compile=False)
    rng = np.random.default_rng(seed)
    images = [rng.standard_normal((2, *tensor.shape[1:])).astype(np.float32) for tensor in inputs]
    for found, wanted in zip(outputs(again, images), outputs(model, images), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
    layers = [layer.name for layer in again.layers if not isinstance(layer, keras.layers.InputLayer)]
    assert [name.rstrip("_") for name in layers] == [
        name.replace("/", "__").rstrip("_") for name in keras_order(net.graph)[0]
    ]


def chain():
    return sequential(
        (10, 10, 3),
        L.Rescaling([1.0, 2.0, 3.0]),
        L.ZeroPadding2D(((0, 1), (2, 3))),
        L.SeparableConv2D(4, 3, activation="relu"),
        L.BatchNormalization(scale=False),
        L.ReLU(max_value=6),
        L.PReLU(shared_axes=[1, 2]),
        L.Flatten(),
        L.Dense(2, activation="softmax", name="scores"),
    )


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("inputs", [CAFFE, Inputs("mine", mean=(0.1, 0.2, 0.3), std=(2.0,))])
def test_how_the_network_is_fed(inputs, suffix, tmp_path):
    net = weights_convert.load(save(chain(), tmp_path / "m.h5"))
    net.inputs = inputs
    path = tmp_path / f"again{suffix}"
    weights_convert.save(net, path)
    assert_equal(net, weights_convert.load(path))


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_nested_layers_under_names_that_keras_takes(suffix, tmp_path):
    inner = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(2, 3, name="a")], name="stem")
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, L.Conv2D(1, 1, name="stem__a")(inner(image)))
    net = weights_convert.load(save(model, tmp_path / "m.h5"))
    path = tmp_path / f"again{suffix}"
    weights_convert.save(net, path)
    assert [layer.name for layer in keras.models.load_model(path, compile=False).layers] == [
        "image",
        "stem__a_",
        "stem__a",
    ]
    assert weights_convert.load(path).names == ("stem/a", "stem__a")


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_an_application(suffix, tmp_path):
    """A network of 150 layers, in which classes repeat."""
    model = keras.applications.MobileNetV2(weights=None, input_shape=(32, 32, 3), classes=5)
    net = weights_convert.load(save(model, tmp_path / "m.h5"))
    weights_convert.save(net, tmp_path / f"again{suffix}")
    again = keras.models.load_model(tmp_path / f"again{suffix}", compile=False)
    images = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    assert error(again(images), model(images)) <= 1e-6


def test_dropout_of_a_known_architecture(tmp_path):
    """Its graph does not say how much was dropped, and Keras must be told something."""
    graph = weights_convert.ARCHITECTURES["cats_dogs"].graph
    net = nnx.eval_shape(lambda: KerasNet(graph, weights_convert.UNIT, rngs=nnx.Rngs(0)))
    for weights in net.weights().values():
        for variable in weights.values():
            variable.set_value(np.zeros(variable.shape, np.float32))
    weights_convert.save(net, tmp_path / "m.keras")
    assert keras.models.load_model(tmp_path / "m.keras", compile=False).get_layer("dropout_1").rate == 0


def test_objects_in_a_file_are_not_passed_on(tmp_path):
    """What a layer does during training is written as it was read, unless Keras would make an object of it."""
    model = sequential((4, 4, 1), L.Dropout(0.25, noise_shape=(None, 1, 4, 1)), L.RandomContrast(0.5))
    config = json.loads(model.to_json())
    config["config"]["layers"][2]["config"]["factor"] = [{"class_name": "Lambda", "config": {"function": "evil"}}]
    net = KerasNet(parse(config), rngs=nnx.Rngs(0))
    weights_convert.save(net, tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        written = json.loads(archive.read("config.json"))
    _, dropout, contrast = (layer["config"] for layer in written["config"]["layers"])
    assert (dropout["rate"], dropout["noise_shape"]) == (0.25, [None, 1, 4, 1])
    assert contrast == {"name": contrast["name"], "value_range": [0, 255]}


def test_more_names_than_an_attribute_holds(tmp_path):
    names = [f"{'long' * 300}_{i}" for i in range(60)]
    assert sum(map(len, names)) > HEADER
    net = weights_convert.load(save(sequential((4, 4, 1), *(L.ReLU(name=name) for name in names)), tmp_path / "m.h5"))
    weights_convert.save(net, tmp_path / "again.h5")
    assert_equal(net, weights_convert.load(tmp_path / "again.h5"))
    assert len(keras.models.load_model(tmp_path / "again.h5", compile=False).layers) == 61


def test_what_keras_3_does_not_have(tmp_path):
    import tf_keras

    layers = [tf_keras.layers.ThresholdedReLU(0.5, name="cut"), tf_keras.layers.Activation("hard_sigmoid", name="hard")]
    model = tf_keras.Sequential([tf_keras.Input((4, 4, 1)), *layers])
    net = weights_convert.load(save(model, tmp_path / "m.h5"))
    for suffix in (".h5", ".keras"):
        with pytest.raises(UnsupportedLayer) as complaint:
            weights_convert.save(net, tmp_path / f"again{suffix}")
        assert "- cut: Keras 3 has no layer of kind ThresholdedReLU" in str(complaint.value)
        assert "- hard: Keras 3 does not have the activation function hard_sigmoid_of_keras_2" in str(complaint.value)
    weights_convert.save(net, tmp_path / "again.safetensors")
    assert_equal(net, weights_convert.load(tmp_path / "again.safetensors"))


def test_only_a_network_can_be_saved(tmp_path):
    with pytest.raises(ValueError, match=r"save takes a network as weights_convert\.load returns it; given: dict"):
        weights_convert.save({}, tmp_path / "x.h5")


@pytest.mark.parametrize("name", ["m", "m.txt", "m.weights.h5", "m.onnx"])
def test_other_suffixes(name, tmp_path):
    net = weights_convert.load(save(sequential((4, 4, 1), L.ReLU()), tmp_path / "m.h5"))
    with pytest.raises(ValueError, match=r"the suffix must be one of \.safetensors, \.h5, .*; given: "):
        weights_convert.save(net, tmp_path / name)


@pytest.mark.parametrize("suffix", FORMATS)
def test_folders_that_are_not_there(suffix, tmp_path):
    net = weights_convert.load(save(sequential((4, 4, 1), L.ReLU()), tmp_path / "m.h5"))
    with pytest.raises(OSError, match="nowhere"):
        weights_convert.save(net, tmp_path / "nowhere" / f"m{suffix}")


@pytest.mark.parametrize(
    "notes",
    ["[]", "{}", '{"names": {"relu": "other"}}', '{"names": {}, "inputs": {"name": "x", "scale": "y"}}', "{"],
)
def test_notes_of_others(notes, tmp_path):
    import h5py

    path = save(sequential((4, 4, 1), L.ReLU(name="relu")), tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["weights_convert"] = notes
    with pytest.raises(NotReadable, match="the attribute 'weights_convert'"):
        weights_convert.load(path)

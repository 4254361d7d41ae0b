"""Nested models in legacy files, where Keras stores their weights in one group.

Law: every layer of a nested model gets its own weights, although freezing a layer changes the order of the weights.
"""

import h5py
import keras
import numpy as np
import pytest
import tf_keras
from keras_dags import randomize
from keras_oracle import TOLERANCE, error, save_weights

import weights_convert
from weights_convert import Architecture, WeightMismatch, architectures
from weights_convert.inputs import UNIT

SHAPE = (8, 8, 3)
PACKAGES = pytest.mark.parametrize("package", [keras, tf_keras], ids=["keras 3", "keras 2"])


def block(package, name, *, prefix="", inside=(), sequential=False):
    """Layers whose weights have equal shapes, so that only names or order can tell them apart."""
    layers = package.layers
    chain = [
        layers.Conv2D(3, 3, padding="same", name=f"{prefix}a"),
        layers.BatchNormalization(name=f"{prefix}norm"),
        *inside,
        layers.Conv2D(3, 3, padding="same", name=f"{prefix}b"),
        layers.Conv2D(3, 3, padding="same", name=f"{prefix}c"),
    ]
    image = package.Input(SHAPE)
    if sequential:
        return package.Sequential([image, *chain], name=name)
    x = image
    for layer in chain:
        x = layer(x)
    return package.Model(image, x, name=name)


def around(package, *blocks):
    image = package.Input(SHAPE)
    x = image
    for each in blocks:
        x = each(x)
    return randomize(package.Model(image, package.layers.GlobalAveragePooling2D(name="mean")(x), name="net"), 0)


def assert_loads(model, path):
    images = np.random.default_rng(0).standard_normal((2, *SHAPE)).astype(np.float32)
    net = weights_convert.load(path)
    assert error(net(images), model(images, training=False)) <= TOLERANCE
    return net


@PACKAGES
@pytest.mark.parametrize("sequential", [False, True], ids=["functional", "sequential"])
@pytest.mark.parametrize("frozen", [[], ["a"], ["b"], ["norm", "c"], ["a", "norm", "b", "c"], None])
def test_freezing_moves_weights(package, sequential, frozen, tmp_path):
    base = block(package, "base", sequential=sequential)
    model = around(package, base)
    plain = tmp_path / "plain.h5"
    model.save(plain)
    if frozen is None:
        base.trainable = False
    else:
        for name in frozen:
            base.get_layer(name).trainable = False
    model.save(tmp_path / "frozen.h5")
    net = assert_loads(model, tmp_path / "frozen.h5")
    assert list(net.weights()) == ["base/a", "base/norm", "base/b", "base/c"]
    assert_loads(model, plain)


@PACKAGES
def test_equal_names_in_two_models(package, tmp_path):
    model = around(package, block(package, "left"), block(package, "right"))
    model.save(tmp_path / "m.h5")
    assert_loads(model, tmp_path / "m.h5")


@PACKAGES
@pytest.mark.parametrize("sequential", [False, True], ids=["functional", "sequential"])
def test_models_in_models(package, sequential, tmp_path):
    inner = block(package, "inner", prefix="i", sequential=sequential)
    model = around(package, block(package, "outer", inside=[inner], sequential=sequential))
    inner.get_layer("ib").trainable = False
    model.save(tmp_path / "m.h5")
    net = assert_loads(model, tmp_path / "m.h5")
    assert "outer/inner/ia" in net.weights()


def test_equal_names_in_a_model_and_the_model_in_it(tmp_path):
    """Keras 3 writes the names of some of the models around: `inner/a` and `a` here, `a` and `outer/a` there."""
    model = around(keras, block(keras, "outer", inside=[block(keras, "inner", sequential=True)]))
    model.save(tmp_path / "m.h5")
    assert_loads(model, tmp_path / "m.h5")
    model = around(keras, block(keras, "outer", inside=[block(keras, "inner")], sequential=True))
    model.save(tmp_path / "n.h5")
    assert_loads(model, tmp_path / "n.h5")


def renamed(path, change):
    """The file with other names for the weights of `base`, in the same order."""
    with h5py.File(path, "r+") as file:
        group = file["model_weights/base"]
        names = [name.decode() if isinstance(name, bytes) else name for name in group.attrs["weight_names"]]
        arrays = [group[name][()] for name in names]
        for key in list(group):
            del group[key]
        for name, array in zip(names, arrays, strict=True):
            group[change(name)] = array
        group.attrs["weight_names"] = [change(name) for name in names]


@PACKAGES
@pytest.mark.parametrize("frozen", [[], ["a"], ["norm", "c"]])
def test_renamed_layers_are_told_apart_by_the_order(package, frozen, tmp_path):
    """As in files of TensorFlow 1, which numbered names anew: `a_4/kernel:0`."""
    base = block(package, "base")
    model = around(package, base)
    for name in frozen:
        base.get_layer(name).trainable = False
    model.save(tmp_path / "m.h5")
    renamed(tmp_path / "m.h5", lambda name: f"{name.split('/')[0]}_4/{name.split('/')[1]}")
    assert_loads(model, tmp_path / "m.h5")


def test_the_order_knows_which_weights_are_not_trained(tmp_path):
    """Mean and variance of a Normalization come after all trained weights, as those of a batch normalisation do."""
    base = block(keras, "base", inside=[keras.layers.Normalization(name="statistics")])
    model = around(keras, base)
    base.get_layer("statistics").finalize_state()  # Keras computes with copies of its weights
    model.save(tmp_path / "m.h5")
    renamed(tmp_path / "m.h5", lambda name: f"{name.split('/')[0]}_4/{name.split('/')[1]}")
    assert_loads(model, tmp_path / "m.h5")


def test_an_order_that_is_not_that_of_keras(tmp_path):
    model = around(keras, block(keras, "base"))
    model.save(tmp_path / "m.h5")
    renamed(tmp_path / "m.h5", lambda name: f"x_{name}")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        names = file["model_weights/base"].attrs["weight_names"]
        file["model_weights/base"].attrs["weight_names"] = names[::-1]
    with pytest.raises(WeightMismatch, match=r"- base/a kernel \(3, 3, 3, 3\)"):
        weights_convert.load(tmp_path / "m.h5")


def test_weights_that_are_missing_in_a_nested_model(tmp_path):
    model = around(keras, block(keras, "base"))
    model.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        group = file["model_weights/base"]
        group.attrs["weight_names"] = [name for name in group.attrs["weight_names"] if name != "b/bias"]
    with pytest.raises(WeightMismatch, match=r"- base/b bias \(3,\)(.|\n)*\+ base b/kernel \(3, 3, 3, 3\)"):
        weights_convert.load(tmp_path / "m.h5")


def test_a_file_of_weights_only(tmp_path, monkeypatch):
    model = around(keras, block(keras, "base"))
    model.save(tmp_path / "full.h5")
    graph = weights_convert.load(tmp_path / "full.h5").graph
    monkeypatch.setitem(architectures.OTHERS, "nested", lambda: Architecture(graph, UNIT))
    bare = weights_convert.load(save_weights(model, tmp_path / "w.h5"), architecture="nested")
    images = np.random.default_rng(0).standard_normal((2, *SHAPE)).astype(np.float32)
    assert error(bare(images), model(images)) <= TOLERANCE


def test_names_survive_the_process_that_reads(tmp_path):
    inner = block(keras, "inner", prefix="i")
    inner.get_layer("ia").trainable = False
    model = around(keras, block(keras, "outer", inside=[inner]))
    model.save(tmp_path / "m.h5")
    images = np.random.default_rng(0).standard_normal((2, *SHAPE)).astype(np.float32)
    isolated = weights_convert.load(tmp_path / "m.h5", isolated=True)
    np.testing.assert_array_equal(isolated(images), assert_loads(model, tmp_path / "m.h5")(images))


def alone(name="shared"):
    return keras.layers.Conv2D(3, 3, padding="same", name=name)


def chained(name, *layers):
    return keras.Sequential([keras.Input(SHAPE), *layers], name=name)


def shared_with_a_later_model():
    conv = alone()
    return around(keras, conv, chained("inner", conv, alone("other")))


def shared_with_an_earlier_model():
    conv = alone()
    return around(keras, chained("inner", alone("other"), conv), conv)


def shared_by_two_models():
    conv = alone()
    return around(keras, chained("one", conv), chained("two", alone("other"), conv))


def a_model_shared_with_a_model():
    base = chained("base", alone(), keras.layers.BatchNormalization(name="norm"))
    return around(keras, chained("inner", base, alone("other")), base)


@pytest.mark.parametrize(
    "build",
    [
        shared_with_a_later_model,
        shared_with_an_earlier_model,
        shared_by_two_models,
        a_model_shared_with_a_model,
    ],
)
@pytest.mark.filterwarnings("ignore:Skipping nested container:UserWarning")
def test_a_layer_in_two_models(build, tmp_path):
    """Keras 3 stores its weights once, and then cannot read its own `.keras` file; its `.h5` has them twice."""
    model = build()
    model.save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match=r"could not be loaded|is not connected"):
        keras.models.load_model(tmp_path / "m.keras")
    assert_loads(model, tmp_path / "m.keras")
    model.save(tmp_path / "m.h5")
    assert_loads(model, tmp_path / "m.h5")


def test_which_of_two_layers_it_is(tmp_path):
    conv = alone()
    model = around(keras, chained("one", conv), chained("two", alone()), chained("three", conv))
    model.save(tmp_path / "m.keras")
    with pytest.raises(WeightMismatch) as raised:
        weights_convert.load(tmp_path / "m.keras")
    assert str(raised.value).splitlines()[1:] == [
        "- three/shared kernel (3, 3, 3, 3)",
        "- three/shared bias (3,)",
        "three/shared: the file has no place for this; if it is one layer in two models, this format keeps it once and "
        "does not say where: save the full model as .h5",
    ]
    model.save(tmp_path / "m.h5")
    assert_loads(model, tmp_path / "m.h5")


def test_a_layer_in_two_models_of_which_only_the_weights_are_there(tmp_path):
    model = shared_by_two_models()
    model.save_weights(tmp_path / "m.weights.h5")
    (tmp_path / "m.json").write_text(model.to_json())
    with pytest.raises(WeightMismatch, match=r"two/shared: the file has no place for this; if it is one layer in two"):
        weights_convert.load(tmp_path / "m.weights.h5", str(tmp_path / "m.json"))

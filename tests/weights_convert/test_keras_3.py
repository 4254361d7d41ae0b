"""The layout of Keras 3's files of weights.

Law: every weight is found by the class and the number of its layer, whatever the layers are called.
"""

import io
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers as L  # noqa: N812
from keras.src.utils.naming import to_snake_case
from keras_oracle import assert_same, images_for, randomize, sequential

import weights_convert
from weights_convert import ARCHITECTURES, KerasFileError, NotReadable, UnsafeFile, WeightMismatch, read
from weights_convert.files.keras_3 import snake_case
from weights_convert.files.safetensors import read_safetensors, write


def many(n=12):
    """More layers of a class than there are digits, in no order that HDF5 would keep."""
    convolutions = [L.Conv2D(2, 1, activation="relu", name=f"layer_{n - i}") for i in range(n)]
    return sequential((4, 4, 3), *convolutions, L.BatchNormalization(), L.Flatten(), L.Dense(3), L.Dense(2))


def nested():
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), L.Conv2D(2, 3, name="a"), L.BatchNormalization(name="b")], name="stem"
    )
    image = keras.Input((6, 6, 2))
    deep = keras.Sequential([keras.Input((6, 6, 4)), L.Conv2D(2, 1, name="a")], name="deep")
    outer = keras.Model(image, deep(L.Conv2D(4, 1, name="a")(image)), name="body")
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, L.Conv2D(1, 1, name="last")(outer(L.Conv2D(2, 1, name="a")(inner(image)))))
    for layer in model.layers:
        if hasattr(layer, "layers"):
            randomize(layer)
    return randomize(model)


def weights_of(model, outer=""):
    """{"outer/inner": its arrays} of all layers with weights."""
    found = {}
    for layer in model.layers:
        if hasattr(layer, "layers"):
            found |= weights_of(layer, f"{outer}{layer.name}/")
        elif layer.weights:
            found[outer + layer.name] = [np.asarray(weight) for weight in layer.weights]
    return found


def assert_weights(saved, model):
    found = {
        layer: [weight.read() for weight in weights.values()] for layer, weights in saved.weights.items() if weights
    }
    wanted = weights_of(model)
    assert list(found) == list(wanted)
    for layer, arrays in wanted.items():
        for mine, theirs in zip(found[layer], arrays, strict=True):
            np.testing.assert_array_equal(mine, theirs.astype(np.float32))


@pytest.mark.parametrize("build", [many, nested])
def test_archives(build, tmp_path):
    model = build()
    model.save(tmp_path / "m.keras")
    saved = read(tmp_path / "m.keras")
    assert_weights(saved, model)
    assert saved.keras == 3


def test_every_layer_of_an_archive(tmp_path):
    model = many()
    model.save(tmp_path / "m.keras")
    assert_same(weights_convert.load(tmp_path / "m.keras"), model, images_for(model))


def test_archives_of_keras_2(tmp_path):
    import tf_keras

    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [layers.Conv2D(4, 3, activation="relu", input_shape=(8, 8, 3)), layers.BatchNormalization(), layers.Flatten()]
    )
    model.add(tf_keras.Sequential([layers.Dense(3), layers.Dense(2)], name="head"))
    model(np.zeros((1, 8, 8, 3)))
    model.save(tmp_path / "m.keras")
    saved = read(tmp_path / "m.keras")
    assert saved.keras == 2
    assert_weights(saved, model)


def as_on_windows(path, root):
    """The archive as Keras 2 writes it on Windows, where it joins the names of groups with a backslash."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO()
    with h5py.File(io.BytesIO(members["model.weights.h5"])) as old, h5py.File(buffer, "w") as new:

        def copy(name, each):
            if isinstance(each, h5py.Dataset):
                group, _, number = name.rpartition("/vars/")
                group = group.replace("layers/", root, 1).replace("/", "\\")
                new.require_group(f"{group}/vars" if group else "vars")[number] = each[()]

        old.visititems(copy)
        for name in ("optimizer\\vars/0", "metrics\\mean\\vars/0"):  # what training left
            new[name] = np.zeros(3)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, buffer.getvalue() if name == "model.weights.h5" else content)
    return path


def test_archives_of_keras_2_on_windows(tmp_path):
    import tf_keras

    layers = tf_keras.layers
    base = tf_keras.Sequential([layers.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization()], name="base")
    model = tf_keras.Sequential([base, layers.Flatten(), layers.Dense(2)])
    images = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    wanted = model(images, training=False)
    for root in ("layers\\", "_layer_checkpoint_dependencies\\"):
        model.save(tmp_path / "m.keras")
        path = as_on_windows(tmp_path / "m.keras", root)
        np.testing.assert_allclose(weights_convert.load(path)(images), wanted, rtol=1e-5, atol=1e-6)


def test_no_group_is_passed_over_in_silence(tmp_path):
    model = many(2)
    model.save(tmp_path / "m.keras")
    path = as_on_windows(tmp_path / "m.keras", "elsewhere\\")
    with pytest.raises(WeightMismatch) as error:
        weights_convert.load(path)
    lines = str(error.value).splitlines()
    assert "- layer_2 kernel (1, 1, 3, 2)" in lines
    assert "+ /elsewhere/conv2d/vars/0 (1, 1, 3, 2)" in lines
    assert not [line for line in lines if "optimizer" in line or "metrics" in line]
    write(read(path), tmp_path / "m.safetensors")  # as a separate process hands it over
    assert read_safetensors(tmp_path / "m.safetensors").rest == read(path).rest
    model.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        file["model_weights"].move("layer_2", "moved")
        names = file["model_weights"].attrs["layer_names"]
        file["model_weights"].attrs["layer_names"] = [name for name in names if name != "layer_2"]
    with pytest.raises(WeightMismatch, match=r"\+ /model_weights/moved/.*kernel.* \(1, 1, 3, 2\)"):
        weights_convert.load(tmp_path / "m.h5")


def test_a_path_of_backslashes_has_an_end(tmp_path):
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        file.create_group("\\".join(["layers"] * 100))
    with pytest.raises(UnsafeFile, match="or 32 in each other"):
        read(tmp_path / "m.weights.h5")
    with h5py.File(tmp_path / "n.weights.h5", "w") as file:
        for name in ("layers\\dense/vars", "layers/dense/vars"):
            file[f"{name}/0"] = np.zeros(3)
    with pytest.raises(NotReadable, match="is there twice"):
        read(tmp_path / "n.weights.h5")


def cats_dogs():
    layers = []
    for filters in (32, 64, 128, 128):
        layers += [L.Conv2D(filters, 3, activation="relu"), L.MaxPooling2D()]
    head = [L.Flatten(), L.Dropout(0.5, seed=1), L.Dense(512, activation="relu"), L.Dense(1, activation="sigmoid")]
    return sequential((150, 150, 3), *layers, *head)


def counted_twice(path):
    """The file as TensorFlow 2.13 would have written it: other names of the containers, weights counted twice."""
    with h5py.File(path, "r+") as file:
        file.move("layers", "_layer_checkpoint_dependencies")
        group = file["_layer_checkpoint_dependencies"]
        for kind, n in (("conv2d", 4), ("dense", 2)):
            for i in reversed(range(1, n)):
                group.move(f"{kind}_{i}", f"{kind}_{2 * i}")
    return path


@pytest.mark.parametrize("rewrite", [lambda path: path, counted_twice])
def test_weights_of_a_known_architecture(rewrite, tmp_path):
    model = cats_dogs()
    model.save_weights(tmp_path / "m.weights.h5")
    path = rewrite(tmp_path / "m.weights.h5")
    net = weights_convert.load(path, architecture="cats_dogs")
    assert net.graph == ARCHITECTURES["cats_dogs"].graph
    images = images_for(model)
    np.testing.assert_allclose(net(images), model(images), rtol=1e-5)
    with pytest.raises(KerasFileError, match="its shapes fit 'cats_dogs': pass architecture='cats_dogs'"):
        weights_convert.load(path)


def test_weights_of_another_network(tmp_path):
    many().save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(KerasFileError, match="its shapes fit none of them"):
        weights_convert.load(tmp_path / "m.weights.h5")
    with pytest.raises(WeightMismatch) as error:
        weights_convert.load(tmp_path / "m.weights.h5", architecture="cats_dogs")
    lines = str(error.value).splitlines()
    assert "- conv2d_5 kernel (3, 3, 3, 32)" in lines
    assert "+ conv2d_5 kernel (1, 1, 3, 2)" in lines
    assert "+ /layers/batch_normalization 0 (2,)" in lines  # what the architecture has no layer for


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_arrays_become_float32(dtype, tmp_path):
    model = sequential((4, 4, 3), L.Conv2D(2, 3, dtype=dtype), L.Flatten(dtype=dtype), L.Dense(1, dtype=dtype))
    model.save(tmp_path / "m.keras")
    saved = read(tmp_path / "m.keras")
    assert_weights(saved, model)
    assert {weight.read().dtype for weights in saved.weights.values() for weight in weights.values()} == {
        np.dtype(np.float32)
    }


def test_names_of_classes():
    kinds = [name for name in dir(keras.layers) if isinstance(getattr(keras.layers, name), type)]
    assert len(kinds) > 100
    assert {kind: snake_case(kind) for kind in kinds} == {kind: to_snake_case(kind) for kind in kinds}


def test_a_tree_without_an_end(tmp_path):
    many().save_weights(tmp_path / "m.weights.h5")
    with h5py.File(tmp_path / "m.weights.h5", "r+") as file:
        file["layers/conv2d/layers"] = file["layers"]
    with pytest.raises(UnsafeFile, match="holds more than 100,000 groups and arrays, or 32 in each other"):
        read(tmp_path / "m.weights.h5")


def test_subclassed_models(tmp_path):
    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv = L.Conv2D(2, 3)

        def call(self, x):
            return self.conv(x)

    model = Mine()
    model(np.zeros((1, 4, 4, 3)))
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(NotReadable, match="the model is of class 'Mine'; what it computes is Python code, which is"):
        weights_convert.load(tmp_path / "m.keras")
    with pytest.raises(NotReadable, match="not a file of Keras, or it holds the weights of a subclassed"):
        weights_convert.load(tmp_path / "m.weights.h5", architecture="vgg16")

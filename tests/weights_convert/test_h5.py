"""`.h5` files.

Law: every layout that a version of Keras writes is read; a damaged or hostile file is refused with one sentence.
"""

import json

import h5py
import keras
import numpy as np
import pytest
from keras import layers as L  # noqa: N812
from keras_oracle import save, save_weights, sequential

from weights_convert import NotReadable, UnsafeFile, read


def model():
    return sequential((6, 6, 3), L.Conv2D(4, 3, name="conv"), L.BatchNormalization(name="norm"), L.Flatten(name="flat"))


@pytest.fixture
def path(tmp_path):
    """A file of a full model, for a test to spoil."""
    return save(model(), tmp_path / "m.h5")


def conv_file(path, names, arrays, **attributes):
    """A file of weights of one layer `conv`, written by hand."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        file.attrs.update(attributes)
        group = file.create_group("conv")
        group.attrs["weight_names"] = names
        for name, array in zip(names, arrays, strict=True):
            group[name] = array
    return path


def test_a_full_model(path):
    saved = read(path)
    assert {layer: list(weights) for layer, weights in saved.weights.items()} == {
        "conv": ["kernel", "bias"],
        "norm": ["gamma", "beta", "moving_mean", "moving_variance"],
        "flat": [],
    }
    assert saved.keras == 3
    assert saved.config["class_name"] == "Sequential"


def test_weights_only(tmp_path):
    original = model()
    saved = read(save_weights(original, tmp_path / "w.h5"))
    assert saved.config is None
    np.testing.assert_array_equal(saved.weights["conv"]["kernel"].read(), original.layers[0].kernel)


@pytest.mark.parametrize(
    "names", [["conv_W_1:0", "conv_b_1:0"], ["conv/kernel:0", "conv/bias:0"], ["conv/kernel", "conv/bias"]]
)
@pytest.mark.parametrize("kind", [bytes, str])
def test_the_names_of_every_version(names, kind, tmp_path):
    written = [name.encode() if kind is bytes else name for name in names]
    saved = read(conv_file(tmp_path / "w.h5", written, [np.zeros((3, 3, 1, 2)), np.zeros(2)]))
    assert {name: weight.shape for name, weight in saved.weights["conv"].items()} == {
        "kernel": (3, 3, 1, 2),
        "bias": (2,),
    }
    assert saved.keras == 1  # says a file that does not say


def test_the_names_of_a_normalization_of_keras_1(tmp_path):
    names = [f"bn_1_{name}:0" for name in ("gamma", "beta", "running_mean", "running_std")]
    saved = read(conv_file(tmp_path / "w.h5", names, [np.zeros(2)] * 4))
    assert list(saved.weights["conv"]) == ["gamma", "beta", "moving_mean", "moving_variance"]


def test_names_in_chunks(path):
    whole = read(path)
    with h5py.File(path, "r+") as file:
        group = file["model_weights"]
        names = list(group.attrs["layer_names"])
        del group.attrs["layer_names"]
        group.attrs["layer_names0"], group.attrs["layer_names1"] = names[:2], names[2:]
        weights = list(group["norm"].attrs["weight_names"])
        del group["norm"].attrs["weight_names"]
        group["norm"].attrs["weight_names0"], group["norm"].attrs["weight_names1"] = weights[:3], weights[3:]
    assert {k: list(v) for k, v in read(path).weights.items()} == {k: list(v) for k, v in whole.weights.items()}


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32"])
def test_arrays_become_float32(dtype, tmp_path):
    kernel = np.arange(6).reshape(1, 1, 3, 2).astype(dtype)
    array = read(conv_file(tmp_path / "w.h5", ["conv/kernel"], [kernel])).weights["conv"]["kernel"].read()
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, kernel)


def test_nested_weights_keep_their_full_names(tmp_path):
    names = ["a/kernel:0", "b/kernel:0"]
    assert list(read(conv_file(tmp_path / "w.h5", names, [np.zeros(1), np.zeros(1)])).weights["conv"]) == names


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.h5 is not there; expected a file of weights"):
        read(tmp_path / "none.h5")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read(tmp_path)


def test_other_files(tmp_path):
    (tmp_path / "m.h5").write_bytes(bytes(range(256)))
    with pytest.raises(NotReadable, match=r"m.h5 is not an HDF5 file, or it is damaged \(cut short by a download\?\)"):
        read(tmp_path / "m.h5")


def test_files_cut_short(path):
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(NotReadable, match=r"it is damaged .*truncated"):
        read(path)


def test_hdf5_of_others(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(
        NotReadable, match="no attribute `layer_names` and no group `layers`: it is not a file of Keras, or"
    ):
        read(tmp_path / "x.h5")


@pytest.mark.parametrize(("config", "reason"), [("{", "is not JSON"), ("[]", "is not a JSON object")])
def test_descriptions_that_are_no_json(config, reason, path):
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = config
    with pytest.raises(NotReadable, match=f"`model_config` {reason}"):
        read(path)


def test_theano(tmp_path):
    path = conv_file(tmp_path / "w.h5", ["conv_W"], [np.zeros((2, 1, 3, 3))], backend=b"theano")
    with pytest.raises(NotReadable, match="written by the Theano backend"):
        read(path)


def spoil(path, change):
    with h5py.File(path, "r+") as file:
        group = file["model_weights/conv/net/conv"]
        kernel = group["kernel"][()]
        del group["kernel"]
        change(group, kernel)


def soft_link(group, kernel):
    group["kernel"] = h5py.SoftLink("/model_weights/norm")


def external_link(group, kernel):
    group["kernel"] = h5py.ExternalLink("/etc/passwd", "x")


def external_storage(group, kernel):
    group.create_dataset("kernel", kernel.shape, "f4", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


def virtual(group, kernel):
    layout = h5py.VirtualLayout(kernel.shape, "f4")
    layout[...] = h5py.VirtualSource("/etc/hostname", "x", kernel.shape)
    group.create_virtual_dataset("kernel", layout)


def objects(group, kernel):
    group.create_dataset("kernel", kernel.shape, h5py.string_dtype())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            soft_link,
            "'kernel' in /model_weights/conv/net/conv is a link to '/model_weights/norm', which is not followed",
        ),
        (external_link, "'kernel' in /model_weights/conv/net/conv is a link to 'x', which is not followed"),
        (
            external_storage,
            "/model_weights/conv/net/conv/kernel keeps its numbers in another file, which is not opened",
        ),
        (virtual, "/model_weights/conv/net/conv/kernel keeps its numbers in another file, which is not opened"),
        (objects, "/model_weights/conv/net/conv/kernel holds object, not numbers"),
    ],
)
def test_nothing_leads_out_of_a_file(change, reason, path):
    spoil(path, change)
    with pytest.raises(UnsafeFile, match=reason):
        read(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda group, kernel: None, "lists 'net/conv/kernel' in /model_weights/conv, but does not hold it"),
        (lambda group, kernel: group.create_group("kernel"), "/model_weights/conv/net/conv/kernel is not an array"),
    ],
)
def test_weights_that_are_not_there(change, reason, path):
    spoil(path, change)
    with pytest.raises(NotReadable, match=reason):
        read(path)


def test_reading_leaves_the_file_closed(path):
    saved = read(path)
    path.rename(path.with_name("moved.h5"))
    with pytest.raises(FileNotFoundError):
        saved.weights["conv"]["kernel"].read()


def test_the_files_of_keras_are_what_these_tests_think(path):
    """The attributes that the tests above spoil."""
    with h5py.File(path) as file:
        assert json.loads(file.attrs["model_config"])["class_name"] == "Sequential"
        assert file.attrs["keras_version"] == keras.__version__

"""`.safetensors` files.

Law: loading gives back the network that was saved; a file that something else wrote is refused.
"""

import numpy as np
import pytest
from keras import layers as L  # noqa: N812
from keras_oracle import images_for, save, sequential
from safetensors.numpy import save_file

import weights_convert
from weights_convert import CAFFE, Inputs, NotReadable, WeightMismatch


@pytest.fixture
def model():
    return sequential(
        (10, 10, 3),
        L.Rescaling([1.0, 2.0, 3.0]),
        L.ZeroPadding2D(((0, 1), (2, 3))),
        L.Conv2D(4, 3, activation="relu"),
        L.BatchNormalization(scale=False),
        L.ReLU(max_value=6),
        L.Flatten(),
        L.Dense(2, activation="softmax", name="scores"),
    )


@pytest.mark.parametrize("inputs", [CAFFE, Inputs("mine", mean=(0.1, 0.2, 0.3), std=(2.0,))])
def test_round_trip(inputs, model, tmp_path):
    net = weights_convert.load(save(model, tmp_path / "m.h5"))
    net.inputs = inputs
    weights_convert.save(net, tmp_path / "m.safetensors")
    again = weights_convert.load(tmp_path / "m.safetensors")
    assert (again.graph, again.inputs, again.names) == (net.graph, inputs, net.names)
    np.testing.assert_array_equal(again(images_for(model)), net(images_for(model)))


def test_folders_that_are_not_there(model, tmp_path):
    net = weights_convert.load(save(model, tmp_path / "m.h5"))
    with pytest.raises(OSError, match=r"cannot write .*nowhere"):
        weights_convert.save(net, tmp_path / "nowhere" / "m.safetensors")


def test_files_of_others(tmp_path):
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "m.safetensors")
    with pytest.raises(NotReadable, match=r"m.safetensors was not written by weights_convert.save, or is damaged"):
        weights_convert.load(tmp_path / "m.safetensors")


def test_files_cut_short(model, tmp_path):
    path = tmp_path / "m.safetensors"
    weights_convert.save(weights_convert.load(save(model, tmp_path / "m.h5")), path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(NotReadable, match="or is damaged"):
        weights_convert.load(path)


def test_weights_that_do_not_fit(model, tmp_path):
    path = tmp_path / "m.safetensors"
    net = weights_convert.load(save(model, tmp_path / "m.h5"))
    net.weights()["scores"]["bias"].set_value(np.zeros(3, np.float32))
    weights_convert.save(net, path)
    with pytest.raises(WeightMismatch, match=r"- scores bias \(2,\)\n\+ scores bias \(3,\)"):
        weights_convert.load(path)

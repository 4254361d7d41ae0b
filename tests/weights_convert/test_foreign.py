"""Files and folders that Keras did not write, or did not write so.

Law: what is not read is recognised by its content, and the error says how to get a file that is read; HDF5 and `.keras`
archives are read under any name.
"""

import pickle
import shutil
import zipfile

import numpy as np
import pytest
import tf_keras
from keras_oracle import error
from PIL import Image

import weights_convert
from weights_convert import NotReadable

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n"
PAGE = b"\n<!-- cached -->\n<!DOCTYPE html><html>404</html>"
TABLE = bytes(40) + bytes.fromhex("57fb808b247547db")

CONTENTS = {
    "a Git LFS pointer": (POINTER, "a Git LFS pointer.*get the file with `git lfs pull`"),
    "a web page": (PAGE, "a web page, not the file"),
    "nothing": (b"", "is empty: download or save it again"),
    "an error": (b"404: Not Found", "a text that begins with '404: Not Found'"),
    "a page with a mark of its encoding": (b"\xef\xbb\xbf<!DOCTYPE html><html>", "a web page, not the file"),
    "TensorFlow Lite": (b"\x1c\0\0\0TFL3" + bytes(500), "TensorFlow Lite model.*load the Keras model that it was made"),
    "a checkpoint": (TABLE, r"the index of a TensorFlow checkpoint.*`model.load_weights\("),
    "PyTorch before 1.6": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M.", "a file of PyTorch.*`state_dict`"),
    "a pickle": (pickle.dumps([np.zeros(3)]), "a pickle of Python, which is code.*never read here"),
    "NumPy": (b"\x93NUMPY\x01\0v\0" + bytes(120), "an array of NumPy.*`model.set_weights`"),
    "gzip": (b"\x1f\x8b\x08" + bytes(20), "an archive: unpack it"),
    "TensorFlow.js": (b'{"format": "layers-model", "modelTopology": {}}', "TensorFlow.js: `tensorflowjs_converter"),
    "YAML": (b"backend: tensorflow\nclass_name: Sequential\nconfig:\n  name: m\n", r"as YAML: write what `model.to_j"),
    "SavedModel": (b"\x08\x01\x12\xf0\x01\n\x05", r"a part of a SavedModel.*tf.keras.models.load_model\("),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_what_is_no_file_of_keras_is_recognised(name, tmp_path):
    content, reason = CONTENTS[name]
    for suffix in ("h5", "keras", "safetensors", "weights.json", "bin"):
        path = tmp_path / f"m.{suffix}"
        path.write_bytes(content)
        with pytest.raises(NotReadable, match=f"m.{suffix} is .*{reason}|m.{suffix} {reason}"):
            weights_convert.load(path)


def test_pictures_and_zips(tmp_path):
    for suffix in ("png", "jpg", "gif", "bmp", "webp", "tif"):
        Image.new("RGB", (4, 4)).save(tmp_path / f"cat.{suffix}")
        with pytest.raises(NotReadable, match=f"cat.{suffix} is a picture: jaxviz.read_image reads it"):
            weights_convert.load(tmp_path / f"cat.{suffix}")
    for names, reason in (
        (["net/data.pkl", "net/data/0"], "a file of PyTorch"),
        (["keras_model.h5", "labels.txt"], "an archive: unpack it, then load 'keras_model.h5'"),
        (["m/saved_model.pb"], "an archive with a SavedModel of TensorFlow: unpack it"),
        (["a.npy", "b.npy"], "an array of NumPy"),
        (["readme.txt"], r"a zip without 'config.json', so it is not an archive of Keras; it holds \['readme.txt'\]"),
    ):
        with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
            for name in names:
                archive.writestr(name, b"x")
        with pytest.raises(NotReadable, match=f"m.zip is {reason}"):
            weights_convert.load(tmp_path / "m.zip")


def test_what_tensorflow_writes(tmp_path):
    """A folder, a checkpoint and a description, as tf-keras writes them; and the way on that each error names."""
    layers = tf_keras.layers
    model = tf_keras.Sequential([layers.Input((8, 8, 3)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(2)])
    model.save(tmp_path / "saved", save_format="tf")
    model.save_weights(tmp_path / "ck")
    model.save_weights(tmp_path / "w.h5")
    model.save(tmp_path / "m.keras")
    (tmp_path / "m.json").write_text(model.to_json())
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        archive.extractall(tmp_path / "unpacked")
    for name, reason in (
        (
            "saved",
            r"saved is a SavedModel folder of TensorFlow: in Python, `tf.keras.models.load_model\('.*saved'\).save",
        ),
        ("saved/saved_model.pb", "saved_model.pb is a part of a SavedModel folder"),
        ("ck", r"ck stands for the files ck.index and ck.data-…, a TensorFlow checkpoint"),
        ("ck.index", "ck.index is the index of a TensorFlow checkpoint"),
        ("ck.data-00000-of-00001", "ck.data-00000-of-00001 is a part of a TensorFlow checkpoint"),
        ("checkpoint", "checkpoint is the list of the checkpoints in this folder"),
        ("m.json", r"m.json is the description of a network.*load\(\"weights.h5\", architecture='.*m.json'\)"),
        ("unpacked", "unpacked is an unpacked .keras archive: pack it again"),
    ):
        with pytest.raises(NotReadable, match=reason):
            weights_convert.load(tmp_path / name)
    images = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    wanted = model.predict(images, verbose=0)
    tf_keras.models.load_model(tmp_path / "saved", compile=False).save(tmp_path / "back.keras")
    model.load_weights(tmp_path / "ck").expect_partial()
    model.save(tmp_path / "again.h5")
    for path, graph in (("back.keras", None), ("again.h5", None), ("w.h5", str(tmp_path / "m.json"))):
        assert error(weights_convert.load(tmp_path / path, graph)(images), wanted) <= 1e-5
    for suffix in ("model", "h5.bak", "H5", "pb", "onnx", "json", "safetensors", "keras"):  # HDF5 under any name
        shutil.copy(tmp_path / "again.h5", tmp_path / f"copy.{suffix}")
        copy = weights_convert.read(tmp_path / f"copy.{suffix}")
        assert copy.config == weights_convert.read(tmp_path / "again.h5").config
        assert copy.sha256 == weights_convert.read(tmp_path / "again.h5").sha256

"""Weights that Keras 3 split into shards.

Law: an index and its shards are read like one file; an index cannot lead to a file outside of its folder.
"""

import hashlib
import json

import h5py
import keras
import numpy as np
import pytest
from keras import layers as L  # noqa: N812
from keras_oracle import error, images_for, randomize

import weights_convert
from weights_convert import KerasFileError, NotReadable, UnsafeFile, WeightMismatch
from weights_convert.files import keras_3
from weights_convert.files.shards import parts

GIB = 1 << 30
LARGEST = 4 * 100 * 32  # bytes of the kernel of `wide`, which fills a shard: its bias is in the next


@pytest.fixture(scope="module")
def model():
    stem = keras.Sequential(
        [keras.Input((8, 8, 3)), L.Conv2D(4, 3), L.BatchNormalization(), L.SeparableConv2D(4, 2)], name="stem"
    )
    head = [L.BatchNormalization(), L.Flatten(), L.Dense(32, name="wide"), L.Dropout(0.5), L.Dense(2, name="scores")]
    model = keras.Sequential([keras.Input((8, 8, 3)), stem, *head])
    for each in (stem, model):
        randomize(each)
    model.compile("adam", "mse")
    model.fit(np.zeros((2, 8, 8, 3)), np.zeros((2, 2)), verbose=0)
    return model


@pytest.fixture
def index(model, tmp_path):
    model.save_weights(tmp_path / "m.weights.json", max_shard_size=LARGEST / GIB)
    (tmp_path / "model.json").write_text(model.to_json())
    return tmp_path / "m.weights.json"


def load(index, **options):
    return weights_convert.load(index, str(index.with_name("model.json")), **options)


def rewritten(index, change):
    """The index with its map changed."""
    content = json.loads(index.read_text())
    change(content["weight_map"])
    index.write_text(json.dumps(content))
    return index


@pytest.mark.parametrize("isolated", [False, True])
def test_a_layer_in_two_shards(isolated, model, index):
    assert json.loads(index.read_text())["weight_map"]["/layers/dense/vars"] == [
        "m_00001.weights.h5",
        "m_00002.weights.h5",
    ]
    images = images_for(model)
    assert error(load(index, isolated=isolated)(images), model(images, training=False)) <= 1e-6


def test_it_is_what_keras_writes_as_one_file(model, index):
    model.save_weights(index.with_name("whole.weights.h5"))
    whole, saved = (weights_convert.read(path) for path in (index.with_name("whole.weights.h5"), index))
    assert {layer: list(group) for layer, group in saved.weights.items()} == {
        layer: list(group) for layer, group in whole.weights.items()
    }
    for layer, group in whole.weights.items():
        for name, weight in group.items():
            np.testing.assert_array_equal(saved.weights[layer][name].read(), weight.read())


def test_more_than_ten_weights_in_the_order_of_their_numbers(tmp_path):
    for shard, numbers in enumerate(([10, 2, 0], [1, 9])):
        with h5py.File(tmp_path / f"m_{shard}.h5", "w") as file:
            for number in numbers:
                file[f"layers/dense/vars/{number}"] = np.zeros(2, np.float32)
                file[f"layers/dense/b/vars/{number}"] = np.zeros(2, np.float32)
    shards = ["m_0.h5", "m_1.h5"]
    (tmp_path / "m.json").write_text(json.dumps({"weight_map": {"/layers/dense/vars": shards}}))
    names = ["0", "1", "2", "9", "10"]
    weights = weights_convert.read(tmp_path / "m.json").weights["/layers/dense"]
    assert list(weights) == [*(f"b/{name}" for name in names), *names]


def test_only_shards_with_layers_are_looked_for(index):
    shards = sorted(index.parent.glob("m_*.weights.h5"))
    assert parts(index) == [index, *shards[:3]]
    for shard in shards[3:]:  # the state of the optimizer
        shard.unlink()
    lines = "".join(f"{hashlib.sha256(part.read_bytes()).hexdigest()}  {part.name}\n" for part in parts(index))
    assert weights_convert.read(index).sha256 == hashlib.sha256(lines.encode()).hexdigest()
    load(index)


def test_without_a_graph(index):
    with pytest.raises(KerasFileError, match=r"m\.weights\.json holds weights only, so the architecture must be named"):
        weights_convert.load(index)


def test_a_shard_that_is_not_there(index):
    index.with_name("m_00001.weights.h5").unlink()
    with pytest.raises(NotReadable, match=r"lists m_00001\.weights\.h5, which must lie next to it, but is not there"):
        load(index)


def test_a_shard_of_another_network(index):
    with h5py.File(index.with_name("m_00001.weights.h5"), "r+") as file:
        del file["layers/dense/vars/0"]
    with pytest.raises(WeightMismatch, match=r"- wide kernel \(100, 32\)"):
        load(index)


def test_a_damaged_shard(index):
    shard = index.with_name("m_00001.weights.h5")
    shard.write_bytes(shard.read_bytes()[:2000])
    with pytest.raises(NotReadable, match=r"m_00001\.weights\.h5 is not an HDF5 file, or it is damaged"):
        load(index)


def test_a_weight_in_two_shards(index):
    with h5py.File(index.with_name("m_00002.weights.h5"), "r+") as file:
        file["layers/dense/vars/0"] = np.zeros((100, 32), np.float32)
    with pytest.raises(NotReadable, match="/layers/dense has a weight '0', and so has another shard"):
        load(index)


@pytest.mark.parametrize(
    "name",
    ["../m_00001.weights.h5", "/etc/passwd", "/tmp/m.h5", "a\\b.h5", "C:m.h5", "m\0.h5", "..", "", 7, None, "a" * 300],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_names_that_lead_elsewhere(name, wrapped, index):
    rewritten(index, lambda groups: groups.update({"/layers/dense/vars": [name] if wrapped else name}))
    with pytest.raises(UnsafeFile, match=r"as a shard, which is not the name of an \.h5 file next to it"):
        load(index)


def test_links_that_lead_elsewhere(index):
    shard = index.with_name("m_00001.weights.h5")
    elsewhere = index.with_name("elsewhere")
    elsewhere.mkdir()
    shard.symlink_to(shard.rename(elsewhere / shard.name))
    with pytest.raises(UnsafeFile, match=r"m_00001\.weights\.h5 is a link to .*, out of the folder of its index"):
        load(index)


def test_links_of_a_whole_folder(index, tmp_path_factory):
    """As downloads are kept: all files are links to those of another folder."""
    folder = tmp_path_factory.mktemp("links")
    for path in index.parent.iterdir():
        (folder / path.name).symlink_to(path)
    load(folder / index.name)


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        ("{", NotReadable, "m.weights.json is not JSON"),
        ("[]", NotReadable, "is not a JSON object"),
        ('{"layers": []}', NotReadable, "has no 'weight_map', so it is not an index of sharded weights"),
        ('{"weight_map": []}', NotReadable, "has no 'weight_map'"),
        ('{"weight_map": {"/optimizer/vars": "m.h5"}}', NotReadable, "lists no group in '/layers/'"),
        ('{"weight_map": {"/layers/a": []}}', NotReadable, "lists no group in '/layers/'"),
        ('{"weight_map": ' + "[" * 500 + "]" * 500 + "}", UnsafeFile, "nests deeper than 200 levels"),
        (" " * (17 << 20), UnsafeFile, "is 17,825,792 bytes long; at most 16,777,216 are read"),
    ],
    ids=range(8),
)
def test_what_is_no_index(content, kind, reason, index):
    index.write_text(content)
    with pytest.raises(kind) as raised:
        load(index)
    assert reason in str(raised.value)


def test_limits_count_over_all_shards(index, monkeypatch):
    sizes = []
    for shard in parts(index)[1:]:
        with h5py.File(shard) as file:
            file["layers"].visit(sizes.append)
    monkeypatch.setattr(keras_3, "MAX_OBJECTS", len(sizes) - 1)
    with pytest.raises(UnsafeFile, match="groups and arrays, or 32 in each other"):
        load(index)


def test_max_bytes_are_those_of_all_shards(model, index):
    size = 4 * model.count_params()
    with pytest.raises(UnsafeFile, match=f"claims {size:,} bytes of weights, more than the {size - 1:,} that are read"):
        load(index, max_bytes=size - 1)
    load(index, max_bytes=size)

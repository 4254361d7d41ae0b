"""`.keras` archives.

Law: an archive is read completely, without extracting anything to disk, or it is refused with one sentence.
"""

import zipfile

import pytest
from keras import layers as L  # noqa: N812
from keras_oracle import assert_same, images_for, sequential

import weights_convert
from weights_convert import NotReadable, UnsafeFile

MEMBERS = ("metadata.json", "config.json", "model.weights.h5")


@pytest.fixture
def model():
    return sequential((6, 6, 3), L.Conv2D(4, 3, name="conv"), L.BatchNormalization(), L.Flatten(), L.Dense(2))


@pytest.fixture
def path(model, tmp_path):
    model.save(tmp_path / "m.keras")
    return tmp_path / "m.keras"


def rewritten(path, method=zipfile.ZIP_STORED, **members):
    """The archive with some members replaced (`config_json=…`), None taking one out, packed by `method`."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents |= {name.replace("_json", ".json").replace("_h5", ".weights.h5"): new for name, new in members.items()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in contents.items():
            if content is not None:
                archive.writestr(name, content)
    return path


def test_stored(path, model):
    assert_same(weights_convert.load(path), model, images_for(model))
    assert sorted(path.parent.iterdir()) == [path]  # nothing is extracted


def test_packed(path, model):
    assert_same(weights_convert.load(rewritten(path, zipfile.ZIP_DEFLATED)), model, images_for(model))


def test_under_another_name(path, model):
    path = path.rename(path.with_name("m.h5"))
    assert_same(weights_convert.load(path), model, images_for(model))


def test_without_metadata(path):
    assert weights_convert.read(rewritten(path, metadata_json=None)).keras == 3


@pytest.mark.parametrize("name", MEMBERS[1:])
def test_members_that_are_not_there(name, path):
    key = {"config.json": "config_json", "model.weights.h5": "model_h5"}[name]
    with pytest.raises(NotReadable, match=f"is a zip without '{name}', so it is not an archive of Keras; it holds"):
        weights_convert.load(rewritten(path, **{key: None}))


@pytest.mark.parametrize("part", [0.2, 0.9, 0.999])
def test_cut_short(part, path):
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(NotReadable, match=r"is not a .keras archive, or it is damaged \(cut short by a download\?\)"):
        weights_convert.load(path)


def test_a_flipped_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # in the weights
    path.write_bytes(content)
    with pytest.raises(NotReadable, match=r"it is damaged .*Bad CRC-32 for file 'model\.weights\.h5'"):
        weights_convert.load(path)


def test_descriptions_that_are_no_json(path):
    with pytest.raises(NotReadable, match=r"m.keras: config.json is not JSON \(Expecting"):
        weights_convert.load(rewritten(path, config_json="{"))


def test_methods_that_are_not_supported(path):
    with pytest.raises(UnsafeFile, match=r"config.json is packed by method 14; supported are stored and deflated"):
        weights_convert.load(rewritten(path, zipfile.ZIP_LZMA))


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_members_that_are_there_twice(path):
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(UnsafeFile, match=r"'config.json' is there twice"):
        weights_convert.load(path)


@pytest.mark.parametrize("name", ["/config.json", "assets/../../x"])
def test_paths_that_lead_out(name, path):
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "")
    with pytest.raises(UnsafeFile, match=f"'{name}' is not a path inside an archive"):
        weights_convert.load(path)


def test_encrypted_members(path):
    content = path.read_bytes().replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00")
    path.write_bytes(content)
    with pytest.raises(UnsafeFile, match=r"config.json is encrypted"):
        weights_convert.load(path)

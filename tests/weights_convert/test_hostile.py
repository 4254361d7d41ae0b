"""Hostile files, see `hostile.py`.

Law: a hostile file is refused before its numbers are read, and the error names what is wrong with it.
"""

import shutil

import pytest
from hostile import FORMATS, SPOILED
from keras import layers as L  # noqa: N812
from keras_oracle import assert_same, images_for, sequential

import weights_convert


@pytest.fixture(scope="module")
def model():
    return sequential((8, 8, 3), L.Conv2D(2, 3, name="conv"), L.Flatten(name="flat"), L.Dense(4, name="dense"))


@pytest.fixture(scope="module")
def originals(model, tmp_path_factory):
    """What Keras wrote, a description for the weights only."""
    folder = tmp_path_factory.mktemp("originals")
    model.save(folder / "m.h5")
    model.save(folder / "m.keras")
    model.save_weights(folder / "m.weights.h5")
    (folder / "m.json").write_text(model.to_json())
    return folder


@pytest.fixture
def folder(originals, tmp_path):
    """The same, for a test to spoil."""
    return shutil.copytree(originals, tmp_path / "copy")


def load(path, **options):
    weights_only = path.name.endswith(".weights.h5")
    return weights_convert.load(path, str(path.with_name("m.json")) if weights_only else None, **options)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("isolated", [False, True])
def test_harmless_files(name, isolated, originals, model):
    assert_same(load(originals / name, isolated=isolated), model, images_for(model))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("spoiled", SPOILED)
def test_hostile_files(name, spoiled, folder):
    spoil, kind, reason = SPOILED[spoiled]
    spoil(folder / name)
    with pytest.raises(weights_convert.KerasFileError) as error:
        load(folder / name)
    assert type(error.value) is kind
    assert reason in str(error.value)

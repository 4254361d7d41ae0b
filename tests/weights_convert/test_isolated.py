"""Reading in a separate process.

Law: the process hands over the same contents as reading in this process, or one error, however it ends.
"""

import h5py
import numpy as np
import pytest
from keras import layers as L  # noqa: N812
from keras_oracle import save, sequential

import weights_convert
from weights_convert import NotReadable, UnsafeFile
from weights_convert.files import isolated
from weights_convert.files.isolated import read_isolated
from weights_convert.files.reading import MAX_BYTES


@pytest.fixture
def path(tmp_path):
    layers = [L.Conv2D(4, 3, name="conv"), L.BatchNormalization(name="norm"), L.Flatten(name="flat")]
    return save(sequential((6, 6, 3), *layers), tmp_path / "m.h5")


def test_what_is_handed_over_is_what_is_read(path):
    wanted = weights_convert.read(path)
    with read_isolated(path, None, MAX_BYTES) as saved:
        assert (saved.path, saved.config, saved.keras, saved.sha256) == (path, wanted.config, 3, wanted.sha256)
        assert [(layer, list(group)) for layer, group in saved.weights.items()] == [
            (layer, list(group)) for layer, group in wanted.weights.items()
        ]
        for layer, group in wanted.weights.items():
            for name, weight in group.items():
                np.testing.assert_array_equal(saved.weights[layer][name].read(), weight.read())


def test_errors_are_handed_over(path):
    with pytest.raises(FileNotFoundError, match=r"none\.h5 is not there"):
        weights_convert.load(path.with_name("none.h5"), isolated=True)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(NotReadable, match=r"m\.h5 is not an HDF5 file, or it is damaged"):
        weights_convert.load(path, isolated=True)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"m\.h5: the process .* crashed \(SIGSEGV\)"),
        ("raise SystemError('bad')", r"m\.h5: the process .* crashed \(SystemError: bad\)"),
        ("import sys; sys.exit(3)", r"m\.h5: the process .* crashed \(exit status 3\)"),
        ("import time; time.sleep(60)", r"m\.h5: reading it took longer than 1 s, and was stopped"),
    ],
)
def test_processes_that_do_not_come_back(program, reason, path, monkeypatch):
    monkeypatch.setattr(isolated, "PROGRAM", program)
    with pytest.raises(UnsafeFile, match=reason), read_isolated(path, None, MAX_BYTES, seconds=1):
        pass


def test_memory(path):
    """Below every limit of a single array, and 2.4 GB in all."""
    with h5py.File(path, "r+") as file:
        group = file["model_weights/flat"]
        group.attrs["weight_names"] = [f"{number}" for number in range(40)]
        for number in range(40):
            group.create_dataset(f"{number}", (15 << 20,), "f4")
    with pytest.raises(UnsafeFile, match=r"m\.h5: reading it takes more than 1,0\d\d,\d{3},\d{3} bytes of memory"):
        weights_convert.load(path, isolated=True)

"""Keras is the oracle of these tests. It logs only errors here, and one deprecated call of its own is allowed."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before the first import of TensorFlow
os.environ.setdefault("KERAS_BACKEND", "tensorflow")


def pytest_configure(config):
    config.addinivalue_line(
        "filterwarnings", "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning:keras"
    )


# Test files that are marked `files`: they read and write many files and compare what was read, so they say little about
# the version of Python or JAX and take the most time. `.ci/run` runs them on one Python only. What JAX computes from a
# file, layer by layer, is tested in the others, on each Python.
FILES = {
    "test_applications.py",
    "test_architectures.py",
    "test_archive.py",
    "test_dags.py",
    "test_foreign.py",
    "test_fuzz.py",
    "test_h5.py",
    "test_heaps.py",
    "test_hostile.py",
    "test_isolated.py",
    "test_keras_2.py",
    "test_keras_3.py",
    "test_loading.py",
    "test_nested.py",
    "test_parsing.py",
    "test_safetensors.py",
    "test_saving.py",
    "test_shards.py",
    "test_stacks.py",
}


@pytest.hookimpl(tryfirst=True)  # before pytest selects by mark
def pytest_collection_modifyitems(items):
    missing = FILES - {path.name for path in Path(__file__).parent.iterdir()}
    assert not missing, f"FILES names test files that do not exist; given: {missing}"
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.name in FILES:
            item.add_marker(pytest.mark.files)

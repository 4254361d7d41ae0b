"""Keras is the oracle of these tests. It is kept quiet, and gives back the memory of each file of tests.

Law: a test leaves nothing behind. Keras, TensorFlow and JAX keep every graph and every compiled function of a process.
If a file of tests leaves much of that in memory, it is dropped, so that the whole suite fits in the memory of a laptop.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before the first import of TensorFlow
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import pytest
from keras_oracle import free_memory, resident

ENOUGH = 3 << 29  # bytes; the libraries alone take half of it, and to drop everything takes seconds


def pytest_configure(config):
    config.addinivalue_line(
        "filterwarnings", "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning:keras"
    )


@pytest.fixture(scope="module", autouse=True)
def _memory_of_a_file():
    yield
    if resident() > ENOUGH:
        free_memory()

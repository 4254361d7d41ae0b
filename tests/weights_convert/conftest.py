"""Keras is the oracle of these tests. It is kept quiet, and gives back the memory of each file of tests.

Law: a test leaves nothing behind. Keras, TensorFlow and JAX keep every graph and every compiled function of a process;
after each file of tests they are told to drop them, so that the whole suite fits in the memory of a laptop.
"""

import ctypes
import gc
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before the first import of TensorFlow
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import jax
import keras
import pytest
import tf_keras


def pytest_configure(config):
    config.addinivalue_line(
        "filterwarnings", "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning:keras"
    )


def free_memory() -> None:
    """Drop the models, graphs and compiled functions that nobody holds any more."""
    keras.backend.clear_session()
    tf_keras.backend.clear_session()
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed memory for itself otherwise


@pytest.fixture(scope="module", autouse=True)
def _memory_of_a_file():
    yield
    free_memory()

"""Real networks and photographs, each loaded once; programs that compile fast, and once; memory that is given back.

Laws: what a test file compiles does not outlive it in memory, nor does what a test compiles if it is much. So a process
of the suite needs less than 2.5 GB, and both need less than 4 GB. No program is compiled twice by one process. A test
that counts compiled programs compiles the first one itself. Where an annotation names a shape, a test fails if an array
has another one. Networks with random weights are the same in every run.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before the first import of TensorFlow
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# Without oneDNN, what TensorFlow computes depends less on the processor, and the memory of its tensors is given back:
# oneDNN's allocator keeps all that it ever had. Measured: 3.5 GB after a network of 138 M weights, 1.4 GB without it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# Most of the time of the tests is LLVM's, which optimises thousands of programs that run once. Without it, results
# differ by rounding only: XLA's own passes, which decide what is computed, stay on. `XLA_FLAGS= python -m pytest` runs
# the tests with the programs that a user gets.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import importlib.util
import random
import tempfile
from pathlib import Path

import jax
import jaxtyping
import memory
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


def modules_with_shapes() -> list[str]:
    """The modules whose annotations are checked while they run, which mypy cannot do.

    Checking every module would make the tests a third slower.
    """
    files = sorted([*ROOT.glob("jaxviz/**/*.py"), *ROOT.glob("weights_convert/**/*.py")])
    chosen = [file for file in files if "from jaxtyping import" in file.read_text(encoding="utf-8")]
    return [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in chosen]


jaxtyping.install_import_hook(modules_with_shapes(), "beartype.beartype")

import jaxviz as jv  # noqa: E402  (after the hook, which it goes through)


def pytest_configure(config):
    """Programs are kept on disk, where the next model with the same layers, and the next test file, find them.

    Each process has a folder of its own, since JAX does not write these files atomically.
    """
    folder = tempfile.TemporaryDirectory(prefix="jaxviz-tests-")
    config.add_cleanup(folder.cleanup)
    jax.config.update("jax_compilation_cache_dir", folder.name)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def pytest_collection_modifyitems(items):
    """A test has the same name in each process: an address in memory, as in the `repr` of a function, has not."""
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"give this test a name without an address, by ids=; given: {item.nodeid}")


def pytest_fixture_setup():
    """Each fixture draws the same numbers in every run, and in every order of the tests."""
    seed(0)


def pytest_runtest_call():
    seed(1)


def seed(number):
    """Set the generators that random weights come from; Keras takes seeds of its own from that of Python."""
    random.seed(number)
    np.random.seed(number)


@pytest.fixture(scope="module", autouse=True)
def give_back_memory():
    """After each test file, memory is given back."""
    yield
    memory.give_back_all()


@pytest.fixture(autouse=True)
def give_back_growth():
    """Memory is given back after a test, too, if much has come together."""
    yield
    memory.give_back_growth()


def package(name: str) -> Path:
    """The folder of an installed package; the package is not imported."""
    return Path(importlib.util.find_spec(name).origin).parent


@pytest.fixture(scope="session")
def photograph() -> Path:
    return package("skimage") / "data" / "chelsea.png"


@pytest.fixture(scope="session")
def vgg() -> jv.Model:
    """The convolutional base of the real VGG16. It is fed raw pixels, 0–255, as in the book's gradient ascent."""
    return jv.load("vgg16_demo", inputs="raw255")


@pytest.fixture(scope="session")
def vgg_in_keras(vgg):
    """The same network in Keras."""
    import keras

    base = keras.applications.VGG16(weights=None, include_top=False)
    for layer in base.layers:
        if layer.weights:
            weights = vgg.params["layers"][layer.name]
            layer.set_weights([np.asarray(weights[name][...]) for name in ("kernel", "bias")])
    return base


@pytest.fixture(scope="session")
def tumor() -> jv.Model:
    """A real classifier on the VGG16 base: 240 × 240, four classes, softmax."""
    return jv.load("vgg16_tumor")


@pytest.fixture(scope="session")
def tumor_in_keras(tumor):
    """The same classifier in Keras, up to its logits."""
    import keras

    layers = keras.layers
    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(240, 240, 3))
    x = layers.Flatten()(base.output)
    x = layers.BatchNormalization(epsilon=0)(layers.Dense(64, "relu")(x))
    x = layers.BatchNormalization(epsilon=0)(layers.Dense(128, "relu")(x))
    model = keras.Model(base.inputs, layers.Dense(4)(layers.Dense(256, "relu")(x)))
    theirs = [layer for layer in model.layers if layer.weights]
    ours = [layer.name for layer in tumor.table if layer.parameters]
    for layer, name in zip(theirs, ours, strict=True):
        normalized = isinstance(layer, layers.BatchNormalization)
        names = ("scale", "bias", "mean", "var") if normalized else ("kernel", "bias")
        layer.set_weights([np.asarray(tumor.params["layers"][name][weight][...]) for weight in names])
    return model


@pytest.fixture(scope="session")
def cats_and_dogs_file() -> Path:
    return package("catsordogs") / "model.h5"


@pytest.fixture(scope="session")
def cats_and_dogs(cats_and_dogs_file) -> jv.Model:
    """A real cat-or-dog CNN as Keras 2 saved it: 256 × 256 grey, one sigmoid unit."""
    return jv.load(cats_and_dogs_file)


@pytest.fixture(scope="session")
def pets() -> np.ndarray:
    """The photographs of a cat and a dog that come with the package of that CNN, [2 256 256 1]."""
    folder = package("catsordogs")
    return np.stack([jv.read_image(folder / f"test{i}.jpeg", 256, channels=1) for i in (1, 2)])


@pytest.fixture(scope="session")
def relative():
    """A function: the largest difference of two arrays, relative to the largest absolute value of the second."""

    def error(ours, theirs) -> float:
        ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        assert ours.shape == theirs.shape
        return float(np.abs(ours - theirs).max() / np.abs(theirs).max())

    return error

"""Claim: every application of Keras computes the same here as in Keras, from every kind of file that Keras writes.

    python benchmarks/keras_applications.py [NAME ...]

Each network has random weights with which no part of it is inactive (`random_weight`, `calibrate`). Real Keras saves
it as a full model (`.h5` and `.keras`; tf-keras, which is Keras 2, writes `.h5`, too) and, without its top, as weights
only (`.weights.h5` and the older `.h5`, which is how Keras publishes them); the weights are loaded with
`architecture=`. The error is the greatest difference of the output, and of a layer in the middle, relative to the
greatest value. `float64` is how far both outputs are from those of the same network in float64, which is the error of
float32 itself.

The results are merged into `results/keras_applications.json`, and the table is written anew.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before the first import of TensorFlow
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import h5py
import jax
import jax.numpy as jnp
import keras
import numpy as np
import tf_keras
from flax import nnx
from keras.src.legacy.saving import legacy_h5_format
from keras.src.utils import file_utils

import weights_convert
from weights_convert import KerasNet

NAMES = sorted(name for name in vars(keras.applications) if name[0].isupper())
# The smallest side that Keras allows, which is 32 for the others. NASNetLarge: the smallest that is padded like 331.
SIZES = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71, "NASNetLarge": 43}
FORMATS = {
    "h5": "`.h5`",
    "keras": "`.keras`",
    "keras 2 h5": "`.h5`, Keras 2",
    "weights.h5": "`.weights.h5`, no top",
    "weights": "weights in `.h5`, no top",
}
TOLERANCE = 1e-5
EXACT = {"keras": "float64 to Keras, here", "keras 2": "float64 to Keras 2, here"}

RESULTS = Path(__file__).parent / "results"

Errors = dict[str, float]


def main() -> None:
    from common import read, write

    for name in sys.argv[1:] or NAMES:
        print(name, flush=True)
        # Each runs in a process of its own, as TensorFlow never releases the memory of a network.
        found = subprocess.run([sys.executable, __file__, "--row", name], check=True, stdout=subprocess.PIPE)
        rows = dict(sorted({**(read("keras_applications") or {}), name: json.loads(found.stdout)}.items()))
        write("keras_applications", rows, ("keras", "tf-keras", "tensorflow"))
        (RESULTS / "keras_applications.md").write_text(table(rows), encoding="utf-8")


def row(name: str, formats: tuple[str, ...] = tuple(FORMATS), float64: bool = True) -> dict[str, Any]:
    """The errors of the application `name` against Keras, for each of `formats`."""
    size = SIZES.get(name, 32)
    found: dict[str, Any] = {"image": size, "float64": {}}
    with tempfile.TemporaryDirectory() as folder:
        if {"h5", "keras"} & {*formats}:
            model, images = build(keras, name, size)
            found |= {"layers": sum(1 for _ in leaves(model)), "parameters": model.count_params()}
            for suffix in ("h5", "keras"):
                if suffix in formats:
                    path = Path(folder, f"model.{suffix}")
                    model.save(path)
                    net = weights_convert.load(path)
                    path.unlink()
                    found[suffix] = errors(net, model, images)
            if float64:
                found["float64"]["keras"] = against_float64(net, model, images)
        if "keras 2 h5" in formats:
            model, images = build(tf_keras, name, size)
            path = Path(folder, "model.h5")
            model.save(path)
            net = weights_convert.load(path)
            path.unlink()
            found["keras 2 h5"] = errors(net, model, images)
            if float64:
                found["float64"]["keras 2"] = against_float64(net, model, images)
        if {"weights.h5", "weights"} & {*formats}:
            model, images = build(keras, name, size, include_top=False)
            for key, suffix in (("weights.h5", "weights.h5"), ("weights", "h5")):
                if key in formats:
                    path = Path(folder, f"model.{suffix}")
                    save_weights(model, path)
                    net = weights_convert.load(path, architecture=f"{name.lower()}_notop", max_bytes=8 << 30)
                    path.unlink()
                    found[key] = errors(net, model, images)
    return found


def build(library: ModuleType, name: str, size: int, include_top: bool = True) -> tuple[Any, np.ndarray]:
    """The network with weights with which every part of it counts, and four images for it.

    The images are in [0, 1], or in 0–255 if the network itself scales them. Without its top, the network is built as
    for the weights that Keras publishes; built for random weights, some networks lack a layer.
    """
    library.backend.clear_session()
    make = getattr(library.applications, name)
    if include_top:
        model = make(weights=None, input_shape=(size, size, 3))
    else:
        with no_download():
            model = make(weights="imagenet", include_top=False, input_shape=(size, size, 3))
    rng = np.random.default_rng(0)
    for layer in leaves(model):
        for weight in layer.weights:
            weight.assign(random_weight(rng, f"{type(layer).__name__} {weight.name}", weight.shape))
        if hasattr(layer, "finalize_state"):  # Normalization
            layer.finalize_state()  # the layer computes with copies of its weights, which this makes
    scale = 255 if weights_convert.ARCHITECTURES[name.lower()].inputs == weights_convert.RAW255 else 1
    images = scale * (rng.random((4, 1, 1, 3), np.float32) + rng.random((4, size, size, 3), np.float32)) / 2
    calibrate(model, images, rng)
    return model, images


def calibrate(model: Any, images: np.ndarray, rng: np.random.Generator) -> None:
    """Give every batch normalisation random statistics with which its output for `images` has a mean square of about 1.

    The statistics of the images themselves would subtract the part that the images have in common. In a random network
    this is most of the activation, so that each layer would lose most digits of float32.
    """
    norms = [layer for layer in leaves(model) if hasattr(layer, "moving_variance")]

    def measuring(layer: Any, call: Callable) -> Callable:
        def measured(x: Any, **options: Any) -> Any:
            square, shape = np.square(np.asarray(x)).mean(), layer.moving_mean.shape
            layer.moving_mean.assign(0.1 * np.sqrt(square) * rng.standard_normal(shape))
            layer.moving_variance.assign(square * rng.uniform(0.5, 1.5, shape))
            return call(x, training=False)

        return measured

    for layer in norms:
        layer.call = measuring(layer, layer.call)
    model(images, training=False)
    for layer in norms:
        del layer.call


def leaves(model: Any) -> Iterator[Any]:
    """The layers of a model and of the models in it."""
    for layer in model.layers:
        yield from leaves(layer) if hasattr(layer, "layers") else [layer]


def random_weight(rng: np.random.Generator, name: str, shape: Any) -> np.ndarray:
    """A random weight: kernels have the variance 1.5 / fan-in, and biases 0.25.

    With these, an input of mean square 1 has an output of mean square 0.75 + 0.25 = 1 after a ReLU. The biases also
    keep a small change of the image from growing from layer to layer, as it does without them (Schoenholz et al., Deep
    Information Propagation, 2017). The rounding of float32 would grow in the same way, in Keras as here.
    """
    shape = tuple(shape)
    if len(shape) > 1:
        fan_in = np.prod(shape[:2] if "depthwise" in name.lower() else shape[:-1])
        return rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(1.5 / fan_in))
    if any(scale in name for scale in ("gamma", "variance", "variable")):
        return rng.uniform(0.5, 1.5, shape)
    return 0.5 * rng.standard_normal(shape)


@contextmanager
def no_download() -> Iterator[None]:
    """A context in which Keras builds a network for its published weights, but neither downloads nor loads them."""
    with mock.patch.object(file_utils, "get_file"), mock.patch.object(keras.Model, "load_weights"):
        yield


def save_weights(model: Any, path: Path) -> None:
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, model)


def middle(model: Any) -> Any:
    """A layer in the middle of the model that is not a model itself, so that every library gives it the same name."""
    layers = [layer for layer in model.layers if not hasattr(layer, "layers")]
    return layers[len(layers) // 2]


def in_keras(model: Any, images: np.ndarray) -> list[np.ndarray]:
    """The output, and the activation of the layer in the middle."""
    both = type(model)(model.inputs, [model.outputs[0], middle(model).output])
    return [np.asarray(value) for value in both(images, training=False)]


def here(net: KerasNet, model: Any, images: Any) -> list[np.ndarray]:
    names = net.graph.outputs[0], middle(model).name
    found = net.activations(
        images, names
    )  # not compiled as a whole: these networks repeat themselves, and XLA compiles each operation once
    return [np.asarray(found[name]) for name in names]


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    """The greatest difference, relative to the greatest value."""
    if found.shape != wanted.shape:
        raise SystemExit(f"shapes differ: {found.shape} here, {wanted.shape} in Keras")
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def errors(net: KerasNet, model: Any, images: np.ndarray) -> Errors:
    pairs = zip(("output", "middle"), here(net, model, images), in_keras(model, images), strict=True)
    return {what: error(ours, theirs) for what, ours, theirs in pairs}


def here_in_float64(net: KerasNet, model: Any, images: np.ndarray) -> list[np.ndarray]:
    with jax.enable_x64(True):
        graphdef, state = nnx.split(net)
        wide = nnx.merge(graphdef, jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), state))
        exact = here(wide, model, jnp.asarray(images, jnp.float64))
    assert {each.dtype for each in exact} == {np.dtype(np.float64)}
    return exact


def against_float64(net: KerasNet, model: Any, images: np.ndarray) -> Errors:
    """The errors of both outputs in float32, in Keras and here, against the output in float64, computed here."""
    exact = here_in_float64(net, model, images)[0]
    return {"there": error(in_keras(model, images)[0], exact), "here": error(here(net, model, images)[0], exact)}


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The results as a Markdown table: the greater of the two errors of each file, in units of 1e-6."""
    heads = ["network", "image", "layers", "parameters", *FORMATS.values(), *EXACT.values()]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for name, found in rows.items():
        cells = [name, f"{found['image']}²", str(found["layers"]), f"{found['parameters']:,}"]
        cells += [f"{1e6 * max(found[key].values()):.1f}" if key in found else "–" for key in FORMATS]
        cells += [", ".join(f"{1e6 * each:.1f}" for each in found["float64"][library].values()) for library in EXACT]
        lines.append(f"| {' | '.join(cells)} |")
    head = (
        "Errors relative to the greatest value, in millionths: the output or the middle layer, whichever is worse.\n"
        "The weights are random: kernels of variance 1.5 / fan-in, biases of variance 0.25.\n"
    )
    return "\n".join([head, *lines, ""])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--row"]:
        print(json.dumps(row(sys.argv[2])))
    else:
        main()

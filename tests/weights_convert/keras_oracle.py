"""What the tests ask of real Keras: models with weights that matter, their files, and the outputs of their layers."""

import json

import h5py
import keras
import numpy as np
from keras.src.legacy.saving import legacy_h5_format

TOLERANCE = 1e-5


def randomize(model, seed=0):
    """The model with weights that nothing is invisible under: no zero bias, no variance of 1."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        fan_in = [np.prod(w.shape[:-1]) for w in layer.weights if len(w.shape) > 1]
        scale = 1 / np.sqrt(fan_in[0]) if fan_in else 1.0
        for weight in layer.weights:
            if "variance" in weight.name:
                weight.assign(rng.uniform(0.5, 2, weight.shape))
            else:
                weight.assign(scale * rng.standard_normal(weight.shape, np.float32))
        if hasattr(layer, "finalize_state"):  # Normalization
            layer.finalize_state()  # it computes with copies of its weights
    return model


def sequential(shape, *layers, seed=0):
    return randomize(keras.Sequential([keras.Input(shape), *layers], name="net"), seed)


def images_for(model, n=2, seed=0):
    """`n` images that the model takes, with both signs."""
    return np.random.default_rng(seed).standard_normal((n, *model.input_shape[1:]), np.float32)


def every_layer(model, images):
    """{layer: its output} as Keras computes it."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    outputs = keras.Model(model.inputs[0], [layer.output for layer in layers])(images, training=False)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    return {layer.name: np.asarray(output) for layer, output in zip(layers, outputs, strict=True)}


def described(model):
    """`model_config` as Keras writes it into a file."""
    return json.loads(json.dumps({"class_name": type(model).__name__, "config": model.get_config()}))


def save(model, path):
    """The full model in the legacy layout."""
    model.save(path)
    return path


def save_weights(model, path):
    """The weights only, in the legacy layout, which Keras 3 has no public function for."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return path


def error(found, wanted):
    """The greatest difference, relative to the greatest value."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    return np.abs(found - wanted).max() / max(np.abs(wanted).max(), np.finfo(np.float32).tiny)


def assert_same(net, model, images):
    """Every layer of `net` has Keras' name and Keras' output."""
    wanted = every_layer(model, images)
    found = net.activations(images, wanted)
    assert list(wanted) == [node.name for node in net.graph.nodes]
    errors = {name: error(found[name], wanted[name]) for name in wanted}
    assert max(errors.values()) <= TOLERANCE, errors
    return max(errors.values())

"""VGG16's convolution base in other frameworks, each with the same weights.

`weights {layer: arrays}` has the layers in their order, and the arrays of a layer in the order of Keras: kernel
`[h w i o]`, bias `[o]`. The layers after the base are up to the caller. `last` is the layer whose activation is
returned. Images are `[n h w c]` and are fed without preprocessing, as Chollet's ascent climbs on raw pixels. Every
framework is imported inside the function that uses it, as each runs in a process of its own.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from common import CORES

Weights = dict[str, tuple[np.ndarray, ...]]


def weights_of(model: Any) -> Weights:
    """The weights of a jaxviz model as numpy arrays, in the order of Keras."""
    found = {}
    for each in model.table:
        if each.parameters:
            parts = ("scale", "bias", "mean", "var") if each.kind == "BatchNormalization" else ("kernel", "bias")
            found[each.name] = tuple(np.asarray(model.params["layers"][each.name][part][...]) for part in parts)
    return found


def order(weights: Weights, last: str) -> Iterator[str]:
    """The names of the layers up to `last`; each block ends in a pool."""
    for block in (f"block{i}" for i in range(1, 6)):
        for name in [*(name for name in weights if name.startswith(block)), f"{block}_pool"]:
            yield name
            if name == last:
                return


def in_keras(weights: Weights, last: str, backend: str) -> Any:
    """The network up to `last` as a `keras.Model`."""
    os.environ["KERAS_BACKEND"] = backend
    import keras

    base = keras.applications.VGG16(weights=None, include_top=False)
    for name, arrays in weights.items():
        base.get_layer(name).set_weights(arrays)
    return keras.Model(base.inputs, base.get_layer(last).output)


def in_tensorflow(weights: Weights, last: str) -> Callable[[Any], Any]:
    """The network up to `last` as a function in TensorFlow's own operations, without Keras."""
    import tensorflow as tf

    constants = {name: [tf.convert_to_tensor(array) for array in arrays] for name, arrays in weights.items()}

    def forward(x: Any) -> Any:
        for name in order(weights, last):
            if name in constants:
                kernel, bias = constants[name]
                x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), bias))
            else:
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        return x

    return forward


def in_torch(weights: Weights, last: str) -> Any:
    """The network to `last` as a `torch.nn.Sequential` on `[n c h w]`, in the faster memory format, channels last."""
    import torch

    torch.set_num_threads(CORES)
    torch.set_default_device("cuda" if torch.cuda.is_available() else "cpu")
    layers: list[Any] = []
    for name in order(weights, last):
        if name not in weights:
            layers.append(torch.nn.MaxPool2d(2))
            continue
        kernel, bias = weights[name]
        layer = torch.nn.Conv2d(kernel.shape[2], kernel.shape[3], kernel.shape[0], padding="same")
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(kernel.transpose(3, 2, 0, 1)))
            layer.bias.copy_(torch.tensor(bias))
        layers += [layer, torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers).eval().requires_grad_(False)
    return network.to(memory_format=torch.channels_last)


def to_torch(images: np.ndarray) -> Any:
    """Images `[n h w c]` as a tensor `[n c h w]`, channels last in memory."""
    import torch

    return torch.tensor(images).permute(0, 3, 1, 2).to(torch.get_default_device())


def from_torch(images: Any) -> np.ndarray:
    """A tensor `[n c h w]` as images `[n h w c]`."""
    return images.detach().permute(0, 2, 3, 1).cpu().numpy()


def stages(network: Any) -> Iterator[Any]:
    """The modules of a network of `in_torch` whose outputs have names; that of a convolution is after its ReLU."""
    return (module for module in network if type(module).__name__ != "Conv2d")


def named(methods: dict[str, Callable]) -> Callable:
    """A function `run(name, *arguments)` that calls one of several methods; `run("methods")` returns their names."""
    return lambda name, *arguments: list(methods) if name == "methods" else methods[name](*arguments)

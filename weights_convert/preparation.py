"""How a full model was fed, read from what it does to an image before it looks at it.

A file does not say whether images came in [0, 1] or [0, 255], but a network that prepares them itself shows it: it
divides by 255 or 127.5, takes off ImageNet's means of about 110, or the mean that it saw in training. So its leading
layers are run on a black and a white image, which gives the affine map that they are.
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
SIZE = 64  # of an image, where the network takes any


def recognized(net: KerasNet) -> Inputs:
    """`RAW255` if what `net` does first to an image is meant for values up to 255, else `UNIT`."""
    image = next(((name, shape) for name, shape in net.graph.inputs if len(shape) == 3), None)
    if image is None:
        return UNIT
    name, shape = image
    prepared = _prepared(net, name)
    if not any(node.kind in (*SCALING, *OPERATIONS) for node in prepared):
        return UNIT
    black = np.zeros([size or SIZE for size in shape], np.float32)
    found = {name: jnp.stack([black, black + 1])}
    steps = net.steps()
    for node in prepared:
        step = steps[node.name]
        found[node.name] = step.function(*(found[source] for source in step.inputs))
    low, high = np.asarray(found[prepared[-1].name], np.float64)
    middle = tuple(n // 2 for n in low.shape[:2])  # away from a border of zeros
    return _range(low[middle], high[middle])


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

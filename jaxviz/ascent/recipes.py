"""Published settings as values: `sweep(model, objectives, **recipes.chollet())`.

A recipe is a dictionary of `sweep`'s arguments. An optimiser is a `Partial`, an optax constructor with its numbers as
pytree leaves, so that another step size compiles nothing new.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial

from jaxviz.ascent.canvases.pixels import Pixels
from jaxviz.checks import height_width
from jaxviz.errors import InputError

Recipe = dict[str, Any]


def chollet(
    *, size: int | tuple[int, int] = 150, steps: int = 40, step: float | int = 1.0, start: Any = None
) -> Recipe:
    """The book's ascent: from grey noise, `gradient / (rms + 1e-5)` of the mean activation, added `steps` times.

    The book climbs 40 steps of 1.0, the article that follows it 1,000 of 0.1. It feeds raw pixels without
    preprocessing: load the network with `inputs="raw255"` for its numbers.

    Args:
        size: of the image, in pixels; 150 for one filter, 64 in the book's grids.
        step: in 0–255 units.
        start: images `[n h w c]` in [0, 1]; else noise from the key.

    Raises:
        InputError: a size below 1, or a step that is not above 0.

    Source: Chollet 2017, Deep Learning with Python, 5.4.
    """
    # The book divides by the gradient in 0–255 units; ours is in [0, 1], 255 times as large.
    optimizer = Partial(_normalized, _length(step) / 255, 255 * 1e-5, _rms)
    return _recipe(Pixels(height_width("size", size)), optimizer, steps, start)


def keras_io(
    *, size: int | tuple[int, int] = 180, steps: int = 30, step: float | int = 10.0, start: Any = None
) -> Recipe:
    """keras.io's ascent: from faint noise about mid-grey, the gradient at unit L2 norm times `step`, 30 times.

    Its objective leaves out a border of two: `channels(model, layer, border=2)`. The picture is cropped by 25 pixels
    a side and stretched to a standard deviation of 0.15.

    Args:
        step: in the units of its network, ResNet50V2, which takes [-1, 1].

    Raises:
        InputError: a size below 1, or a step that is not above 0.

    Source: keras.io, "Visualizing what convnets learn", F. Chollet 2020.
    """
    # Its noise is (U - 0.5) / 4 in [-1, 1], which is 0.5 ± 0.0625 in [0, 1]; a step is half as long there.
    canvas = Pixels(height_width("size", size), 0.5 - 0.0625, 0.5 + 0.0625)
    return _recipe(canvas, Partial(_normalized, _length(step) / 2, 1e-12, _norm), steps, start)


def _recipe(canvas: Pixels, optimizer: Partial, steps: int, start: Any) -> Recipe:
    return {"canvas": canvas, "optimizer": optimizer, "steps": steps, "start": start}


def _length(step: float | int) -> float | int:
    if not 0 < step < math.inf:
        raise InputError(f"step is the length of a step, more than 0; given: {step}")
    return step


def _normalized(step: Any, epsilon: Any, norm: Any) -> optax.GradientTransformation:
    """Descent along `gradient / (norm(gradient) + epsilon)`, `step` long."""
    return optax.stateless(lambda gradient, _: jax.tree.map(lambda g: -step * g / (norm(g) + epsilon), gradient))


_rms = Partial(lambda gradient: jnp.sqrt(jnp.mean(gradient**2)))
_norm = Partial(lambda gradient: jnp.sqrt(jnp.sum(gradient**2)))

"""Chollet's ascents: of the first edition of his book, of the later editions, and of keras.io.

All three start from faint noise and follow the gradient at a fixed length, without a transform. They differ in the norm
that sets this length: over the whole image (the root of the mean square, or of the sum), or pixel by pixel.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from numpy.typing import ArrayLike

from jaxviz.ascent.canvases.canvas import Canvas
from jaxviz.ascent.canvases.pixels import Pixels
from jaxviz.ascent.recipes.style import Recipe, canvas_size, length, styled


@styled(size=64, std="chollet", fed={"caffe": "raw255"})
def chollet(
    *, size: int | tuple[int, ...] = 150, steps: int = 40, step: float | int = 1.0, start: ArrayLike | None = None
) -> Recipe:
    """The book's ascent, as arguments of `sweep`: from grey noise, along `gradient / (rms + 1e-5)`.

    The book climbs 40 steps of length 1.0, the article that follows it 1,000 of 0.1. It feeds raw pixels without
    preprocessing: load the network with `inputs="raw255"` for its numbers.

    Args:
        size: of the image, in pixels; 150 for one filter, 64 in the book's grids. For a signal `(t,)`, for a volume
            `(d, h, w)`.
        steps: how many steps.
        step: the length of a step, in 0–255 units.
        start: images `[n h w c]` in [0, 1]; else noise from the key.

    Raises:
        InputError: a size below 1, or a step that is not above 0.

    Source: Chollet 2017, Deep Learning with Python, 5.4.
    """
    # The book divides by the gradient in 0–255 units; ours is in [0, 1], 255 times as large.
    optimizer = Partial(_normalized, length(step) / 255, 255 * 1e-5, _rms)
    return _recipe(Pixels(canvas_size(size)), optimizer, steps, start)


@styled(size=200, border=2, crop=25, std="chollet_3rd_edition", fed={"tf": "unit"})
def chollet_3rd_edition(
    *, size: int | tuple[int, ...] = 200, steps: int = 30, step: float | int = 10.0, start: ArrayLike | None = None
) -> Recipe:
    """The ascent of the book's third edition, as arguments of `sweep`: each pixel moves by the same length.

    The gradient is divided by its norm over the colours of each pixel, as `keras.ops.normalize` does; in the second
    edition it was the norm over the whole image, as in `recipes.keras_io`. The objective leaves out a border of two:
    `channels(model, layer, border=2)`. The picture is stretched to a standard deviation of 64 levels about 128, and
    cropped by 25 pixels a side. The book feeds Xception with the noise as it is, without preprocessing: load the
    network with `inputs="unit"` for its numbers.

    Args:
        size: of the image, in pixels. For a signal `(t,)`, for a volume `(d, h, w)`.
        steps: how many steps.
        step: how far each pixel moves in a step, in the units that the network is fed with.
        start: images `[n h w c]` in [0, 1]; else noise from the key, between 0.4 and 0.6.

    Raises:
        InputError: a size below 1, or a step that is not above 0.

    Source: Chollet and Watson 2025, Deep Learning with Python, third edition, chapter 10.
    """
    canvas = Pixels(canvas_size(size), 0.4, 0.6)
    return _recipe(canvas, Partial(_normalized, length(step), 0.0, _colours), steps, start)


@styled(size=180, border=2, crop=25, std="keras_io")
def keras_io(
    *, size: int | tuple[int, ...] = 180, steps: int = 30, step: float | int = 10.0, start: ArrayLike | None = None
) -> Recipe:
    """keras.io's ascent, as arguments of `sweep`: from faint noise about mid-grey, along the gradient at unit L2 norm.

    Its objective leaves out a border of two: `channels(model, layer, border=2)`. The picture is stretched to a standard
    deviation of 0.15, and cropped by 25 pixels a side.

    Args:
        size: of the image, in pixels. For a signal `(t,)`, for a volume `(d, h, w)`.
        steps: how many steps.
        step: the length of a step, in the units of its network, ResNet50V2, which takes [-1, 1].
        start: images `[n h w c]` in [0, 1]; else noise from the key.

    Raises:
        InputError: a size below 1, or a step that is not above 0.

    Source: keras.io, "Visualizing what convnets learn", F. Chollet 2020.
    """
    # Its noise is (U - 0.5) / 4 in [-1, 1], which is 0.5 ± 0.0625 in [0, 1]; a step is half as long there.
    canvas = Pixels(canvas_size(size), 0.5 - 0.0625, 0.5 + 0.0625)
    return _recipe(canvas, Partial(_normalized, length(step) / 2, 1e-12, _norm), steps, start)


def _recipe(canvas: Canvas, optimizer: Partial, steps: int, start: ArrayLike | None) -> Recipe:
    return {"canvas": canvas, "optimizer": optimizer, "steps": steps, "start": start}


def _normalized(step: Any, epsilon: Any, norm: Callable[[jax.Array], jax.Array]) -> optax.GradientTransformation:
    """Descent along `gradient / (norm(gradient) + epsilon)`, `step` long."""
    return optax.stateless(lambda gradient, _: jax.tree.map(lambda g: -step * g / (norm(g) + epsilon), gradient))


_rms = Partial(lambda gradient: jnp.sqrt(jnp.mean(gradient**2)))
_norm = Partial(lambda gradient: jnp.sqrt(jnp.sum(gradient**2)))
# Keras' epsilon, 1e-7, is the least that it divides by.
_colours = Partial(lambda gradient: jnp.maximum(jnp.sqrt(jnp.sum(gradient**2, -1, keepdims=True)), 1e-7))

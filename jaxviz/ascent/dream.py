"""DeepDream: a photograph in which a network sees more and more of what it knows.

    dream(model, image, objective) -> Ascent

The image climbs at several sizes, the smallest first, so that large and small patterns appear. What has changed at one
size is enlarged and added to the photograph at the next size, whose detail is so never lost.

Law: the gradient of an image is that of its tiles, side by side. All tiles have one shape, whatever the size of the
image: one program serves all sizes, and the device needs the memory of `batch` tiles.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from jaxviz.ascent.arguments import checked, with_fast_products
from jaxviz.ascent.climb import Ascent
from jaxviz.checks import finite, height_width, whole
from jaxviz.compiling.batches import at_once, map_in_chunks, map_in_loop, progress
from jaxviz.compiling.jit import jit
from jaxviz.compiling.one_channel import narrow
from jaxviz.errors import InputError, warn
from jaxviz.keys import one_key
from jaxviz.model import Model, check_values
from jaxviz.objectives import Objective
from jaxviz.regions import Energy
from jaxviz.rendering.images import resize

__all__ = ["dream"]

JITTER = 32  # pixels by which the tiles move at random, at least; Mordvintsev's, of the notebook of 2015
SMALLEST = 16  # pixels: a side of the smallest size that is climbed; below it, nothing is left of a photograph


def dream(
    model: Model,
    image: ArrayLike,
    objective: Any,
    *,
    key: jax.Array | None = None,
    octaves: int = 4,
    scale: float | int = 1.4,
    steps: int = 10,
    step: float | int = 1.5,
    tile: int | tuple[int, int] | None = None,
    batch: int | None = None,
) -> Ascent:
    """An `Ascent` without a leading axis: the image `[h w c]` in [0, 1], and the mean score of its tiles at each step.

        jv.dream(model, photograph, "mixed4c")
        jv.dream(model, photograph, {"mixed4": 1.0, "mixed5": 1.5})
        jv.dream(model, photograph, jv.Channel("block4_conv3", 27))

    Args:
        image: `[h w c]` in [0, 1], of any size.
        objective: what the image is to excite. A layer, several layers, or layers with weights: their energy, the mean
            of the squared activation. Or any objective, or a function `{name: activation} -> score`, of a tile.
        key: of the places where the tiles begin, drawn anew at each step so that no seam stays; default
            `jax.random.key(0)`.
        octaves: the number of sizes, of which the largest is that of the image.
        scale: the ratio of one size to the next, more than 1.
        steps: how many steps at each size.
        step: the mean change of a pixel in one step, in 0–255 units.
        tile: height and width of a tile in pixels. Each tile is seen alone, so it should be larger than what the
            objective reads. Default: the size that the network takes, or 224 if it takes any.
        batch: how many tiles the device computes at a time; the default depends on the device.

    The image is mirrored at its edges to fill the tiles. Its pixels stay within [0, 1].

    Raises:
        InputError: a batch of images, an unknown layer, a tile too small for the layer, a scale of 1 or less, or more
            octaves than the image has room for.

    Sources: Mordvintsev, Olah & Tyka 2015, Inceptionism; the defaults and the tiles are those of Mordvintsev's notebook
    `deepdream.ipynb` for TensorFlow (2016), and the detail is brought back as in Chollet 2017, Deep Learning with
    Python, 8.2.
    """
    photograph = _checked_image(model, image)
    height, width = photograph.shape[:2]
    octaves, steps = whole("octaves", octaves), whole("steps", steps)
    if not finite("scale", scale) > 1:
        raise InputError(f"scale is the ratio of one size to the next, more than 1; given: {scale}")
    if not finite("step", step) > 0:
        raise InputError(f"step is the mean change of a pixel in 0–255 units, more than 0; given: {step}")
    sizes = [(round(height / scale**k), round(width / scale**k)) for k in reversed(range(octaves))]
    if min(sizes[0]) < SMALLEST:
        raise InputError(
            f"the smallest of {octaves} sizes is {sizes[0][0]} × {sizes[0][1]} pixels, and needs {SMALLEST}: take "
            f"fewer octaves=, a smaller scale= or a larger image; given: an image of {height} × {width}"
        )
    window = model.image_size()[:2] if tile is None else height_width("tile", tile)
    (climbed,) = checked(model, [_energy(objective)], (*window, model.channels))
    model = with_fast_products(model)
    batch = at_once(*window, execution=model.execution) if batch is None else whole("batch", batch)
    batch = min(batch, int(np.prod(_rows(sizes[-1], window))))
    draws = np.asarray(jax.random.uniform(one_key(key), (octaves, steps, 2)))

    scores, before, dreamt = [], photograph, photograph
    with progress(octaves * steps, "step") as bar:
        for size, octave in zip(sizes, draws, strict=True):
            plain = resize(photograph, size)
            dreamt = np.clip(plain + resize(dreamt - before, size), 0, 1)
            before = plain
            for draw in octave:
                gradient, score = _of_tiles(model, climbed, dreamt, window, draw, batch)
                if length := np.abs(gradient).mean():
                    dreamt = np.clip(dreamt + step / 255 * gradient / length, 0, 1)
                scores.append(score)
                bar.update()
    if not np.isfinite(dreamt).all():
        raise InputError(
            f"this objective has no finite gradient on the way, so there is no dream; given: {objective!r}"
        )
    if (dreamt == photograph).all():
        warn("the image has not changed: the objective has no gradient there, as behind inactive ReLUs")
    return Ascent(dreamt, np.array(scores, np.float32), np.int32(len(scores)))


def _checked_image(model: Model, image: ArrayLike) -> np.ndarray:
    """One image `[h w c]` of any size, as float32.

    Raises:
        InputError: a network of signals or volumes, another shape, or values outside [0, 1].
    """
    values = np.asarray(image)
    if len(model.image_shape) != 3:
        raise InputError(f"a dream is of an image [h w c]; given: a network that takes {list(model.image_size())}")
    if values.ndim != 3 or values.shape[-1] != model.channels:
        several = "; dream takes one image, so call it for each" if values.ndim == 4 else ""
        raise InputError(f"an image is [h w {model.channels}]; given: {list(values.shape)}{several}")
    return check_values(values)


def _energy(objective: Any) -> Any:
    """An objective, from one or from the names of layers with or without weights.

    Raises:
        InputError: no layer.
    """
    if not isinstance(objective, str | Mapping | list | tuple):
        return objective
    names = [objective] if isinstance(objective, str) else list(objective)
    if strange := [name for name in names if not isinstance(name, str)]:
        raise InputError(
            f"a list is of names of layers; objectives can be added: jv.Energy(layer) + {strange[0]!r}; given: "
            f"{objective!r}"
        )
    weights = objective if isinstance(objective, Mapping) else dict.fromkeys(names, 1.0)
    terms = [weight * Energy(layer) for layer, weight in weights.items()]
    if not terms:
        raise InputError(f"a dream needs a layer or an objective; given: {objective!r}")
    return sum(terms[1:], terms[0])


def _rows(size: Sequence[int], window: Sequence[int]) -> list[int]:
    """How many tiles lie below and beside each other: enough to cover the image with JITTER pixels to spare."""
    return [-(-(side + min(JITTER, long)) // long) for side, long in zip(size, window, strict=True)]


def _of_tiles(
    model: Model, objective: Objective, image: np.ndarray, window: Sequence[int], draw: np.ndarray, batch: int
) -> tuple[np.ndarray, float]:
    """The gradient `[h w c]` of the score of the tiles of an image, and their mean score.

    Args:
        window: the size of a tile.
        draw: in [0, 1), for each axis: how far the first tile begins before the image, as a part of the way it may.
        batch: tiles computed at a time; the last batch is filled with copies, so that all have one length.
    """
    height, width, channels = image.shape
    (rows, columns), (high, wide) = _rows((height, width), window), window
    top = int(draw[0] * (rows * high - height + 1))
    left = int(draw[1] * (columns * wide - width + 1))
    covered = image[_mirrored(top, rows * high, height)][:, _mirrored(left, columns * wide, width)]
    tiles = covered.reshape(rows, high, columns, wide, channels).swapaxes(1, 2).reshape(-1, high, wide, channels)
    count = len(tiles)
    filled = tiles[np.minimum(np.arange(-(-count // batch) * batch), count - 1)]
    scores, gradients = map_in_chunks(lambda some: _gradients(model, objective, some), filled, batch, unit="")
    gradient = gradients[:count].reshape(rows, columns, high, wide, channels).swapaxes(1, 2).reshape(covered.shape)
    return gradient[top : top + height, left : left + width], float(scores[:count].mean())


def _mirrored(before: int, count: int, side: int) -> np.ndarray:
    """The `count` positions from `before` in front of an axis of length `side` on, which is mirrored at its ends."""
    place = (np.arange(count) - before) % (2 * side)
    return np.minimum(place, 2 * side - 1 - place)


@jit()
def _gradients(model: Model, objective: Objective, tiles: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The scores `[b]` of tiles `[b h w c]`, and their gradients."""

    def of_one(tile: jax.Array) -> jax.Array:
        return objective(model(tile, objective.layers))

    climb = jax.value_and_grad(narrow(of_one, model.execution))
    size = at_once(*tiles.shape[1:3], execution=model.execution)
    return map_in_loop(climb, tiles, size=size, execution=model.execution)

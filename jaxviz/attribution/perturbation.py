"""Attributions by perturbation: hide a part of the image and see what the score loses. Only forward passes.

On a linear network f(x) = w · x, a window loses the sum of w · (x - fill) over its pixels.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Key
from numpy.typing import ArrayLike

from jaxviz.attribution.explain import BATCH, STILL, Array, Attribution, answer_each, ask, draws, score_images
from jaxviz.checks import PixelValues, height_width, image_like, whole
from jaxviz.compiling.batches import at_once, chunks, map_in_chunks, map_in_loop
from jaxviz.compiling.jit import jit
from jaxviz.compiling.one_window import within
from jaxviz.errors import InputError
from jaxviz.model import Model
from jaxviz.objectives import Objective, score
from jaxviz.targets import Target

__all__ = ["RelativeAttribution", "occlusion", "rise"]

ALL_FILL = "the image shows nothing but the fill. Another fill=… may show something"
ALL_ZERO = "the score of the image is 0 behind every mask. Another layer or another target may show something"


class RelativeAttribution(Attribution):
    """An `Attribution` in which the value 0 has no meaning of its own: only the differences between values count."""


def occlusion(
    model: Model,
    image: ArrayLike,
    target: Target = None,
    *,
    window: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    fill: PixelValues = 0.5,
    batch: int = BATCH,
) -> Attribution:
    """An `Attribution` with a map `[h w]`: how much the score falls when a window over the pixel is filled.

    Where windows overlap, the map is the mean of their losses. Windows at the right and lower edge are cut there.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each. Classes are explained before their softmax or sigmoid.
        window: height and width of the window in pixels, or one number for a square; None: a fifth of the image's
            shorter side, which makes 25 windows on a square image.
        stride: pixels from one window to the next, (down, right) or one number for both, at most the window's size, so
            that each pixel is hidden; None: the window's size.
        fill: the values that hide a window, in the image's units: a number (0.5 is mid-grey), a colour [c] or an image
            [h w c].
        batch: windows in one compiled call.

    Raises:
        InputError: an unknown class, an image of another shape or outside [0, 1], a window larger than the image, a
            stride larger than the window, or a fill of another shape.

    Source: Zeiler & Fergus 2013, Visualizing and understanding convolutional networks, section 4.2.
    """
    question = ask(model, image, target)
    shape = question.images.shape[1:]
    window = max(1, min(shape[:2]) // 5) if window is None else window
    size, step = height_width("window", window), height_width("stride", window if stride is None else stride)
    if size[0] > shape[0] or size[1] > shape[1]:
        raise InputError(f"a window fits into the image, {shape[0]} × {shape[1]}; given: {size[0]} × {size[1]}")
    if step[0] > size[0] or step[1] > size[1]:
        raise InputError(
            f"a stride is at most the window, {size[0]} × {size[1]}, so that each pixel is hidden at least once; "
            f"given: {step[0]} × {step[1]}. A larger window, or a smaller stride, hides all pixels"
        )
    filled = image_like("a fill", fill, shape)
    corners = np.stack(
        np.meshgrid(*(np.arange(0, n - w + s, s) for n, w, s in zip(shape, size, step, strict=False)), indexing="ij"),
        -1,
    ).reshape(-1, 2)

    def one(image: Array, objective: Objective, _: int) -> tuple[Attribution, str]:
        def hide(at: Array) -> tuple[jax.Array, jax.Array]:
            return _occluded(model, image, objective, at, filled, size=size)

        whole, lost = map_in_chunks(hide, corners, batch, "window")
        total, count = np.zeros(shape[:2], np.float32), np.zeros(shape[:2], np.float32)
        for (y, x), loss in zip(corners, lost, strict=True):
            total[y : y + size[0], x : x + size[1]] += loss
            count[y : y + size[0], x : x + size[1]] += 1
        reason = ALL_FILL if (image == filled).all() else STILL
        return Attribution(values=total / np.maximum(count, 1), score=whole[0]), reason

    return answer_each(question, one)


@jit(static=("size",))
def _occluded(
    model: Model, image: jax.Array, objective: Objective, corners: jax.Array, fill: jax.Array, *, size: tuple[int, int]
) -> tuple[jax.Array, jax.Array]:
    """The score of the image, b times, and what it loses when a window at each of `corners` [b 2] is filled."""
    rows, columns = (jnp.arange(length) for length in image.shape[:2])

    def of_image(image: jax.Array) -> jax.Array:
        return score(model, image, objective)

    def occluded(corner: jax.Array) -> tuple[jax.Array, jax.Array]:
        y, x = corner
        hidden = ((rows >= y) & (rows < y + size[0]))[:, None] & ((columns >= x) & (columns < x + size[1]))
        changed = jnp.where(hidden[..., None], fill, image)
        whole = of_image(image)
        loss = whole - within(of_image, image, changed, corner, size)
        # The two scores are computed on two ways, whose rounding differs on some processors. A window that changes no
        # pixel loses nothing at all.
        return whole, jnp.where((changed == image).all(), 0.0, loss)

    together = at_once(*image.shape[:2], execution=model.execution)
    return map_in_loop(occluded, corners, size=together, execution=model.execution)


def rise(
    model: Model,
    image: ArrayLike,
    target: Target = None,
    *,
    key: Key[jax.Array, "*n"] | None = None,
    samples: int = 4000,
    grid: int = 7,
    keep: float = 0.5,
    batch: int = BATCH,
) -> RelativeAttribution:
    """An `Attribution` with a map `[h w]`: the mean score of the image behind those random masks that show the pixel.

    Scores before a softmax may be negative, and so may the map: only the differences between its values count.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each. Classes are explained before their softmax or sigmoid.
        key: of the masks, folded with each mask's position: one for all images, which get the same masks then, or one
            for each; default `jax.random.key(0)`.
        samples: masks, each one forward pass.
        grid: cells of a mask along each side of the image, before it is enlarged smoothly and shifted.
        keep: the share of cells that show the image.
        batch: masks in one compiled call.

    Raises:
        InputError: an unknown class, an image of another shape or outside [0, 1], fewer than one sample or cell, or a
            share that is not between 0 and 1.

    Source: Petsiuk et al. 2018, RISE, equation 6 and section 3.2.
    """
    samples, grid = whole("samples", samples), whole("grid", grid)
    if not 0 < keep < 1:
        raise InputError(f"keep is a share of the cells, between 0 and 1; given: {keep}")
    question = ask(model, image, target)
    keys = draws(key, len(question.images))

    def one(image: Array, objective: Objective, position: int) -> tuple[RelativeAttribution, str]:
        own = jax.vmap(jax.random.fold_in, (None, 0))(keys[position], np.arange(samples))
        total = np.zeros(image.shape[:2], np.float32)
        for some, positions in chunks(own, batch, "mask"):
            counts = (np.arange(len(some)) < len(positions)).astype(np.float32)
            total += np.asarray(_masked(model, image, objective, some, counts, keep, grid=grid))
        score = np.asarray(score_images(model, image[None], objective))[0]
        return RelativeAttribution(values=total / (samples * keep), score=score), ALL_ZERO

    return answer_each(question, one)


@jit(static=("grid",))
def _masked(
    model: Model,
    image: jax.Array,
    objective: Objective,
    keys: jax.Array,
    counts: jax.Array,
    keep: jax.Array | float,
    *,
    grid: int,
) -> jax.Array:
    """The sum over masks of mask × score."""
    height, width = image.shape[:2]
    cell = -(-height // grid), -(-width // grid)

    def weighted(key: jax.Array, count: jax.Array) -> jax.Array:
        cells, rows, columns = jax.random.split(key, 3)
        shown = jax.random.bernoulli(cells, keep, (grid + 1, grid + 1)).astype(image.dtype)
        large = jax.image.resize(shown, ((grid + 1) * cell[0], (grid + 1) * cell[1]), "bilinear")
        y, x = jax.random.randint(rows, (), 0, cell[0]), jax.random.randint(columns, (), 0, cell[1])
        mask = jax.lax.dynamic_slice(large, (y, x), (height, width))
        return count * mask * score(model, mask[..., None] * image, objective)

    size = at_once(height, width, execution=model.execution)
    return map_in_loop(weighted, keys, counts, size=size, execution=model.execution).sum(0)

"""Attributions by perturbation: hide a part of the image and see what the score loses. Only forward passes.

On a linear network f(x) = w · x, a window loses the sum of w · (x - fill) over its pixels.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Key
from numpy.typing import ArrayLike

from jaxviz.attribution.explain import (
    BATCH,
    STILL,
    Array,
    Attribution,
    answer_each,
    ask,
    key_of_draw,
    keys_of_images,
    score_images,
)
from jaxviz.checks import PixelValues, finite, image_like, lengths, whole
from jaxviz.compiling.batches import at_once, chunks, map_in_chunks, map_in_loop
from jaxviz.compiling.jit import jit
from jaxviz.compiling.one_window import within
from jaxviz.errors import InputError
from jaxviz.model import Model
from jaxviz.objectives import Objective, score
from jaxviz.structure import picture_shape
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
            shorter side, which makes 25 windows on a square image. Of a signal `[t c]` it is one number, of a volume
            `[d h w c]` three; None: a fifth of each.
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
    picture = picture_shape(model, shape[:-1])
    grid = picture[:-1]
    if window is None:
        window = [max(1, (min(grid) if len(grid) == 2 else length) // 5) for length in grid]
    size = lengths("window", window, len(grid))
    step = lengths("stride", window if stride is None else stride, len(grid))
    if any(side > length for side, length in zip(size, grid, strict=True)):
        raise InputError(f"a window fits into the image, {_by(grid)}; given: {_by(size)}")
    if any(each > side for each, side in zip(step, size, strict=True)):
        raise InputError(
            f"a stride is at most the window, {_by(size)}, so that each pixel is hidden at least once; "
            f"given: {_by(step)}. A larger window, or a smaller stride, hides all pixels"
        )
    filled = image_like("a fill", fill, shape)
    corners = np.stack(
        np.meshgrid(*(np.arange(0, n - w + s, s) for n, w, s in zip(grid, size, step, strict=True)), indexing="ij"), -1
    ).reshape(-1, len(grid))

    def one(image: Array, objective: Objective, _: int) -> tuple[Attribution, str]:
        def hide(at: Array) -> tuple[jax.Array, jax.Array]:
            return _occluded(model, image, objective, at, filled, size=size, picture=picture)

        whole, lost = map_in_chunks(hide, corners, batch, "window")
        total, count = np.zeros(grid, np.float32), np.zeros(grid, np.float32)
        for corner, loss in zip(corners, lost, strict=True):
            here = tuple(slice(start, start + side) for start, side in zip(corner, size, strict=True))
            total[here] += loss
            count[here] += 1
        reason = ALL_FILL if (image == filled).all() else STILL
        return Attribution(values=total / np.maximum(count, 1), score=whole[0]), reason

    return answer_each(question, one)


def _by(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


@jit(static=("size", "picture"))
def _occluded(
    model: Model,
    image: jax.Array,
    objective: Objective,
    corners: jax.Array,
    fill: jax.Array,
    *,
    size: tuple[int, ...],
    picture: tuple[int, ...],
) -> tuple[jax.Array, jax.Array]:
    """The score of the image, b times, and what it loses when a window at each of `corners` [b 2] is filled."""
    places = jnp.indices(picture[:-1], sparse=True)

    def of_image(image: jax.Array) -> jax.Array:
        return score(model, image, objective)

    def occluded(corner: jax.Array) -> tuple[jax.Array, jax.Array]:
        inside = [
            (place >= start) & (place < start + side) for place, start, side in zip(places, corner, size, strict=True)
        ]
        hidden = functools.reduce(jnp.logical_and, inside)[..., None]
        changed = jnp.where(jnp.broadcast_to(hidden, picture).reshape(image.shape), fill, image)
        whole = of_image(image)
        if len(size) == 2 and picture == image.shape:
            loss = whole - within(of_image, image, changed, corner, (size[0], size[1]))
        else:
            loss = whole - of_image(changed)
        # The two scores are computed on two ways, whose rounding differs on some processors. A window that changes no
        # pixel loses nothing at all.
        return whole, jnp.where((changed == image).all(), 0.0, loss)

    together = at_once(*image.shape[:-1], gradient=False, execution=model.execution)
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
    if not 0 < finite("keep", keep) < 1:
        raise InputError(f"keep is a share of the cells, between 0 and 1; given: {keep}")
    question = ask(model, image, target)
    picture = picture_shape(model, question.images.shape[1:-1])
    keys = keys_of_images(key, len(question.images))

    def one(image: Array, objective: Objective, position: int) -> tuple[RelativeAttribution, str]:
        total = np.zeros(picture[:-1], np.float32)
        for some, positions in chunks(np.arange(samples), batch, "mask"):
            counts = (np.arange(len(some)) < len(positions)).astype(np.float32)
            total += np.asarray(
                _masked(model, image, objective, keys[position], some, counts, keep, grid=grid, picture=picture)
            )
        score = np.asarray(score_images(model, image[None], objective))[0]
        return RelativeAttribution(values=total / (samples * keep), score=score), ALL_ZERO

    return answer_each(question, one)


@jit(static=("grid", "picture"))
def _masked(
    model: Model,
    image: jax.Array,
    objective: Objective,
    key: jax.Array,
    numbers: jax.Array,
    counts: jax.Array,
    keep: jax.Array | float,
    *,
    grid: int,
    picture: tuple[int, ...],
) -> jax.Array:
    """The sum over masks of mask × score."""
    places = picture[:-1]
    cell = [-(-length // grid) for length in places]

    def weighted(number: jax.Array, count: jax.Array) -> jax.Array:
        cells, *shifts = jax.random.split(key_of_draw(key, number), 1 + len(places))
        shown = jax.random.bernoulli(cells, keep, (grid + 1,) * len(places)).astype(image.dtype)
        large = jax.image.resize(shown, [(grid + 1) * length for length in cell], "bilinear")
        start = [jax.random.randint(shift, (), 0, length) for shift, length in zip(shifts, cell, strict=True)]
        mask = jax.lax.dynamic_slice(large, start, places)
        masked = (mask[..., None] * image.reshape(picture)).reshape(image.shape)
        return count * mask * score(model, masked, objective)

    size = at_once(*image.shape[:-1], gradient=False, execution=model.execution)
    return map_in_loop(weighted, numbers, counts, size=size, execution=model.execution).sum(0)

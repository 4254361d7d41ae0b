"""How much of a picture's score holds when the picture is changed a little: a measure of pictures of filters.

    held_score(model, images, objectives) -> Held, three numbers for each image

The activation that a picture causes measures contrast more than anything else, and a pattern that one pixel's shift
destroys scores as high as a clear one. So all pictures are brought to one contrast, and are scored after perturbations
that no recipe trains on all together. Law: neither the brightness of a picture nor its contrast changes the result, up
to rounding.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from jaxviz.ascent.arguments import alike, check_kinds, checked, keys_of, needed_shapes, resized, seen_shape
from jaxviz.ascent.transforms import Blur, Chain, Contrast, Flip, Jitter, Noise
from jaxviz.compiling.batches import at_once, map_in_chunks, map_in_loop
from jaxviz.compiling.draws import picked
from jaxviz.compiling.jit import jit
from jaxviz.compiling.one_channel import narrow
from jaxviz.errors import InputError, warn
from jaxviz.model import Model, check_values
from jaxviz.objectives import score
from jaxviz.results import brief

__all__ = ["held_score"]

MEAN, DEVIATION, DRAWS = 0.5, 0.15, 32
PERTURBED = Chain((Blur(1.0, 3), Noise(0.04), Contrast((0.8, 1.2)), Flip(), Jitter(12)))


class Held(NamedTuple):
    """The measures of n pictures."""

    score: Float[np.ndarray, " n"]  # the mean score under perturbations
    retention: Float[np.ndarray, " n"]  # that, as a part of the score of the picture without perturbation
    high: Float[np.ndarray, " n"]  # the part of the spectral energy above half of the Nyquist frequency

    def __repr__(self) -> str:
        return brief(self)


def held_score(model: Model, images: ArrayLike, objectives: Sequence[Any], key: jax.Array | None = None) -> Held:
    """A `Held` of pictures: their scores under perturbation, which part of the score holds, and their high frequencies.

    Each picture is rounded to 8 bits, and brought to mean 0.5 and standard deviation 0.15. Its score is the mean of 32
    draws of a perturbation: a Gaussian blur of 3 × 3 pixels with a deviation of one pixel, noise of 0.04, a contrast
    between 0.8 and 1.2, a flip, and a crop of 12 pixels fewer a side. Compare two recipes by ratios of means over many
    channels and several seeds, after equally many steps; the retention alone says nothing of a picture that is blank.

    Args:
        images: `[n h w c]`, floats in [0, 1] or uint8; of an ascent, the pictures as they are shown.
        objectives: one for each image, such as `channels(model, layer)`.
        key: of the perturbations; either one key, which is folded with each position (default `jax.random.key(0)`), or
            one for each image.

    Returns:
        Held, with arrays `[n]`. The retention is NaN, and a warning says so, where the score of the picture itself is
        not above 0. The energy is that of the squared FFT without the mean of each channel, at more than 0.25 cycles a
        pixel; it is 0 for a picture of one colour.

    Raises:
        InputError: images of another shape or range, not as many as objectives, too small for a crop of 12 pixels or
            for a layer, an objective that cannot be climbed, or scores that are NaN or infinite.
    """
    plain, held, high = measured(model, images, objectives, key)
    if lost := np.flatnonzero(~np.isfinite([plain, held]).all(0)).tolist():
        raise InputError(
            f"scores are NaN or infinite, in positions {lost}: numbers in the network's weights are so already, or "
            "they overflow"
        )
    if dull := np.flatnonzero(plain <= 0).tolist():
        warn(f"pictures without a score above 0 retain no part of it, so their retention is NaN; positions: {dull}")
    retention = np.divide(held, plain, out=np.full_like(held, np.nan), where=plain > 0)
    return Held(held, retention, high)


def measured(
    model: Model, images: ArrayLike, objectives: Sequence[Any], key: jax.Array | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The scores of pictures, their scores under perturbation, and the part of their energy that is high: arrays `[n]`.

    Raises:
        InputError: as `held_score`, except for scores that are NaN or infinite.
    """
    pictures = _pictures(model, images)
    objectives = check_kinds(objectives)
    if len(objectives) != len(pictures):
        raise InputError(f"each image has an objective; given: {len(pictures)} images, {len(objectives)} objectives")
    keys = keys_of(key, len(pictures))
    whole = pictures.shape[1:]
    part = seen_shape(model, whole, PERTURBED)
    needed = list(zip(needed_shapes(model, objectives, whole), needed_shapes(model, objectives, part), strict=True))
    for at, (objective, sizes) in enumerate(zip(objectives, needed, strict=True)):
        for size in dict.fromkeys(sizes):
            (objectives[at],) = checked(model, [objective], size)

    plain, held = np.empty(len(pictures), np.float32), np.empty(len(pictures), np.float32)
    for members, stack in alike(objectives, needed):
        sizes = needed[members[0]]
        run = partial(_scores, model, resized(None, whole, sizes[0]), resized(PERTURBED, part, sizes[1]))
        items = (pictures[members], stack, picked(keys, members))
        plain[members], held[members] = map_in_chunks(run, items, 1)
    return plain, held, _high(pictures)


def _pictures(model: Model, images: ArrayLike) -> np.ndarray:
    """The pictures `[n h w c]`, in 8 bits, at one mean and one standard deviation.

    Raises:
        InputError: another shape, or values outside [0, 1].
    """
    try:
        values = np.asarray(images)
    except ValueError:
        raise InputError("pictures have one size; given: lists of unequal lengths") from None
    if values.ndim != 4 or len(model.image_shape) != 3 or values.shape[-1] != model.channels or not values.size:
        given = list(values.shape) if values.ndim else type(images).__name__
        raise InputError(f"pictures are [n h w c], here [n h w {model.channels}], as they are shown; given: {given}")
    levels = values if values.dtype == np.uint8 else np.round(255 * check_values(values).astype(np.float64))
    levels = levels.astype(np.float64)
    axes = (1, 2, 3)
    deviation = levels.std(axes, keepdims=True)
    scale = np.divide(DEVIATION, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    return (MEAN + scale * (levels - levels.mean(axes, keepdims=True))).astype(np.float32)


def _high(pictures: np.ndarray) -> np.ndarray:
    """The part of the energy `[n]` above half of the Nyquist frequency, without the mean of each channel."""
    energy = np.abs(np.fft.fft2(pictures - pictures.mean((1, 2), keepdims=True), axes=(1, 2))) ** 2
    rows, columns = (np.fft.fftfreq(side) for side in pictures.shape[1:3])
    above = np.hypot(rows[:, None], columns[None, :]) > 0.25
    total = energy.sum((1, 2, 3))
    part = (energy * above[..., None]).sum((1, 2, 3))
    return np.divide(part, total, out=np.zeros_like(total), where=total > 0).astype(np.float32)


@jit()
def _scores(model: Model, plain: Any, perturbed: Any, items: Any) -> tuple[jax.Array, jax.Array]:
    """The score `[1]` of the only item (image, objective, key) by itself, and its mean score under perturbation."""
    image, objective, key = jax.tree.map(lambda leaf: leaf[0], items)

    def of(transform: Any, key: jax.Array) -> jax.Array:
        seen = image if transform is None else transform(key, image)
        return score(model, seen, objective)

    draw = narrow(partial(of, perturbed), model.execution)
    size = at_once(*image.shape[:-1], gradient=False, execution=model.execution)
    held = map_in_loop(draw, jax.random.split(key, DRAWS), size=size, execution=model.execution)
    return of(plain, key)[None], held.mean()[None]

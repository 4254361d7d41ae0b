"""Attributions by gradient: how the score changes with each pixel.

Everything here is one gradient, `d score / d image`, with image values in [0, 1], or the mean of several along a path.
On a linear network f(x) = w · x the result is known: the gradient is w, the others are w · (x - baseline).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from jaxviz.attribution.explain import (
    BATCH,
    STILL,
    Array,
    Attribution,
    answer,
    answer_each,
    ask,
    reasons_by,
)
from jaxviz.checks import PixelValues, image_like, near, whole
from jaxviz.compiling.batches import at_once, chunks, map_in_loop
from jaxviz.compiling.jit import jit
from jaxviz.errors import InputError
from jaxviz.model import Model
from jaxviz.objectives import Objective, score
from jaxviz.results import brief
from jaxviz.targets import Target

__all__ = ["PathAttribution", "gradient", "input_x_gradient", "integrated_gradients"]


def gradient(model: Model, image: ArrayLike, target: Target = None, *, batch: int = BATCH) -> Attribution:
    """An `Attribution` with values `[h w c]`: the gradient of the score, how fast it rises with each pixel.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each. Classes are explained before their softmax or sigmoid.
        batch: images computed at a time.

    Raises:
        InputError: an unknown class, an image of another shape or outside [0, 1].

    Source: Simonyan et al. 2013, Deep inside convolutional networks, section 3.
    """

    def method(images: Array, objectives: Objective) -> tuple[Attribution, np.ndarray]:
        found, moves = gradients(model, images, objectives)
        return found, reasons_by(moves, STILL)

    return answer(ask(model, image, target), method, batch)


@jit()
def gradients(model: Model, images: jax.Array, objectives: Objective) -> tuple[Attribution, Array]:
    """The gradient of the score for each image of a batch, and whether it is anything but zero."""
    return gradient_of(score, model, images, objectives)


def gradient_of(
    function: Callable[[Model, jax.Array, Objective], jax.Array], model: Model, images: jax.Array, objectives: Objective
) -> tuple[Attribution, Bool[Array, " b"]]:
    """The gradient of `function`, a score, for each image of a batch, and whether it is anything but zero."""

    def one(image: jax.Array, objective: Objective) -> tuple[Attribution, jax.Array]:
        value, values = jax.value_and_grad(function, argnums=1)(model, image, objective)
        return Attribution(values, value), (values != 0).any()

    size = at_once(*images.shape[1:-1], execution=model.execution, weights=model)
    return map_in_loop(one, images, objectives, size=size, execution=model.execution)


AT_BASELINE = "the image is its baseline wherever the score moves. Another baseline=… may show something"


def input_x_gradient(
    model: Model, image: ArrayLike, target: Target = None, *, baseline: PixelValues = 0.0, batch: int = BATCH
) -> Attribution:
    """An `Attribution` with values `[h w c]`: the gradient times the pixel, its share in the score to first order.

    More exactly, times the difference between the pixel and `baseline`.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each. Classes are explained before their softmax or sigmoid.
        baseline: the values that count as nothing, in the image's units: a number (0 is black), a colour [c] or an
            image [h w c].
        batch: images computed at a time.

    Raises:
        InputError: an unknown class, an image of another shape or outside [0, 1], or a baseline of another shape.

    Source: Shrikumar et al. 2016, Not just a black box, section 2.
    """
    question = ask(model, image, target)
    start = image_like("a baseline", baseline, question.images.shape[1:])

    def method(images: Array, objectives: Objective) -> tuple[Attribution, np.ndarray]:
        found, moves = gradients(model, images, objectives)
        return found._replace(values=found.values * (images - start)), reasons_by(moves, AT_BASELINE)

    return answer(question, method, batch)


class PathAttribution(NamedTuple):
    """An attribution whose values should add up to the change in score, and do so up to a small `gap`.

    Attributes:
        values: the share of each pixel, `[h w c]` or `[n h w c]`. They sum to `score - baseline_score`, up to `gap`.
        score: at the image, the end of the path.
        baseline_score: at the baseline, the start of the path.
    """

    values: Float[Array, "..."]
    score: Float[Array, "*n"]
    baseline_score: Float[Array, "*n"]

    def __repr__(self) -> str:
        return brief(self)

    @property
    def gap(self) -> Float[np.ndarray, "*n"]:
        """By how much the values miss the change in score, relative to it. More `steps` make it smaller."""
        change = np.asarray(self.score - self.baseline_score)
        values = np.asarray(self.values)
        missed = np.abs(values.sum(tuple(range(change.ndim, values.ndim))) - change)
        return np.asarray(missed / np.where(change == 0, 1, np.abs(change)))


def _gauss_legendre(steps: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2


def _midpoint(steps: int) -> tuple[np.ndarray, np.ndarray]:
    return (np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)


def _trapezoid(steps: int) -> tuple[np.ndarray, np.ndarray]:
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, steps), weights


def _right(steps: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(1, steps + 1) / steps, np.full(steps, 1 / steps)


# {name: number of steps -> (points on [0, 1], their weights)}
QUADRATURES = {"gauss_legendre": _gauss_legendre, "midpoint": _midpoint, "trapezoid": _trapezoid, "right": _right}


def integrated_gradients(
    model: Model,
    image: ArrayLike,
    target: Target = None,
    *,
    baseline: PixelValues = 0.0,
    steps: int = 64,
    rule: str = "gauss_legendre",
    batch: int = BATCH,
) -> PathAttribution:
    """A `PathAttribution` with values `[h w c]`: each pixel's share in the score, on the straight path from a baseline.

    The mean gradient along the path from the baseline to the image, times the difference between the two. The shares
    add up to the change in score along the path; `.gap` says how nearly.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each. Classes are explained before their softmax or sigmoid.
        baseline: the start of the path, in the image's units: a number (0 is black), a colour [c] or an image [h w c].
        steps: points on the path, each one gradient; "trapezoid" needs two at least. Each end of the path that the rule
            leaves out costs one gradient more, for its score.
        rule: where the points are: "gauss_legendre", "midpoint", "trapezoid" (with both ends) or "right" (as in the
            paper).
        batch: points in one compiled call.

    Raises:
        InputError: an unknown class or rule, too few steps, an image of another shape or outside [0, 1], or a baseline
            of another shape.

    Source: Sundararajan et al. 2017, Axiomatic attribution for deep networks, equations 1 and 3.
    """
    if rule not in QUADRATURES:
        raise InputError(f"no rule {rule!r}: {near(rule, QUADRATURES)}there are {', '.join(QUADRATURES)}")
    points, weights = QUADRATURES[rule](whole("steps", steps, 2 if rule == "trapezoid" else 1))
    # The scores of both ends come from the path as well: the first call would wait for a program of their own.
    ends = [end for end in (0, 1) if end not in points]
    points, weights = np.append(points, ends), np.append(weights, np.zeros(len(ends)))
    question = ask(model, image, target)
    start = image_like("a baseline", baseline, question.images.shape[1:])

    def one(image: Array, objective: Objective, _: int) -> tuple[PathAttribution, str]:
        mean, scores = path_gradient(model, image, start, objective, points, weights, batch)
        score, baseline_score = scores[points == 1][0], scores[points == 0][0]
        found = PathAttribution(values=mean * (image - start), score=score, baseline_score=baseline_score)
        return found, AT_BASELINE if mean.any() else STILL

    return answer_each(question, one)


def path_gradient(
    model: Model, image: Array, start: Array, objective: Objective, points: Array, weights: Array, batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """The gradient summed over `points` [p] of the straight path, each times its weight, and the scores [p].

    Point 0 is `start`, and point 1 is `image`. The gradient at a point of weight 0 does not count, even if it is NaN.
    """
    total, scores = np.zeros(image.shape, np.float32), []
    for (where, weight), positions in chunks((points, weights), batch, "point"):
        weight[len(positions) :] = 0
        gradient, found = _path(model, image, start, objective, where, weight)
        total += np.asarray(gradient)
        scores.append(np.asarray(found)[: len(positions)])
    return total, np.concatenate(scores)


@jit()
def _path(
    model: Model, image: jax.Array, start: jax.Array, objective: Objective, where: jax.Array, weight: jax.Array
) -> tuple[jax.Array, Array]:
    """The weighted sum of the gradients at some points of a path, and the scores there."""
    where = where.reshape(-1, *(1 for _ in image.shape)).astype(jnp.float32)
    points = (1 - where) * start + where * image  # exact at both ends
    objectives = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(points), *jnp.shape(leaf))), objective)
    (values, scores), _ = gradient_of(score, model, points, objectives)
    weight = weight.astype(jnp.float32).reshape(-1, *(1 for _ in image.shape))
    return jnp.where(weight == 0, 0, weight * values).sum(0), scores

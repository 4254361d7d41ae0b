"""Attributions by gradient: how the score changes with each pixel.

Everything here is one gradient, `d score / d image`, with image values in [0, 1], and something built on it: along a
path, or under noise. On a linear network f(x) = w · x all of them know the answer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Key

from jaxviz.attribution.explain import BATCH, Array, Attribution, explain, explain_each, scores
from jaxviz.checks import image_like, whole
from jaxviz.compiling.batches import at_once, chunks, map_in_loop
from jaxviz.compiling.jit import jit
from jaxviz.errors import InputError
from jaxviz.model import Model, check_values, out_of_range
from jaxviz.objectives import Objective, score
from jaxviz.results import brief
from jaxviz.targets import Target

__all__ = ["PathAttribution", "gradient", "input_x_gradient", "integrated_gradients", "smooth"]


def gradient(model: Model, image: Any, target: Target = None, *, batch: int = BATCH) -> Attribution:
    """An `Attribution` with the gradient `[h w c]` of the target's score: how fast it rises with each value.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each. Classes are explained before their softmax or sigmoid.
        batch: images computed at a time.

    Raises:
        InputError: an unknown class, an image of another shape or outside [0, 1].

    Source: Simonyan et al. 2013, Deep inside convolutional networks, section 3.
    """
    return explain(gradients, model, image, target, batch)


@jit()
def gradients(model: Model, images: jax.Array, objectives: Objective) -> tuple[Attribution, jax.Array]:
    return gradient_of(score, model, images, objectives)


def gradient_of(
    function: Callable, model: Model, images: jax.Array, objectives: Objective
) -> tuple[Attribution, jax.Array]:
    """The gradient of `function`, a score, for each image of a batch, and whether it is anything but zero."""

    def one(image: jax.Array, objective: Objective) -> tuple[Attribution, jax.Array]:
        value, values = jax.value_and_grad(function, argnums=1)(model, image, objective)
        return Attribution(values, value), (values != 0).any()

    size = at_once(*images.shape[1:3], execution=model.execution)
    return map_in_loop(one, images, objectives, size=size, execution=model.execution)


NO_WAY = "the image is its baseline wherever the score moves. Another baseline=… may show something"


def input_x_gradient(
    model: Model, image: Any, target: Target = None, *, baseline: Any = 0.0, batch: int = BATCH
) -> Attribution:
    """As `gradient`, times how far each value is from `baseline`: its share in the score, to first order.

    Args:
        baseline: what counts as nothing, in the image's units: a number (0 is black), a colour [c] or an image [h w c].

    Source: Shrikumar et al. 2016, Not just a black box, section 2.
    """

    def method(model: Model, images: Array, objectives: Objective) -> tuple[Attribution, Array]:
        way = images - image_like("a baseline", baseline, images.shape[1:])
        found, sensitive = gradients(model, images, objectives)
        return found._replace(values=found.values * way), sensitive

    return explain(method, model, image, target, batch, otherwise=NO_WAY)


class PathAttribution(NamedTuple):
    """An attribution that should add up: `values` sum to `score - baseline_score`, all but `gap`."""

    values: Float[Array, "*n h w c"]
    score: Float[Array, "*n"]
    baseline_score: Float[Array, "*n"]

    def __repr__(self) -> str:
        return brief(self)

    @property
    def gap(self) -> Float[np.ndarray, "*n"]:
        """By how much the values miss the change in score, relative to it: an estimate of the path's coarseness."""
        change = np.asarray(self.score - self.baseline_score)
        missed = np.abs(np.asarray(self.values).sum((-3, -2, -1)) - change)
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


RULES = {"gauss_legendre": _gauss_legendre, "midpoint": _midpoint, "trapezoid": _trapezoid, "right": _right}


def integrated_gradients(
    model: Model,
    image: Any,
    target: Target = None,
    *,
    baseline: Any = 0.0,
    steps: int = 64,
    rule: str = "gauss_legendre",
    batch: int = BATCH,
) -> PathAttribution:
    """A `PathAttribution`: each value's share in what the score gains on the straight way from a baseline.

    The mean gradient along the path, times the way: the shares add up to the gain, but for `.gap` of it.

    Args:
        baseline: where the path starts, in the image's units: a number (0 is black), a colour [c] or an image [h w c].
        steps: points on the path, each one gradient; two at least for both ends.
        rule: where they are: "gauss_legendre", "midpoint", "trapezoid" (both ends), "right" (the paper's).
        batch: points in one compiled call.

    Source: Sundararajan et al. 2017, Axiomatic attribution for deep networks, equations 1 and 3.
    """
    if rule not in RULES:
        raise InputError(f"no rule {rule!r}: there are {', '.join(RULES)}")
    points, weights = RULES[rule](whole("steps", steps, 2 if rule == "trapezoid" else 1))

    def one(image: Array, objective: Objective, _: int) -> tuple[PathAttribution, bool]:
        start = image_like("a baseline", baseline, image.shape)
        mean = path_gradient(model, image, start, objective, points, weights, batch)
        ends = np.asarray(scores(model, np.stack([image, start]), objective))
        return PathAttribution(mean * (image - start), ends[0], ends[1]), bool(mean.any())

    return explain_each(one, model, image, target, otherwise=NO_WAY)


def path_gradient(
    model: Model, image: Array, start: Array, objective: Objective, points: Array, weights: Array, batch: int
) -> np.ndarray:
    """The gradients at `points` of the straight way, 0 at `start` and 1 at `image`, times their weights, summed."""
    total = np.zeros(image.shape, np.float32)
    for (where, weight), positions in chunks((points, weights), batch, "point"):
        weight[len(positions) :] = 0
        total += np.asarray(_path(model, image, start, objective, where, weight))
    return total


@jit()
def _path(model: Model, image: Any, start: Any, objective: Objective, where: Any, weight: Any) -> jax.Array:
    """The weighted sum of the gradients at some points of a path."""
    points = start + where[:, None, None, None].astype(jnp.float32) * (image - start)
    objectives = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(points), *jnp.shape(leaf))), objective)
    (values, _), _ = gradient_of(score, model, points, objectives)
    return jnp.einsum("s,shwc->hwc", weight.astype(jnp.float32), values)


def smooth(
    explain: Callable[[np.ndarray], Any],
    image: Any,
    *,
    key: Key[jax.Array, ""] | None = None,
    samples: int = 25,
    noise: float | int = 0.15,
    form: str = "mean",
    batch: int = 32,
) -> Any:
    """What `explain` returns, averaged over noisy copies of the image. Any attribution can be smoothed.

        jv.smooth(lambda x: jv.gradient(model, x, 3), image)       SmoothGrad
        jv.smooth(lambda x: jv.grad_cam(model, x, 3), image)       smooth Grad-CAM

    `samples=1, noise=0` is `explain` itself. Name the target: None would be decided anew for each noisy copy.

    Args:
        explain: from a batch `[b h w c]` to an Attribution with as many; it may see values outside [0, 1].
        image: `[h w c]`, or a batch, whose leading axis the results keep.
        key: of the noise, folded with each image's and each sample's position; default `jax.random.key(0)`.
        noise: its standard deviation, in the image's units.
        form: of the values: "mean", "squared" (the mean of squares, SmoothGrad²), or "variance" (VarGrad).
        batch: noisy copies made at a time.

    Raises:
        InputError: an image outside [0, 1], an argument that is none of the above, or an `explain` that does not
            return a map for each copy.

    Source: Smilkov et al. 2017, SmoothGrad; Hooker et al. 2019 (squared); Adebayo et al. 2018 (variance).
    """
    samples = whole("samples", samples)
    if not 0 <= noise < np.inf:
        raise InputError(f"noise is a standard deviation, 0 or more; given: {noise}")
    if form not in ("mean", "squared", "variance"):
        raise InputError(f"no form {form!r}: there are mean, squared, variance")
    images = check_values(np.asarray(image))
    if images.ndim not in (3, 4):
        raise InputError(f"an image is [h w c], a batch [n h w c]; given: {list(images.shape)}")
    key = jax.random.key(0) if key is None else key
    many = images.ndim == 4
    smoothed = [
        _smooth(explain, one, jax.random.fold_in(key, i), samples, noise, form, batch)
        for i, one in enumerate(images if many else images[None])
    ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *smoothed) if many else smoothed[0]


def _smooth(
    explain: Callable, image: np.ndarray, key: jax.Array, samples: int, noise: float | int, form: str, batch: int
) -> Any:
    total: Any = None
    squares: Any = 0.0
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, np.arange(samples))
    with out_of_range():
        for some, positions in chunks(keys, batch, "copy"):
            found = explain(np.asarray(_noisy(image, some, noise)))
            if not hasattr(found, "values") or np.shape(found.values)[:1] != (len(some),):
                raise InputError(
                    f"what is smoothed explains a batch [{len(some)} h w c] by an Attribution with as many maps; "
                    f"given: {list(np.shape(getattr(found, 'values', found)))}"
                )
            # In float64: a variance is the small difference of two large numbers.
            real = len(positions)
            sums = jax.tree.map(lambda leaf, n=real: np.sum(leaf[:n], 0, np.float64), found)
            total = sums if total is None else jax.tree.map(np.add, total, sums)
            squares = squares + np.sum(np.square(found.values[:real], dtype=np.float64), 0)
    mean = jax.tree.map(lambda leaf: leaf / samples, total)
    squared = squares / samples
    values = {"mean": mean.values, "squared": squared, "variance": np.maximum(squared - mean.values**2, 0)}[form]
    return jax.tree.map(np.float32, mean._replace(values=values))


@jit()
def _noisy(image: Any, keys: jax.Array, noise: Any) -> jax.Array:
    return jax.vmap(lambda key: image + noise * jax.random.normal(key, image.shape))(keys)

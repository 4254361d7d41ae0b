"""What every attribution does around its formula: check the image, find the target, go through the batch, look back.

A *method* is `(model, images [b h w c], objectives [b]) -> (Attribution [b], sensitive [b])`; `explain` makes the
public function of it.
"""

import inspect
import itertools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from jaxviz.compiling.batches import at_once, map_in_chunks, map_in_loop
from jaxviz.compiling.jit import jit
from jaxviz.errors import InputError
from jaxviz.model import Model
from jaxviz.objectives import Highest, Objective, score
from jaxviz.results import brief
from jaxviz.targets import Target, resolve

__all__ = ["Attribution", "BlankMap"]

BATCH = 32  # images in one compiled call
Array = np.ndarray | jax.Array  # numpy in results, JAX inside


class Attribution(NamedTuple):
    """`values`: signed, at image size, in the score's own units. `score`: the number that they explain."""

    values: Float[Array, "*n h w"] | Float[Array, "*n h w c"]
    score: Float[Array, "*n"]

    def __repr__(self) -> str:
        return brief(self)


Method = Callable[[Model, Array, Objective], tuple[Any, Bool[Array, " b"]]]


class BlankMap(UserWarning):
    """A map came out all zero; the message says why and what to try."""


def explain(method: Method, model: Model, image: Any, target: Target, batch: int, *, otherwise: str = "") -> Any:
    """What `method` returns, for `[h w c]` without a leading axis, for `[n h w c]` with it.

    `sensitive` says whether anything that the method looked at moves the score. Where a map is all zero, it tells a
    dead or saturated network from other reasons, which depend on the method and are what `otherwise` says.

    Raises:
        InputError: an image or target that does not fit, or a score that is NaN.
    """
    images = model.check_images(image)
    stack = images if images.ndim == 4 else images[None]
    objectives = resolve(model, target, len(stack))
    found, sensitive = map_in_chunks(lambda some: method(model, *some), (stack, objectives), batch)
    _look_back(found, sensitive, otherwise, images.ndim == 4)
    return found if images.ndim == 4 else jax.tree.map(lambda leaf: leaf[0], found)


def explain_each(
    one: Callable[[Array, Objective, int], tuple[Any, Any]],
    model: Model,
    image: Any,
    target: Target,
    *,
    otherwise: str = "",
) -> Any:
    """As `explain`, for a method that takes a single image, its objective and its position in the batch."""
    positions = itertools.count()

    def method(model: Model, images: Array, objectives: Objective) -> Any:
        objective = _decide(model, images[0], jax.tree.map(lambda leaf: leaf[0], objectives))
        found = one(images[0], objective, next(positions))
        return jax.tree.map(lambda leaf: np.asarray(leaf)[None], found)

    return explain(method, model, image, target, 1, otherwise=otherwise)


def decide(model: Model, image: jax.Array, objective: Objective) -> Objective:
    """The objective, where it is the highest class, settled at this image: its masked copies must not choose anew."""
    return objective.decided(model(image, objective.layers)) if isinstance(objective, Highest) else objective


_decide = jit()(decide)


@jit()
def scores(model: Model, images: jax.Array, objective: Objective) -> jax.Array:
    """The scores `[b]` of several images by one objective."""
    size = at_once(*images.shape[1:3], execution=model.execution)
    return map_in_loop(lambda image: score(model, image, objective), images, size=size, execution=model.execution)


def _look_back(found: Any, sensitive: np.ndarray, otherwise: str, many: bool) -> None:
    axes = tuple(range(1, found.values.ndim))
    broken = np.flatnonzero(~np.isfinite(found.values).all(axes) | ~np.isfinite(found.score))
    if broken.size:
        raise InputError(
            f"the score or the map{_of(broken, many)} is NaN or infinite: numbers in the network's weights, or in the "
            "target, are that already or overflow"
        )
    blank = (found.values == 0).all(axes)
    if dead := np.flatnonzero(blank & ~sensitive).tolist():
        _warn(
            f"the map{_of(dead, many)} is all zero: the score does not move. Either every path to it goes through a "
            "ReLU that is off, or the target is a probability that is saturated (explain the value before it, …/pre); "
            "another layer or another target may show something"
        )
    if others := np.flatnonzero(blank & sensitive).tolist():
        _warn(f"the map{_of(others, many)} is all zero: {otherwise}")


def _warn(message: str) -> None:
    """A BlankMap at the line outside of this package that asked for the map."""
    frame, level = inspect.currentframe(), 1
    while (frame := frame.f_back if frame else None) and frame.f_globals.get("__name__", "").startswith("jaxviz."):
        level += 1
    warnings.warn(message, BlankMap, stacklevel=level + 1)


def _of(positions: Any, many: bool) -> str:
    return f" of image {', '.join(map(str, positions))}" if many else ""

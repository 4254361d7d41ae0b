"""How much an image excites each filter of a layer, and where.

    respond(model, images, layer, by) -> scores [b filters], places [b filters]
    top_filters(model, image, layer)  -> the filters with the highest scores

Law: the place of a filter is the position of the layer at which it is highest, and the first one of several.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from jaxviz.checks import whole
from jaxviz.compiling.batches import at_once, map_in_chunks, map_in_loop
from jaxviz.compiling.jit import jit
from jaxviz.errors import InputError
from jaxviz.model import Model, check_real
from jaxviz.results import brief

__all__ = ["TopFilters", "top_filters"]

TOP = 9  # Zeiler & Fergus 2013, figure 2
SCORES = ("max", "mean")
Shape = tuple[int, ...]


class TopFilters(NamedTuple):
    """The filters of a layer that an image excites most, the highest first; for a batch, with a leading axis n.

    Attributes:
        index: the numbers of the filters.
        score: the largest activation of each filter, or its mean.
        position: the position of the layer at which each filter is highest, such as (row, column); for a layer
            `[units]`, which has no positions, the axis is empty.
    """

    index: Int[np.ndarray, "*n top"]  # type: ignore[assignment]  # as for `Channel`; it hides `tuple.index`
    score: Float[np.ndarray, "*n top"]
    position: Int[np.ndarray, "*n top axes"]

    def __repr__(self) -> str:
        return brief(self)


def top_filters(
    model: Model, image: ArrayLike, layer: str, *, top: int = TOP, by: str = "max", batch: int = 32
) -> TopFilters:
    """The `TopFilters` of an image: the filters of a layer that it excites most, the highest first.

    The activations of two filters have no common unit: a filter may be high on every image. `jv.spectra` says what is
    ordinary for a filter.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        layer: a handle of the model; its last axis are the filters.
        top: how many filters; all of them where the layer has fewer.
        by: "max": a filter's score is its largest activation over all positions; "mean": its mean over them.
        batch: images computed at a time.

    Raises:
        InputError: an unknown layer, an image of another shape or outside [0, 1], another `by`, or an activation that
            is NaN.
    """
    layer, top, by = check_filters(model, layer), whole("top", top), check_by(by)
    images = model.check_images(image)
    single = images.ndim == len(model.image_shape)
    stack = images[None] if single else images
    scores, places = map_in_chunks(lambda some: respond(model, some, layer=layer, by=by), stack, batch)
    check_finite(scores, layer)
    index = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    shape = model.shapes(images.shape[-len(model.image_shape) :], [layer])[layer]
    found = TopFilters(
        index, np.take_along_axis(scores, index, 1), positions(np.take_along_axis(places, index, 1), shape)
    )
    return TopFilters(*(each[0] for each in found)) if single else found


@jit(static=("layer", "by"))
def respond(model: Model, images: jax.Array, *, layer: str, by: str) -> tuple[jax.Array, jax.Array]:
    """The score of each filter `[b filters]` for images `[b h w c]`, and the number of the place where it is highest.

    Places are numbered along the axes of the layer, as `positions` reads them.
    """

    def one(image: jax.Array) -> tuple[jax.Array, jax.Array]:
        activation = model(image, [layer])[layer]
        values = activation.reshape(-1, activation.shape[-1])
        highest = values.max(0)
        # XLA:CPU runs `argmax` element by element; these two reductions run over whole vectors of filters.
        numbers = jnp.arange(len(values), dtype=jnp.int32)[:, None]
        place = jnp.where(values == highest, numbers, len(values)).min(0)
        return (highest if by == "max" else values.mean(0)), place

    size = at_once(*images.shape[1:-1], gradient=False, execution=model.execution)
    return map_in_loop(one, images, size=size, execution=model.execution)


def positions(places: np.ndarray, shape: Shape) -> np.ndarray:
    """The position `[… axes]` of each place in a layer of `shape`, whose last axis are the filters."""
    axes = np.unravel_index(places, shape[:-1]) if len(shape) > 1 else ()
    return np.stack(axes, -1) if axes else np.zeros((*places.shape, 0), np.intp)


def check_filters(model: Model, layer: str) -> str:
    """`layer`, if it is a handle of the model that has filters.

    Raises:
        InputError: an unknown layer, or one that is a single number, or of complex or whole numbers.
    """
    found = model.structs(names=[model.check_layer(layer)])
    check_real(found)
    if not found[layer].shape:
        raise InputError(f"{layer} is a single number, so it has no filters; take a layer [h w k] or [units]")
    return layer


def check_by(by: str) -> str:
    if by not in SCORES:
        raise InputError(f"by is {' or '.join(map(repr, SCORES))}, over the positions of the layer; given: {by!r}")
    return by


def check_finite(scores: np.ndarray, layer: str) -> None:
    """
    Raises:
        InputError: a score is NaN or infinite.
    """
    if not np.isfinite(scores).all():
        (filters,) = np.nonzero(~np.isfinite(scores).all(0))
        raise InputError(
            f"activations of {layer} are NaN or infinite, in filters {filters[:9].tolist()}: numbers in the network's "
            "weights are NaN or infinite already, or they overflow"
        )

"""Objectives that compare the images of a group, such as four images of one filter that should differ.

    Diversity, Alignment: {name: activation} -> score of one image, given those of its group

    objectives = [jv.Channel("mixed4a", 11) + weight * jv.Diversity("mixed4a")] * 4
    jv.sweep(model, objectives, group=4)

They are objectives like all others, and can be weighed and added to them. `sweep(group=4)` climbs each four objectives
in a row together: their images see each other through `gather`, and each follows the gradient of the sum of the four
scores. Law: groups do not see each other, so a sweep of several groups is a loop over them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from jaxviz.checks import numbers, whole
from jaxviz.comparisons import gram_matrix
from jaxviz.errors import InputError
from jaxviz.objectives import Objective

__all__ = ["Alignment", "Diversity", "gather", "interpolate"]

GROUP = "group"  # the name of the axis along which JAX vectorises the images of a group
REACH = 4  # Lucid's: images further apart in the group are not aligned


def gather(activation: jax.Array) -> jax.Array:
    """The activations `[m …]` of all m images of the group, from that of one image, for objectives of your own.

        def apart(acts):
            return jnp.square(jv.gather(acts["fc1"]) - acts["fc1"]).mean()

    Raises:
        InputError: the image climbs alone.
    """
    try:
        return lax.all_gather(jnp.asarray(activation), GROUP)
    except NameError:
        raise InputError(
            "this objective compares the images of a group, and here each image is alone: "
            "jv.sweep(model, objectives, group=4) climbs each four objectives in a row together"
        ) from None


class Grouped(Objective):
    """An objective that needs a group."""


@struct.dataclass
class Diversity(Grouped):
    """How much an image differs from the others of its group in style, from 0 (all alike) to 1.

    It is 1 minus the mean cosine between the image's Gram matrix of a layer, `[c c]`, and those of the others. As a
    weight, begin with a fifth of the score that the objective reaches alone: half of that changes little, and five
    times as much makes images that differ in everything and excite the filter weakly.

    Attributes:
        layer: `[h w c]`, such as the one that the filters are in, or `[c]`.

    Source: Olah, Mordvintsev & Schubert 2017, Feature Visualization, section "Diversity". Lucid's `-w * diversity` is
    the same as a weight `w * (m - 1)` here, for a group of m.
    """

    layer: str = struct.field(pytree_node=False)

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        mine = _style(jnp.asarray(activations[self.layer]))
        all_of_us = gather(mine)
        others = jnp.arange(len(all_of_us)) != lax.axis_index(GROUP)
        cosines = (all_of_us * mine).sum((1, 2))
        return 1 - (others * cosines).sum() / others.sum()

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        if not shapes[self.layer]:
            raise InputError(f"diversity is of a layer with channels; given: {self.layer}, []")


@struct.dataclass
class Alignment(Grouped):
    """How alike an image is to its neighbours in the group: minus half the mean square distances, 0 if all are equal.

    It holds a row of pictures, such as `interpolate` climbs, in one place. An image counts with `decay ** -d` if it is
    d places away, up to 4.

    Attributes:
        layer: in which the images are compared, or `"image"`.
        decay: above 1: near neighbours count more.

    Source: Lucid's `alignment`, which is the sum of these scores over the group.
    """

    layer: str = struct.field(pytree_node=False)
    decay: Any = 2.0

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        mine = jnp.asarray(activations[self.layer])
        squares = ((gather(mine) - mine) ** 2).reshape(-1, mine.size).mean(1)
        away = jnp.abs(jnp.arange(len(squares)) - lax.axis_index(GROUP))
        weights = jnp.where((away > 0) & (away <= REACH), jnp.asarray(self.decay, mine.dtype) ** -away, 0)
        return -(weights * squares).sum() / 2  # each pair counts for both of its images

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        decay = numbers(self.decay)
        if decay.ndim or not 0 < decay < np.inf:
            raise InputError(f"decay is more than 0, such as 2; given: {self.decay!r}")


def _style(activation: jax.Array) -> jax.Array:
    """The Gram matrix `[c c]` of an activation over its places, at length 1."""
    gram = gram_matrix(activation)
    return gram / jnp.sqrt(jnp.maximum((gram**2).sum(), jnp.finfo(gram.dtype).tiny))


def interpolate(first: Objective, last: Objective, count: int) -> list[Objective]:
    """A list of `count` objectives from one to another in equal steps: `(1 - w) * first + w * last`, w from 0 to 1.

        row = jv.interpolate(jv.Channel("mixed4a", 476), jv.Channel("mixed4a", 460), 6)
        jv.sweep(model, [each + 0.1 * jv.Alignment("mixed3a") for each in row], group=6)

    Raises:
        InputError: a count below 2, or what is no Objective, such as a function.

    Source: Lucid's `channel_interpolate`.
    """
    if not isinstance(first, Objective) or not isinstance(last, Objective):
        raise InputError(f"a row leads from one objective to another; given: {first!r} and {last!r}")
    return [(1 - weight) * first + weight * last for weight in np.linspace(0, 1, whole("count", count, 2)).tolist()]


def as_member(function: Callable[[], Any], group: int | None) -> Any:
    """The result of a traced function that is called as one image of a group; None: alone."""
    if group is None:
        return function()
    results = jax.vmap(lambda _: function(), axis_name=GROUP)(jnp.arange(group))
    return jax.tree.map(lambda leaf: leaf[0], results)


def in_groups(function: Callable, group: int | None) -> Callable:
    """A function of one image as a function of b images `[b …]`; each `group` in a row see each other, None: none."""
    if group is None:
        return jax.vmap(function)

    def grouped(*items: Any) -> Any:
        split = jax.tree.map(lambda leaf: leaf.reshape(-1, group, *leaf.shape[1:]), items)
        results = jax.vmap(jax.vmap(function, axis_name=GROUP))(*split)
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), results)

    return grouped

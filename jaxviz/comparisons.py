"""Objectives that compare a layer with a direction in it, or with the activation of another image.

    Direction(layer, vector)     how far along: dot product × cosine ** power; a direction in all, or a caricature
    Match(layer, activation)     how near: minus the squared distance, to invert a layer
    Similarity(layer, embedding) which way on average: the cosine of pooled activations
    Gram(layer, gram)            how near in style: minus the squared distance of Gram matrices

Law: `direction`, `match`, `similarity` and `gram` make them from an image, whose own score is then the highest of all
images that activate the layer as strongly. Vectors and activations are leaves: another one compiles nothing.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from numpy.typing import ArrayLike

from jaxviz.checks import numbers
from jaxviz.errors import InputError
from jaxviz.model import Model, activation_of
from jaxviz.objectives import Objective

__all__ = ["Direction", "Gram", "Match", "Similarity", "direction", "gram", "match", "similarity"]

FLOOR = 0.1  # Lucid's: below it, the cosine gives no gradient, and an opposite direction is no reward


@struct.dataclass
class Direction(Objective):
    """How far a layer goes along a vector: the mean of `dot product × max(cosine, 0.1) ** power` over all places.

    Attributes:
        layer: `[c]`, or with maps, `[h w c]`.
        vector: `[c]`, one direction for all places; or a whole activation `[h w c]`, a direction for each place, which
            draws the caricature of its image. `direction(model, layer, image)` makes one.
        power: 0: the dot product alone. Above 0, what points elsewhere counts less: the picture shows the direction,
            not a strong activation that has only a part along it.

    Source: Lucid's `direction` with `cossim_pow`, and its `tensor_direction`.
    """

    layer: str = struct.field(pytree_node=False)
    vector: Any
    power: Any = 0.0

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        ours, theirs = jnp.asarray(activations[self.layer]), jnp.asarray(self.vector)
        return ((ours * theirs).sum(-1) * jnp.maximum(cosine(ours, theirs), FLOOR) ** self.power).mean()

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        shape, vector = shapes[self.layer], np.asarray(self.vector)
        if vector.shape not in (shape, shape[-1:]):
            raise InputError(
                f"a direction in {self.layer}, {list(shape)}, is [{shape[-1]}], one number for each channel, or an "
                f"activation {list(shape)}, as jv.direction(model, {self.layer!r}, image) makes it of an image of the "
                f"size that the network sees; given: {list(vector.shape)}"
            )
        _check_numbers(self.layer, "a direction", vector)
        power = numbers(self.power)
        if power.ndim or not 0 <= power < np.inf:
            raise InputError(f"power is of the cosine, 0 or more; given: {self.power!r}")


@struct.dataclass
class Match(Objective):
    """How near a layer comes to an activation: minus the squared distance, over the activation's own squared length.

    It is 0 where they are equal, and -1 for a layer of zeros.

    Attributes:
        layer: of any shape.
        activation: of the same shape. `match(model, layer, image)` makes a Match from an image.

    Source: Mahendran & Vedaldi 2015, Understanding deep image representations by inverting them, section 3.
    """

    layer: str = struct.field(pytree_node=False)
    activation: Any

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        theirs = jnp.asarray(self.activation)
        return -((activations[self.layer] - theirs) ** 2).sum() / (theirs**2).sum()

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        shape, activation = shapes[self.layer], np.asarray(self.activation)
        if activation.shape != shape:
            raise InputError(
                f"an activation to match in {self.layer} is {list(shape)}, as jv.match(model, {self.layer!r}, image) "
                f"makes it of an image of the size that the network sees; given: {list(activation.shape)}"
            )
        _check_numbers(self.layer, "an activation to match", activation)


@struct.dataclass
class Similarity(Objective):
    """The cosine between the pooled activation of a layer and an embedding, from -1 to 1.

    `similarity(model, layer, image)` makes one from another image. An activation `[h w c]` is pooled by its mean over
    all places; an activation `[c]` is taken as it is. The cosine does not change with the length of the activation, so
    the relevance that `lrp` distributes sums to 0: channels that agree with the embedding more than average, less
    those that agree less.

    Attributes:
        layer: such as the last pooling, `[c]`, or a layer with maps, `[h w c]`.
        embedding: `[c]`.
    """

    layer: str = struct.field(pytree_node=False)
    embedding: Any

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        ours, theirs = pooled(jnp.asarray(activations[self.layer])), jnp.asarray(self.embedding)
        return cosine(ours, theirs)

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        shape, embedding = shapes[self.layer], np.asarray(self.embedding)
        if embedding.shape != shape[-1:]:
            raise InputError(
                f"an embedding in {self.layer}, {list(shape)}, is [{shape[-1]}], one number for each channel, as "
                f"jv.similarity(model, {self.layer!r}, image) makes it; given: {list(embedding.shape)}"
            )
        _check_numbers(self.layer, "an embedding", embedding)


@struct.dataclass
class Gram(Objective):
    """Minus the squared distance of the Gram matrix of a layer from another, over the other's own squared length.

    The Gram matrix says which channels are active together, and not where: the mean over all places of the products of
    two channels. It is 0 where they are equal, and -1 for a layer of zeros.

    Attributes:
        layer: with maps, such as `[h w c]`.
        gram: `[c c]`. `gram(model, layer, image)` makes a Gram from an image.

    Source: Gatys, Ecker & Bethge 2016, Image style transfer using convolutional neural networks, equations 3 to 5, up
    to the scale.
    """

    layer: str = struct.field(pytree_node=False)
    gram: Any

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        theirs = jnp.asarray(self.gram)
        return -((gram_matrix(jnp.asarray(activations[self.layer])) - theirs) ** 2).sum() / (theirs**2).sum()

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        shape, given = shapes[self.layer], np.asarray(self.gram)
        if len(shape) < 2 or given.shape != (shape[-1], shape[-1]):
            raise InputError(
                f"a Gram matrix is of a layer with maps, [c c]; given: {list(given.shape)} for {self.layer}, "
                f"{list(shape)}"
            )
        if not np.isfinite(given).all() or not given.any():
            raise InputError(f"a Gram matrix has finite numbers, not all 0: is {self.layer} inactive for that image?")


def pooled(activation: jax.Array) -> jax.Array:
    """The mean `[c]` of an activation over all its places."""
    return activation.mean(tuple(range(activation.ndim - 1)))


def gram_matrix(activation: jax.Array) -> jax.Array:
    """The Gram matrix `[c c]` of an activation `[… c]`: the mean over all places of the products of two channels."""
    places = activation.reshape(-1, activation.shape[-1])
    return places.T @ places / len(places)


def cosine(ours: jax.Array, theirs: jax.Array) -> jax.Array:
    """The cosine along the last axis; 0, with gradient 0, where one of the two is all 0."""
    squares = (ours**2).sum(-1) * (theirs**2).sum(-1)
    return (ours * theirs).sum(-1) / jnp.sqrt(jnp.maximum(squares, jnp.finfo(ours.dtype).tiny))


def direction(model: Model, layer: str, image: ArrayLike, *, power: float | int = 1.0) -> Direction:
    """A `Direction` along the activation of an image: what climbs it is a caricature of the image.

        jv.ascend(model, jv.direction(model, "mixed4d", image), canvas=…)      a canvas of the size of the image

    Args:
        layer: the layer whose activation is exaggerated.
        image: `[h w c]` in [0, 1].
        power: of the cosine at each place.

    Raises:
        InputError: an unknown layer, an image of another shape or a batch, or one for which the layer is all 0.
    """
    activation = activation_of(model, layer, image)
    return _checked(Direction(layer, activation, _as_float(power)), activation)


def match(model: Model, layer: str, image: ArrayLike) -> Match:
    """A `Match` of the activation of an image: what climbs it shows what the layer has kept of the image.

        jv.ascend(model, jv.match(model, "block3_conv1", image) - 0.1 * jv.TotalVariation(), canvas=…)

    Args:
        layer: the layer that is inverted.
        image: `[h w c]` in [0, 1]; the canvas is then of its size.

    Raises:
        InputError: an unknown layer, an image of another shape or a batch, or one for which the layer is all 0.
    """
    activation = activation_of(model, layer, image)
    return _checked(Match(layer, activation), activation)


def similarity(model: Model, layer: str, image: ArrayLike) -> Similarity:
    """A `Similarity` to another image: how much the pooled activation of a layer points the way of that image's.

        jv.grad_cam(model, image, jv.similarity(model, "avg_pool", other))

    Args:
        layer: the layer in which the images are compared.
        image: `[h w c]` in [0, 1], the image to compare with.

    Raises:
        InputError: an unknown layer, an image of another shape or a batch, or one for which the layer is all 0.
    """
    activation = activation_of(model, layer, image)
    return _checked(Similarity(layer, np.asarray(pooled(jnp.asarray(activation)))), activation)


def gram(model: Model, layer: str, image: ArrayLike) -> Gram:
    """A `Gram` of an image's own style in a layer.

    Args:
        image: `[h w c]` in [0, 1], of any size that the network takes.

    Raises:
        InputError: an unknown layer, one without maps or inactive for the image, a batch, or an image of another shape.
    """
    activation = activation_of(model, layer, image)
    return _checked(Gram(layer, np.asarray(gram_matrix(jnp.asarray(activation)))), activation)


def _as_float(number: Any) -> Any:
    """A whole number as a float, so that it compiles nothing new."""
    return float(number) if isinstance(number, int) else number


def _checked(objective: Any, activation: np.ndarray) -> Any:
    objective.check({objective.layer: activation.shape})
    return objective


def _check_numbers(layer: str, word: str, values: np.ndarray) -> None:
    if not np.isfinite(numbers(values)).all() or not values.any():
        raise InputError(
            f"{word} has finite numbers, not all 0: a cosine needs a direction, and a distance a scale. Is {layer} "
            "inactive for that image? Another layer, or the value before its activation function (…/pre), may do"
        )

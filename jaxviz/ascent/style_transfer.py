"""The content of one image in the style of another.

Gram(layer, gram)                            an objective: how near the style of a layer comes to another image's
transfer_style(model, image, style, …)       -> Ascent
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from numpy.typing import ArrayLike

from jaxviz.ascent.beside import STILL, recipe
from jaxviz.ascent.climb import Ascent, ascend
from jaxviz.checks import finite
from jaxviz.comparisons import match
from jaxviz.errors import InputError
from jaxviz.model import Model
from jaxviz.objectives import Objective

__all__ = ["Gram", "gram", "transfer_style"]


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
        return -((matrix(jnp.asarray(activations[self.layer])) - theirs) ** 2).sum() / (theirs**2).sum()

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        shape, given = shapes[self.layer], np.asarray(self.gram)
        if len(shape) < 2 or given.shape != (shape[-1], shape[-1]):
            raise InputError(
                f"a Gram matrix is of a layer with maps, [c c]; given: {list(given.shape)} for {self.layer}, "
                f"{list(shape)}"
            )
        if not np.isfinite(given).all() or not given.any():
            raise InputError(f"a Gram matrix has finite numbers, not all 0: is {self.layer} inactive for that image?")


def matrix(activation: jax.Array) -> jax.Array:
    """The Gram matrix `[c c]` of an activation `[… c]`: the mean over all places of the products of two channels."""
    places = activation.reshape(-1, activation.shape[-1])
    return places.T @ places / len(places)


def gram(model: Model, layer: str, image: ArrayLike) -> Gram:
    """A `Gram` of an image's own style in a layer.

    Args:
        image: `[h w c]` in [0, 1], of any size that the network takes.

    Raises:
        InputError: an unknown layer, one without maps or inactive for the image, a batch, or an image of another shape.
    """
    activation = match(model, layer, image).activation
    found = Gram(layer, np.asarray(matrix(jnp.asarray(activation))))
    found.check({layer: activation.shape})
    return found


def transfer_style(
    model: Model,
    image: ArrayLike,
    style: ArrayLike,
    *,
    content: str,
    layers: Iterable[str],
    weight: float | int = 1.0,
    **settings: Any,
) -> Ascent:
    """An `Ascent` without a leading axis, from an image to one with its content and the style of another.

        jv.transfer_style(model, photograph, painting, content="block4_conv2",
                          layers=["block1_conv1", "block2_conv1", "block3_conv1", "block4_conv1"])

    The score is that of `match` in one layer, and `weight` times the mean of `gram` over several.

    Args:
        image: `[h w c]` in [0, 1], where the ascent starts; it sets the size.
        style: `[h w c]` in [0, 1], of any size that the network takes.
        content: the layer in which the result stays near to `image`.
        layers: those in which it comes near to the style.
        weight: of the style.
        settings: arguments of `ascend`, in place of those of `recipes.lucid` without its transform: `key`, `steps`,
            `optimizer`, `transform`, or a canvas of the size of the image.

    Raises:
        InputError: an unknown layer, one that is inactive for its image, a batch, or a weight that is not above 0.

    Source: Gatys, Ecker & Bethge 2016, Image style transfer using convolutional neural networks. They climb the pixels
    from noise with L-BFGS, and count content and style in other units.
    """
    names = [layers] if isinstance(layers, str) else list(layers)
    if not names or not finite("weight", weight) > 0:
        raise InputError(f"a style has a layer or more, and a weight above 0; given: {names}, {weight}")
    styles = [weight / len(names) * gram(model, name, style) for name in names]
    objective = sum(styles, match(model, content, image))
    photograph = model.check_images(image)
    return ascend(model, objective, **recipe(model, photograph, settings, start=photograph, transform=STILL))

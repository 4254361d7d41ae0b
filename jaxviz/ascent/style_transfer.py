"""The content of one image in the style of another.

transfer_style(model, image, style, …) -> Ascent
"""

from collections.abc import Iterable
from typing import Any

from numpy.typing import ArrayLike

from jaxviz.ascent.beside import STILL, recipe
from jaxviz.ascent.climb import Ascent, ascend
from jaxviz.checks import finite
from jaxviz.comparisons import gram, match
from jaxviz.errors import InputError
from jaxviz.model import Model

__all__ = ["transfer_style"]


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

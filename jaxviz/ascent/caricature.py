"""What a layer makes of a photograph: its caricature, and what it has kept of it.

caricature(model, image, layer) -> Ascent      the photograph, exaggerated the way that the layer sees it
invert(model, image, layer) -> Ascent          an image that the layer cannot tell from the photograph
"""

from typing import Any

from numpy.typing import ArrayLike

from jaxviz.ascent.beside import STILL, Likeness, ascend_beside, recipe
from jaxviz.ascent.climb import Ascent, ascend
from jaxviz.checks import finite
from jaxviz.comparisons import direction, match
from jaxviz.errors import InputError
from jaxviz.model import Model
from jaxviz.objectives import Objective
from jaxviz.regularizers import TotalVariation

__all__ = ["caricature", "invert"]


def caricature(model: Model, image: ArrayLike, layer: str, *, power: float | int = 1.0, **settings: Any) -> Ascent:
    """An `Ascent` without a leading axis, to an image that goes far the way of a photograph's activation.

    What the layer sees in the photograph is drawn stronger, and what it does not see is left out.

    Args:
        image: `[h w c]` in [0, 1], which sets the size.
        layer: the layer whose activation is exaggerated, such as one with maps `[h w c]`.
        power: of the cosine of the two activations at each place. 0 rewards any strong activation that has a part along
            the photograph's; larger powers keep closer to it.
        settings: arguments of `ascend`, in place of those of `recipes.lucid`: `key`, `steps`, `optimizer`, `transform`,
            or a canvas of the size of the image.

    Raises:
        InputError: an unknown layer, one that is inactive for the image, a batch of images, an image of another shape,
            or a canvas of another size.

    Source: Lucid's `recipes/caricature.py` and `dot_compare` (Olah 2018); Carter et al. 2019, Activation Atlas.
    """
    direction(model, layer, image, power=power)  # refuses what cannot be compared, before anything is compiled
    photograph = model.check_images(image)
    return ascend_beside(model, Likeness(layer, float(power)), photograph, **recipe(model, photograph, settings))


def invert(model: Model, image: ArrayLike, layer: str, *, variation: float | int = 0.1, **settings: Any) -> Ascent:
    """An `Ascent` without a leading axis, to an image with the activation that the photograph has in a layer.

    It shows what the layer has kept of the photograph. The score is minus the squared distance of the two activations,
    over the squared length of the photograph's, less `variation` times the image's total variation.

    Args:
        image: `[h w c]` in [0, 1], which sets the size.
        layer: the layer that is inverted.
        variation: the weight of the total variation, which keeps the image smooth where the layer has no say.
        settings: arguments of `ascend`, in place of those of `recipes.lucid` without its transform: `key`, `steps`,
            `optimizer`, `transform`, or a canvas of the size of the image.

    Raises:
        InputError: an unknown layer, one that is inactive for the image, a batch of images, an image of another shape,
            or a negative variation.

    Source: Mahendran & Vedaldi 2015, Understanding deep image representations by inverting them, equations 1 and 2; on
    a Fourier canvas, as in Olah, Mordvintsev & Schubert 2017, Feature Visualization.
    """
    if not finite("variation", variation) >= 0:
        raise InputError(f"variation is the weight of the total variation, 0 or more; given: {variation}")
    objective: Objective = match(model, layer, image)
    if variation:  # an image without places has none
        objective -= variation * TotalVariation()
    return ascend(model, objective, **recipe(model, model.check_images(image), settings, transform=STILL))

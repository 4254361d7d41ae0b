"""Feature accentuation: a photograph, changed as little as possible so that it excites something more.

accentuate(model, image, objective, layer=…) -> Ascent
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from numpy.typing import ArrayLike

from jaxviz.ascent.arguments import checked
from jaxviz.ascent.beside import Distance, ascend_beside, recipe
from jaxviz.ascent.climb import Ascent
from jaxviz.ascent.dead_starts import before_activation
from jaxviz.checks import finite
from jaxviz.compiling.jit import jit
from jaxviz.errors import InputError
from jaxviz.keys import one_key
from jaxviz.model import Model, activation_of
from jaxviz.objectives import Objective
from jaxviz.regularizers import L2

__all__ = ["accentuate"]

# The photograph is disturbed by noise of this deviation, to weigh the gradients: at distance 0, a distance has none.
NOISE = 0.02
# A step of Lucid's 0.05 is half of the median coefficient of a photograph of 128 pixels, whose detail it would drown.
CAREFUL = Partial(optax.adam, learning_rate=0.01)


def accentuate(
    model: Model, image: ArrayLike, objective: Any, *, layer: str, strength: float | int = 0.3, **settings: Any
) -> Ascent:
    """An `Ascent` without a leading axis, from the photograph to one that excites the objective more.

    It shows which parts of the photograph the objective responds to, and what they would have to be. The score is the
    objective less the weighted distance from the photograph in `layer`, where both images are seen through the same
    transform. The weight is `strength` times the ratio of the two gradients at the photograph, so that it means the
    same whatever their units. At 1, the two nearly hold each other; at 0.3, the feature is drawn into the photograph.

    Args:
        image: `[h w c]` in [0, 1], where the ascent starts; it sets the size.
        objective: what is to be excited, such as `jv.Channel(layer, index)`, or a class of `jv.classes`.
        layer: an earlier layer, in which the image stays near to the photograph.
        strength: the weight of the distance; 0 lets the image go anywhere.
        settings: arguments of `ascend`, in place of 100 steps of Adam with a learning rate of 0.01, and otherwise those
            of `recipes.lucid`: `key`, `steps`, `optimizer`, `transform`, or a canvas of the size of the image.

    Raises:
        InputError: an unknown layer, one that is inactive for the image, a batch of images, an image of another shape,
            a negative strength, or an objective without a gradient at the photograph.

    Source: Hamblin et al. 2024, Feature accentuation: revealing "what" features respond to in natural images; the
    weight is that of their package faccent, `render_vis`.
    """
    if not finite("strength", strength) >= 0:
        raise InputError(f"strength is the weight of the distance, 0 or more; given: {strength}")
    near = L2(layer, origin=activation_of(model, layer, image))
    photograph = model.check_images(image)
    (climbed,) = checked(model, [objective], photograph.shape)
    chosen = recipe(model, photograph, settings, start=photograph, steps=100, optimizer=CAREFUL)
    climbed = before_activation(model, climbed) if chosen.get("relu") == "pre" else climbed
    noise = NOISE * jax.random.normal(one_key(chosen.get("key")), photograph.shape)
    ours, theirs = (float(_steepness(model, each, photograph + noise)) for each in (climbed, near))
    if not 0 < ours < np.inf or not 0 < theirs < np.inf:
        raise InputError(
            f"accentuation weighs the gradient of the objective, {ours:g} on average, against that of the distance in "
            f"{layer}, {theirs:g}, and needs both above 0: behind an inactive ReLU there is none, and the value before "
            f"it (…/pre) may do; given: {objective!r}"
        )
    return ascend_beside(model, climbed - strength * ours / theirs * Distance(layer), photograph, **chosen)


@jit()
def _steepness(model: Model, objective: Objective, image: jax.Array) -> jax.Array:
    """The mean absolute gradient of an objective at an image."""
    return jnp.abs(jax.grad(lambda image: objective(model(image, objective.layers)))(image)).mean()

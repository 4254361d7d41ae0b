"""Score-CAM: a class activation map without gradients, by many forward passes."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxviz.attribution.cams import AGAINST, Layer, edited_score, enlarged, fuse, seen_layers
from jaxviz.attribution.explain import BATCH, Array, Attribution, explain_each, scores
from jaxviz.compiling.batches import at_once, map_in_chunks, map_in_loop
from jaxviz.compiling.jaxprs import depends
from jaxviz.compiling.jit import jit
from jaxviz.errors import InputError
from jaxviz.model import Model
from jaxviz.objectives import Objective, score
from jaxviz.targets import Target

__all__ = ["score_cam"]


def score_cam(
    model: Model, image: Any, target: Target = None, *, layer: Layer = None, relu: bool = True, batch: int = BATCH
) -> Attribution:
    """As `grad_cam`, without gradients: a channel's weight is the score of the image seen through its map.

    Each channel's map, enlarged and scaled to [0, 1], masks the image; the softmax of the scores are the weights. One
    forward pass for each channel: 512 at the end of VGG16.

    Args:
        batch: channels in one compiled call.

    Source: Wang et al. 2020, Score-CAM, equations 5 to 7.
    """

    layers: list[str] = []

    def one(image: Array, objective: Objective, _: int) -> tuple[Attribution, bool]:
        if not layers:  # which are the same for all images
            layers.extend(seen_layers(model, objective, layer))
        found = []
        for name in layers:
            activation, masks = _masks(model, image, objective, layer=name)
            see = partial(_seen, model, image, objective)
            found.append((activation, map_in_chunks(see, np.asarray(masks), batch, "channel")))
        value = np.asarray(scores(model, image[None], objective))[0]
        return Attribution(_weighted(tuple(found), size=image.shape[:2], relu=relu), value), True

    return explain_each(one, model, image, target, otherwise=AGAINST)


@jit(static=("layer",))
def _masks(model: Model, image: jax.Array, objective: Objective, *, layer: str) -> tuple[jax.Array, jax.Array]:
    """The activation `[h w k]` of a layer, and each channel of it as a mask `[k height width]` in [0, 1]."""
    activation = model(image, (layer,))[layer]
    if not depends(lambda edit: edited_score(model, image, objective, layer, edit), activation):
        raise InputError(f"the target, {', '.join(objective.layers)}, does not depend on {layer}")
    large = jax.image.resize(activation, (*image.shape[:2], activation.shape[-1]), "bilinear")
    low, high = large.min((0, 1)), large.max((0, 1))
    masks = (large - low) / jnp.where(high > low, high - low, 1)  # a constant channel shows nothing
    return activation, jnp.moveaxis(masks, -1, 0)


@jit()
def _seen(model: Model, image: jax.Array, objective: Objective, masks: jax.Array) -> jax.Array:
    """The scores `[b]` of the image seen through each mask."""

    def through(mask: jax.Array) -> jax.Array:
        return score(model, mask[..., None] * image, objective)

    size = at_once(*image.shape[:2], execution=model.execution)
    return map_in_loop(through, masks, size=size, execution=model.execution)


@jit(static=("size", "relu"))
def _weighted(found: tuple[tuple[jax.Array, jax.Array], ...], *, size: tuple[int, int], relu: bool) -> jax.Array:
    """The map of (activation, scores through its channels) for each layer."""
    return fuse([enlarged((activation * jax.nn.softmax(seen)).sum(-1), size, relu) for activation, seen in found])

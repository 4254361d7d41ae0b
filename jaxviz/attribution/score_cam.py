"""Score-CAM: a class activation map without gradients, by many forward passes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxviz.attribution.explain import BATCH, Array, Attribution, answer_each, ask, score_images
from jaxviz.attribution.layer_maps import Layers, Shape, enlarged, enlarged_channels, fuse, seen_layers, turned
from jaxviz.compiling.batches import at_once, map_in_chunks, map_in_loop
from jaxviz.compiling.jit import jit
from jaxviz.geometry import Place
from jaxviz.model import Model
from jaxviz.objectives import Objective, score
from jaxviz.targets import Target
from jaxviz.tokens import Tokens

__all__ = ["score_cam"]

INACTIVE = "the layer is inactive: all its numbers are 0 for this image. Another layer may show something"
NEGATIVE = (
    "the channels, weighted by the scores, are nowhere positive: the layer has negative numbers. relu=False shows the "
    "map with its sign"
)


def score_cam(
    model: Model,
    image: ArrayLike,
    target: Target = None,
    *,
    layer: Layers = None,
    relu: bool = True,
    batch: int = BATCH,
) -> Attribution:
    """An `Attribution` with a map `[h w]`: channels weighted by the score of the image that is masked by them.

    A CAM without gradients. Each channel's map, enlarged to the image's size and scaled to [0, 1], masks the image; the
    softmax of the scores of the masked images are the channels' weights. That is one forward pass for each channel:
    512 at the end of VGG16.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each.
        layer: the layer whose maps are weighed; None: the last convolution between the image and the target, or the
            last tokens that an attention reads. The maps of several layers are each divided by their largest magnitude,
            and averaged.
        relu: keep the positive part only, as all CAMs do; False also shows what speaks against the target.
        batch: channels in one compiled call.

    Raises:
        InputError: an unknown layer or class, a layer without maps `[h w k]` or one that the target does not depend on,
            an image of another shape or outside [0, 1].

    Source: Wang et al. 2020, Score-CAM, equations 5 to 7.
    """
    question = ask(model, image, target)
    layers, places, picture = seen_layers(model, question.objectives, layer, question.images.shape[1:-1])
    grid = picture[:-1]

    def one(image: Array, objective: Objective, _: int) -> tuple[Attribution, str]:
        found = []
        for (name, _shape), where in zip(layers, places, strict=True):
            activation, masks = _masks(model, image, where, layer=name, grid=grid)
            see = partial(_seen, model, image, objective, picture=picture)
            found.append((activation, map_in_chunks(see, np.asarray(masks), batch, "channel")))
        value = np.asarray(score_images(model, image[None], objective))[0]
        active = any(np.asarray(activation).any() for activation, _ in found)
        values = _weighted(tuple(found), places, size=grid, relu=relu)
        return Attribution(values, value), NEGATIVE if active else INACTIVE

    return answer_each(question, one)


@jit(static=("layer", "grid"))
def _masks(
    model: Model, image: jax.Array, where: Place | Tokens | None, *, layer: str, grid: Shape
) -> tuple[jax.Array, jax.Array]:
    """The activation `[h w k]` of a layer, and each channel of it as a mask `[k height width]` in [0, 1]."""
    activation = turned(model(image, (layer,))[layer], where)
    large = enlarged_channels(activation, grid, where)
    axes = tuple(range(len(grid)))
    low, high = large.min(axes), large.max(axes)
    masks = (large - low) / jnp.where(high > low, high - low, 1)  # a constant channel shows nothing
    return activation, jnp.moveaxis(masks, -1, 0)


@jit(static=("picture",))
def _seen(model: Model, image: jax.Array, objective: Objective, masks: jax.Array, *, picture: Shape) -> jax.Array:
    """The scores `[b]` of the image seen through each mask."""

    def through(mask: jax.Array) -> jax.Array:
        return score(model, (mask[..., None] * image.reshape(picture)).reshape(image.shape), objective)

    together = at_once(*image.shape[:-1], gradient=False, execution=model.execution)
    return map_in_loop(through, masks, size=together, execution=model.execution)


@jit(static=("size", "relu"))
def _weighted(
    found: tuple[tuple[jax.Array, jax.Array], ...],
    places: tuple[Place | Tokens | None, ...],
    *,
    size: Shape,
    relu: bool,
) -> jax.Array:
    """The map, from the activation of each layer and the scores of the image seen through its channels."""
    return fuse(
        [
            enlarged((activation * jax.nn.softmax(seen)).sum(-1), size, relu, where)
            for (activation, seen), where in zip(found, places, strict=True)
        ]
    )

"""Class activation maps: where in the image a decision came from, as seen by one layer.

    map = ReLU(sum over channels of weight × activation)

A CAM differentiates the score with respect to an *edit* at one layer: the layer's activation as a free variable.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxviz import chunks, xla
from jaxviz.errors import InputError
from jaxviz.model import Model
from jaxviz.objectives import Objective
from jaxviz.targets import Target, resolve


class Attribution(NamedTuple):
    """`values`: signed, at image size, in the score's own units. `score`: the number that they explain."""

    values: Float[np.ndarray, "*n h w"] | Float[np.ndarray, "*n h w c"]
    score: Float[np.ndarray, "*n"]


def grad_cam(
    model: Model,
    image: Any,
    target: Target = None,
    *,
    layer: str | None = None,
    batch: int = 8,
) -> Attribution:
    """An `Attribution` with a map `[h w]`, zero or positive: the regions of `image` that raise the target's score.

    A channel's weight is the mean of the score's gradient over the map of `layer`; the weighted sum of channels is
    cut at zero and enlarged bilinearly to the image's size. It is not normalised.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each.
        layer: whose maps are weighted; None: the last convolution that the target can depend on.
        batch: images computed at a time.

    Raises:
        InputError: an unknown layer or class, a layer without maps, an image of another shape or outside [0, 1].

    Source: Selvaraju et al. 2017, Grad-CAM, equations 1 and 2.
    """
    images = model.check_images(image)
    stack = images if images.ndim == 4 else images[None]
    objectives = resolve(model, target, len(stack))
    layer = last_convolution(model, objectives) if layer is None else model.check_layer(layer)
    shape = model.shapes(names=[layer])[layer]
    if len(shape) != 3:
        raise InputError(f"{layer} has shape {list(shape)}: a CAM needs a layer with maps [h w c]")

    found = chunks.over(lambda some: _cams(model, *some, layer=layer), (stack, objectives), batch)
    return found if images.ndim == 4 else jax.tree.map(lambda leaf: leaf[0], found)


@xla.jit(static=("layer",))
def _cams(model: Model, images: jax.Array, objectives: Objective, *, layer: str) -> Attribution:
    def cam(image: jax.Array, objective: Objective) -> Attribution:
        def score(activation: jax.Array) -> jax.Array:
            return objective(model(image, objective.layers, {layer: lambda _: activation[None]}))

        activation = model(image, (layer,))[layer]
        value, gradient = jax.value_and_grad(score)(activation)
        weights = gradient.mean((0, 1))  # eq. 1
        values = jax.nn.relu((activation * weights).sum(-1))  # eq. 2
        return Attribution(jax.image.resize(values, image.shape[:2], "bilinear"), value)

    return jax.vmap(cam)(images, objectives)


def last_convolution(model: Model, objective: Objective) -> str:
    """The last convolution at or before the layers that `objective` reads."""
    end = max(model.handles.index(name) for name in objective.layers)
    kinds = {layer.name: layer.kind for layer in model.table}
    found = [name for name in model.handles[: end + 1] if "Conv" in kinds.get(name, "")]
    if not found:
        raise InputError("no convolution before the target: name the layer, layer=…")
    return found[-1]

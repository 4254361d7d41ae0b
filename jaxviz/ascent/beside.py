"""An ascent beside a photograph: both are seen through one transform, so that they can be compared at each step.

    ascend_beside(model, objective, photograph, …) -> Ascent
    Likeness(layer)      how far the layer goes the way of the photograph's activation
    Distance(layer)      how far it is from it

A transform moves the image at each step. An activation of the photograph as it lies would be compared with places that
have moved. Here the two are moved together, as in Lucid's `caricature.py`: they are the two halves of one image
`[h w 2c]`, which the transform changes as a whole. The network sees them one after the other, and the activations of
the photograph have names of their own, such as "photograph:block3_conv1".
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxviz.ascent import recipes
from jaxviz.ascent.canvases.canvas import Canvas, check_numbers
from jaxviz.ascent.climb import Ascent, ascend
from jaxviz.comparisons import Direction
from jaxviz.errors import InputError
from jaxviz.model import Activations, Edits, Forward, Model
from jaxviz.objectives import Objective
from jaxviz.regularizers import L2
from weights_convert import INPUTS, Inputs

OTHER = "photograph:"  # how the names of the photograph's activations begin


def ascend_beside(
    model: Model, objective: Objective, photograph: np.ndarray, *, canvas: Canvas, start: Any = None, **settings: Any
) -> Ascent:
    """An `Ascent` as `ascend` returns it, of an objective that may compare with the photograph `[h w c]`.

    Args:
        canvas: of the size of the photograph.
        start, settings: as for `ascend`.
    """
    start = None if start is None else np.concatenate([start, photograph], -1)
    found = ascend(_of_both(model), objective, canvas=_Beside(canvas, photograph), start=start, **settings)
    return replace(found, image=found.image[..., : model.channels])


def recipe(photograph: np.ndarray, settings: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `ascend`: those of `recipes.lucid` at the size of the photograph, or those that were given.

    Raises:
        InputError: a canvas of another size.
    """
    chosen = recipes.lucid(size=photograph.shape[:-1]) | settings
    size = tuple(chosen["canvas"].size)
    if size != photograph.shape[:-1]:
        raise InputError(
            f"the canvas has the size of the image, {list(photograph.shape[:-1])}, since they are compared place by "
            f"place; given: {list(size)}"
        )
    return chosen


@struct.dataclass
class Likeness(Objective):
    """A `Direction` along the activation that the photograph has at this step."""

    layer: str = struct.field(pytree_node=False)
    power: Any = 1.0

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer, OTHER + self.layer)

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        return Direction(self.layer, activations[OTHER + self.layer], self.power)(activations)


@struct.dataclass
class Distance(Objective):
    """The root of the mean square distance from the activation that the photograph has at this step."""

    layer: str = struct.field(pytree_node=False)

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer, OTHER + self.layer)

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        return L2(self.layer, origin=activations[OTHER + self.layer])(activations)


@struct.dataclass
class _Beside:
    """A canvas, and a photograph of its size behind it: its image is `[h w 2c]`, and its latent that of the canvas."""

    canvas: Any
    photograph: Any

    @property
    def size(self) -> tuple[int, ...]:
        return self.canvas.size

    def new(self, key: jax.Array, channels: int | None) -> Any:
        return self.canvas.new(key, self.photograph.shape[-1])

    def of(self, image: jax.Array) -> Any:
        return self.canvas.of(image[..., : self.photograph.shape[-1]])

    def __call__(self, latent: Any) -> jax.Array:
        return jnp.concatenate([self.canvas(latent), self.photograph], -1)

    def check(self, channels: int | None) -> None:
        check_numbers(self.canvas, self.photograph.shape[-1])


@dataclass(frozen=True)
class _Both:
    """A `Forward` for images `[n h w 2c]`. The photograph is never differentiated."""

    forward: Forward
    inputs: Inputs

    def __call__(self, params: Any, images: jax.Array, names: tuple[str, ...] | None, edits: Edits) -> Activations:
        ours, theirs = jnp.split(images, 2, -1)
        mine = names and tuple(name for name in names if not name.startswith(OTHER))
        others = names and tuple(name.removeprefix(OTHER) for name in names if name.startswith(OTHER))
        found = self.forward(params, self.inputs(ours), mine, edits)
        seen = self.forward(params, self.inputs(jax.lax.stop_gradient(theirs)), others, edits)
        return found | {OTHER + name: value for name, value in seen.items()}


def _of_both(model: Model) -> Model:
    """The model of an image and a photograph, `[h w 2c]`, with the activations of both."""
    handles = (*model.handles, *(OTHER + name for name in model.handles))
    shape = (*model.image_shape[:-1], 2 * model.channels)
    forward = _Both(model.forward, model.inputs)
    return replace(model, forward=forward, inputs=INPUTS["unit"], image_shape=shape, handles=handles)

"""An ascent beside a photograph: both are seen through one transform, so that they can be compared at each step.

    ascend_beside(model, objective, photograph, …) -> Ascent
    Likeness(layer)      how far the layer goes the way of the photograph's activation
    Distance(layer)      how far it is from it

A transform moves the image at each step. An activation of the photograph as it lies would be compared with places that
have moved. Here the two are moved together, as in Lucid's `caricature.py`: they are the two halves of one image
`[h w 2c]`, and the transform changes each of them with the same key. The network sees them one after the other, and the
activations of the photograph have names of their own, such as "photograph:block3_conv1". `"image"` is the one that
climbs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxviz.ascent import recipes
from jaxviz.ascent.arguments import check_start, image_channels, image_shape, seen_shape, start_values
from jaxviz.ascent.canvases.canvas import Canvas, check_numbers, check_size
from jaxviz.ascent.climb import Ascent, ascend
from jaxviz.ascent.dead_starts import before_activation
from jaxviz.ascent.recipes.robust import has_channels
from jaxviz.ascent.transforms.transform import Chain, Transform
from jaxviz.comparisons import Direction
from jaxviz.errors import InputError
from jaxviz.model import IMAGE, Activations, Edits, Forward, Model
from jaxviz.objectives import Objective
from jaxviz.regularizers import L2
from weights_convert import INPUTS, Inputs

STILL = Chain(())  # no transform at all, while None leaves the choice to the recipe
OTHER = "photograph:"  # how the names of the photograph's activations begin


def ascend_beside(
    model: Model,
    objective: Objective,
    photograph: np.ndarray,
    *,
    canvas: Canvas,
    start: Any = None,
    transform: Transform | None = None,
    **settings: Any,
) -> Ascent:
    """An `Ascent` as `ascend` returns it, of an objective that may compare with the photograph `[h w c]`.

    Args:
        canvas: of the size of the photograph. Beside one with opacity, the photograph is opaque.
        start, transform, settings: as for `ascend`.

    Raises:
        InputError: as `ascend`, and in its words: what is checked here has the shape of one image.
    """
    shape = _shape(model, canvas)
    seen_shape(model, shape, transform)
    photograph = _opaque(photograph, shape)
    if start is not None:
        start = np.concatenate([check_start(start, 1, shape)[0], photograph], -1)
    if settings.get("relu") == "pre":
        objective = before_activation(model, objective)
    transform = None if transform is None else _Alike(transform)
    found = ascend(
        _of_both(model),
        _OfOurs(objective),
        canvas=_Beside(canvas, photograph),
        transform=transform,
        start=start,
        **settings,
    )
    return replace(found, image=found.image[..., : shape[-1]])


def recipe(model: Model, photograph: np.ndarray, given: dict[str, Any], **usual: Any) -> dict[str, Any]:
    """Arguments of `ascend`: those that were given, then the usual ones, then Lucid's at the size of the photograph.

    None stands for an argument that was not given. A start without the opacity that the canvas has is opaque.

    Raises:
        InputError: what is no canvas, a canvas of another size, or one that does not fit the network.
    """
    sides = photograph.shape[:-1] if has_channels(model) else photograph.shape
    chosen = recipes.lucid_for(model, sides) | usual
    chosen |= {name: value for name, value in given.items() if value is not None}
    check_size(chosen["canvas"])
    size = chosen["canvas"].size
    if size not in (sides, photograph.shape):
        raise InputError(
            f"the canvas has the size of the image, {list(sides)}, since they are compared place by place; given: "
            f"{list(size)}"
        )
    if chosen.get("start") is not None:
        start, shape = start_values(chosen["start"]), _shape(model, chosen["canvas"])
        chosen["start"] = _opaque(start, shape) if start.shape == photograph.shape else start
    return chosen


def _shape(model: Model, canvas: Canvas) -> tuple[int, ...]:
    """The shape of the image of a canvas."""
    return image_shape(canvas, image_channels(model, canvas))


def _opaque(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The image with the channels of `shape`, of which those that it lacks, an opacity, are 1."""
    missing = [(0, 0)] * (len(shape) - 1) + [(0, shape[-1] - image.shape[-1])]
    return np.pad(image, missing, constant_values=1)


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
class _OfOurs(Objective):
    """An objective that sees the climbing half as `"image"`."""

    objective: Any

    @property
    def layers(self) -> tuple[str, ...]:
        return self.objective.layers

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        ours = {IMAGE: _halves(activations[IMAGE])[0]} if IMAGE in activations else {}
        return self.objective({**activations, **ours})

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        *sides, both = shapes[IMAGE]
        self.objective.check({**shapes, IMAGE: (*sides, both // 2)})


@struct.dataclass
class _Alike:
    """A transform of two images at once, the halves of `[h w 2c]`, with one key."""

    transform: Any

    def __call__(self, key: jax.Array, images: jax.Array) -> jax.Array:
        return jnp.concatenate([self.transform(key, image) for image in _halves(images)], -1)


@struct.dataclass
class _Beside:
    """A canvas, and a photograph of its size behind it: its image is `[h w 2c]`, and its latent that of the canvas."""

    canvas: Any
    photograph: Any

    @property
    def size(self) -> tuple[int, ...]:
        *sides, last = own = self.canvas.size
        return own if len(own) < self.photograph.ndim else (*sides, 2 * last)

    def new(self, key: jax.Array, channels: int | None) -> Any:
        return self.canvas.new(key, channels and channels // 2)

    def of(self, image: jax.Array) -> Any:
        return self.canvas.of(_halves(image)[0])

    def __call__(self, latent: Any) -> jax.Array:
        return jnp.concatenate([self.canvas(latent), self.photograph], -1)

    def check(self, channels: int | None) -> None:
        check_numbers(self.canvas, channels and channels // 2)


def _halves(images: jax.Array) -> list[jax.Array]:
    """The climbing image and the photograph, of an image of both."""
    return jnp.split(images, 2, -1)


@dataclass(frozen=True)
class _Both:
    """A `Forward` for images `[n h w 2c]`. The photograph is never differentiated."""

    forward: Forward
    inputs: Inputs

    def __call__(self, params: Any, images: jax.Array, names: tuple[str, ...] | None, edits: Edits) -> Activations:
        ours, theirs = _halves(images)
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

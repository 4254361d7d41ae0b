"""Views: what a `Monitor` draws of a model at one step of its training.

    View  Model ─► picture, uint8 [h w 3]

Any function of that type is a view; these four are ready-made, each an existing function and a picture from `rgb`.
They are plain values: an image is given once, and stays the same image from step to step, as does the noise that
filters start from, so that whatever changes between two pictures is the model's doing. Small pictures are enlarged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxviz.ascent import recipes
from jaxviz.ascent.climb import sweep
from jaxviz.attribution.explain import Attribution
from jaxviz.errors import InputError
from jaxviz.forward_pass import activations
from jaxviz.model import Model
from jaxviz.objectives import Objective
from jaxviz.rendering import rgb
from jaxviz.targets import Target

Picture = UInt8[np.ndarray, "_ _ 3"]
View = Callable[[Model], Picture]
Explain = Callable[..., Attribution]  # (model, images, target) -> Attribution, such as `grad_cam`

SIDE = 512  # pixels: a smaller picture is enlarged, by a whole number, as far as this
ROW = 8  # images or filters in a row
STEPS = 20  # of ascent: half of the book's, enough to see a filter turn from noise into a pattern


@dataclass(frozen=True, eq=False)
class Activations:
    """All channels of a layer for one image, each standardized; a dense layer's units as squares, from 0 up.

    Args:
        image: `[h w c]` in [0, 1].
        layer: a handle of the model.
        columns: channels or units in a row.
    """

    image: Any
    layer: str
    columns: int = 16
    cmap: str = "viridis"

    def __call__(self, model: Model) -> Picture:
        values = activations(model, self.image, self.layer)[self.layer]
        if values.ndim == 3:
            return _enlarged(rgb.activation_grid(values, self.columns, self.cmap)[0])
        if values.ndim != 1:
            raise InputError(f"this view draws one image [h w c]; {self.layer} came as {list(values.shape)}")
        squares = rgb.heat(values[:, None], self.cmap)[:, None]  # [units 1 1 3]
        return _enlarged(rgb.tile(squares, self.columns, margin=0))


@dataclass(frozen=True, eq=False)
class Filters:
    """The images that some objectives like best, by a short ascent from the same noise at each step.

    Args:
        objectives: such as `channels(model, "conv2", range(16))`.
        recipe: arguments of `sweep`; None: Chollet's ascent at the network's own size (64 if it takes any), shortened.
    """

    objectives: Sequence[Objective]
    recipe: recipes.Recipe | None = None

    def __call__(self, model: Model) -> Picture:
        height, width = (side or 64 for side in model.image_shape[:2])
        recipe = recipes.chollet(size=(height, width), steps=STEPS) if self.recipe is None else self.recipe
        images = sweep(model, self.objectives, **recipe).image
        return _tiled([rgb.stretch(image) for image in images])


@dataclass(frozen=True, eq=False)
class Overlay:
    """What speaks for the target, drawn over each image: for maps `[h w]`, such as Grad-CAM's.

    Args:
        explain: `(model, images, target) -> Attribution`; `functools.partial` sets its other arguments.
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, drawn side by side.
        target: as `explain` takes it: one for all images, or a list with one for each.
    """

    explain: Explain
    image: Any
    target: Target = None
    cmap: str = "jet"
    weight: float | int = 0.4

    def __call__(self, model: Model) -> Picture:
        maps = zip(*_explained(model, self), strict=True)
        return _tiled([rgb.overlay(image, values, self.cmap, self.weight) for image, values in maps])


@dataclass(frozen=True, eq=False)
class Map:
    """The attribution alone, for each image: red speaks for the target and blue against it, white is zero.

    Each map has its own scale, which ends at a percentile of its magnitudes: one spike does not blank the rest.
    Arguments as for `Overlay`.
    """

    explain: Explain
    image: Any
    target: Target = None
    percentile: float | int = 99.5

    def __call__(self, model: Model) -> Picture:
        pictures = []
        for values in _explained(model, self)[1]:
            high = float(np.percentile(np.abs(values), self.percentile) or np.abs(values).max() or 1)
            pictures.append(rgb.heat(values, "RdBu_r", low=-high, high=high))
        return _tiled(pictures)


def _explained(model: Model, view: Overlay | Map) -> tuple[np.ndarray, np.ndarray]:
    """The images `[n h w c]` of a view and their maps `[n h w]`, summed over colours where a method has them."""
    images = model.check_images(view.image)
    images = images if images.ndim == 4 else images[None]
    values = np.asarray(view.explain(model, images, view.target).values)
    return images, values.sum(-1) if values.ndim == 4 else values


def _tiled(pictures: Sequence[Picture]) -> Picture:
    return _enlarged(rgb.tile(np.stack(pictures), min(ROW, len(pictures)), margin=1))


def _enlarged(picture: Picture) -> Picture:
    factor = max(1, SIDE // max(picture.shape[:2]))
    return picture.repeat(factor, 0).repeat(factor, 1)

"""Views: pictures of a model, which a `Monitor` draws at one step of its training.

    View  Model ─► picture, uint8 [h w 3]

Law: a view of the same model is the same picture. The image, and the noise that filters start from, stay the same from
step to step, so any difference between two pictures comes from the model.

Any function of that type is a view. The four below are ready-made; each combines an existing function with a picture
from `rendering.rgb`. They are plain values. Small pictures are enlarged.

Checklist for a new view (this file and `tests/jaxviz/test_views.py`): a frozen dataclass with `eq=False`, since its
fields may be arrays; `__call__(model)` that returns uint8 `[h w 3]` through `_enlarged` or `_tiled`; any jitted
function that it calls must take the model as an argument, so that new parameters compile nothing; a test that compares
the picture with the functions that it is made of.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import UInt8
from numpy.typing import ArrayLike

from jaxviz.ascent import recipes
from jaxviz.ascent.climb import sweep
from jaxviz.attribution.explain import Attribution
from jaxviz.errors import InputError
from jaxviz.forward_pass import activations
from jaxviz.model import Model
from jaxviz.objectives import Objective
from jaxviz.rendering import ranks, rgb
from jaxviz.structure import picture_shape
from jaxviz.targets import Target

Picture = UInt8[np.ndarray, "_ _ 3"]
View = Callable[[Model], Picture]
Explain = Callable[..., Attribution]  # (model, images, target) -> Attribution, such as `grad_cam`

SIDE = 512  # pixels: a smaller picture is enlarged by a whole number, at most to this side
TALL = 48  # pixels of height of all channels of a signal, before they are enlarged
ROW = 8  # images or filters in a row
STEPS = 20  # steps of ascent: half as many as in the book, enough to see noise turn into a pattern


@dataclass(frozen=True, eq=False)
class Activations:
    """All channels of a layer for one image, each standardized; of a dense layer a square for each unit, from 0 up.

    Args:
        image: `[h w c]` in [0, 1].
        layer: a handle of the model.
        columns: channels or units in a row.
        cmap: one of matplotlib's colour maps.
    """

    image: ArrayLike
    layer: str
    columns: int = 16
    cmap: str = "viridis"

    def __call__(self, model: Model) -> Picture:
        values = activations(model, self.image, self.layer)[self.layer]
        if np.ndim(self.image) != len(model.image_shape) or values.ndim not in (1, 2, 3, 4):
            raise InputError(
                f"this view draws one image [h w c]; given: images for which {self.layer} is {list(values.shape)}"
            )
        if values.ndim == 3:
            return _enlarged(rgb.activation_grid(values, self.columns, self.cmap)[0])
        if values.ndim > 1:  # of a signal, a row for each channel; of a volume, a row of slices
            rows = values[None] if values.ndim == 2 else np.concatenate(list(values), axis=1)
            return _enlarged(rgb.activation_grid(rows, 1, self.cmap)[0])
        squares = rgb.heat(values[:, None], self.cmap)[:, None]  # [units 1 1 3]
        return _enlarged(rgb.tile(squares, self.columns, margin=0))


@dataclass(frozen=True, eq=False)
class Filters:
    """The image that each objective likes best, by a short ascent from the same noise at each step.

    Args:
        objectives: such as `channels(model, "conv2", range(16))`.
        recipe: arguments of `sweep`. None: Chollet's ascent, shortened to 20 steps, at the network's own image size
            (64 if the network takes any size). `recipes.lucid` takes a few hundred steps for each set of pictures.
    """

    objectives: Sequence[Objective]
    recipe: recipes.Recipe | None = None

    def __call__(self, model: Model) -> Picture:
        recipe = self.recipe
        if recipe is None:
            sides = model.image_shape[:-1] if len(model.image_shape) == 3 else model.image_shape
            recipe = recipes.chollet(size=tuple(side or 64 for side in sides), steps=STEPS)
        found = sweep(model, self.objectives, **recipe)
        picture = picture_shape(model, found.image.shape[1:-1])
        pairs = zip(found.image, found.moved, strict=True)
        return _tiled([_drawn(_finding if moved else _nothing, image.reshape(picture)) for image, moved in pairs])


def _finding(image: np.ndarray, _: None) -> Picture:
    return rgb.stretch(image)


def _nothing(image: np.ndarray, _: None) -> Picture:
    return rgb.nothing(*image.shape[:2])


@dataclass(frozen=True, eq=False)
class Overlay:
    """The positive part of an attribution, drawn over each image: for maps `[h w]`, such as Grad-CAM's.

    Args:
        explain: `(model, images, target) -> Attribution`; `functools.partial` sets its other arguments.
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, drawn side by side.
        target: a class index or name, an objective, or None for the class with the highest score; one for all images,
            or a list with one for each.
        cmap: one of matplotlib's colour maps.
        weight: of the colours; the image itself has weight 1.
    """

    explain: Explain
    image: ArrayLike
    target: Target = None
    cmap: str = "jet"
    weight: float | int = 0.4

    def __call__(self, model: Model) -> Picture:
        maps = zip(*_explained(model, self), strict=True)

        def draw(image: np.ndarray, values: np.ndarray) -> Picture:
            return rgb.overlay(image, values, self.cmap, self.weight)

        return _tiled([_drawn(draw, image, values) for image, values in maps])


@dataclass(frozen=True, eq=False)
class Map:
    """The attribution alone, for each image: red speaks for the target, blue speaks against it, white is zero.

    Each map has its own scale. It ends at a percentile of the map's magnitudes, so that one spike does not make the
    rest look white.

    Args:
        explain: `(model, images, target) -> Attribution`; `functools.partial` sets its other arguments.
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, drawn side by side.
        target: a class index or name, an objective, or None for the class with the highest score; one for all images,
            or a list with one for each.
        percentile: of the magnitudes, from 0 to 100; 100 ends the scale at the largest.
    """

    explain: Explain
    image: ArrayLike
    target: Target = None
    percentile: float | int = 99.5

    def __call__(self, model: Model) -> Picture:
        pictures = []
        for image, values in zip(*_explained(model, self), strict=True):
            high = float(np.percentile(np.abs(values), self.percentile) or np.abs(values).max() or 1)
            draw = partial(_heat, high=high)
            pictures.append(_drawn(draw, image[..., :1], values))
        return _tiled(pictures)


def _heat(image: np.ndarray, values: np.ndarray, high: float) -> Picture:
    return rgb.heat(values, "RdBu_r", low=-high, high=high)


def _explained(model: Model, view: Overlay | Map) -> tuple[np.ndarray, np.ndarray]:
    """The images `[n h w c]` of a view and their maps `[n h w]`; a map with colours is summed over them."""
    images = model.check_images(view.image)
    images = images if images.ndim > len(model.image_shape) else images[None]
    picture = (len(images), *picture_shape(model, images.shape[1:-1]))
    values = np.asarray(view.explain(model, images, view.target).values)
    return images.reshape(picture), values if values.shape == picture[:-1] else values.reshape(picture).sum(-1)


def _drawn(draw: Callable[..., Picture], image: np.ndarray, values: np.ndarray | None = None) -> Picture:
    """What `draw` makes of an image `[h w c]` and its map `[h w]`.

    A signal `[t c]` is drawn as a grey row for each channel, and a volume `[d h w c]` as its slices.
    """
    if image.ndim == 2:
        rows = np.moveaxis(image, -1, 0)[..., None].repeat(max(1, TALL // image.shape[-1]), axis=0)
        return draw(rows, None if values is None else np.broadcast_to(values, rows.shape[:2]))
    if image.ndim == 4:
        picture = draw(ranks.stacked(image), None if values is None else ranks.stacked(values))
        return ranks.slices(picture, len(image))
    return draw(image, values)


def _tiled(pictures: Sequence[Picture]) -> Picture:
    return _enlarged(rgb.tile(np.stack(pictures), min(ROW, len(pictures)), margin=1))


def _enlarged(picture: Picture) -> Picture:
    factor = max(1, SIDE // max(picture.shape[:2]))
    return picture.repeat(factor, 0).repeat(factor, 1)

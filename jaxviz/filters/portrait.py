"""All that is known of one filter: its optimum and the opposite, different optima, what excites it, and what it reads.

portray(model, layer, index, images)     -> Portrait, pictures and numbers
show_filter(model, layer, index, images) -> the figure of it, by `rendering.portraits`
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from jaxviz.ascent.climb import sweep
from jaxviz.ascent.recipes import RECIPES, Style
from jaxviz.checks import near, whole
from jaxviz.errors import InputError
from jaxviz.filters.crops import crops
from jaxviz.filters.responses import check_filters
from jaxviz.filters.spectra import spectra
from jaxviz.filters.top_images import TopImages, top_images
from jaxviz.filters.weights import read
from jaxviz.groups import Diversity
from jaxviz.keys import one_key
from jaxviz.model import IMAGE, Model
from jaxviz.objectives import Channel, Objective, Unit, check_index
from jaxviz.rendering.portraits import show_portrait

if TYPE_CHECKING:
    import matplotlib.figure

__all__ = ["Portrait", "portray", "show_filter"]

APART = 0.2  # of the filter's own score: the optima of VGG16 then differ clearly, and still excite the filter


class Seen(NamedTuple):
    """What a filter sees in some images.

    Attributes:
        crops: the part `[h w c]` of each image that the filter sees where it is highest.
        score: of the filter there.
        percentile: of the images, that have this score or less.
    """

    crops: list[np.ndarray]
    score: np.ndarray
    percentile: np.ndarray


class Inputs(NamedTuple):
    """The filters of an earlier layer that a filter reads with the largest weights, the largest first.

    Attributes:
        source: the earlier layer, or "image".
        channels: how many filters it has.
        index: the numbers of its filters.
        weights: `[n h w]`, the weights of each over its positions, see `expanded_weights`.
        pictures: the optimum of each, uint8 `[h w 3]`; none for the channels of the image.
    """

    source: str
    channels: int
    index: np.ndarray  # type: ignore[assignment]  # as for `Channel`; it hides `tuple.index`
    weights: np.ndarray
    pictures: list[np.ndarray]


class Portrait(NamedTuple):
    """Pictures and numbers of one filter.

    Attributes:
        layer, index: which filter it is.
        optimum: the picture uint8 `[h w 3]` that it likes best.
        opposite: the picture with the lowest score.
        diverse: pictures that it likes and that differ from each other.
        best: the images that excite it most; None without images.
        ordinary: images at percentiles of its scores; None without images.
        inputs: what it reads.
    """

    layer: str
    index: int  # type: ignore[assignment]
    optimum: np.ndarray
    opposite: np.ndarray
    diverse: list[np.ndarray]
    best: Seen | None
    ordinary: Seen | None
    inputs: Inputs

    def __repr__(self) -> str:
        return f"<the portrait of filter {self.index} of {self.layer}>"


def portray(
    model: Model,
    layer: str,
    index: int,
    images: Any = None,
    *,
    recipe: str = "lucid",
    source: str | None = None,
    diverse: int = 4,
    inputs: int = 6,
    top: int = 8,
    key: jax.Array | None = None,
    **settings: Any,
) -> Portrait:
    """The `Portrait` of one filter: its optimum and more, what excites it in images, and what it reads.

    An optimum and the opposite are climbed on the value before the layer's activation function, `layer/pre`, if the
    layer has one: a ReLU has no opposite.

    Args:
        layer: a handle of the model; its last axis are the filters.
        index: the number of the filter.
        images: a folder, paths or arrays, as `top_images` takes them, or what it found for this layer. None: without.
        recipe: the name of a recipe, by which pictures are climbed and shown.
        source: the earlier layer whose filters it reads; None: the last convolution before `layer`, or "image", as for
            `expanded_weights`.
        diverse: how many different optima, which climb together with `Diversity`, 2 or more; 0: none.
        inputs: how many filters of `source`.
        top: how many images, where they are not those that `top_images` found.
        key: of the noise and the transforms; default `jax.random.key(0)`.
        settings: of the recipe, such as `steps` and `size`; the size is otherwise the recipe's, or the network's own
            where the layer needs that.

    Raises:
        InputError: an unknown layer, recipe or setting, an index out of range, a source that `layer` does not depend
            on, images that `top_images` refuses, or that were found for another layer.
        Interrupted: on Ctrl-C.
    """
    style = _style(model, recipe)
    check_filters(model, layer)
    check_index(layer, "filter", index, model.shapes(names=[layer])[layer][-1])
    diverse, inputs = whole("diverse", diverse, 2) if diverse else 0, whole("inputs", inputs)
    settings = style.settings(**{"size": _size(model, layer, style)} | settings)
    key = one_key(key)

    best, ordinary = (None, None) if images is None else _seen(model, layer, index, images, top)
    reads = _inputs(model, layer, index, source, inputs)
    own, others = _objective(model, layer, index, style), reads.index.tolist() if reads.source != IMAGE else []
    objectives = [1.0 * own, -1.0 * own, *(_objective(model, reads.source, i, style) for i in others)]
    (optimum, opposite, *pictures), scores = _climbed(model, style, objectives, key, settings)
    different: list[np.ndarray] = []
    if diverse:
        apart = own + APART * abs(float(scores[0])) * Diversity(layer)
        together = settings | {"group": diverse}
        different, _ = _climbed(model, style, [apart] * diverse, jax.random.fold_in(key, 1), together)
    reads = reads._replace(pictures=pictures)
    return Portrait(layer, index, optimum, opposite, different, best, ordinary, reads)


def show_filter(
    model: Model, layer: str, index: int, images: Any = None, **settings: Any
) -> "matplotlib.figure.Figure":
    """A Figure of one filter: its optimum and more, what excites it in images, and what it reads.

    Args:
        layer: a handle of the model; its last axis are the filters.
        index: the number of the filter.
        images: a folder, paths or arrays, as `top_images` takes them, or what it found for this layer. None: without.
        settings: those of `portray`: `recipe` and its settings, `source`, `diverse`, `inputs`, `top` and `key`.

    Raises:
        InputError: as `portray`.
        Interrupted: on Ctrl-C.
    """
    return show_portrait(portray(model, layer, index, images, **settings))


def _style(model: Model, recipe: str) -> Style:
    """The style of a recipe.

    Raises:
        InputError: there is none of this name, or the network takes no images `[h w c]`.
    """
    if recipe not in RECIPES:
        raise InputError(f"no recipe {recipe!r}: {near(recipe, RECIPES)}there are {', '.join(RECIPES)}")
    if len(model.image_shape) != 3:
        raise InputError(
            f"a portrait has pictures [h w c], and this network takes {list(model.image_size())}: use sweep, "
            "top_images and expanded_weights, and draw their arrays"
        )
    return RECIPES[recipe]


def _size(model: Model, layer: str, style: Style) -> int | tuple[int, ...]:
    """The size of a recipe's pictures, or the network's own, where the layer does not run at that."""
    try:
        model.shapes(style.size, [layer])
    except InputError:
        return model.image_size()[:-1]
    return style.size


def _seen(model: Model, layer: str, index: int, images: Any, top: int) -> tuple[Seen, Seen]:
    """What a filter sees in its best images and in ordinary ones.

    Raises:
        InputError: images that `top_images` refuses, or that were found for another layer.
    """
    found = images if isinstance(images, TopImages) else top_images(model, images, layer, top=top)
    if found.layer != layer:
        raise InputError(f"images must be those that top_images found for {layer}; given: for {found.layer}")
    spectrum = spectra(found)
    best = Seen(crops(model, found, index), found.score[index], np.full(found.score.shape[1], 100.0))
    return best, Seen(crops(model, found, index, spectrum), spectrum.score[index], spectrum.percentile)


def _inputs(model: Model, layer: str, index: int, source: str | None, count: int) -> Inputs:
    """The filters of the source with the largest weights, by their norms; without their pictures."""
    layer = _before(model, layer)  # a softmax is not linear
    source, weights = read(model, layer, index, source)
    places = weights.shape[:-1]
    maps = np.moveaxis(weights.reshape(*(1,) * (2 - len(places)), *weights.shape), -1, 0)  # of units, 1 × 1
    size = np.linalg.norm(maps.reshape(len(maps), -1), axis=1)
    largest = np.argsort(-size, kind="stable")[: min(count, max(1, np.count_nonzero(size)))]
    return Inputs(source, len(maps), largest, maps[largest], [])


def _objective(model: Model, layer: str, index: int, style: Style) -> Objective:
    """One filter before the layer's activation function."""
    layer = _before(model, layer)
    units = len(model.shapes(names=[layer])[layer]) == 1
    return Unit(layer, index) if units else Channel(layer, index, style.border)


def _before(model: Model, layer: str) -> str:
    """The handle of a layer before its activation function, if it has one."""
    return f"{layer}/pre" if f"{layer}/pre" in model.handles else layer


def _climbed(
    model: Model, style: Style, objectives: list[Objective], key: jax.Array, settings: dict[str, Any]
) -> tuple[list[np.ndarray], np.ndarray]:
    """The picture of each objective, as the recipe shows it, and its last score."""
    found = sweep(style.feed(model), objectives, key=key, **settings)
    return list(style.pictures(found)), found.scores[:, -1]

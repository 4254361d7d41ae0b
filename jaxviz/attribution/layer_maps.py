"""The layers that a CAM looks at, and what it does with them: edit one, enlarge its map, join the maps of several."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxviz.compiling.jaxprs import depends
from jaxviz.errors import InputError
from jaxviz.model import IMAGE, Activations, Model
from jaxviz.objectives import Objective

Layers = str | Sequence[str] | None  # one layer, several, or None for the last convolution
Shape = tuple[int, ...]

AGAINST = (
    "everything that the layer sees speaks against the target, so the positive part is empty. "
    "relu=False shows the map with its sign"
)


def edited_score(
    model: Model, image: jax.Array, objective: Objective, layer: str, edit: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The score of one image with `edit` `[h w k]` added to the activation of `layer`, and that activation."""
    found = _edited(model, image, (layer, *objective.layers), layer, edit)
    return objective(found), found[layer]


def _edited(model: Model, image: jax.Array, names: Sequence[str], layer: str, edit: jax.Array) -> Activations:
    return model(image, names, {layer: lambda activation: activation + edit[None].astype(activation.dtype)})


def enlarged(values: jax.Array, size: Shape, relu: bool) -> jax.Array:
    """A map `[h w]` of a layer at the image's size."""
    return jax.image.resize(jax.nn.relu(values) if relu else values, size, "bilinear")


def fuse(maps: Sequence[jax.Array]) -> jax.Array:
    """The maps of several layers, each divided by its largest magnitude, averaged; a single one as it is."""
    if len(maps) == 1:
        return maps[0]
    tiny = jnp.finfo(maps[0].dtype).tiny
    return jnp.stack([each / jnp.maximum(jnp.abs(each).max(), tiny) for each in maps]).mean(0)


def seen_layers(
    model: Model, objective: Objective, layer: Layers, size: tuple[int, int]
) -> tuple[tuple[str, Shape], ...]:
    """(name, shape `[h w k]`) of the layers to look at, for images of `size`.

    Raises:
        InputError: no or an unknown layer, one without maps, or no convolution where `layer` is None.
    """
    if layer is None:
        found = [_last_convolution(model, objective, size)]
    else:
        names = [layer] if isinstance(layer, str) or not np.iterable(layer) else list(layer)
        if not names:
            raise InputError("a CAM needs at least one layer: give names, or None for the last convolution; given: []")
        found = list(model.shapes(size, [model.check_layer(name) for name in names]).items())
    for name, shape in found:
        if len(shape) != 3:
            raise InputError(f"a CAM needs a layer with maps [h w c]; given: {name}, {list(shape)}")
    return tuple(found)


def last_convolution(model: Model, objective: Objective) -> str:
    """The name of the last convolution that `objective` depends on; among them, one larger than 1 × 1 if there is any.

    A head may convolve what is left after pooling, 1 × 1 pixels; and where a network has several heads, the last
    convolution may belong to another head.

    Raises:
        InputError: there is none.
    """
    height, width, _ = model.image_size()
    return _last_convolution(model, objective, (height, width))[0]


def _last_convolution(model: Model, objective: Objective, size: tuple[int, int]) -> tuple[str, Shape]:
    ends = tuple(name for name in objective.layers if name != IMAGE)
    last = max((model.handles.index(name) for name in ends), default=-1)
    kinds = {row.name: row.kind for row in model.table}
    shapes = model.shapes(size, [name for name in model.handles[: last + 1] if "Conv" in kinds.get(name, "")])
    image = jnp.zeros((*size, model.image_shape[2]))
    all_lead_there = len(model.outputs) == 1 and {model.output, model.scores}.issuperset(ends)
    for name in sorted(shapes, key=lambda name: (shapes[name][:-1] == (1, 1), -model.handles.index(name))):
        edited = partial(_edited, model, image, ends, name)
        if all_lead_there or depends(edited, jax.ShapeDtypeStruct(shapes[name], jnp.float32)):
            return name, shapes[name]
    raise InputError("there is no convolution before the target: name the layer, layer=…")


def check_dependence(model: Model, image: jax.Array, objective: Objective, layer: str, shape: Shape) -> None:
    """Refuse a layer that has no connection to the target. For traced code: it traces the network once more.

    Raises:
        InputError: the target does not depend on the layer.
    """
    if not depends(lambda edit: edited_score(model, image, objective, layer, edit)[0], jnp.zeros(shape)):
        raise InputError(f"the target, {', '.join(objective.layers)}, does not depend on {layer}")

"""The layers that a CAM looks at, and what it does with them: edit one, enlarge its map, join the maps of several.

Where the map of a layer lies in the image is settled in `jaxviz.geometry`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxviz.errors import InputError, warn
from jaxviz.geometry import Place, place
from jaxviz.model import IMAGE, Activations, Model, check_real
from jaxviz.objectives import Objective
from jaxviz.structure import Structure, structure
from jaxviz.tokens import WAY, Tokens, tokens_of

Layers = str | Sequence[str] | None  # one layer, several, or None for the last convolution
Shape = tuple[int, ...]
AXES = {1: "t", 2: "h w", 3: "d h w"}  # the places of a signal, an image and a volume

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


def turned(activation: jax.Array, where: Place | Tokens | None) -> jax.Array:
    """The activation of a layer, or a gradient, as `[h w k]`, also of a layer laid out as `[k h w]` or `[tokens k]`."""
    return activation if where is None else where.turned(activation)


def enlarged(values: jax.Array, size: Shape, relu: bool, where: Place | Tokens | None) -> jax.Array:
    """A map `[h w]` of a layer at the image's size; 0 where the layer does not see the image.

    Axes of length 1 that the image does not have are dropped.
    """
    values = jax.nn.relu(values) if relu else values
    if where is None:
        return jax.image.resize(values.reshape(without_extra(values.shape, len(size))), size, "bilinear")
    return where.enlarge(values) * where.shown


def enlarged_channels(activation: jax.Array, size: Shape, where: Place | Tokens | None) -> jax.Array:
    """The channels of an activation `[h w k]` at the image's size; those at the edge of what it sees are repeated."""
    if where is None:
        *lengths, channels = activation.shape
        maps = activation.reshape(*without_extra(tuple(lengths), len(size)), channels)
        return jax.image.resize(maps, (*size, channels), "bilinear")
    return where.enlarge(activation)


def without_extra(shape: Shape, axes: int) -> Shape:
    """`shape` with as many of its lengths of 1 left out as it has more than `axes`."""
    for _ in range(len(shape) - axes):
        if 1 in shape:
            at = shape.index(1)
            shape = shape[:at] + shape[at + 1 :]
    return shape


def fuse(maps: Sequence[jax.Array]) -> jax.Array:
    """The maps of several layers, each divided by its largest magnitude, averaged; a single one as it is."""
    if len(maps) == 1:
        return maps[0]
    tiny = jnp.finfo(maps[0].dtype).tiny
    return jnp.stack([each / jnp.maximum(jnp.abs(each).max(), tiny) for each in maps]).mean(0)


class Looked(NamedTuple):
    """The layers that a CAM looks at: (name, shape) of each, the place of each map in the image, and the picture.

    The picture is the shape `[h w c]` of an image with places and channels, see `structure.picture_shape`.
    """

    layers: tuple[tuple[str, Shape], ...]
    places: tuple[Place | Tokens | None, ...]
    picture: Shape


def seen_layers(model: Model, objective: Objective, layer: Layers, size: Shape) -> Looked:
    """The layers to look at, for images of `size`. A warning says so, if the place of one in the image is not known.

    Raises:
        InputError: no or an unknown layer, one without maps, one that does not depend on the image or that the target
            does not depend on, or no convolution where `layer` is None.
    """
    if layer is None:
        network = before(model, objective, (), size)
        names: tuple[str, ...] = (_usual_layer(model, network, objective),)
    else:
        names = model.check_layers([layer] if isinstance(layer, str) or not np.iterable(layer) else layer)
        if not names:
            raise InputError("a CAM needs at least one layer: give names, or None for the last convolution; given: []")
        network = before(model, objective, names, size)
    check_real({name: network.structs[name] for name in names})
    grid = network.picture[:-1]
    for name in names:
        if not _is_map(network, name) and _tokens(model, network, name) is None:
            way = f". If it has tokens, {WAY}" if len(network.shapes[name]) == 2 and len(grid) == 2 else ""
            raise InputError(
                f"a CAM needs a layer with maps [{AXES.get(len(grid), '…')} c]; given: {name}, "
                f"{list(network.shapes[name])}, for an image of {list(grid)}. jv.gradient and jv.occlusion take none"
                f"{way}"
            )
        if name not in network.seen:
            raise InputError(
                f"a CAM needs a layer that sees the explained image, and {name} depends on other inputs only; "
                f"layers that see it: {', '.join(each for each in network.convolutions if each in network.seen)}"
            )
        if not leads_to(network, name, objective):
            raise InputError(f"the target, {', '.join(objective.layers)}, does not depend on {name}")
    return Looked(
        layers=tuple((name, network.shapes[name]) for name in names),
        places=tuple(_tokens(model, network, name) or _place(network, name) for name in names),
        picture=network.picture,
    )


def _tokens(model: Model, network: Structure, name: str) -> Tokens | None:
    """The place of a layer `[tokens c]`, if it is one and if it is known."""
    shape = network.shapes[name]
    return tokens_of(model, network, shape[0]) if len(shape) == 2 else None


def _usual_layer(model: Model, network: Structure, objective: Objective) -> str:
    return _last_tokens(model, network, objective) or _last_convolution(network, objective)


def _last_tokens(model: Model, network: Structure, objective: Objective) -> str | None:
    """The last layer `[tokens c]` that the last attention reads; None if a convolution comes after that attention."""
    read = network.attended
    if not set(network.convolutions) <= read:
        return None
    for name in reversed(network.shapes):
        if name in read & network.seen and _tokens(model, network, name) and leads_to(network, name, objective):
            return name
    return None


def _place(network: Structure, name: str) -> Place | None:
    found, why = place(network, name, network.picture[:-1])
    if why:
        warn(
            f"the map of {name} is stretched over the whole image, and may show the wrong place: where its positions "
            f"lie in the image is not known, because {why}. A layer before that has a place: give its name, layer=…"
        )
    return found


def last_convolution(model: Model, objective: Objective) -> str:
    """The name of the last convolution between the image and `objective`, or the end of its block.

    A layer is a convolution if it convolves, whatever it is called. It must depend on the image, not only on another
    input of the network, and the target must depend on it. There are three exceptions to "last":

    - A head may convolve after pooling, where a map is one pixel. A convolution with larger maps is preferred.
    - The projection of a residual block's shortcut, a 1 × 1 convolution, may run last. It sees little; the end of the
      block, where both paths have been added, is preferred.

    - In a transformer, attention comes after all convolutions. The last layer of tokens that an attention reads is
      preferred; after it, the score often depends on the class token alone.

    Raises:
        InputError: there is none.
    """
    return _usual_layer(model, before(model, objective, (), model.image_size()[:-1]), objective)


def before(model: Model, objective: Objective, names: Sequence[str], size: Shape) -> Structure:
    """The structure of the network up to `objective` and the layers `names`."""
    last = max((model.handles.index(name) for name in (*objective.layers, *names) if name != IMAGE), default=-1)
    return structure(model, model.handles[: last + 1], size)


def leads_to(network: Structure, name: str, objective: Objective) -> bool:
    """Whether `objective` depends on the layer `name`."""
    return bool({name, *network.after(name)}.intersection(objective.layers))


def _is_map(network: Structure, name: str) -> bool:
    """Whether a layer has maps of the places of the image."""
    shape, axes = network.shapes[name], len(network.picture) - 1
    return len(shape) > 1 and len(without_extra(shape[:-1], axes)) == axes


def _last_convolution(network: Structure, objective: Objective) -> str:
    found = [
        name
        for name in network.convolutions
        if name in network.seen and _is_map(network, name) and leads_to(network, name, objective)
    ]
    if not found:
        other = [f"{name} {list(network.shapes[name])}" for name in network.convolutions if name in network.seen]
        maps = f" that has a place for each of the image's, {list(network.picture[:-1])}" if other else ""
        given = f"; given: {', '.join(other)}" if other else ""
        raise InputError(
            f"there is no convolution between the image and the target{maps}: name a layer with maps, layer=…, or use "
            f"a method that needs none, such as jv.gradient or jv.occlusion{given}"
        )
    large = [name for name in found if set(network.shapes[name][:-1]) != {1}]
    last = (large or found)[-1]
    return _block_end(network, last, found) if last in network.pointwise else last


def _block_end(network: Structure, last: str, found: Sequence[str]) -> str:
    """Of the projection of a shortcut, the layer that adds it to the other path of its block; or else `last` itself."""
    shape, after = network.shapes[last], network.after(last)
    for other in reversed(found):
        beside = other != last and last not in network.after(other) and other not in after
        if beside and network.shapes[other] == shape:
            ends = after & network.after(other)
            return next((name for name, each in network.shapes.items() if name in ends and each == shape), last)
    return last

"""What an atlas will hold, and the chunks of work that make it: nothing is computed.

    plan(model, …) -> Plan: the manifest, the parts of the store, and the chunks

Law: the chunks are independent of each other, and each filter is in one of them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxviz.ascent.arguments import image_channels, image_shape, seen_shape
from jaxviz.ascent.held import DRAWS, PERTURBED
from jaxviz.ascent.recipes.style import Style
from jaxviz.atlases import photographs
from jaxviz.atlases.layout import Kind, Part, of_crops, of_layer
from jaxviz.atlases.manifest import described, recipe_style
from jaxviz.compiling.draws import folded
from jaxviz.errors import InputError
from jaxviz.geometry import receptive_field
from jaxviz.keys import one_key
from jaxviz.model import Model, check_real
from jaxviz.objectives import Objective, Unit
from jaxviz.structure import structure


class Chunk(NamedTuple):
    """Filters `start` to `stop - 1` of a layer, the one of this number in the atlas: their ascents, or their crops.

    The crops of a layer are one chunk, since each photograph is seen by all its filters at once.
    """

    layer: int
    start: int
    stop: int
    crops: bool = False

    @property
    def path(self) -> str:
        """The part of the store that it belongs to."""
        return of_crops(self.layer) if self.crops else of_layer(self.layer)


class Plan(NamedTuple):
    """An atlas that is to be made.

    Attributes:
        manifest: what decides the numbers in it, as JSON.
        parts: of the store: a layer each, and its crops.
        chunks: of work, layer by layer, so that a layer is compiled once.
        costs: about how long each chunk takes, in no unit.
        files: the names of the photographs.
    """

    manifest: Mapping[str, Any]
    parts: tuple[Part, ...]
    chunks: tuple[Chunk, ...]
    costs: tuple[float, ...]
    files: Sequence[str] | None

    def share(self, index: int, count: int) -> tuple[Chunk, ...]:
        """The chunks of the job number `index` of `count`: neighbours, of about the same cost in each job."""
        middle = np.cumsum(self.costs) - np.array(self.costs) / 2
        job = np.minimum((middle / max(sum(self.costs), 1e-300) * count).astype(int), count - 1)
        return tuple(chunk for chunk, its in zip(self.chunks, job, strict=True) if its == index)

    @property
    def size(self) -> int:
        """The bytes of all arrays, before compression."""
        return sum(
            part.filters * np.dtype(kind.dtype).itemsize * math.prod(kind.shape)
            for part in self.parts
            for kind in part.arrays.values()
        )


def plan(
    model: Model,
    layers: Sequence[str] | None,
    *,
    recipe: str,
    settings: Mapping[str, Any],
    key: jax.Array | None,
    robust: bool,
    latent: bool,
    files: Sequence[str] | None,
    chunk: int,
) -> Plan:
    """The `Plan` of an atlas of a model; the arguments are those of `atlas`.

    Raises:
        InputError: an unknown layer or recipe, a setting that the recipe does not have, a network that takes no images
            `[h w c]`, or images that are too small for a layer.
    """
    style, key = recipe_style(recipe), one_key(key)
    arguments = style.settings(**settings)
    if len(model.image_shape) != 3:
        takes = " × ".join(str(side or "any") for side in model.image_shape)
        raise InputError(f"an atlas is of a network that takes images [h w c]; this one takes {takes}")
    channels = image_channels(model, arguments["canvas"])
    shape = image_shape(arguments["canvas"], channels)
    names = convolutions(model) if layers is None else _checked(model, layers)
    manifest = {
        **described(model, recipe, settings, key),
        "layers": list(names),
        "size": list(shape[:2]),
        "steps": arguments["steps"],
        "robust": robust,
        "latent": latent,
        "images": None if files is None else photographs.described(files),
        "chunk": chunk,
    }
    height, width = (side - 2 * style.crop for side in shape[:2])
    arrays = {
        "image": Kind((height, width, 3), "uint8"),
        "exact": Kind(shape, "uint8"),
        "scores": Kind((arguments["steps"],), "float32"),
    }
    if robust:
        arrays["robust"] = Kind((), "float32")
    if latent:
        arrays["latent"] = _latent(arguments["canvas"], channels)
    seen = seen_shape(model, shape, arguments.get("transform"))
    held = _held(model, (height, width, model.channels)) if robust else None
    layer_costs = _costs(model, names)
    pixels = math.prod(shape[:2]) / math.prod(model.image_size()[:2])
    parts, chunks, costs = [], [], []
    for number, name in enumerate(names):
        part = _part(model, name, of_layer(number), seen, arrays)
        if held is not None:
            try:
                _fits(model, name, held)
            except InputError as error:
                raise InputError(f"{error}; the held score needs that much {LESS}") from error
        parts.append(part)
        for start in range(0, part.filters, chunk):
            chunks.append(Chunk(number, start, min(start + chunk, part.filters)))
            forward = layer_costs[name] * pixels * (chunks[-1].stop - start)
            costs.append(forward * (3 * arguments["steps"] + (DRAWS if robust else 0)))  # backward costs two forward
        if files is not None:
            found, rows = manifest["images"]["top"], part.filters
            parts.append(Part(of_crops(number), rows, photographs.arrays(found), {}))
            chunks.append(Chunk(number, 0, rows, crops=True))
            costs.append(layer_costs[name] * len(files))
    return Plan(manifest, tuple(parts), tuple(chunks), tuple(costs), files)


LESS = "after it has cut 12 pixels off a picture: choose a larger size, or robust=False"


def _held(model: Model, picture: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a picture as the held score sees it.

    Raises:
        InputError: nothing is left of it.
    """
    try:
        return seen_shape(model, picture, PERTURBED)
    except InputError as error:
        raise InputError(f"a picture of {picture[0]} × {picture[1]} has nothing left {LESS}") from error


def _latent(canvas: Any, channels: int | None) -> Kind:
    """What the store holds of the latent of a canvas.

    Raises:
        InputError: it is not one array.
    """
    leaves = jax.tree.leaves(jax.eval_shape(lambda key: canvas.new(key, channels), jax.random.key(0)))
    if len(leaves) != 1:
        raise InputError(f"the latent of this canvas is {len(leaves)} arrays, and an atlas keeps one: latent=False")
    return Kind(leaves[0].shape, str(leaves[0].dtype))


def _costs(model: Model, names: Iterable[str]) -> dict[str, float]:
    """About how many products a forward pass to each layer takes: those of all layers before it, in their order.

    The layer itself does not count, since an ascent computes one of its channels; unless it is the first.
    """
    found, before = {}, 0
    for name, products in structure(model, model.layers, model.image_size()[:-1]).products.items():
        found[name] = float(before or products or 1)
        before += products
    return {name: found.get(name.removesuffix("/pre"), float(before or 1)) for name in names}


def _fits(model: Model, name: str, seen: tuple[int, ...]) -> tuple[int, ...] | None:
    """The size at which a layer is computed for images of shape `seen`; None: the network's own.

    Raises:
        InputError: the images are too small for it.
    """
    size = None if model.needs_own_size(name, seen) else seen[:-1]
    model.shapes(size, [name])
    return size


def convolutions(model: Model) -> tuple[str, ...]:
    """The layers that convolve, in the order of the network.

    Raises:
        InputError: there are none.
    """
    found = structure(model, model.layers, model.image_size()[:-1]).convolutions
    if not found:
        raise InputError(f"no layer of this network convolves: name layers; it has {', '.join(model.layers)}")
    return found


def _checked(model: Model, layers: Iterable[str]) -> tuple[str, ...]:
    """
    Raises:
        InputError: no layers, or one that is unknown, named twice, or without filters.
    """
    if isinstance(layers, str):
        raise InputError(f"layers are a list, such as [{layers!r}]; given: {layers!r}")
    names = tuple(model.check_layer(name) for name in layers)
    if not names or len(set(names)) < len(names):
        raise InputError(f"layers are a list of one or more names, each once; given: {list(names)}")
    found = model.structs(names=names)
    check_real(found)
    for name, each in found.items():
        if not each.shape:
            raise InputError(f"{name} is a single number, so it has no filters; take a layer [h w k] or [units]")
    return names


def _part(model: Model, name: str, path: str, seen: tuple[int, ...], arrays: Mapping[str, Kind]) -> Part:
    (shape,) = model.shapes(names=[name]).values()
    size = _fits(model, name, seen)
    base = name.removesuffix("/pre")
    position = model.layers.index(base) if base in model.layers else None
    try:
        field: Any = receptive_field(model, name, size)._asdict()
    except InputError:  # it does not depend on the image, or has no field of one size
        field = None
    attributes = {
        "name": name,
        "kind": "" if position is None else model.table[position].kind,
        "position": position,
        "filters": shape[-1],
        "receptive_field": field,
    }
    return Part(path, shape[-1], arrays, attributes)


def objectives(model: Model, style: Style, layer: str, filters: Iterable[int]) -> list[Objective]:
    """The objectives of filters of a layer: its channels, or its units, as the recipe's source has them."""
    (shape,) = model.shapes(names=[layer]).values()
    if len(shape) > 1:
        return style.objectives(model, layer, filters)
    return [style.penalized(Unit(layer, index)) for index in filters]


def keys_of_filters(model: Model, key: jax.Array, layer: str, filters: Sequence[int]) -> jax.Array:
    """A key for each filter, by its layer's place among all handles of the model and by its own number."""
    of_layer = jax.random.fold_in(key, model.handles.index(layer))
    return folded(of_layer, np.array(filters))

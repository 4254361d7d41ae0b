"""What an atlas holds, and the chunks of work that make it: all from the model and the manifest, nothing is computed.

    plan(model, …) -> Plan: the manifest, one Part of the store for each layer, and the chunks

Law: two plans with equal manifests make equal bits. So the manifest has whatever decides a number in the store (the
parameters, the preprocessing, the recipe and its settings, the key, the chunks), and a worker needs the model and the
store only.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxviz.ascent.arguments import image_channels, image_shape, seen_shape
from jaxviz.ascent.recipes.style import RECIPES, Recipe, Style
from jaxviz.atlases.store import Kind, Part, of_layer
from jaxviz.checks import near
from jaxviz.errors import InputError
from jaxviz.geometry import receptive_field
from jaxviz.keys import one_key
from jaxviz.model import Model
from jaxviz.objectives import Objective, Unit
from jaxviz.structure import structure

RECIPE = "lucid"


class Chunk(NamedTuple):
    """Filters `start` to `stop - 1` of a layer, the one of this number in the atlas."""

    layer: int
    start: int
    stop: int


class Plan(NamedTuple):
    """An atlas that is to be made.

    Attributes:
        manifest: what decides the numbers in it, as JSON.
        parts: a layer each.
        chunk: filters that are computed and written together.
    """

    manifest: Mapping[str, Any]
    parts: tuple[Part, ...]

    @property
    def chunks(self) -> list[Chunk]:
        """All chunks, layer by layer, so that a layer is compiled once."""
        size = self.manifest["chunk"]
        return [
            Chunk(number, start, min(start + size, part.filters))
            for number, part in enumerate(self.parts)
            for start in range(0, part.filters, size)
        ]


class How(NamedTuple):
    """How the filters of an atlas are climbed, as its manifest says."""

    style: Style
    settings: Recipe  # arguments of `sweep`
    key: jax.Array


def how(manifest: Mapping[str, Any]) -> How:
    """
    Raises:
        InputError: a recipe that is not known here.
    """
    given = dict(manifest["recipe"])
    style = recipe_style(given.pop("name"))
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    words = manifest["key"]
    key = jax.random.wrap_key_data(jnp.array(words["data"], jnp.uint32), impl=words["kind"])
    return How(style, style.settings(**given), key)


def plan(
    model: Model,
    layers: Sequence[str] | None,
    *,
    recipe: str,
    settings: Mapping[str, Any],
    key: jax.Array | None,
    robust: bool,
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
    shape = image_shape(arguments["canvas"], image_channels(model, arguments["canvas"]))
    names = convolutions(model) if layers is None else _checked(model, layers)
    numbers = {name: value for name, value in (style.defaults | dict(settings)).items() if name != "start"}
    manifest = {
        "model": {
            "source": model.source,
            "sha256": model.sha256,
            "parameters": fingerprint(model.params),
            "inputs": _inputs(model),
            "execution": {
                name: getattr(model.execution, name) for name in ("dtype", "precision", "winograd", "rewrite")
            },
        },
        "layers": list(names),
        "recipe": {"name": recipe, **{name: _plain(recipe, name, value) for name, value in numbers.items()}},
        "size": list(shape[:2]),
        "steps": arguments["steps"],
        "key": {"kind": str(jax.random.key_impl(key)), "data": jax.random.key_data(key).tolist()},
        "robust": robust,
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
    seen = seen_shape(model, shape, arguments.get("transform"))
    return Plan(manifest, tuple(_part(model, name, of_layer(i), seen, arrays) for i, name in enumerate(names)))


def recipe_style(name: str) -> Style:
    """
    Raises:
        InputError: there is no such recipe.
    """
    if name not in RECIPES:
        raise InputError(f"no recipe {name!r}: {near(name, RECIPES)}there are {', '.join(RECIPES)}")
    return RECIPES[name]


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
    for name, shape in model.shapes(names=names).items():
        if not shape:
            raise InputError(f"{name} is a single number, so it has no filters; take a layer [h w k] or [units]")
    return names


def _part(model: Model, name: str, path: str, seen: tuple[int, ...], arrays: Mapping[str, Kind]) -> Part:
    (shape,) = model.shapes(names=[name]).values()
    size = None if model.needs_own_size(name, seen) else seen[:-1]
    model.shapes(size, [name])  # an InputError says which size fits
    base = name.removesuffix("/pre")
    position = model.layers.index(base) if base in model.layers else None
    try:
        field: Any = receptive_field(model, name, size)._asdict()
    except InputError:  # it does not depend on the image
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
    return jax.vmap(jax.random.fold_in, (None, 0))(of_layer, jnp.array(filters))


def fingerprint(params: Any) -> str:
    """The SHA-256 of parameters: of their names, types, shapes and values."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        values = jax.random.key_data(leaf) if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key) else leaf
        array = np.asarray(values)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _inputs(model: Model) -> dict[str, Any]:
    inputs = model.inputs
    return {
        "name": inputs.name,
        "scale": inputs.scale,
        "mean": list(inputs.mean),
        "std": list(inputs.std),
        "reverse": inputs.reverse,
    }


def _plain(recipe: str, name: str, value: Any) -> Any:
    """A setting of a recipe as JSON has it: numbers, words, and lists of them.

    Raises:
        InputError: it is something else, such as an array.
    """
    value = list(value) if isinstance(value, tuple) else value
    try:
        return json.loads(json.dumps(value, default=lambda number: number.item()))
    except (TypeError, ValueError, AttributeError):
        raise InputError(
            f"a setting of a recipe in an atlas is a number or a word, since its manifest is text; given: "
            f"{name}={value!r} of {recipe}"
        ) from None


def differences(there: Mapping[str, Any], ours: Mapping[str, Any], where: str = "") -> list[str]:
    """Each entry in which two manifests differ, as "recipe.steps is 40 there, 30 here"; `made` says nothing."""
    found = []
    for name in dict.fromkeys((*there, *ours)):
        if not where and name in ("made", "format"):
            continue
        a, b = there.get(name), ours.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{where}{name}.")
        elif a != b:
            found.append(f"{where}{name} is {_brief(a)} there, {_brief(b)} here")
    return found


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"

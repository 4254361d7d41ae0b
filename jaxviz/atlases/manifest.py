"""The manifest of an atlas: whatever decides a number in it, as text.

    described(model, recipe, …) -> what it says of the model, the recipe and the key
    how(manifest) -> the recipe and the key again, so that a worker needs the model and the store only
    differences(there, ours) -> sentences

Law: two atlases with equal manifests have equal bits, if the same versions on the same platform made them. What made
them is in the entry `made`, which decides nothing.
"""

import datetime
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxviz.ascent.recipes.style import RECIPES, Recipe, Style
from jaxviz.checks import near
from jaxviz.errors import InputError
from jaxviz.model import Model


def described(model: Model, recipe: str, settings: Mapping[str, Any], key: jax.Array) -> dict[str, Any]:
    """The entries of the manifest that say which model, which recipe and which key.

    Raises:
        InputError: an unknown recipe, a start, or a setting that is no number or word.
    """
    if settings.get("start") is not None:
        raise InputError("each filter of an atlas starts as its recipe says: leave `start` out, or use jv.sweep")
    numbers = {name: value for name, value in {**recipe_style(recipe).defaults, **settings}.items() if name != "start"}
    options = ("dtype", "precision", "winograd", "rewrite")
    return {
        "model": {
            "source": model.source,
            "sha256": model.sha256,
            "parameters": fingerprint(model.params),
            "inputs": _inputs(model),
            "execution": {name: getattr(model.execution, name) for name in options},
            **_interventions(model),
        },
        "recipe": {"name": recipe, **{name: _plain(recipe, name, value) for name, value in numbers.items()}},
        "key": {"kind": str(jax.random.key_impl(key)), "data": jax.random.key_data(key).tolist()},
    }


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


def recipe_style(name: str) -> Style:
    """
    Raises:
        InputError: there is no such recipe.
    """
    if name not in RECIPES:
        raise InputError(f"no recipe {name!r}: {near(name, RECIPES)}there are {', '.join(RECIPES)}")
    return RECIPES[name]


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


def _interventions(model: Model) -> dict[str, Any]:
    """What an edited model has besides its parameters; nothing of any other, so that manifests stay as they were."""
    said = [[type(each).__name__, each.layer, fingerprint(each)] for each in model.interventions]
    return {"interventions": said} if said else {}


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


def made() -> dict[str, Any]:
    """With what, where and when an atlas was begun."""
    packages = ("jaxviz-engine", "jax", "jaxlib", "flax", "numpy", "zarr")
    device = jax.local_devices()[0]
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.local_device_count(),
        "machine": platform.platform(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"

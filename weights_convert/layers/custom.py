"""Layers of the caller's own, in place of code that a file may not bring: a function, or a Flax module.

A function takes the inputs of the layer, `x -> y`; if the file has weights for the layer, it takes them first,
`(weights, x) -> y`. A function with an argument named `config` also gets the layer's options from the file, a dict.
The weights of a Flax module, nnx or linen, are replaced by those of the file: by name if both have the same names, and
otherwise in the order in which the module makes them. Then the shapes must agree.
"""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from . import options as o
from .kind import Config, Kind, Shape
from .options import Option

WITH_WEIGHTS = "Custom with weights"
"""The kind of a layer that computes what the caller gave, with weights from the file."""

Shapes = tuple[tuple[str, tuple[int, ...]], ...]

# What Keras and Flax call the same weight of a layer.
SAME = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}


class Weights(dict[str, Array]):
    """{name in the file: array} in the file's order; `weights[0]` is the first one."""

    def __missing__(self, key: object) -> Array:
        if type(key) is not int or not -len(self) <= key < len(self):
            raise KeyError(f"the file has no weight {key!r} for this layer; it has {', '.join(self) or 'none'}")
        return list(self.values())[key]


class Own(nnx.Module):
    """A layer that computes `function(weights, *inputs)` with the weights of the file."""

    def __init__(self, function: Callable[..., Array], weights: Shapes):
        self.function = function
        self.names = tuple(name for name, _ in weights)
        for number, (_, shape) in enumerate(weights):  # a name from a file could hide an attribute of the module
            setattr(self, attribute(number), nnx.Param(jnp.zeros(shape)))

    def __call__(self, *xs: Array) -> Array:
        """The output for the inputs [n ...]."""
        return self.function(
            Weights({name: getattr(self, attribute(number))[...] for number, name in enumerate(self.names)}), *xs
        )


def attribute(number: int) -> str:
    """The name of the attribute of `Own` that holds this weight."""
    return f"weight_{number}"


def bound(given: Any, settings: str, count: int, weights: Sequence[str]) -> Callable[..., Array]:
    """What the caller gave, as a function of the `count` inputs of a layer; of (weights, *inputs) if it has weights.

    Args:
        given: a function or a Flax module.
        settings: the layer's options in the file, as JSON.
        count: how many inputs the layer has.
        weights: the names of the weights that the file has for it.

    Raises:
        ValueError: the function cannot be called so.
    """
    if isinstance(given, type):
        raise ValueError(f"is given as the class {given.__name__}; give a function, or a module that is made of it")
    if isinstance(given, nnx.Module) or (hasattr(given, "init") and hasattr(given, "apply")):
        run = _nnx(given) if isinstance(given, nnx.Module) else partial(_run_linen, given)
        return run if weights else partial(run, Weights())
    function = partial(given, config=json.loads(settings)) if _takes_config(given) else given
    if weights and not _takes(function, count + 1):
        raise ValueError(
            "has weights in the file, which a function cannot take that has no argument for them: give a function "
            f"(weights, x) -> y, or a Flax module; the weights are {', '.join(weights)}"
        )
    if not weights and not _takes(function, count) and _takes(function, count + 1):
        raise ValueError("has no weights in the file, but the function has an argument for them: give x -> y")
    return function


def _takes_config(function: Callable[..., Any]) -> bool:
    try:
        return "config" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # of some functions written in C
        return False


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Whether the function can be called with so many arguments; True if it does not say so."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def _nnx(module: nnx.Module) -> Callable[..., Array]:
    """A module as a function of (weights, *inputs)."""
    shapes = {name: variable.shape for name, variable in _variables(module, "")}
    graph, state = nnx.split(module)

    def run(weights: Mapping[str, Array], *xs: Array) -> Array:
        found = nnx.merge(graph, jax.tree.map(lambda each: each, state))  # new variables, of this trace
        found.eval()
        variables = dict(_variables(found, ""))  # `merge` sorts them
        for name, array in _assigned(weights, shapes).items():
            variables[name].set_value(array)
        return found(*xs)

    return run


def _variables(module: Any, path: str) -> list[tuple[str, nnx.Variable]]:
    """The weights of a module and of those in it, in the order in which they were made."""
    found: list[tuple[str, nnx.Variable]] = []
    for name, value in vars(module).items():
        if isinstance(value, nnx.Variable) and not isinstance(value, nnx.RngState):
            found.append((path + name, value))
        elif isinstance(value, nnx.Module):
            found += _variables(value, f"{path}{name}/")
    return found


def _run_linen(module: Any, weights: Mapping[str, Array], *xs: Array) -> Array:
    made: dict[tuple[str, ...], tuple[int, ...]] = {}

    def make(*xs: Array) -> None:
        collections = module.init({name: jax.random.key(0) for name in ("params", "dropout")}, *xs)
        made.update({path: leaf.shape for path, leaf in _leaves(collections)})  # JAX would sort them

    jax.eval_shape(make, *xs)
    names = {"/".join(path[1:]): path for path in made}
    arrays = _assigned(weights, {name: made[path] for name, path in names.items()})
    collections: dict[str, Any] = {}
    for name, array in arrays.items():
        *outer, last = names[name]
        place = collections
        for part in outer:
            place = place.setdefault(part, {})
        place[last] = array
    return module.apply(collections, *xs)


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, each in tree.items():
        found += _leaves(each, (*path, name)) if isinstance(each, Mapping) else [((*path, name), each)]
    return found


def _assigned(weights: Mapping[str, Array], wanted: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """{name in the module: array}: by name if the names are the same, and otherwise in order.

    Raises:
        ValueError: the module has other weights, or weights of other shapes, than the file.
    """
    mine, theirs = {_common(name): name for name in wanted}, {_common(name): name for name in weights}
    if mine.keys() == theirs.keys() and len(mine) == len(wanted) == len(weights):
        found = {name: weights[theirs[common]] for common, name in mine.items()}
    else:
        found = dict(zip(wanted, weights.values(), strict=False))
    shapes = {name: array.shape for name, array in found.items()}
    if len(weights) != len(wanted) or shapes != dict(wanted):
        raise ValueError(f"the module has the weights {_say(wanted)}, and the file {_say(_shapes(weights))}")
    return found


def _common(name: str) -> str:
    *outer, last = name.split("/")
    return "/".join([*outer, SAME.get(last, last)])


def _shapes(weights: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in weights.items()}


def _say(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "none"


def _own(config: Config, shape: Shape, rngs: nnx.Rngs) -> nnx.Module:
    return Own(config["function"], config["weights"])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("text")
    return value


def _weights(value: object) -> Any:
    """((name, shape), …), which only `loading.py` gives."""
    if not isinstance(value, tuple):
        raise ValueError("weights of the file")
    return value


# `of` is the class of the layer in the file, and `settings` its options, as JSON.
OPTIONS = {"function": Option(o.function), "of": Option(_text, ""), "settings": Option(_text, "{}")}

KINDS = {WITH_WEIGHTS: Kind(OPTIONS | {"weights": Option(_weights)}, module=_own, package=None)}

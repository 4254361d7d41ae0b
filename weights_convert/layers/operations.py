"""Arithmetic with tensors that is not a Keras layer, and layers that the caller gives as Python functions.

`config/operations.py` says how Keras writes that arithmetic to a file.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from . import custom
from . import options as o
from .custom import OPTIONS
from .kind import Config, Effect, Kind
from .options import Option

CUSTOM = "Custom"
"""The kind of a layer that computes a Python function, which the caller gave."""


def _arithmetic(function: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    """An operation with two arguments, each of which is a tensor or a constant."""

    def apply(config: Config, *xs: Array) -> Array:
        constants = [jnp.asarray(each, xs[0].dtype) for each in config["arguments"] if each is not None]
        if len({x.ndim for x in xs}) > 1 or any(x.ndim >= xs[0].ndim and len(x) > 1 for x in constants):
            raise ValueError("broadcasting along the batch")
        tensors, numbers = iter(xs), iter(constants)
        return function(*(next(tensors if each is None else numbers) for each in config["arguments"]))

    return apply


def _item(config: Config, x: Array) -> Array:
    key = tuple(... if item == "..." else slice(*item) if isinstance(item, tuple) else item for item in config["key"])
    if key[0] not in (..., slice(None)) or len(key) > x.ndim:
        raise ValueError("indexing the batch")
    return x[key]


def _stack(config: Config, *xs: Array) -> Array:
    if config["axis"] in (0, -xs[0].ndim - 1):
        raise ValueError("stacking along the batch")
    return jnp.stack(xs, config["axis"])


def _call(config: Config, *xs: Array) -> Array:
    return config["function"](*xs)


ARGUMENTS = {"arguments": Option(o.arguments)}

KINDS = {
    "ops.Add": Kind(ARGUMENTS, _arithmetic(jnp.add), effect=Effect.COMBINES, prepares="values"),
    "ops.Subtract": Kind(ARGUMENTS, _arithmetic(jnp.subtract), effect=Effect.COMBINES, prepares="values"),
    "ops.Multiply": Kind(ARGUMENTS, _arithmetic(jnp.multiply), prepares="values"),
    "ops.TrueDivide": Kind(ARGUMENTS, _arithmetic(jnp.divide), prepares="values"),
    "ops.GetItem": Kind({"key": Option(o.key)}, _item, effect=Effect.MOVES, prepares="values"),
    "ops.Stack": Kind({"axis": Option(o.integer, 0)}, _stack, effect=Effect.MOVES, prepares="values"),
    **custom.KINDS,
    CUSTOM: Kind(OPTIONS, _call, prepares="values", package=None),
}

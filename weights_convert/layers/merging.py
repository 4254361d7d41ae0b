"""Layers that combine several inputs into one output."""

from collections.abc import Callable
from functools import reduce

import jax.numpy as jnp
from jax import Array, lax

from . import options as o
from .kind import Config, Kind, Spelling
from .options import Option


def _same_rank(xs: tuple[Array, ...]) -> list[Array]:
    """The inputs with equally many axes: as in Keras, missing axes are added right after the batch axis."""
    rank = max(x.ndim for x in xs)
    return [x.reshape(x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:]) for x in xs]


def _folded(operation: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    return lambda config, *xs: reduce(operation, _same_rank(xs))


def _subtract(config: Config, *xs: Array) -> Array:
    minuend, subtrahend = _same_rank(xs)
    return minuend - subtrahend


def _average(config: Config, *xs: Array) -> Array:
    return reduce(jnp.add, _same_rank(xs)) / len(xs)


def _scaled_sum(config: Config, *xs: Array) -> Array:
    x, residual = xs
    return x + residual * config["scale"]


def _concatenate(config: Config, *xs: Array) -> Array:
    return jnp.concatenate(xs, config["axis"])


def _dot(config: Config, *xs: Array) -> Array:
    a, b = xs
    i, j = (axis % x.ndim for axis, x in zip(config["axes"], xs, strict=True))
    if config["normalize"]:
        a, b = _normalized(a, i), _normalized(b, j)
    product = lax.dot_general(a, b, (([i], [j]), ([0], [0])))
    return product[:, None] if product.ndim == 1 else product


def _normalized(x: Array, axis: int) -> Array:
    return x * lax.rsqrt(jnp.maximum(jnp.square(x).sum(axis, keepdims=True), 1e-12))


KINDS = {
    "Add": Kind({}, _folded(jnp.add), tensorflow={"math.add_n": Spelling(("inputs",), {})}),
    "Subtract": Kind({}, _subtract),
    "Multiply": Kind({}, _folded(jnp.multiply)),
    "Average": Kind({}, _average),
    "Maximum": Kind({}, _folded(jnp.maximum)),
    "Minimum": Kind({}, _folded(jnp.minimum)),
    "CustomScaleLayer": Kind(
        {"scale": Option(o.number)},
        _scaled_sum,
        package="keras.src.applications.inception_resnet_v2",
    ),
    "Concatenate": Kind({"axis": Option(o.axis, -1)}, _concatenate, prepares="values"),
    "Dot": Kind({"axes": Option(o.each(2, o.integer)), "normalize": Option(o.flag, False)}, _dot),
}

"""Activation functions as layers of their own."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from . import options as o
from .functions import rectify
from .kind import Config, Kind, Shape, Weighted, length, named, training, zeros
from .options import Option


def _elu(config: Config, x: Array) -> Array:
    return jax.nn.elu(x, config["alpha"])


def _threshold(config: Config, x: Array) -> Array:
    return jnp.where(x > config["theta"], x, 0.0)


def _prelu(config: Config, shape: Shape, rngs: nnx.Rngs) -> nnx.Module:
    shared = config["shared_axes"] or ()
    return Weighted(
        _run_prelu,
        config,
        alpha=zeros(*(1 if axis in shared else length(shape, axis) for axis in range(1, len(shape)))),
    )


def _run_prelu(config: Config, weights: dict[str, Array], x: Array) -> Array:
    return jnp.where(x > 0, x, weights["alpha"] * x)


KINDS = {
    "Activation": Kind({"activation": Option(o.activation)}, activation=named),
    "ReLU": Kind(
        {
            "max_value": Option(o.optional(o.number), None),
            "negative_slope": Option(o.number, 0.0),
            "threshold": Option(o.number, 0.0),
        },
        activation=lambda config: lambda x: rectify(x, **config),
    ),
    "LeakyReLU": Kind(
        {"negative_slope": Option(o.number, 0.3)}, activation=lambda config: lambda x: rectify(x, **config)
    ),
    "ELU": Kind({"alpha": Option(o.number, 1.0)}, activation=lambda config: lambda x: _elu(config, x)),
    "ThresholdedReLU": Kind(
        {"theta": Option(o.number, 1.0)}, activation=lambda config: lambda x: _threshold(config, x)
    ),
    "Softmax": Kind(
        {"axis": Option(o.axes, -1)}, activation=lambda config: lambda x: jax.nn.softmax(x, config["axis"])
    ),
    "PReLU": Kind(
        {"shared_axes": Option(o.optional(o.axes), None)},
        module=_prelu,
        weights={"alpha": "alpha"},
        harmless=training("alpha"),
    ),
}

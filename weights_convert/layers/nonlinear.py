"""Layers that are an activation function."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from . import options as o
from .functions import SOFTMAX, Activation, rectify
from .kind import Config, Kind, Shape, Weighted, length, named, training, zeros
from .options import Option


def _rectified(config: Config) -> Activation:
    never_negative = config["negative_slope"] == 0 and config.get("threshold", 0.0) >= 0
    return Activation(partial(rectify, **config), never_negative=never_negative)


def _elu(config: Config) -> Activation:
    return Activation(lambda x: jax.nn.elu(x, config["alpha"]))


def _threshold(config: Config) -> Activation:
    return Activation(lambda x: jnp.where(x > config["theta"], x, 0.0), never_negative=config["theta"] >= 0)


def _softmax(config: Config) -> Activation:
    return replace(SOFTMAX, function=lambda x: jax.nn.softmax(x, config["axis"]))


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
        activation=_rectified,
    ),
    "LeakyReLU": Kind({"negative_slope": Option(o.number, 0.3)}, activation=_rectified),
    "ELU": Kind({"alpha": Option(o.number, 1.0)}, activation=_elu),
    "ThresholdedReLU": Kind({"theta": Option(o.number, 1.0)}, activation=_threshold, package=None),
    "Softmax": Kind({"axis": Option(o.axes, -1)}, activation=_softmax),
    "PReLU": Kind(
        {"shared_axes": Option(o.optional(o.axes), None)},
        module=_prelu,
        weights={"alpha": "alpha"},
        harmless=training("alpha"),
        elementwise=True,
    ),
}

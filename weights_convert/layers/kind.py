"""Kind: what one kind of Keras layer computes at inference. The rows of the table in `table.py` are values of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from . import options as o
from .functions import ACTIVATIONS, Activation
from .options import Option

Config = Mapping[str, Any]
Shape = tuple[int | None, ...]


def identity(config: Config, x: Array) -> Array:
    """What a layer computes that only works during training."""
    return x


@dataclass(frozen=True)
class Kind:
    """How one kind of layer runs: by a flax `module` if it has weights, else by a `function` of config and inputs.

    `weights` is {Keras' name: flax' name}, in the order in which Keras saves them. `activation` is the non-linearity
    that follows, None where there is none: what the module or function returns is the layer's `/pre`. `training` are
    keys of what a layer does during training only, which Keras cannot make the layer without.
    """

    options: Mapping[str, Option]
    function: Callable[..., Array] = identity
    module: Callable[[Config, Shape, nnx.Rngs], nnx.Module] | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    activation: Callable[[Config], Activation | None] = lambda config: None
    harmless: frozenset[str] = frozenset()
    training: frozenset[str] = frozenset()


class Weighted(nnx.Module):
    """A layer with weights as Keras has them: `function(config, weights, x)`, None for a weight that is left out."""

    def __init__(self, function: Callable[..., Array], config: Config, **weights: nnx.Variable | None):
        self.function = function
        self.config = tuple(config.items())  # static parts of a module must be hashable
        self.names = tuple(weights)
        for name, variable in weights.items():
            setattr(self, name, variable)

    def __call__(self, x: Array) -> Array:
        """The output for x [n ...]."""
        variables = {name: getattr(self, name) for name in self.names}
        weights = {name: None if variable is None else variable[...] for name, variable in variables.items()}
        return self.function(dict(self.config), weights, x)


def kernel(rngs: nnx.Rngs, *shape: int) -> nnx.Param:
    """A random kernel, as flax starts its own."""
    return nnx.Param(nnx.initializers.lecun_normal()(rngs.params(), shape, jnp.float32))


def zeros(*shape: int, wanted: bool = True) -> nnx.Param | None:
    """A weight that starts at 0; None if it is not `wanted`."""
    return nnx.Param(jnp.zeros(shape)) if wanted else None


def ones(*shape: int, wanted: bool = True) -> nnx.Param | None:
    """A weight that starts at 1; None if it is not `wanted`."""
    return nnx.Param(jnp.ones(shape)) if wanted else None


def length(shape: Shape, axis: int = -1) -> int:
    """The length of an axis that a weight is as long as.

    Raises:
        ValueError: the image's size decides it, and is left open.
    """
    found = shape[axis]
    if found is None:
        raise ValueError("the number of features depends on the size of the image, which is left open")
    return found


def along(values: Array, axes: tuple[int, ...], rank: int) -> Array:
    """`values`, one axis for each of `axes`, for arithmetic with an array of this rank."""
    shape = [1] * rank
    for axis, n in zip(axes, values.shape, strict=True):
        shape[axis] = n
    return values.reshape(shape)


def named(config: Config) -> Activation | None:
    """The non-linearity of the option `activation`."""
    return None if config["activation"] == "linear" else ACTIVATIONS[config["activation"]]


CHANNELS_LAST = Option(o.one_of("channels_last"), "channels_last")
ACTIVATION = Option(o.activation, "linear")


def training(*weights: str) -> frozenset[str]:
    """The keys that say how these weights started, and what held them back during training."""
    roles = ("initializer", "regularizer", "constraint")
    return frozenset(f"{weight}_{role}" for weight in weights for role in roles)

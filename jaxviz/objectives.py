"""Objectives: functions from named activations to one number, the score.

    Objective  {name: activation} -> score

Gradient ascent looks for the image with the highest score, attributions explain the score of one image, and a monitor
watches it in training. Objectives add, subtract and scale: `(a + 2 * b)(acts) == a(acts) + 2 * b(acts)`. They are
pytrees: numbers are leaves and names are static. So all channels of a layer share one compilation, and a stack of
objectives is a batch.

A new objective takes one source file and one test file:

1. Choose the file that has its like: this one for channels, units and classes, `regions.py` for parts of a layer,
   `comparisons.py` for a direction or another image, `regularizers.py` for how an image looks, `groups.py` for what
   compares the images of a sweep.
2. Write a class there with `@struct.dataclass`, a subclass of `Objective`. Numbers that may differ between two
   objectives in one compilation (an index) are plain fields; names, and numbers that decide a shape, are
   `struct.field(pytree_node=False)`. It has `layer` (or `layers`), `__call__` on one image's activations, and
   `check`. The docstring's first line says what the score is. Its gradient is finite also where an activation is all 0.
3. Add its name to `__all__`.
4. Add one line to `EXAMPLES` in `tests/jaxviz/test_objectives.py`: an objective, and its score in NumPy. The law that
   three steps raise the score is then tested by itself.

`jv`, `sweep`, `ascend` and all attributions then take it.
"""

import operator
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxviz.checks import numbers, whole
from jaxviz.errors import InputError
from jaxviz.model import Model

__all__ = ["Channel", "Highest", "Objective", "Unit", "channels"]

Array = np.ndarray | jax.Array


class Objective:
    """A score of one image. Subclasses define `__call__`, `check` if their numbers can be wrong, and what they read.

    That is a field `layer`, the name of one activation, or else a property `layers`, several names.
    """

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the activations that it reads."""
        if not hasattr(self, "layer"):
            raise NotImplementedError
        return (self.layer,)

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        """The score, a scalar, from the activations of one image (without a batch axis)."""
        raise NotImplementedError

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse activations of shapes that the objective does not fit.

        Raises:
            InputError: an index out of range, or a layer of another rank. (JAX would clamp the index silently.)
        """

    def __add__(self, other: "Objective") -> "Objective":
        return Sum((self, other)) if isinstance(other, Objective) else NotImplemented

    def __radd__(self, other: Any) -> "Objective":
        return self if isinstance(other, int) and other == 0 else NotImplemented  # `sum` starts with 0

    def __sub__(self, other: "Objective") -> "Objective":
        return self + -1 * other if isinstance(other, Objective) else NotImplemented

    def __mul__(self, factor: Any) -> "Objective":
        if isinstance(factor, Objective):
            return NotImplemented
        return Scaled(float(factor) if isinstance(factor, int) else factor, self)  # so `2 *` compiles what `0.5 *` does

    __rmul__ = __mul__

    def __neg__(self) -> "Objective":
        return -1 * self


@struct.dataclass
class Sum(Objective):
    """The sum of several objectives."""

    terms: tuple[Any, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for term in self.terms for name in term.layers))

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        return sum((term(activations) for term in self.terms), jnp.zeros(()))

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        for term in self.terms:
            term.check(shapes)


@struct.dataclass
class Scaled(Objective):
    """A number times an objective."""

    factor: Any
    objective: Any

    @property
    def layers(self) -> tuple[str, ...]:
        return self.objective.layers

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        return self.factor * self.objective(activations)

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        factor = numbers(self.factor)
        if factor.ndim or not np.isfinite(factor):
            raise InputError(f"an objective is multiplied by one finite number; given: {self.factor!r}")
        self.objective.check(shapes)


@struct.dataclass
class Channel(Objective):
    """The mean of one channel of a layer `[h w c]`, without `border` pixels on each side (Chollet 2017, 5.4: none).

    The layer may have any number of axes before its channels: `[t c]`, `[pixels classes]`, `[h w anchors k]`.
    """

    layer: str = struct.field(pytree_node=False)
    index: Any
    border: int = struct.field(pytree_node=False, default=0)

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        # A slice along the channels: `narrow` moves it up to the convolution, which then computes one channel.
        channel = jax.lax.dynamic_index_in_dim(activations[self.layer], self.index, -1, keepdims=False)
        inner = slice(self.border, -self.border or None)
        return channel[(inner,) * channel.ndim].mean()

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        shape = shapes[self.layer]
        if len(shape) < 2:
            raise InputError(f"{self.layer} has shape {list(shape)}: for its units use Unit({self.layer!r}, i)")
        check_index(self.layer, "channel", self.index, shape[-1])
        if 2 * whole("border", self.border, 0) >= min(shape[:-1]):
            places = " × ".join(map(str, shape[:-1]))
            raise InputError(f"{self.layer} is {places} here: nothing is left inside a border of {self.border}")


@struct.dataclass
class Unit(Objective):
    """One unit of a layer `[units]`: the score of a class, or a neuron of a dense layer."""

    layer: str = struct.field(pytree_node=False)
    index: Any

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        return jnp.asarray(activations[self.layer])[self.index]

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        shape = shapes[self.layer]
        if len(shape) != 1:
            index = self.index if isinstance(self.index, int) else "i"
            raise InputError(
                f"{self.layer} has shape {list(shape)}: for its channels use {fitting(self.layer, shape, index)}"
            )
        check_index(self.layer, "unit", self.index, shape[0])


@struct.dataclass
class Highest(Objective):
    """The largest unit of a layer `[units]`: the class that the network decides for.

    A layer of a single unit is taken for the logit of a sigmoid. Its sign is the decision, so the score is its absolute
    value.
    """

    layer: str = struct.field(pytree_node=False)

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        return self.decided(activations)(activations)

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        shape = shapes[self.layer]
        if len(shape) != 1:
            raise InputError(
                f"Highest is of a layer [units], such as the scores; given: {self.layer}, {list(shape)}. Use "
                f"{fitting(self.layer, shape)}"
            )

    def decided(self, activations: Mapping[str, Any]) -> Objective:
        """The score of the class that these activations decide for: for methods that look at more than one image."""
        units = jnp.asarray(activations[self.layer])
        binary = units.size == 1
        return class_score(self.layer, decision(units, binary), binary)


def fitting(layer: str, shape: tuple[int, ...], index: Any = "channel") -> str:
    """The objectives that fit a layer of this shape, as a user writes them, for messages."""
    if len(shape) == 0:
        return f"Neuron({layer!r}, ())"
    if len(shape) == 1:
        return f"Unit({layer!r}, {index})"
    row = {3: "row, column", 4: "i, j, k"}.get(len(shape), "i" + ", …" * (len(shape) > 2))
    one = f"Token({layer!r}, i, {index})" if len(shape) == 2 else f"Neuron({layer!r}, ({row}), {index})"
    return (
        f"Channel({layer!r}, {index}), the mean of one channel over all places; Region({layer!r}, mask or box, "
        f"{index}), over a part of them; or {one}, at one place"
    )


# The rule for classes, for a layer `[units]` of scores. A network that ends in one sigmoid unit is *binary*, see
# `Model.is_binary`: the unit is the score of class 1, and minus the unit that of class 0. Any other unit is the score
# of the class of its number.


def class_score(layer: str, index: Any, binary: bool) -> Scaled:
    """The score of a class, as an objective."""
    if not binary:
        return Scaled(1.0, Unit(layer, index))
    sign = jnp.where(index == 1, 1.0, -1.0) if isinstance(index, jax.Array) else (1.0 if index == 1 else -1.0)
    return Scaled(sign, Unit(layer, 0))


def decision(units: Array, binary: bool) -> jax.Array:
    """The class with the highest score."""
    return jnp.int32(units[0] > 0) if binary else jnp.argmax(units)


def probabilities(output: Array, binary: bool) -> jax.Array:
    """The probability of each class, from the output of the network."""
    return jnp.stack([1 - output[0], output[0]]) if binary else jnp.asarray(output)


def check_index(layer: str, word: str, index: Any, count: int) -> None:
    try:
        number = operator.index(index)
    except TypeError:
        number = None
    if number is None or isinstance(index, bool):
        raise InputError(f"a {word} is a whole number; given: {index!r}")
    if not 0 <= number < count:
        raise InputError(f"{layer} has {count} {word}s, 0 to {count - 1}; given: {index}")


def channels(model: Model, layer: str, indices: Iterable[int] | None = None, *, border: int = 0) -> list[Channel]:
    """A list with a `Channel` for each of `indices` (None: all) of a layer.

    Args:
        layer: a layer with maps `[h w c]`.
        indices: channel numbers.
        border: pixels of the layer on each side that the mean leaves out.

    Raises:
        InputError: an unknown layer, one without channels, a border as wide as it, or an index out of range.
    """
    shapes = model.shapes(names=[model.check_layer(layer)])
    if indices is None:
        Channel(layer, 0).check(shapes)
        indices = range(shapes[layer][-1])
    if not np.iterable(indices):
        raise InputError(f"indices are a list, such as range(16) or [{indices!r}]; given: {indices!r}")
    objectives = [Channel(layer, index, border) for index in indices]
    for objective in objectives:
        objective.check(shapes)
    return objectives


def score(model: Model, image: jax.Array, objective: Objective) -> jax.Array:
    """The number that is explained: the objective of the activations of one image."""
    return objective(model(image, objective.layers))

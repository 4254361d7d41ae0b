"""The type of a transform: what is done to the image of a canvas, with new random numbers at each step.

    Transform  (key, image [h w c]) ─► image

Law: the same key gives the same bits, and a transform of no strength changes nothing.

A filter's optimum alone is a fragile pattern that a shift by one pixel destroys. If the image is moved, turned and
scaled a little at each step, only a pattern that holds under these changes can grow (Mordvintsev, Pezzotti, Schubert &
Olah 2018, Differentiable Image Parameterizations). `sweep` draws a transform anew for each item and each step.

All axes of an image but the last are places; the last one is the channels, of any number.

**Numbers that are drawn.** Where a transform says "drawn", its argument is a number, a pair `(low, high)` for a uniform
number between them, or `OneOf([…])`. Where it says "drawn about 0", a number d means `(-d, d)`.

Checklist for a new transform (one class in a file of this folder, one test in `tests/jaxviz/test_transforms.py`):

1. Write a `flax.struct.dataclass` with `__call__(key, image)`. Numbers that change a shape are static
   (`struct.field(pytree_node=False)`), all others are leaves, so that another strength compiles nothing. It is traced
   and sees one `jax.Array`; its randomness comes from `key` only. It may change the size of the image.
2. Refuse shapes that it cannot change in `__call__`, where shapes are known, and numbers in `check()`, which `sweep`
   calls before it compiles: the class itself must check nothing, since JAX rebuilds it with placeholders.
3. Name the source (author, year) in its docstring, and the values that fill the rest of a shifted or rotated image.
4. Test its law against NumPy; add it to the lists of the tests that all transforms pass.
5. To make it `jv.transforms.<Name>`, add one line to `jaxviz/ascent/transforms/__init__.py`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxviz.checks import numbers
from jaxviz.errors import InputError

Transform = Callable[[jax.Array, jax.Array], jax.Array]  # (key, image [h w c]) -> image, which the network sees


@struct.dataclass
class Chain:
    """Several transforms, one after another, each with a key of its own.

    Attributes:
        transforms: a tuple of transforms, such as `Chain((Pad(12), Jitter(8)))`; the first one sees the canvas' image.
    """

    transforms: Any

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        for one, part in zip(self.transforms, jax.random.split(key, len(self.transforms)), strict=True):
            image = one(part, image)
        return image

    def check(self) -> None:
        if not isinstance(self.transforms, tuple | list) or not all(map(callable, self.transforms)):
            raise InputError(
                f"a Chain takes a tuple of transforms, such as Chain((Pad(12), Jitter(8))); given: {self.transforms!r}"
            )
        for one in self.transforms:
            check(one)


@struct.dataclass
class OneOf:
    """A number that is drawn: one of `values`, each as likely as the others. A value may be listed several times."""

    values: Any

    def __call__(self, key: jax.Array) -> jax.Array:
        values = jnp.asarray(self.values, jnp.float32)
        return values[jax.random.randint(key, (), 0, len(values))]


def check(transform: Any) -> None:
    """Refuse what is no transform, and numbers that cannot be meant; without a method `check` they are not looked at.

    Raises:
        InputError: such a value; None is no transform, and is fine.
    """
    if transform is not None and (not callable(transform) or isinstance(transform, type)):
        raise InputError(
            f"a transform is a function (key, image) -> image, or an object such as jv.transforms.Jitter(8); given: "
            f"{transform!r}"
        )
    look: Callable[[], None] = getattr(transform, "check", lambda: None)
    look()


def draw(key: jax.Array, value: Any) -> jax.Array:
    """A number: `value` itself, a uniform one between two, or one of several."""
    if isinstance(value, OneOf):
        return value(key)
    if isinstance(value, tuple | list):
        low, high = value
        return jax.random.uniform(key, (), minval=low, maxval=high)
    return jnp.asarray(value, jnp.float32)


def draw_about_0(key: jax.Array, value: Any) -> jax.Array:
    """A number between minus `value` and `value`; a pair and `OneOf` are as for `draw`."""
    return draw(key, value if isinstance(value, tuple | list | OneOf) else (-value, value))


def check_drawn(name: str, value: Any, *, above: float | int = -np.inf) -> None:
    """Refuse what `draw` cannot draw from, or numbers that are not above a bound.

    Raises:
        InputError: such a value.
    """
    values = value.values if isinstance(value, OneOf) else value
    found, pair = numbers(values), isinstance(value, tuple | list)
    right = found.shape == (2,) and found[0] <= found[1] if pair else found.ndim == isinstance(value, OneOf)
    if not right or not found.size or not np.isfinite(found).all() or not (found > above).all():
        bound = "" if above == -np.inf else f", above {above:g}"
        raise InputError(f"{name} is a number, a pair (low, high) or OneOf([…]){bound}; given: {value!r}")


def check_probability(name: str, value: Any) -> None:
    """Refuse what is no probability.

    Raises:
        InputError: it is not a number from 0 to 1.
    """
    number = numbers(value)
    if number.ndim or not 0 <= number <= 1:
        raise InputError(f"{name} is a probability, from 0 to 1; given: {value!r}")


def check_fill(name: str, value: Any) -> None:
    """Refuse what cannot fill an image.

    Raises:
        InputError: it is not None, a number or a colour `[c]`, all finite.
    """
    colour = numbers(value)
    if value is not None and (colour.ndim > 1 or not np.isfinite(colour).all()):
        raise InputError(f"{name} is a number, a colour [c], or None to repeat the edge; given: {value!r}")


def places(image: jax.Array, name: str, axes: int | None = None) -> tuple[int, ...]:
    """The lengths of the axes before the channels.

    Raises:
        InputError: the image has another number of them than `axes`, or none at all.
    """
    sides = image.shape[:-1]
    if not sides or axes not in (None, len(sides)):
        wanted = "[h w c]" if axes == 2 else "with at least one axis before its channels"
        raise InputError(f"{name} takes images {wanted}; given: an image {list(image.shape)}")
    return sides

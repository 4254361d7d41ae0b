"""The gradient of a max-pool, without the serial loop that XLA:CPU runs for it.

    backward(operand, cotangent, …) == XLA's select-and-scatter

Each window names the place of its first maximum; then each pixel adds the cotangents of the windows that name its
place. Both steps are sums and comparisons of shifted images, and XLA fuses each into one loop. Windows may overlap, as
they do in ResNet.

    pixels            0   1   2   3   4   5   6
    windows           ├───────┤   ├───────┤                    of 3 pixels, 2 apart:
                              ├───────┤                        pixel 2 is in the first and in the second
"""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax


def backward(
    operand: jax.Array,
    cotangent: jax.Array,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> jax.Array:
    """The gradient with respect to the operand of a max-pool.

    Args:
        operand: the input of the pool; its axes may have any meaning.
        cotangent: the gradient with respect to the output of the pool.
        window, strides, padding: of the pool, for each axis; windows are 1 along an axis without pooling.
    """
    counts = cotangent.shape
    covered = [stride * (count - 1) + size for stride, count, size in zip(strides, counts, window, strict=True)]
    fit = [(low, size - low - n, 0) for (low, _), size, n in zip(padding, covered, operand.shape, strict=True)]
    place = _places(covered, window)
    named = _first_maximum(lax.pad(operand, jnp.array(-jnp.inf, operand.dtype), fit), place, window, strides, counts)

    before = [-(-size // stride) - 1 for size, stride in zip(window, strides, strict=True)]  # windows that may overlap
    around = [(more, more, 0) for more in before]
    named = lax.pad(named, jnp.array(-1, named.dtype), around)
    sent = lax.pad(cotangent, jnp.zeros((), cotangent.dtype), around)

    def of_the_window(values: jax.Array, back: tuple[int, ...]) -> jax.Array:
        """For each pixel, the value of the window that starts there or before it, or of one some windows back."""
        for axis, stride in enumerate(strides):
            first = before[axis] - back[axis]
            values = lax.slice_in_dim(values, first, first + counts[axis] + before[axis], axis=axis)
            values = jnp.repeat(values, stride, axis) if stride > 1 else values
        return lax.slice(values, [0] * values.ndim, covered)

    total = sum(
        jnp.where(of_the_window(named, back) == place, of_the_window(sent, back), 0)
        for back in itertools.product(*(range(more + 1) for more in before))
    )
    return lax.pad(total, jnp.zeros((), cotangent.dtype), [(-low, -high, 0) for low, high, _ in fit])


def _places(covered: Sequence[int], window: Sequence[int]) -> jax.Array:
    """A number for each place within the axes that are pooled."""
    shape = [length if size > 1 else 1 for length, size in zip(covered, window, strict=True)]
    places = jnp.zeros((), jnp.int32)
    for axis, length in enumerate(shape):
        places = places * length + lax.broadcasted_iota(jnp.int32, shape, axis)
    return jnp.broadcast_to(places, covered)


def _first_maximum(
    padded: jax.Array, place: jax.Array, window: Sequence[int], strides: Sequence[int], counts: Sequence[int]
) -> jax.Array:
    """For each window, the place of its first maximum."""

    def corner(values: jax.Array, offset: tuple[int, ...]) -> jax.Array:
        ends = [start + (n - 1) * stride + 1 for start, n, stride in zip(offset, counts, strides, strict=True)]
        return lax.slice(values, offset, ends, strides)

    first, *others = itertools.product(*map(range, window))
    largest, named = corner(padded, first), corner(place, first)
    for offset in others:
        values = corner(padded, offset)
        named = jnp.where(values > largest, corner(place, offset), named)
        largest = jnp.maximum(largest, values)
    return named

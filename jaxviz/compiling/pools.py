"""Pools without the serial loops that XLA:CPU runs for them.

    forward(operand, combine, …) == XLA's reduce-window
    max_backward(operand, cotangent, …) == XLA's select-and-scatter

A sum or a maximum over windows is one over each axis in turn, of shifted arrays, which fill the vector registers.

In the gradient of a max-pool, each window names the tap (the place within it) of its first maximum, and each pixel adds
the cotangents of the windows that name its place. This is the gradient of a convolution with the pool's stride whose
kernel is different for each window: 1 at the tap that is named, and 0 elsewhere. Windows may overlap, as they do in
ResNet.
"""

import functools
import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxviz.compiling.phases import Axis, shifted_sum


def forward(
    operand: jax.Array,
    combine: Callable[[jax.Array, jax.Array], jax.Array],
    fill: float,
    *,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    base_dilation: Sequence[int],
    window_dilation: Sequence[int],
) -> jax.Array:
    """The windows of the operand, combined; the settings are those of XLA's operation, for each axis.

    Args:
        combine: `lax.add` or `lax.max`.
        fill: the value of the padding, which changes nothing when it is combined.
    """
    around = [(low, high, gap - 1) for (low, high), gap in zip(padding, base_dilation, strict=True)]
    values = lax.pad(operand, jnp.array(fill, operand.dtype), around)
    settings = zip(window_dimensions, window_strides, window_dilation, strict=True)
    for axis, (size, stride, gap) in enumerate(settings):
        if size == stride == 1:
            continue
        span = values.shape[axis] - gap * (size - 1)
        shifted = [lax.slice_in_dim(values, tap * gap, tap * gap + span, stride, axis) for tap in range(size)]
        values = functools.reduce(combine, shifted)
    return values


def max_backward(
    operand: jax.Array,
    cotangent: jax.Array,
    *,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> jax.Array:
    """The gradient with respect to the operand of a max-pool; the settings are those of XLA's operation, for each axis.

    Args:
        operand: the input of the pool; its axes may have any meaning.
        cotangent: the gradient with respect to the output of the pool.
    """
    axes = []
    for length, count, size, stride, (low, _) in zip(
        operand.shape, cotangent.shape, window_dimensions, window_strides, padding, strict=True
    ):
        before = size - 1 - low  # a pixel meets the windows that start up to size - 1 pixels before it
        after = length - ((count - 1) * stride + 1) + (size - 1) - before
        axes.append(Axis(count, size, stride, stride=1, gap=1, low=before, high=after))
    around = [axis.around for axis in axes]
    named = _first_maximum(operand, cotangent.shape, window_dimensions, window_strides, padding)
    named = lax.pad(named, jnp.array(-1, named.dtype), around)
    sent = lax.pad(cotangent, jnp.zeros((), cotangent.dtype), around)
    numbers = {tap: number for number, tap in enumerate(itertools.product(*map(range, window_dimensions)))}

    def received(tap: tuple[int, ...], windows: tuple[slice, ...]) -> jax.Array:
        """What comes from the windows in which the pixels have the place that is `tap` from the end."""
        number = numbers[tuple(size - 1 - place for size, place in zip(window_dimensions, tap, strict=True))]
        return jnp.where(named[windows] == number, sent[windows], 0)

    return shifted_sum(axes, received, cotangent.dtype)


def _first_maximum(
    operand: jax.Array,
    counts: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> jax.Array:
    """For each window, the number of the tap of its first maximum."""
    spans = [stride * (count - 1) + 1 for count, stride in zip(counts, strides, strict=True)]
    fit = [
        (low, span + size - 1 - low - length, 0)
        for (low, _), span, size, length in zip(padding, spans, window, operand.shape, strict=True)
    ]
    padded = lax.pad(operand, jnp.array(-jnp.inf, operand.dtype), fit)

    def values(tap: tuple[int, ...]) -> jax.Array:
        return lax.slice(padded, tap, [start + span for start, span in zip(tap, spans, strict=True)], strides)

    first, *others = itertools.product(*map(range, window))
    largest = values(first)
    named = jnp.zeros(largest.shape, jnp.int32)
    for number, tap in enumerate(others, 1):
        each = values(tap)
        named, largest = jnp.where(each > largest, number, named), jnp.maximum(largest, each)
    return named

"""A convolution tap by tap: first all products of pixels and taps (elements of the kernel), then their shifted sums.

    convolution(images, kernel, params) == the convolution of the images with the kernel, up to rounding

All products are one matrix product of width taps × output channels. It is faster than a direct convolution where

- there are few output channels, which do not fill the vector registers of a CPU, or
- the kernel has more numbers than the images, as in the gradients of deep layers. A gradient reads the kernel with its
  channel axes swapped and its taps reversed. A direct convolution needs a copy of the kernel in that order, which
  takes longer than the multiplications; a matrix product reads it as it lies in memory.

Elsewhere, the products would take too much memory.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float


def convolution(
    images: Float[jax.Array, "n h w i"], kernel: Float[jax.Array, "y x o i"], params: dict[str, Any]
) -> Float[jax.Array, "n p q o"]:
    """The convolution of the images with the kernel, whose channel axes are swapped, as in every gradient.

    Args:
        params: of the equation of a plain convolution (`is_plain`): its padding, strides, dilations and precision.
    """
    # A gradient has reversed the kernel already, and XLA leaves out what is reversed twice.
    taps = _products(images, lax.rev(kernel, (0, 1)), params["precision"])
    rows = _Axis.of(params, 0, images.shape[1], kernel.shape[0])
    columns = _Axis.of(params, 1, images.shape[2], kernel.shape[1])
    zero = jnp.zeros((), taps.dtype)
    taps = lax.pad(taps, zero, [(0, 0, 0), rows.around, columns.around, *[(0, 0, 0)] * 3])

    def phase(row: int, column: int) -> jax.Array:
        """The outputs at every `row`-th place of each `rows.phases`, and likewise for columns."""
        found = [
            taps[:, top : top + rows.span : rows.stride, left : left + columns.span : columns.stride, -1 - y, -1 - x]
            for y, top in rows.starts(row)
            for x, left in columns.starts(column)
        ]
        shape = (len(images), rows.outputs, columns.outputs, kernel.shape[2])
        return sum(found[1:], start=found[0]) if found else jnp.zeros(shape, taps.dtype)

    if rows.phases == columns.phases == 1:
        return phase(0, 0)
    every = jnp.stack(
        [jnp.stack([phase(row, column) for column in range(columns.phases)]) for row in range(rows.phases)]
    )
    every = every.transpose(2, 3, 0, 4, 1, 5)  # [n, rows.outputs, rows.phases, columns.outputs, columns.phases, o]
    whole = every.reshape(len(images), rows.outputs * rows.phases, columns.outputs * columns.phases, -1)
    return whole[:, : rows.length, : columns.length]


def _products(images: jax.Array, kernel: jax.Array, precision: Any) -> jax.Array:
    """The products of all pixels and taps, [n h w y x o]."""
    pixels, columns = images.reshape(-1, images.shape[-1]), kernel.reshape(-1, kernel.shape[-1])
    contract = (((1,), (1,)), ((), ()))
    if len(pixels) > min(columns.shape):
        products = lax.dot_general(pixels, columns, contract, precision=precision)
        return products.reshape(*images.shape[:-1], *kernel.shape[:-1])
    # With few pixels, reading the kernel takes most of the time, and XLA:CPU reads it up to 3.5 times faster from the
    # left-hand side of a product. The barrier keeps XLA from turning the product round again.
    products = lax.optimization_barrier(lax.dot_general(columns, pixels, contract, precision=precision))
    return products.reshape(*kernel.shape[:-1], *images.shape[:-1]).transpose(3, 4, 5, 0, 1, 2)


class _Axis(NamedTuple):
    """How a convolution runs along one axis.

    Where the image is dilated, as in the gradient of a convolution with a stride, each output meets only every
    `phases`-th tap; the others would be multiplied by the zeros between the pixels. The outputs at one place of each
    `phases` meet the same taps, and are computed together.
    """

    length: int  # of the output
    phases: int
    stride: int
    gap: int  # between two taps
    low: int  # the padding before the dilated image
    size: int  # of the image
    window: int  # of the kernel

    @classmethod
    def of(cls, params: dict[str, Any], axis: int, size: int, window: int) -> "_Axis":
        (low, high), phases = params["padding"][axis], params["lhs_dilation"][axis]
        stride, gap = params["window_strides"][axis], params["rhs_dilation"][axis]
        covered = low + (size - 1) * phases + 1 + high - gap * (window - 1)
        return cls(-(-covered // stride), phases, stride, gap, low, size, window)

    @property
    def outputs(self) -> int:
        """The number of outputs of a phase; the last may lie beyond the output."""
        return -(-self.length // self.phases)

    @property
    def span(self) -> int:
        return (self.outputs - 1) * self.stride + 1

    @property
    def before(self) -> int:
        """The number of pixels before the first that any output reads."""
        return max(0, -min((first for phase in range(self.phases) for _, first in self.firsts(phase)), default=0))

    @property
    def around(self) -> tuple[int, int, int]:
        """The padding of the undilated image, as for `lax.pad`."""
        last = max((first for phase in range(self.phases) for _, first in self.firsts(phase)), default=0)
        return (self.before, max(0, last + self.span - self.size), 0)

    def firsts(self, phase: int) -> Iterator[tuple[int, int]]:
        """The taps that the outputs of a phase meet, each with the pixel that the first output reads."""
        for tap in range(self.window):
            place = phase + tap * self.gap - self.low
            if place % self.phases == 0:
                yield tap, place // self.phases

    def starts(self, phase: int) -> Iterator[tuple[int, int]]:
        """The same for the padded image."""
        return ((tap, first + self.before) for tap, first in self.firsts(phase))


def is_plain(params: dict[str, Any]) -> bool:
    """Whether a convolution is of [n h w c] images and a [h w i o] kernel, without groups."""
    layout = params["dimension_numbers"]
    return (layout.lhs_spec, layout.rhs_spec, layout.out_spec) == ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2)) and params[
        "feature_group_count"
    ] == params["batch_group_count"] == 1

"""Sums of shifted arrays, which is what a convolution is; the zeros between the pixels of a dilated image are left out.

    shifted_sum(axes, term) == the sum over all taps of term(tap, the pixels that the tap meets)

A gradient meets the stride of its convolution as zeros between the pixels: an image that is *dilated*. Each output
then meets pixels with every d-th tap only, and zeros with the others. The outputs at one place of each d meet pixels
with the same taps; they are a *phase*. Each is computed from the undilated image, and the phases are interleaved.

    dilated image      a 0 b 0 c 0 d          d = 2, a kernel of 3 taps
    first phase        a   b   c              taps 0 and 2 meet pixels:  a, b   b, c   c, d
    second phase         b   c                tap 1 does:                  b      c
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Axis(NamedTuple):
    """How a convolution runs along one axis of its images."""

    size: int  # of the image
    window: int  # the number of taps
    phases: int  # the dilation of the image
    stride: int
    gap: int  # between two taps
    low: int  # the padding before the dilated image, and after it; they may be negative
    high: int

    @property
    def length(self) -> int:
        """The number of outputs, at least 1."""
        covered = self.low + (self.size - 1) * self.phases + 1 + self.high - self.gap * (self.window - 1)
        return -(-covered // self.stride)

    @property
    def outputs(self) -> int:
        """The number of outputs of a phase; the last may lie beyond `length`."""
        return -(-self.length // self.phases)

    @property
    def around(self) -> tuple[int, int, int]:
        """The padding of the undilated image that makes all of `slices` lie in it, as for `jax.lax.pad`."""
        firsts = [first for phase in range(self.phases) for _, first in self._firsts(phase)] or [0]
        before = max(0, -min(firsts))
        return (before, max(0, max(firsts) + self._span - self.size), 0)

    def slices(self, phase: int) -> Iterator[tuple[int, slice]]:
        """The taps that a phase meets, each with the pixels of the padded image that it meets there."""
        before, _, _ = self.around
        for tap, first in self._firsts(phase):
            yield tap, slice(first + before, first + before + self._span, self.stride)

    @property
    def _span(self) -> int:
        return (self.outputs - 1) * self.stride + 1

    def _firsts(self, phase: int) -> Iterator[tuple[int, int]]:
        """The taps of a phase, each with the pixel that its first output meets, before padding."""
        for tap in range(self.window):
            place = phase * self.stride + tap * self.gap - self.low
            if place % self.phases == 0:
                yield tap, place // self.phases


FLAT = {"window": 1, "phases": 1, "stride": 1, "gap": 1, "low": 0, "high": 0}  # an axis along which nothing is shifted


def axes_of(params: dict[str, Any], shape: Sequence[int], window: Sequence[int]) -> list[Axis]:
    """All axes of the images of a convolution with channels last, from the parameters of its equation.

    Args:
        shape: [n *spatial c]; c is the number of channels of the output.
        window: the lengths of the kernel along its spatial axes.
    """
    how = zip(params["lhs_dilation"], params["window_strides"], params["rhs_dilation"], params["padding"], strict=True)
    spatial = [
        Axis(size, taps, phases, stride, gap, low, high)
        for size, taps, (phases, stride, gap, (low, high)) in zip(shape[1:-1], window, how, strict=True)
    ]
    return [Axis(shape[0], **FLAT), *spatial, Axis(shape[-1], **FLAT)]


def shifted_sum(
    axes: Sequence[Axis], term: Callable[[tuple[int, ...], tuple[slice, ...]], jax.Array], dtype: Any
) -> jax.Array:
    """The sum of `term(tap, pixels)` over all taps, for all outputs.

    Args:
        axes: all axes of the images, which are padded by `Axis.around`.
        term: the product with one tap. It is called with the place of the tap and with the pixels that the outputs of a
            phase meet there, a number and a slice for each axis.
        dtype: of the sum.
    """

    def phase(places: tuple[int, ...]) -> jax.Array:
        """The sum for the outputs at these places of each axis' phases."""
        meetings = itertools.product(*(axis.slices(place) for axis, place in zip(axes, places, strict=True)))
        terms = [term(*zip(*meeting, strict=True)) for meeting in meetings]
        return _pairwise(terms) if terms else jnp.zeros([axis.outputs for axis in axes], dtype)

    def interleaved(places: tuple[int, ...]) -> jax.Array:
        """The sum at these places of the first axes, and at all places of the others."""
        if (number := len(places)) == len(axes):
            return phase(places)
        parts = [interleaved((*places, place)) for place in range(axes[number].phases)]
        if len(parts) == 1:
            return parts[0]
        every = jnp.stack(parts, number + 1)
        return every.reshape(*every.shape[:number], -1, *every.shape[number + 2 :])

    return lax.slice(interleaved(()), [0] * len(axes), [axis.length for axis in axes])


def _pairwise(terms: list[jax.Array]) -> jax.Array:
    """The sum of the terms, added in pairs: a chain of sums would wait for the one before at each step."""
    while len(terms) > 1:
        pairs = [one + other for one, other in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + terms[2 * len(pairs) :]
    return terms[0]

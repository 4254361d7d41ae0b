"""`Patch`: an activation that differs from that of another image in one part only, and the geometry of that part.

All numbers are pixels of one axis, height or width, and of one activation. An image has changed in a `Window`. A
`Field` says which outputs of a layer see which pixels of the image, and so which `Span` of the layer may have changed.

    image         ├────────┤■■■■■■├───────────────────┤     a window of 6 pixels from `start`
                       ╱                ╲
    activation    ├───┤□□□□□□□□□□├────────────────────┤     the span that sees the window: `window.seen(field, length)`

A `Patch` holds the activation of the unchanged image, `base`, and the new `values` in that span.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


class Field(NamedTuple):
    """The receptive field of a layer along one axis.

    Output o sees `length` pixels of the image, from pixel o · step - before on.
    """

    step: int = 1
    length: int = 1
    before: int = 0

    def then(self, window: int, stride: int, padding: int) -> "Field":
        """The field of a convolution or pool over these outputs."""
        return Field(
            step=self.step * stride,
            length=self.length + (window - 1) * self.step,
            before=self.before + padding * self.step,
        )

    def union(self, other: "Field") -> "Field":
        """The field of an operation that reads two layers of the same step."""
        before = max(self.before, other.before)
        after = max(self.length - self.before, other.length - other.before)
        return Field(step=self.step, length=before + after, before=before)


class Span(NamedTuple):
    """`size` pixels of one axis from `start`, which is a number, a traced number, or an array: one for each window."""

    start: Any
    size: int


Box = list[Span]
"""A span for each axis of an activation."""


class Window(NamedTuple):
    """The part of one axis of the image that changed: `size` of its `length` pixels, from `start`, a traced number."""

    start: Any
    size: int
    length: int

    def anywhere(self) -> "Window":
        """All windows of this size at once: their `start` is an array."""
        return self._replace(start=np.arange(self.length))

    def seen(self, field: Field, length: int) -> Span:
        """The outputs, of `length`, that see the window. The size is the same for every window: the largest."""
        count = min((self.size + field.length - 2) // field.step + 1, length)
        first = -((field.length - 1 - field.before - self.start) // field.step)  # rounded up
        return Span(first.clip(0, length - count), count)


Axes = tuple[int, int]  # where height and width are among the axes of an activation
Fields = tuple[Field, Field]  # along height and width
Windows = tuple[Window, Window]  # along height and width


def box_of(shape: Sequence[int], axes: Axes, fields: Fields, windows: Windows) -> Box:
    """The box of an activation of `shape` in which `fields` see the `windows`; all of every other axis."""
    box = [Span(0, length) for length in shape]
    for axis, field, window in zip(axes, fields, windows, strict=True):
        box[axis] = window.seen(field, shape[axis])
    return box


@dataclass(frozen=True)
class Patch:
    """An activation that is `base`, except for the `values` in the box where `fields` see the `windows`."""

    base: jax.Array
    values: jax.Array
    axes: Axes
    fields: Fields
    windows: Windows

    def box(self) -> Box:
        """The box of `values` in `base`."""
        return box_of(self.base.shape, self.axes, self.fields, self.windows)

    def whole(self) -> jax.Array:
        """The whole activation: `base` with `values` in it."""
        starts = [span.start for span in self.box()]
        return lax.dynamic_update_slice(self.base, self.values.astype(self.base.dtype), starts)

    def widened(self, fields: Fields) -> "Patch":
        """The same activation, with a larger part of it among the values: the box of the larger `fields`."""
        if fields == self.fields:
            return self
        values = self.region(lambda windows: box_of(self.base.shape, self.axes, fields, windows))
        return replace(self, values=values, fields=fields)

    def region(self, read: Callable[[Windows], Box], pads: Sequence[tuple[int, int]] = (), fill: Any = 0) -> jax.Array:
        """The box `read(windows)` of the whole activation, without making the whole activation.

        The box counts pixels of `base`, and may reach into the padding, `pads` of the value `fill`, that lies around
        it: its `start` is negative then. The box and the values overlap in one way or another:

            base            0├──────────────────────────────────────┤
            values                   ├■■■■■■■■■■■┤
            the box                        ├────────────┤
            room                     ├─────┤            ├──┤
            result                         ├■■■■■┤──────┤

        So the box is cut out of `base`, and the values are put into it at the distance of the two starts. Some of them
        lie outside of the box, before or after it. The distance is a traced number, so there has to be room for the
        values of every window, wherever it is; `room` is cut off afterwards.
        """
        pads = pads or [(0, 0)] * self.base.ndim
        fill = jnp.asarray(fill, self.base.dtype)
        wanted, own = read(self.windows), self.box()
        padded = lax.pad(self.base, fill, [(low, high, 0) for low, high in pads])
        starts = [span.start + low for span, (low, _) in zip(wanted, pads, strict=True)]
        region = lax.dynamic_slice(padded, starts, [span.size for span in wanted])

        anywhere = replace(self, windows=(self.windows[0].anywhere(), self.windows[1].anywhere()))
        room = [_outside(*each) for each in zip(anywhere.box(), read(anywhere.windows), strict=True)]
        return _put(self.values, own, region, wanted, room, fill)


def _outside(values: Span, box: Span) -> tuple[int, int]:
    """How many pixels of `values` lie before the box and after it, at most, over all windows."""
    before = box.start - values.start
    after = values.start + values.size - box.start - box.size
    return int(max(0, np.max(before))), int(max(0, np.max(after)))


def _put(
    values: jax.Array, own: Box, region: jax.Array, box: Box, room: Sequence[tuple[int, int]], fill: jax.Array
) -> jax.Array:
    """`region`, which lies in `box`, with the `values`, which lie in the box `own`.

    Without room around the region, `dynamic_update_slice` would move the values until all of them lie inside.
    """
    large = lax.pad(region, fill, [(before, after, 0) for before, after in room])
    places = [mine.start - its.start + before for mine, its, (before, _) in zip(own, box, room, strict=True)]
    large = lax.dynamic_update_slice(large, values.astype(large.dtype), places)
    lows = [before for before, _ in room]
    return lax.slice(large, lows, [low + size for low, size in zip(lows, region.shape, strict=True)])

"""`Positions`: where the positions of an activation lie along one axis of the image, and which pixels each sees.

All of it is about one axis of the image, height, say. Position i sees the rows `low[i]` to `high[i]`, first and last. A
convolution, pool, crop, padding, resize … makes new positions out of old ones; these functions are their geometry, and
`sight` knows the operations.

Next to a zero padding, a window reaches beyond the image. Its rows are counted on, below 0 and above the last row, so
that all windows of a layer have one size and one distance. `seen` says which rows are really there.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

Range = tuple[float, float]  # the first and the last pixel


@dataclass(frozen=True, eq=False)
class Positions:
    """The positions of an activation along one of its axes, and the pixels of the image that they see.

    Index k along `axis` is position `k // inner % len(low)`; `inner` is 1, unless a reshape has joined axes.

    Attributes:
        low, high: of each position, the first and the last pixel that it sees.
        step: pixels from one position to the next.
        seen: the first and the last pixel of the image that any position sees.
    """

    axis: int
    inner: int
    low: np.ndarray
    high: np.ndarray
    step: Fraction
    seen: Range

    @property
    def centres(self) -> np.ndarray:
        """The middle of what each position sees."""
        return (self.low + self.high) / 2

    def along(self, length: int) -> "Positions | None":
        """The same with a position for each of the `length` indices of the axis; None where that is impossible."""
        if len(self.low) * self.inner != length:
            return None
        low, high = np.repeat(self.low, self.inner), np.repeat(self.high, self.inner)
        return replace(self, inner=1, low=low, high=high, step=self.step / self.inner)

    def read(self, index: np.ndarray, scale: Fraction = Fraction(1), axis: int | None = None) -> "Positions":
        """The positions of an activation whose position j reads the positions `index[j]` `[m k]` of this one.

        An index of -1 or `len(low)` is a position in the padding. `np.ma.masked` positions are not read.
        """
        count = len(self.low)
        inside = np.clip(index, 0, count - 1)
        beyond = (index - inside) * float(self.step)
        low = np.ma.min(self.low[inside] + beyond, axis=1)
        high = np.ma.max(self.high[inside] + beyond, axis=1)
        read = np.unique(np.ma.compressed(np.ma.masked_where((index < 0) | (index >= count), index)))
        first, last = self.seen
        if read.size:
            first, last = max(first, self.low[read].min()), min(last, self.high[read].max())
        axis = self.axis if axis is None else axis
        step = self.step * scale
        return replace(self, axis=axis, low=np.asarray(low), high=np.asarray(high), step=step, seen=(first, last))


class Lost(NamedTuple):
    """Why and where a value depends on pixels `low` to `high` without having a position for them."""

    operation: str
    where: str  # JAX's name stack
    low: float
    high: float


class Sight(NamedTuple):
    """How a value sees the image along height or width: by its positions, or without any (`lost`), or both."""

    positions: tuple[Positions, ...] = ()
    lost: Lost | None = None


class Sights(tuple[Sight, ...]):
    """How a value sees the image: one `Sight` for each axis of the image, such as height and width."""


def joined(one: Lost | None, other: Lost | None) -> Lost | None:
    """The first reason of two, with the pixels of both."""
    if one is None or other is None:
        return one or other
    return one._replace(low=min(one.low, other.low), high=max(one.high, other.high))


def united(sights: Iterable[Any]) -> Sight:
    """The sight of a value that depends on several; those that do not depend on the image count for nothing."""
    found: dict[Any, Positions] = {}
    lost: Lost | None = None
    for sight in sights:
        if not isinstance(sight, Sight):
            continue
        lost = joined(lost, sight.lost)
        for new in sight.positions:
            place = new.axis, new.inner, len(new.low), new.step < 0  # a flipped copy is no neighbour
            old = found.get(place, new)
            seen = min(old.seen[0], new.seen[0]), max(old.seen[1], new.seen[1])
            low, high = np.minimum(old.low, new.low), np.maximum(old.high, new.high)
            found[place] = replace(old, low=low, high=high, seen=seen)
    return Sight(tuple(found.values()), lost)


def slid(
    positions: Positions,
    shapes: tuple[int, int],
    *,
    size: int = 1,
    stride: int = 1,
    before: int = 0,
    gap: int = 1,
    spread: int = 1,
) -> Positions | None:
    """Positions after a window has slid over them.

    Args:
        shapes: the lengths of the axis before and after.
        size, gap: the taps of the window, and the distance between two of them.
        before: the padding at the beginning, which may be negative.
        spread: the distance between two positions of the input, 1 unless zeros are put between them.
    """
    positions_or_none = positions.along(shapes[0])
    if positions_or_none is None:
        return None
    taps = np.arange(shapes[1])[:, None] * stride - before + np.arange(size) * gap
    between = taps % spread != 0
    between[between.all(1), 0] = False  # a window over zeros alone: it sees nothing, and keeps its place
    index = np.ma.masked_array(taps // spread, between)
    return positions_or_none.read(index, Fraction(stride, spread))


def taken(positions: Positions, length: int, index: np.ndarray, axis: int | None = None) -> Positions | None:
    """The positions `index` of an axis of this length, as a crop, a stride, a flip or a nearest resize takes them."""
    along = positions.along(length)
    if along is None:
        return None
    return along.read(np.ma.masked_array(index[:, None]), _scale(index, length), axis)


def _scale(centres: np.ndarray, length: int) -> Fraction:
    """How many of `length` old positions lie between two of the new ones, which lie at `centres` of the old ones."""
    count = len(centres)
    if count < 2:
        return Fraction(1)
    whole = Fraction(length, count)  # of a resize, in which rounding moves each centre by less than 1
    resized = (np.arange(count) + 0.5) * float(whole) - 0.5
    steps = np.diff(centres)
    if (steps == steps[0]).all() and steps[0] == int(steps[0]):
        return Fraction(int(steps[0]))
    if np.abs(resized - centres).max() <= 1:
        return whole
    return Fraction(float(np.median(steps))).limit_denominator(1000)


def resampled(positions: Positions, rows: np.ndarray, axis: int) -> Positions | None:
    """Positions that are sums of old ones, by the weights `rows` [new old]; None if they are not near each other."""
    zero = rows == 0
    if zero.all(1).any() or not zero.any():
        return None
    index = np.ma.masked_array(np.broadcast_to(np.arange(rows.shape[1]), rows.shape), zero)
    centres = np.asarray((index.min(1) + index.max(1)) / 2)
    return positions.read(index, _scale(centres, rows.shape[1]), axis)


def in_a_row(parts: Sequence[Positions], low: np.ndarray, high: np.ndarray) -> Positions:
    """Parts that follow each other. A part without the image, where `low` is NaN, is a padding."""
    longest = max(parts, key=lambda each: len(each.low))
    known, places = np.flatnonzero(~np.isnan(low)), np.arange(len(low))
    step = longest.step or _scale(((low + high) / 2)[known], len(known))
    nearest = known[np.abs(places[:, None] - known).argmin(1)]
    beyond = (places - nearest) * float(step)
    seen = min(each.seen[0] for each in parts), max(each.seen[1] for each in parts)
    return replace(longest, low=low[nearest] + beyond, high=high[nearest] + beyond, step=step, seen=seen)


def in_order(positions: Positions) -> bool:
    """Whether the positions follow each other in the image.

    At an edge that mirrors the image, they turn back step by step. Where it is rolled or wrapped around, they jump.
    """
    step = float(positions.step)
    forward = np.diff([positions.low, positions.high]) * np.sign(step)
    return bool((forward >= -abs(step) - 1e-6).all())  # resizes round


def apart(positions: Positions) -> Positions | None:
    """The same, if each position has a place of its own in the image; None if that is not known.

    At the seam where an image is rolled or wrapped around, a position sees both ends of it, so its window is wider than
    others. It is put next to its neighbours, in its window.
    """
    found = positions
    if not in_order(positions):
        wide = positions.high - positions.low > (positions.high - positions.low).min()
        low, high = (np.where(wide, np.nan, ends) for ends in (positions.low, positions.high))
        found = in_a_row([positions], low, high)
        if ((found.centres < positions.low) | (found.centres > positions.high)).any():
            return None
    _, counts = np.unique(found.centres, return_counts=True)
    return None if 2 * counts.max() > len(found.low) > 1 else found


def reshaped(positions: Positions, before: Sequence[int], after: Sequence[int]) -> Positions | None:
    """Positions after a reshape, which moves no number: what is some numbers apart stays so.

    An axis that is split keeps its outer part, which is a block of old positions, as in a patch embedding.
    """
    strides = _strides(after)
    count, stride = len(positions.low), _strides(before)[positions.axis] * positions.inner
    same = [positions.axis] if positions.axis < len(after) else []
    for axis in (*same, *range(len(after))):
        one = strides[axis]
        if one <= stride and stride * count <= one * after[axis] and stride % one == 0:
            return replace(positions, axis=axis, inner=stride // one)
    for axis, one in enumerate(strides):
        block = one // stride
        if stride < one < stride * count <= one * after[axis] and one % stride == 0 and count % block == 0:
            index = np.ma.masked_array(np.arange(count).reshape(-1, block))
            return replace(positions.read(index, Fraction(block), axis), inner=1)
    return None


def _strides(shape: Sequence[int]) -> list[int]:
    """How many numbers lie between two neighbours along each axis."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]

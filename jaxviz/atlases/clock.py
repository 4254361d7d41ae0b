"""How long an atlas still takes, from the chunks that are finished.

    Clock(chunks, costs);  clock.add(done);  clock.left(layer), clock.left()  -> seconds

Law: of chunks that all take what their cost says, each layer with the same start, the rest is exact as soon as a layer
has two chunks. A layer that has been begun is judged by its own chunks; one that has not, by its cost and by how long
the cost took elsewhere, and by the start of the layers before it, which is mostly compilation.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Sequence

from tqdm import tqdm

from jaxviz.atlases.plan import Chunk
from jaxviz.compiling.batches import LONG

Layer = tuple[int, bool]  # the number of a layer, and whether it is about its crops


class Clock:
    """The chunks that are left, and what those that are finished took."""

    def __init__(self, chunks: Sequence[Chunk], costs: Sequence[float]):
        self._left = dict(zip(chunks, costs, strict=True))
        self._taken: dict[Layer, list[tuple[float, float]]] = defaultdict(list)  # seconds and cost of each chunk
        self._began, self._worked = time.perf_counter(), 0.0

    def add(self, chunk: Chunk, seconds: float) -> None:
        """A chunk is finished; 0 seconds if another writer has done it."""
        cost = self._left.pop(chunk)
        if seconds > 0:
            self._worked += seconds
            self._taken[_layer(chunk)].append((seconds, cost))

    def left(self, layer: int | None = None) -> float | None:
        """The seconds until a layer, or all of them, are finished; None before the first chunk is."""
        if not self._taken:
            return None
        rest: dict[Layer, list[float]] = defaultdict(list)
        for chunk, cost in self._left.items():
            if layer in (None, chunk.layer):
                rest[_layer(chunk)].append(cost)
        seconds = sum(self._of(layer, sum(costs)) for layer, costs in rest.items())
        workers = self._worked / max(time.perf_counter() - self._began, 1e-9)
        return seconds / max(1.0, workers)

    def _of(self, layer: Layer, cost: float) -> float:
        if layer in self._taken:
            return cost * _rate(self._taken[layer])
        known = [taken for taken in self._taken.values() if len(taken) > 1] or list(self._taken.values())
        start = statistics.mean(max(seconds - _rate(taken) * cost for seconds, cost in taken) for taken in known)
        return cost * statistics.mean(map(_rate, known)) + start


def _rate(taken: Sequence[tuple[float, float]]) -> float:
    """The usual seconds for a unit of cost; the first chunk of a layer, which is compiled, is not usual."""
    return statistics.median_low(seconds / cost for seconds, cost in taken)


def _layer(chunk: Chunk) -> Layer:
    return chunk.layer, chunk.crops


def spoken(seconds: float | None) -> str:
    """A time as people say it: 40 s, 12 min, 2 h 10 min."""
    if seconds is None:
        return "not known yet"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def bar(filters: int) -> tqdm:
    """A progress bar on the terminal, without the guess of tqdm: it says what `set_postfix_str` gives it."""
    form = "{percentage:3.0f}% |{bar}| {n_fmt} of {total_fmt} filters{postfix}"
    return tqdm(total=filters, bar_format=form, delay=LONG, leave=False, disable=None)

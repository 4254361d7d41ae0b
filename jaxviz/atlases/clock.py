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
    """The chunks that are left, and what those that are finished took, in seconds for a unit of cost."""

    def __init__(self, chunks: Sequence[Chunk], costs: Sequence[float]):
        self._costs = dict(zip(chunks, costs, strict=True))
        self._left = dict(self._costs)
        self._taken: dict[Layer, list[float]] = defaultdict(list)
        self._starts: dict[Layer, float] = {}
        self._began, self._worked = time.perf_counter(), 0.0

    def add(self, chunk: Chunk, seconds: float) -> None:
        """A chunk is finished; 0 seconds if another writer has done it."""
        self._left.pop(chunk)
        if seconds > 0:
            self._worked += seconds
            self._taken[_layer(chunk)].append(seconds / self._costs[chunk])

    def left(self, layer: int | None = None) -> float | None:
        """The seconds until a layer, or all of them, are finished; None before the first chunk is."""
        if not self._taken:
            return None
        rest: dict[Layer, list[float]] = defaultdict(list)
        for chunk, cost in self._left.items():
            if layer in (None, chunk.layer):
                rest[_layer(chunk)].append(cost)
        seconds = sum(self._of(layer, costs) for layer, costs in rest.items())
        return seconds / max(1.0, self._worked / max(time.perf_counter() - self._began, 1e-9))  # several workers

    def _of(self, layer: Layer, costs: list[float]) -> float:
        if layer in self._taken:
            return sum(costs) * statistics.median_low(self._taken[layer])
        several = [taken for taken in self._taken.values() if len(taken) > 1] or list(self._taken.values())
        rate = statistics.mean(statistics.median_low(taken) for taken in several)
        unit = costs[0]
        start = statistics.mean(max(taken) - statistics.median_low(taken) for taken in several)
        return sum(costs) * rate + unit * start


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

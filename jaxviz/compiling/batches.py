"""Many items through a function that is compiled once, in bounded memory.

There are two ways to do it, and most methods of jaxviz use both, one inside the other:

- `map_in_chunks` loops in Python over chunks of items and calls a compiled function for each chunk. It is the outer
  loop: memory is bounded whatever the number of items, a long run shows a progress bar, Ctrl-C stops between two
  chunks, and all chunks have one length, so that one program serves them all. The user's argument `batch` is the size
  of a chunk. `chunks` is the same loop for a caller that adds the results up instead of joining them.
- `map_in_loop` is a loop inside the compiled program, over the items of one chunk. It is the inner loop: it is traced
  and compiled as part of a larger function. `at_once` says how many items it computes together on this platform.

The law of both: the result is that of the function of each item alone, whatever the size.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax import lax
from tqdm import tqdm

from jaxviz.checks import whole
from jaxviz.compiling.execution import AS_USUAL, Execution, platform_of
from jaxviz.compiling.rewrite import rewrite

LONG = 2.0  # seconds after which a run shows a progress bar
ON_CPU = 128 * 128  # pixels at a time: one image keeps a CPU busy, and the caches of a CPU are small
ELSEWHERE = 32  # images at a time


def chunks(items: Any, size: int, unit: str = "") -> Iterator[tuple[Any, np.ndarray]]:
    """Chunks `(items [b …], positions)` of the pytree `items [n …]`, all of the same length b, at most `size`.

    The chunks are as even as possible: 20 items with size 8 are chunks of 7, 7 and 6 items. The last chunk is padded
    with copies of the last item, since a shorter chunk would be compiled again; its `positions` list only the real
    items.

    Args:
        unit: the name of one item in the progress bar of a long run; without it there is no bar.

    Raises:
        InputError: the size is below 1; the message calls it `batch`, as public functions do.
    """
    count = len(jax.tree.leaves(items)[0])
    size = -(-count // -(-count // whole("batch", size)))
    with progress(count, unit) as bar:
        for start in range(0, count, size):
            positions = np.arange(start, min(start + size, count))
            index = np.minimum(np.arange(start, start + size), count - 1)
            yield jax.tree.map(lambda leaf, i=index: leaf[i], items), positions
            bar.update(len(positions))


def map_in_chunks(function: Callable[[Any], Any], items: Any, size: int, unit: str = "image") -> Any:
    """The results `[n …]`, as numpy arrays, of a function `[b …] -> [b …]` of all `items [n …]`.

    The function is called from Python for each chunk of at most `size` items; `unit` names one item in the progress
    bar.

    Raises:
        InputError: the size is below 1.
    """
    results = []
    for piece, positions in chunks(items, size, unit):
        real = len(positions)
        results.append(jax.tree.map(lambda leaf, n=real: np.asarray(leaf)[:n], function(piece)))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *results)


def map_in_loop(function: Callable, *items: Any, size: int, execution: Execution = AS_USUAL) -> Any:
    """The results `[n …]` of a function of one item, for all `items [n …]`, as part of a traced function.

    Up to `size` items are computed together by `vmap`; with more items, the compiled program loops. The function is
    rewritten for XLA:CPU (`rewrite`) unless `execution` says otherwise.
    """
    count = len(jax.tree.leaves(items)[0])
    if count <= size:
        return rewrite(jax.vmap(function), execution)(*items)
    size = size if count % size == 0 else 1  # `lax.map` would compile the remainder as a second program
    each = None if size == 1 else size  # with a batch of one, `lax.map` would still scatter every update
    return rewrite(lambda *items: lax.map(lambda item: function(*item), items, batch_size=each), execution)(*items)


def at_once(*size: int, execution: Execution = AS_USUAL) -> int:
    """The number of images of this size (height and width, say) with which the platform is fastest, both ways."""
    return max(1, ON_CPU // math.prod(size)) if platform_of(execution) == "cpu" else ELSEWHERE


def progress(total: int, unit: str) -> tqdm:
    """A progress bar on the terminal, which appears after `LONG` seconds; without a `unit` it never appears."""
    return tqdm(total=total, unit=unit, delay=LONG, leave=False, disable=None if unit else True)


over = map_in_chunks  # its name in version 0.1, for `from jaxviz.chunks import over`

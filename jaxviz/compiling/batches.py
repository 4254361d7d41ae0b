"""Batches in bounded memory: n items through a function that takes b, compiled once.

    run(items [n …]) == the results of all chunks of b items, the last one padded and cut again

Memory is that of one chunk whatever n is, long runs show their progress, and nothing retraces.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxviz.checks import whole

LONG = 2.0  # seconds after which a run shows a progress bar


def chunks(items: Any, size: int, unit: str = "") -> Iterator[tuple[Any, np.ndarray]]:
    """The pytree `items [n …]` in pieces of at most `size`, each with the positions of its items.

    With a `unit`, what one item is called, a bar shows how many are done.

    All pieces are of one length, as even as can be: 20 items by at most 8 are 7, 7 and 6. The last piece repeats its
    last item to be whole, since a shorter one would compile again; it has fewer positions than items then.

    Raises:
        InputError: a size below 1; public functions call it `batch`.
    """
    count = len(jax.tree.leaves(items)[0])
    size = -(-count // -(-count // whole("batch", size)))
    with progress(count, unit) as bar:
        for start in range(0, count, size):
            positions = np.arange(start, min(start + size, count))
            index = np.minimum(np.arange(start, start + size), count - 1)
            yield jax.tree.map(lambda leaf, i=index: leaf[i], items), positions
            bar.update(len(positions))


def over(function: Callable[[Any], Any], items: Any, size: int, unit: str = "image") -> Any:
    """`function [b …] -> [b …]` over all of `items [n …]`, as numpy arrays `[n …]`."""
    results = []
    for piece, positions in chunks(items, size, unit):
        real = len(positions)
        results.append(jax.tree.map(lambda leaf, n=real: np.asarray(leaf)[:n], function(piece)))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *results)


def progress(total: int, unit: str) -> tqdm:
    """A progress bar on the terminal that appears once a run turns out to be long; without a `unit`, it never does."""
    return tqdm(total=total, unit=unit, delay=LONG, leave=False, disable=None if unit else True)

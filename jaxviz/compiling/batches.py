"""Many items through a function that is compiled once, in bounded memory.

There are two ways to do it, and most methods of jaxviz use both, one inside the other:

- `map_in_chunks` loops in Python over chunks of items and calls a compiled function for each chunk. It is the outer
  loop: memory is bounded whatever the number of items, a long run shows a progress bar, Ctrl-C stops between two
  chunks, and all chunks have one length, so that one program serves them all. The user's argument `batch` is the size
  of a chunk. `chunks` is the same loop for a caller that adds the results up instead of joining them.
- `map_in_loop` is a loop inside the compiled program, over the items of one chunk. It is the inner loop: it is traced
  and compiled as part of a larger function. `at_once` says how many items it computes together on this platform.

The law of both: the result is that of the function of each item alone, whatever the size.

`Execution(memory=…)` bounds what a program needs between its inputs and its results. `fitting` finds how many items a
program may compute together, from XLA's own figures of the compiled program.
"""

import functools
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from tqdm import tqdm

from jaxviz.checks import whole
from jaxviz.compiling.execution import AS_USUAL, Execution, platform_of
from jaxviz.compiling.jaxprs import run
from jaxviz.compiling.jit import jit
from jaxviz.compiling.rewrite import rewrite
from jaxviz.errors import InputError

LONG = 2.0  # seconds after which a run shows a progress bar
ON_CPU = 128 * 128  # pixels at a time for a gradient, since the caches of a CPU are small
FORWARD = 2 * 224 * 224  # pixels at a time, where no gradient needs the activations of all layers
ELSEWHERE = 32  # images at a time
SHARE = 0.9  # of the memory that is allowed: a few items more are not worth another compilation
# Bytes of weights. With as many, two images at a time share each reading of the weights, which gains more than the
# caches lose. Gradients took 9 to 20 % less time for ResNet50, 2 to 16 % less for DenseNet121, and from 4 % more to
# 14 % less for VGG16 (an Intel Xeon of family 6, model 207). EfficientNetB0, which has fewer, gained nothing.
HEAVY = 25_000_000


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


def kinds(items: Sequence[Any], *others: Sequence[Any]) -> list[np.ndarray]:
    """The positions of the pytrees of each kind. Those of one kind differ in numbers only, so they can be `stacked`.

    Args:
        others: sequences as long as `items`; the members of a kind are equal in them, too.
    """
    found: dict[Any, list[int]] = {}
    for position, item in enumerate(items):
        leaves, structure = jax.tree.flatten(item)
        same = structure, *map(np.shape, leaves), *(other[position] for other in others)
        found.setdefault(same, []).append(position)
    return [np.array(members) for members in found.values()]


def stacked(items: Iterable[Any]) -> Any:
    """One pytree `[n …]` of n pytrees of one kind."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *items)


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

    Up to `size` items are computed together by `vmap`, fewer where `execution` bounds the memory; with more items, the
    compiled program loops. The function is rewritten for the platform (`rewrite`) unless `execution` says otherwise.

    Raises:
        InputError: one item needs more memory than `execution` allows.
    """
    count = len(jax.tree.leaves(items)[0])
    together = rewrite(jax.vmap(function), execution)
    if execution.limit is not None:
        size = fitting(functools.partial(_alone, together, items), execution.limit, min(size, count))
    if count <= size:
        return together(*items)
    # `lax.map` would compile a remainder as a second program. So the count is divided evenly. Where that leaves half of
    # the size or less, the last item is repeated until there is no remainder.
    even = next(divisor for divisor in range(size, 0, -1) if count % divisor == 0)
    rounds = count // even if 2 * even > size else -(-count // size)
    size = -(-count // rounds)
    each = None if size == 1 else size  # with a batch of one, `lax.map` would still scatter every update
    looped = rewrite(lambda *items: lax.map(lambda item: function(*item), items, batch_size=each), execution)
    if rounds * size == count:
        return looped(*items)
    index = np.minimum(np.arange(rounds * size), count - 1)
    return jax.tree.map(lambda leaf: leaf[:count], looped(*jax.tree.map(lambda leaf: leaf[index], items)))


def at_once(*size: int, execution: Execution = AS_USUAL, gradient: bool = True, weights: Any = ()) -> int:
    """The number of images of this size (height and width, say) with which the platform is fastest.

    A GPU or TPU gains by more images, so where `execution` bounds the memory, the memory alone bounds their number.

    Args:
        gradient: whether a gradient needs the activations of all layers, which must fit into the caches of a CPU.
        weights: the pytree of all weights that a gradient reads. With many (`HEAVY`), a CPU computes twice as many
            images.
    """
    if platform_of(execution) == "cpu":
        heavy = gradient and sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(weights)) >= HEAVY
        return max(1, (ON_CPU if gradient else FORWARD) // math.prod(size)) * (2 if heavy else 1)
    return ELSEWHERE if execution.limit is None else sys.maxsize


def fitting(program: Callable[[int], Any], limit: int, most: int) -> int:
    """The number of items, at most `most`, that a program may compute together with `limit` bytes of temporaries.

    Two programs are compiled: for `most` items, which is the answer if it fits, and for one. The straight line through
    their figures says how many fit, and that program is compiled, too. As temporaries are not quite straight, the line
    is drawn anew until the program uses `SHARE` of the limit, or one item more does not fit.

    Args:
        program: from a number of items to a lowered program of JAX.
        limit: bytes. XLA's own figure for the program of the result is not above it.

    Raises:
        InputError: the program of a single item needs more.
    """

    @functools.cache
    def needed(count: int) -> int | float:
        try:
            return program(count).compile().memory_analysis().temp_size_in_bytes
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return math.inf  # the compiler of a TPU refuses what the device cannot hold

    if needed(most) <= limit:
        return most
    if needed(1) > limit:
        given = f"given: memory of {limit / 1e6:.3g} MB"
        if math.isinf(needed(1)):
            raise InputError(
                f"the device itself must hold the program of one item, and cannot; {given}. Use smaller images"
            )
        raise InputError(
            f"the memory must be enough for one item: its program needs {needed(1) / 1e6:.3g} MB between inputs and "
            f"results; {given}. Allow more, or use smaller images"
        )
    low, high = 1, most
    while high - low > 1 and needed(low) < SHARE * limit:
        refused = math.isinf(needed(high))
        each = needed(low) / low if refused else (needed(high) - needed(low)) / (high - low)
        guess = min(max(low + int((limit - needed(low)) / max(each, 1)), low + 1), high - 1)
        low, high = (guess, high) if needed(guess) <= limit else (low, guess)
    return low


def _alone(function: Callable, items: Any, count: int) -> Any:
    """The program of a function `[n …] -> [n …]` for `count` of `items`, outside of the function that is traced.

    The function may use values of the function that is traced; they become arguments of the program.
    """
    some = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape[1:]), leaf.dtype), items)
    jaxpr = jax.make_jaxpr(function)(*some)
    values = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), jaxpr.consts)
    program = jit()(lambda consts, items: run(jaxpr.jaxpr, consts, jax.tree.leaves(items), {}))
    return program.lower(None, values, some)


def progress(total: int, unit: str) -> tqdm:
    """A progress bar on the terminal, which appears after `LONG` seconds; without a `unit` it never appears."""
    return tqdm(total=total, unit=unit, delay=LONG, leave=False, disable=None if unit else True)


over = map_in_chunks  # its name in version 0.1, for `from jaxviz.chunks import over`

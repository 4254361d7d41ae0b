"""Making an atlas: every filter of chosen layers, as one job that can be stopped anywhere and goes on.

    atlas(model, path, …) -> Atlas
    estimate_atlas(model, …) -> Estimate: what it would take

Law: the same call goes on where an earlier one stopped, however it stopped, and the store it ends with has the bits of
an undisturbed one. A store of anything else is refused, and nothing in it changes.

The chunks are independent, and each worker writes its own, so the job needs a scheduler and no messages: any executor
of `concurrent.futures`. It is not one SPMD program over all machines, in which one lost host takes down all others.
"""

import json
import logging
import operator
import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxviz.atlases.clock import Clock, bar, spoken
from jaxviz.atlases.kernels import describe
from jaxviz.atlases.layout import MISSING
from jaxviz.atlases.manifest import differences, made
from jaxviz.atlases.photographs import listed
from jaxviz.atlases.plan import Chunk, Plan, plan
from jaxviz.atlases.read import Atlas, open_atlas
from jaxviz.atlases.store import Store
from jaxviz.atlases.work import compute
from jaxviz.atlases.workers import everywhere, results
from jaxviz.checks import height_width, whole
from jaxviz.compiling.batches import at_once
from jaxviz.errors import InputError, warn
from jaxviz.model import Model

__all__ = ["Estimate", "atlas", "estimate_atlas"]

CHUNK = 32  # filters: seconds of work on a CPU, one batch of a GPU
log = logging.getLogger("jaxviz.atlas")


def atlas(
    model: Model,
    path: str | os.PathLike[str],
    layers: Sequence[str] | None = None,
    *,
    recipe: str = "lucid",
    key: jax.Array | None = None,
    images: str | os.PathLike[str] | None = None,
    robust: bool = True,
    latent: bool = False,
    chunk: int | None = None,
    executor: Any = None,
    shard: tuple[int, int] | None = None,
    verify: bool = False,
    **settings: Any,
) -> Atlas:
    """The `Atlas` at `path`: every filter of the layers, climbed and written, to be read a filter at a time.

    Call it again with the same arguments, and it goes on: what is finished is kept, whatever stopped it. Where it is
    long, a bar on the terminal says how long the layer and the whole still take; so does the logger "jaxviz.atlas", at
    its level INFO, after each chunk. The filters are spread over all devices that JAX has in a process.

    Args:
        path: a folder, which is made, or an address that fsspec knows, such as `s3://bucket/atlas.zarr`.
        layers: handles of the model; None: all that convolve.
        recipe: a name in `jv.recipes.RECIPES`.
        key: of the noise, folded with the layer and the number of each filter; default `jax.random.key(0)`.
        images: a folder of photographs, of whose parts the strongest are kept for each filter, see `jv.top_images`.
            The store knows them by their names: do not change them before the atlas is finished.
        robust: whether the held score of each picture is computed, too, see `jv.held_score`. It costs about as much as
            11 steps.
        latent: whether what was climbed is kept, too, such as Fourier coefficients.
        chunk: filters that are computed and written together. None: that of the store, or enough for all devices here.
        executor: of `concurrent.futures`, whose workers do the chunks, such as `distributed.Client(…).get_executor()`;
            None: this process does them. `path` and `images` are the same places for all workers.
        shard: (i, n) does the part number i, from 0, of n parts of equal cost, for n jobs that share the store.
        verify: whether all that is finished is read and compared with its checksums. What is damaged is made again, and
            a warning names it.
        settings: of the recipe, such as `size` and `steps`; the defaults are those of a picture of many filters.

    Raises:
        InputError: an unknown layer, recipe or setting, images that are too small for a layer, a shard that is none, a
            store of another model or recipe, a place that cannot be written or is full, or workers that died.
        ImportError: Zarr is not installed: it is in the extra "atlas".
    """
    if shard is not None:
        _check(shard)
    there = Store(path).read_manifest()
    if chunk is None and there is not None:
        chunk = there.get("chunk")
    wanted = _plan(
        model, layers, recipe=recipe, key=key, images=images, robust=robust, latent=latent, chunk=chunk, **settings
    )
    chunks = wanted.chunks if shard is None else wanted.share(*shard)
    store = Store(path, write=True)
    _agree(store, wanted, there)
    _prepare(store, wanted, model)
    if verify:
        _verify(store, wanted, chunks)
    fates = {part.path: store.fates(part.path) for part in wanted.parts}
    todo = [each for each in chunks if (fates[each.path][each.start : each.stop] == MISSING).any()]
    # Workers may run in other folders.
    place = store.path if store.remote else os.path.abspath(store.path)
    folder = None if images is None else os.path.abspath(images)
    _run(wanted, todo, results(executor, model, place, folder, todo))
    return open_atlas(path)


class Estimate(NamedTuple):
    """What an atlas would take.

    Attributes:
        filters: how many there are.
        chunks: how many parts the job has.
        bytes: of all arrays. On disk they are compressed, by little, since pictures that climb are much like noise.
        seconds: for one process on this machine, from one chunk, which was computed twice.
    """

    filters: int
    chunks: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.filters:,} filters in {self.chunks:,} chunks: at most {self.bytes / 1e6:,.1f} MB on disk, and "
            f"about {spoken(self.seconds)} for one process on this machine"
        )


def estimate_atlas(model: Model, layers: Sequence[str] | None = None, **arguments: Any) -> Estimate:
    """An `Estimate` of what `jv.atlas` would take; nothing is written.

    One chunk, of a cost in the middle, is computed twice: the first time is longer by what a layer takes to compile.
    The others are longer or shorter by the products in the network up to their layer.

    Args:
        layers, arguments: as for `jv.atlas`: `recipe`, `key`, `images`, `robust`, `latent`, `chunk`, and settings.

    Raises:
        InputError: as `jv.atlas`.
    """
    wanted = _plan(model, layers, **arguments)
    climbs = [(cost, each) for cost, each in zip(wanted.costs, wanted.chunks, strict=True) if not each.crops]
    cost, one = sorted(climbs)[len(climbs) // 2]
    model, filters = everywhere(model), range(one.start, one.stop)
    taken = []
    for _ in range(2):
        began = time.perf_counter()
        compute(model, dict(wanted.manifest), wanted.manifest["layers"][one.layer], filters)
        taken.append(time.perf_counter() - began)
    first, second = taken
    compiling = max(0.0, first - second) * len(wanted.manifest["layers"])
    seconds = sum(wanted.costs) * second / cost + compiling
    return Estimate(sum(each.stop - each.start for _, each in climbs), len(wanted.chunks), wanted.size, seconds)


def _plan(
    model: Model,
    layers: Sequence[str] | None,
    *,
    recipe: str = "lucid",
    key: jax.Array | None = None,
    images: str | os.PathLike[str] | None = None,
    robust: bool = True,
    latent: bool = False,
    chunk: int | None = None,
    **settings: Any,
) -> Plan:
    """
    Raises:
        InputError: as `atlas`.
    """
    files = None if images is None else listed(model, images)
    if chunk is None:
        sides = height_width("size", settings.get("size", 1))
        chunk = max(CHUNK, jax.local_device_count() * min(CHUNK, at_once(*sides, execution=model.execution)))
    return plan(
        model,
        layers,
        recipe=recipe,
        settings=settings,
        key=key,
        robust=robust,
        latent=latent,
        files=files,
        chunk=whole("chunk", chunk),
    )


def _check(shard: tuple[int, int]) -> None:
    """
    Raises:
        InputError: it is not one of n.
    """
    try:
        index, count = map(operator.index, shard)
    except (TypeError, ValueError):
        index = count = 0
    if not 0 <= index < count:
        raise InputError(
            "a shard is (i, n), whole numbers with 0 ≤ i < n: the first of four is (0, 4), the last (3, 4); "
            f"given: {shard!r}"
        )


def _agree(store: Store, wanted: Plan, there: dict[str, Any] | None) -> None:
    """Make the store one of this plan, or find that it is.

    Raises:
        InputError: it is one of another plan.
    """
    if there is None:
        store.claim({**wanted.manifest, "made": made()})
        there = store.read_manifest()
        assert there is not None
    if other := differences(there, wanted.manifest):
        raise InputError(
            f"{store.path} is an atlas of something else, and stays as it is: {'; '.join(other)}. Give the same "
            "arguments to go on with it, or another path"
        )


def _prepare(store: Store, wanted: Plan, model: Model) -> None:
    """Make what is not there yet of the arrays, and write what belongs to no chunk."""
    size = wanted.manifest["chunk"]
    for part in wanted.parts:
        store.prepare(part, size)
        if "name" in part.attributes and not store.has(part.path, "weights"):
            kernels = describe(model, part.attributes["name"], part.filters)
            if kernels is not None:
                store.put_constant(part.path, "weights", kernels)
    if wanted.files is not None and not store.has("", "files"):
        store.put_constant("", "files", np.frombuffer(json.dumps(list(wanted.files)).encode(), np.uint8))


def _verify(store: Store, wanted: Plan, chunks: Sequence[Chunk]) -> None:
    """Take the markers of damaged chunks away, and warn."""
    named = []
    parts = {part.path: part for part in wanted.parts}
    size = wanted.manifest["chunk"]
    for each in chunks:
        fates = store.fates(each.path)
        for start in range(each.start, each.stop, size):
            stop = min(start + size, each.stop)
            damaged = store.damaged(parts[each.path], start, stop) if (fates[start:stop] != MISSING).all() else []
            if damaged:
                store.forget(each.path, start)
                layer = wanted.manifest["layers"][each.layer]
                named.append(f"{layer} {start} to {stop - 1} ({', '.join(damaged)})")
    if named:
        warn(f"{len(named)} chunks were damaged, and are made again: {'; '.join(named)}")


def _run(wanted: Plan, todo: Sequence[Chunk], arriving: Any) -> None:
    """Wait for all chunks, say how long the rest takes, and warn of filters without a picture."""
    costs = dict(zip(wanted.chunks, wanted.costs, strict=True))
    clock = Clock(todo, [costs[each] for each in todo])
    dead = lost = 0
    with bar(sum(each.stop - each.start for each in todo if not each.crops)) as shown:
        for done in arriving:
            clock.add(done.chunk, done.seconds)
            dead, lost = dead + done.dead, lost + done.lost
            layer = wanted.manifest["layers"][done.chunk.layer]
            left = f"left: {spoken(clock.left(done.chunk.layer))} in {layer}, {spoken(clock.left())} in total"
            shown.set_postfix_str(left, refresh=False)
            shown.update(0 if done.chunk.crops else done.chunk.stop - done.chunk.start)
            what = "crops" if done.chunk.crops else f"filters {done.chunk.start} to {done.chunk.stop - 1}"
            log.info("%s, %s: %.1f s; %s", layer, what, done.seconds, left)
    if dead:
        warn(
            f"{dead} filters do not move, so there is no picture of them: their ReLU is off everywhere, or a dead "
            "filter; .dead of a layer says which, and another recipe or key may show something"
        )
    if lost:
        warn(f"the ascents of {lost} filters ended in NaN or infinity; .lost of a layer says which: try smaller steps")

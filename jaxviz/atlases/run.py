"""Making an atlas: every filter of chosen layers, as one job that can be stopped anywhere and goes on.

    atlas(model, path, …) -> Atlas

Law: the same call goes on where an earlier one stopped, however it stopped, and the store it ends with has the bits of
an undisturbed one. A store of anything else is refused, and nothing in it changes.

The chunks are independent, and each worker writes its own, so the job needs a scheduler, not a message: any executor of
`concurrent.futures`. It is not one SPMD program over all machines, in which one lost host takes down the others.
"""

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from typing import Any

import jax

from jaxviz.ascent.slots import spread
from jaxviz.atlases.plan import RECIPE, Plan, differences, plan
from jaxviz.atlases.read import Atlas, open_atlas
from jaxviz.atlases.store import MISSING, Store
from jaxviz.atlases.work import work
from jaxviz.errors import InputError
from jaxviz.model import Model

__all__ = ["atlas"]

CHUNK = 32  # filters: a few seconds of work on a CPU, and one batch of a GPU


def atlas(
    model: Model,
    path: str | os.PathLike[str],
    layers: Sequence[str] | None = None,
    *,
    recipe: str = RECIPE,
    key: jax.Array | None = None,
    robust: bool = True,
    chunk: int | None = None,
    **settings: Any,
) -> Atlas:
    """The `Atlas` at `path`: every filter of the layers, climbed and written, to be read a filter at a time.

    Call it again, and it goes on: what is finished is kept.

    Args:
        path: a folder, which is made, or an address that fsspec knows, such as `s3://bucket/atlas.zarr`.
        layers: handles of the model; None: all that convolve.
        recipe: a name in `jv.recipes.RECIPES`.
        key: of the noise, folded with the layer and the number of each filter; default `jax.random.key(0)`.
        robust: whether the held score of each picture is computed, too.
        chunk: filters that are computed and written together; None: that of the store, or enough for all devices here.
        settings: of the recipe, such as `size` and `steps`; the defaults are those of a picture of many filters.

    Raises:
        InputError: an unknown layer, recipe or setting, images that are too small for a layer, a store of another
            model or recipe, or a place that cannot be written.
        ImportError: Zarr is not installed: it is in the extra "atlas".
    """
    store = Store(path, write=True)
    there = store.read_manifest()
    size = chunk or (there["chunk"] if there else CHUNK)
    wanted = plan(model, layers, recipe=recipe, settings=settings, key=key, robust=robust, chunk=size)
    _agree(store, wanted, there)
    for part in wanted.parts:
        store.prepare(part, size)
    devices = jax.local_devices()
    model = spread(model, devices if len(devices) > 1 else None, each=False)
    fates = [store.fates(part.path) for part in wanted.parts]
    for each in wanted.chunks:
        if (fates[each.layer][each.start : each.stop] == MISSING).any():
            work(model, store.path, each)
    return open_atlas(path)


def _agree(store: Store, wanted: Plan, there: dict[str, Any] | None) -> None:
    """Make the store one of this plan, or find that it is.

    Raises:
        InputError: it is one of another plan.
    """
    if there is None:
        store.claim({**wanted.manifest, "made": _made()})
        there = store.read_manifest()
        assert there is not None
    if other := differences(there, wanted.manifest):
        raise InputError(
            f"{store.path} is an atlas of something else, and stays as it is: {'; '.join(other)}. Give the same "
            "arguments to go on with it, or another path"
        )


def _made() -> dict[str, Any]:
    """With what, where and when an atlas was begun."""
    packages = ("jaxviz-engine", "jax", "jaxlib", "flax", "numpy", "zarr")
    device = jax.local_devices()[0]
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.local_device_count(),
        "machine": platform.platform(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"

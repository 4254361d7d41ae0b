"""One chunk of an atlas: its filters are climbed, measured and written. This is what a worker does.

    work(model, path, images, chunk) -> Done

Law: the bits of a filter depend on the model and the manifest only, not on who computes it, in which order, or what
else is in its chunk. So its key is folded from its layer and its number; and as XLA may round differently for another
number of images, a device always computes `at_once` of them together, padded with copies where there are fewer. Only
where the model's `execution` bounds the memory, they are as many as fit on that device.
"""

import time
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxviz.ascent.climb import finite_images, sweep_quietly
from jaxviz.ascent.held import measured
from jaxviz.atlases.layout import CLIMBED, DEAD, LOST, MISSING
from jaxviz.atlases.manifest import How, how
from jaxviz.atlases.photographs import strongest
from jaxviz.atlases.plan import Chunk, keys_of_filters, objectives
from jaxviz.atlases.store import Store
from jaxviz.compiling.batches import at_once
from jaxviz.model import Model
from jaxviz.rendering import rgb

GIVEN = ("canvas", "transform", "optimizer", "steps", "relu")


class Done(NamedTuple):
    """What became of a chunk.

    Attributes:
        seconds: it took; 0 if another writer had done it before.
        dead, lost: how many of its filters are so.
    """

    chunk: Chunk
    seconds: float
    dead: int
    lost: int


def work(model: Model, path: str, images: str | None, chunk: Chunk) -> Done:
    """Compute a chunk and write it, unless it is there.

    Args:
        images: the folder of photographs.
    """
    started = time.perf_counter()
    store = Store(path, write=True)
    fate = store.fates(chunk.path, chunk.start, chunk.stop)
    if (fate != MISSING).all():
        return Done(chunk, 0.0, int((fate == DEAD).sum()), int((fate == LOST).sum()))
    manifest = store.read_manifest()
    assert manifest is not None
    layer = manifest["layers"][chunk.layer]
    if chunk.crops:
        assert images is not None
        found = strongest(model, images, store.files(), layer, manifest["images"]["top"], manifest["chunk"])
        for start, arrays in found:
            store.put(chunk.path, start, arrays, np.full(len(arrays["score"]), CLIMBED, np.uint8))
    else:
        arrays, fate = compute(model, manifest, layer, range(chunk.start, chunk.stop))
        store.put(chunk.path, chunk.start, arrays, fate)
    seconds = time.perf_counter() - started
    return Done(chunk, seconds, int((fate == DEAD).sum()), int((fate == LOST).sum()))


def compute(
    model: Model, manifest: dict[str, Any], layer: str, filters: range
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The arrays of a chunk, as the store has them, and the fate of each filter."""
    way = how(manifest)
    count, size = len(filters), manifest["chunk"]
    devices = jax.local_devices()
    each = together(model, tuple(manifest["size"]), size, len(devices))
    padded = [*filters, *[filters[-1]] * (-count % (each * len(devices)))]
    several = tuple(devices) if len(devices) > 1 else None
    settings = {name: value for name, value in way.settings.items() if name not in GIVEN}
    latents: list[Any] | None = [] if manifest["latent"] else None
    found, _ = sweep_quietly(
        model,
        objectives(model, way.style, layer, padded),
        {name: way.settings[name] for name in GIVEN if way.settings.get(name) is not None},
        key=keys_of_filters(model, way.key, layer, padded),
        batch=each if model.execution.limit is None else None,
        devices=several,
        latents=latents,
        **settings,
    )
    finite = finite_images(found)[:count]
    fate = np.where(finite, np.where(found.moved[:count], CLIMBED, DEAD), LOST).astype(np.uint8)
    images = np.where(finite[:, None, None, None], found.image[:count], 0)
    pictures = np.stack([way.style.picture(image) for image in images])
    blank = rgb.nothing(*pictures.shape[1:3])
    arrays = {
        "image": np.where((fate == CLIMBED)[:, None, None, None], pictures, blank),
        "exact": np.rint(255 * np.clip(images, 0, 1)).astype(np.uint8),
        "scores": found.scores[:count],
    }
    if manifest["robust"]:
        arrays["robust"] = np.where(fate == LOST, np.nan, _robust(model, way, layer, filters, pictures, images))
    if latents is not None:
        leaves = [(at, *jax.tree.leaves(latent)) for at, latent in latents]
        arrays["latent"] = np.empty((len(padded), *leaves[0][1].shape[1:]), leaves[0][1].dtype)
        for at, leaf in leaves:
            arrays["latent"][at] = leaf
        arrays["latent"] = arrays["latent"][:count]
    return arrays, fate


def together(model: Model, size: tuple[int, ...], chunk: int, devices: int) -> int:
    """How many filters each device computes at a time."""
    return max(1, min(at_once(*size, execution=model.execution), -(-chunk // devices)))


def _robust(model: Model, way: How, layer: str, filters: range, pictures: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The held score of each picture: of the channel or unit itself, without the border and penalty of the recipe."""
    channels = model.channels
    shown = pictures[..., :channels] if channels in (1, 3) else np.clip(images, 0, 1)  # a picture is RGB
    plain = replace(way.style, border=0, penalty=None)
    keys = keys_of_filters(model, jax.random.fold_in(way.key, 1), layer, filters)
    return measured(model, shown, objectives(model, plain, layer, filters), keys)[1]

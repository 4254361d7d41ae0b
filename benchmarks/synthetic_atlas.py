"""Atlases of no network: their pictures and numbers are random, so they are there at once."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxviz.atlases.layout import CLIMBED, DEAD, LOST, Kind, Part, of_layer
from jaxviz.atlases.store import Store

CROPS, CHUNK = 4, 32

# Names that a file may give its layers, to do harm on a page.
HOSTILE = (
    "<script>alert(1)</script>",
    """ "'><img src=x onerror=alert(1)>""",
    "</script><script>alert(1)//",
    "javascript:alert(1)",
    "long_" * 60,
    "שכבה\u202e_conv",
    "nul\0 \ufffe\ud800 end",
    "__proto__",
    "../../etc/passwd",
    "a & b &amp; ${1} $title",
)


def write_atlas(
    path: Path,
    layers: Mapping[str, int],
    *,
    size: tuple[int, int] = (32, 32),
    steps: int = 7,
    dead: Sequence[int] = (),
    lost: Sequence[int] = (),
    missing: int = 0,
    crops: bool = True,
    channels: int = 3,
    seed: int = 0,
) -> None:
    """Write an atlas of layers {name: filters}. Each picture is noise about a colour of its own.

    Args:
        dead, lost: filters of the first layer.
        missing: the number of filters at the end of the last layer that are not there.
        channels: of the images as the network sees them; a picture has three.
    """
    random = np.random.default_rng(seed)
    store = Store(path, write=True)
    manifest = {
        "model": {"source": "no network", "sha256": "0" * 64},
        "layers": list(layers),
        "recipe": {"name": "none"},
    }
    store.claim({**manifest, "size": list(size), "steps": steps, "chunk": CHUNK})
    names = ["cat.jpg", "dog.jpg", "<b>bird</b>.jpg", "folder/a name that is long enough to be cut off.jpg"]
    if crops:
        store.put_constant("", "files", np.frombuffer(json.dumps(names).encode(), np.uint8))
    for number, (name, filters) in enumerate(layers.items()):
        colour = random.integers(40, 216, (filters, 1, 1, 3))
        image = np.clip(colour + random.integers(-30, 31, (filters, *size, 3)), 0, 255).astype(np.uint8)
        arrays = {
            "image": image,
            "exact": (image // 2 + 60)[..., :channels],
            "scores": np.sort(random.normal(2, 1, (filters, steps)), 1).astype(np.float32),
            "robust": random.normal(1, 0.3, filters).astype(np.float32),
        }
        fate = np.full(filters, CLIMBED, np.uint8)
        if number == 0:
            fate[list(dead)], fate[list(lost)] = DEAD, LOST
            arrays["scores"][list(lost)] = np.nan
        stop = filters - (missing if number == len(layers) - 1 else 0)
        field = {"size": (9, 9), "stride": (2, 2), "offset": (-4, -4)}
        attributes = {
            "name": name,
            "kind": "Conv2D",
            "position": 2 * number,
            "filters": filters,
            "receptive_field": field,
        }
        _write(store, of_layer(number), arrays, fate[:stop], attributes)
        store.put_constant(of_layer(number), "weights", random.normal(size=(filters, 9)).astype(np.float32))
        if crops:
            found = {
                "image": random.integers(0, 256, (filters, CROPS, 16, 16, 3), np.uint8),
                "score": -np.sort(-random.random((filters, CROPS)).astype(np.float32)),
                "file": random.integers(0, len(names), (filters, CROPS), np.int32),
            }
            _write(store, f"{of_layer(number)}/crops", found, fate[:stop], {})


def _write(store: Store, path: str, arrays: Mapping[str, np.ndarray], fate: np.ndarray, attributes: Mapping) -> None:
    (filters,) = {len(values) for values in arrays.values()}
    kinds = {name: Kind(values.shape[1:], str(values.dtype)) for name, values in arrays.items()}
    store.prepare(Part(path, filters, kinds, attributes), CHUNK)
    for start in range(0, len(fate), CHUNK):
        part = slice(start, min(start + CHUNK, len(fate)))
        store.put(path, start, {name: values[part] for name, values in arrays.items()}, fate[part])

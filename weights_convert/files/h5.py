"""A `.h5` file that Keras wrote → `Saved`. Here is the legacy layout; the layout of Keras 3 is in `keras_3.py`.

Keras has written the legacy layout since version 1. It has a group for each layer, whose attribute `weight_names` lists
paths relative to the group. HDF5 sorts groups by name, so the attribute `layer_names` gives the order of the layers. A
file of a full model holds these groups in `model_weights`, and the description of the network in the attribute
`model_config`, as JSON.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config.description import decode
from ..errors import NotReadable, UnsafeFile
from ..layers import KINDS
from .hdf5 import MAX_OBJECTS, Dataset, Group, Source, arrays, check_text, member, opened, text, texts, weight
from .keras_3 import in_containers, read_containers, with_names
from .notes import KEY, read_notes
from .saved import Saved, Weight, dequantized
from .shards import parts

# An attribute that only `write_keras.py` writes: the layers that no output depends on. Keras does not look for them.
UNUSED = "unused_layer_names"

# The names that Keras 1 gave to weights. Its "running_std" holds the variance, in spite of its name.
TODAY = {
    "W": "kernel",
    "b": "bias",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",
    "alphas": "alpha",
}
KNOWN = sorted({*TODAY, *(name for kind in KINDS.values() for name in kind.weights if "/" not in name)})
# The end of a weight's name says what it is: Keras 1 wrote "conv_W_1:0", Keras 2 "conv/kernel:0", 3 "conv/kernel".
WEIGHT = re.compile(rf"(?:^|[/_])({'|'.join(KNOWN)})(?:_\d+)?(?::\d+)?$")


def read_h5(path: Path) -> Saved:
    """The contents of a file, of a full model or of weights only.

    Raises:
        NotReadable: it is not HDF5, or cut short, or in a layout that Keras does not write.
        UnsafeFile: it leads out of the file, or claims more than it stores.
    """
    source = _source(path)
    with opened(source) as file:
        full_model = "layer_names" not in file.attrs and "model_weights" in file
        group = member(file, "model_weights", source) if full_model else file
        layers = _names(group, "layer_names", source) + _names(group, UNUSED, source)
        if not layers and not full_model and in_containers(file):
            found, rest = read_containers(source)
            return Saved(path=path, weights=found, numbered=True, rest=rest)
        if not layers:
            raise NotReadable(
                f"{path} has no attribute `layer_names` and no group `layers`: it is not a file of Keras, or it holds "
                "the weights of a subclassed model"
            )

        def written(key: str, default: str) -> str:
            return text(group, key, source) or text(file, key, source) or default

        if written("backend", "") == "theano":
            raise NotReadable(
                f"{path} was written by the Theano backend, whose kernels are flipped; save it with TensorFlow"
            )
        major = re.match(r"[1-9]", written("keras_version", "1"))
        weights: dict[str, dict[str, Weight]] = {}
        for layer in layers:
            weights[layer] = dict(dequantized(_weights(group, layer, source)))
            if sum(map(len, weights.values())) > MAX_OBJECTS:
                raise UnsafeFile(f"{path} lists more than {MAX_OBJECTS:,} weights")
        inputs, names = read_notes(text(file, KEY, source), f"{source}: the attribute {KEY!r}")
        listed = {layer.strip("/").partition("/")[0] for layer in layers}
        rest = dict(arrays(group, source, skip={"optimizer_weights", *listed}))
        return Saved(
            path=path,
            weights={names.get(layer, layer): group for layer, group in weights.items()},
            config=_config(file, source, written("keras_version", "")),
            keras=int(major.group()) if major else 1,
            inputs=inputs,
            names=names,
            rest=rest,
        )


def read_shards(path: Path) -> Saved:
    """The weights in all shards that the index at `path` lists: Keras 3 splits large files of weights only.

    Raises:
        NotReadable: `path` is not an index that Keras wrote; or a shard is missing, damaged, or has another layout.
        UnsafeFile: the index leads out of its folder, or a file claims more than it stores.
    """
    _, *shards = parts(path)
    weights, rest = read_containers(*map(_source, shards))
    return Saved(path=path, weights=weights, numbered=True, rest=rest)


def _source(path: Path) -> Source:
    source = Source(path, lambda: path)
    check_text(source)
    return source


def _config(file: Group, source: Source, version: str) -> dict[str, Any] | None:
    config = text(file, "model_config", source)
    if config is None:
        return None
    return {"keras_version": version} | with_names(decode(config, f"{source}: the attribute `model_config`"))


def _weights(group: Group, layer: str, source: Source) -> dict[str, Weight]:
    """{weight: Weight} of one layer, in saved order."""
    members = member(group, layer, source)
    names = _names(members, "weight_names", source)
    # If a group has two kernels, it is a nested model: its weights keep their full names, so that none is mistaken for
    # a weight of a layer.
    keys = meanings(names)
    keys = keys if len(set(keys)) == len(names) else names
    found = [replace(weight(member(members, name, source), source), name=name) for name in names]
    return dict(zip(keys, found, strict=True))


def meanings(names: Sequence[str]) -> list[str]:
    """What Keras 3 calls these weights of one layer; a weight that is not known keeps its name."""
    found = [WEIGHT.search(name) for name in names]
    today = [TODAY.get(each[1], each[1]) if each else name for each, name in zip(found, names, strict=True)]
    if "pointwise_kernel" not in today:  # Keras 1 and 2 called the kernel of a DepthwiseConv2D so, too
        today = ["kernel" if each == "depthwise_kernel" else each for each in today]
    return today


def _names(owner: Group | Dataset, key: str, source: Source) -> list[str]:
    """A list of names. Keras splits a list that is too long for one HDF5 attribute into `key0`, `key1`, …"""
    names = texts(owner, key, source)
    for number in itertools.count():
        chunk = texts(owner, f"{key}{number}", source)
        if not chunk:
            return names
        names += chunk
    return names

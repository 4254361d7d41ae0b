"""A legacy Keras `.h5` file → `Saved`. The only user of h5py; nothing in a file is executed, imported or followed.

Keras has written this layout since version 1: a group for each layer, whose attribute `weight_names` lists paths
relative to the group. HDF5 sorts groups by name, so the order of layers is that of the attribute `layer_names`. A full
model keeps these groups under `model_weights`, next to its JSON `model_config`.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .errors import NotReadable, UnsafeFile
from .saved import Saved, Weight

# The end of a weight's name says what it is: Keras 1 wrote "conv_W_1:0", Keras 2 "conv/kernel:0", 3 "conv/kernel".
# A "running_std" of Keras 1 holds the variance, in spite of its name.
TODAY = {
    "W": "kernel",
    "b": "bias",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",
}
WEIGHT = re.compile(
    r"(?:^|[/_])(kernel|W|bias|b|gamma|beta|moving_mean|running_mean|moving_variance|running_std)(?:_\d+)?(?::\d+)?$"
)


def read_h5(path: Path) -> Saved:
    """The contents of a full model or a file of weights only.

    Raises:
        NotReadable: not HDF5, cut short, or not in Keras' layout.
        UnsafeFile: a link or a dataset that leads out of the file.
    """
    with _opened(path) as file:
        full_model = "layer_names" not in file.attrs and "model_weights" in file
        group = _member(file, "model_weights", path) if full_model else file
        layers = _names(group, "layer_names")
        if not layers:
            raise NotReadable(
                f"{path}: no attribute `layer_names`, so it is not a legacy Keras file. Keras 3's own `.weights.h5` is "
                'not read: write the whole model with model.save("model.h5")'
            )
        if _text(group.attrs.get("backend", file.attrs.get("backend", ""))) == "theano":
            raise NotReadable(
                f"{path}: written by the Theano backend, whose kernels are flipped; save it with TensorFlow"
            )
        version = _text(group.attrs.get("keras_version", file.attrs.get("keras_version", "1")))
        major = re.match(r"\d+", version)
        return Saved(
            path=path,
            weights={layer: _weights(path, group, layer) for layer in layers},
            config=_config(path, file),
            keras=int(major.group()) if major else 1,
        )


def _config(path: Path, file: h5py.File) -> dict[str, Any] | None:
    if "model_config" not in file.attrs:
        return None
    try:
        config = json.loads(_text(file.attrs["model_config"]))
    except ValueError as error:
        raise NotReadable(f"{path}: the attribute `model_config` is not JSON ({error})") from error
    if not isinstance(config, dict):
        raise NotReadable(f"{path}: the attribute `model_config` is not a JSON object")
    return config


def _weights(path: Path, group: h5py.Group, layer: str) -> dict[str, Weight]:
    """{weight: Weight} of one layer, in saved order."""
    members = _member(group, layer, path)
    names = _names(members, "weight_names")
    meanings = [_meaning(name) for name in names]
    # Two kernels in one layer are a nested model: its weights keep their full names, and match nothing by accident.
    keys = meanings if len(set(meanings)) == len(names) else names
    return {key: _weight(path, _member(members, name, path)) for key, name in zip(keys, names, strict=True)}


def _meaning(name: str) -> str:
    found = WEIGHT.search(name)
    return TODAY.get(found.group(1), found.group(1)) if found else name


def _weight(path: Path, dataset: h5py.Dataset | h5py.Group) -> Weight:
    where = f"{path}: {dataset.name}"
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise NotReadable(f"{where} is no array")
    if dataset.external or dataset.is_virtual:
        raise UnsafeFile(f"{where} keeps its numbers in another file, which is not opened")
    if dataset.dtype.kind not in "fiu":
        raise UnsafeFile(f"{where} holds {dataset.dtype}, not numbers")
    return Weight(dataset.shape, partial(_read, path, dataset.name))


def _read(path: Path, name: str) -> np.ndarray:
    with _opened(path) as file:
        return file[name].astype(np.float32)[()]


def _member(group: h5py.Group, name: str, path: Path) -> h5py.Group | h5py.Dataset:
    """`group[name]`, every step of the way an ordinary member of this file."""
    found = group
    for part in name.split("/"):
        link = found.get(part, getlink=True) if part and isinstance(found, h5py.Group) else None
        if link is None:
            raise NotReadable(f"{path}: lists {name!r} in {group.name}, but does not hold it")
        if not isinstance(link, h5py.HardLink):
            raise UnsafeFile(f"{path}: {part!r} in {found.name} is a link to {link.path!r}, which is not followed")
        found = found[part]
    return found


def _names(group: h5py.Group | h5py.Dataset, key: str) -> list[str]:
    """A list of names; Keras splits one that exceeds HDF5's limit for attributes into `key0`, `key1`, …"""
    chunks = [key] if key in group.attrs else []
    while f"{key}{len(chunks)}" in group.attrs:
        chunks.append(f"{key}{len(chunks)}")
    return [_text(name) for chunk in chunks for name in np.ravel(group.attrs[chunk])]


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """The open file; libhdf5's own errors (OSError, RuntimeError, KeyError by place) become one sentence."""
    with path.open("rb") as raw:
        archive = raw.read(4) == b"PK\x03\x04"
    if archive:
        raise NotReadable(
            f'{path} is a .keras archive; load it in Keras and write a legacy file: model.save("model.h5")'
        )
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        raise NotReadable(f"{path} is no HDF5 file, or a damaged one (cut short by a download?): {error}") from error

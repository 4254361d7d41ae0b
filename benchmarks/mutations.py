"""Ways to spoil a file that Keras wrote: anywhere in its bytes, or in the structures that its format gives a meaning.

`make(kind, number, original)` is the spoiled file of a format and a number. It is always the same one.
"""

import copy
import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

Random = random.Random
JUNK = [None, True, False, 0, -1, 1, 2**31, 2**70, 1e39, float("nan"), "", "x", "a/b", "\0", "é" * 300, [], {}, [[]]]
WORDS = [
    "Conv2D",
    "Dense",
    "Lambda",
    "Functional",
    "Sequential",
    "InputLayer",
    "Add",
    "Flatten",
    "relu",
    "same",
    "valid",
]


# --- bytes ---


def flip(content: bytes, rng: Random) -> bytes:
    """The content with some bits flipped."""
    spoiled = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        spoiled[rng.randrange(len(spoiled))] ^= 1 << rng.randrange(8)
    return bytes(spoiled)


def flip_early(content: bytes, rng: Random) -> bytes:
    """The content with some bits flipped at its beginning, where the headers are."""
    size = min(len(content), 4096)
    return flip(content[:size], rng) + content[size:]


def cut(content: bytes, rng: Random) -> bytes:
    """The content without its end."""
    return content[: rng.randrange(len(content))]


def overwrite(content: bytes, rng: Random) -> bytes:
    """The content with a run of bytes replaced by other bytes."""
    begin, length = rng.randrange(len(content)), rng.choice([1, 2, 4, 8, 64, 512])
    run = rng.choice([bytes(length), b"\xff" * length, rng.randbytes(length)])
    return content[:begin] + run + content[begin + length :]


def splice(content: bytes, rng: Random) -> bytes:
    """The content with a run of bytes doubled, moved or removed."""
    begin, to, length = rng.randrange(len(content)), rng.randrange(len(content)), rng.choice([1, 8, 100, 2000])
    run = content[begin : begin + length]
    return rng.choice(
        [
            content[:to] + run + content[to:],
            content[:to] + run + content[to + length :],
            content[:begin] + content[begin + length :],
        ]
    )


BYTES = [flip, flip, flip_early, flip_early, cut, overwrite, splice]


# --- descriptions ---


def edit(value: Any, rng: Random) -> Any:
    """JSON with one to three changes: something removed, replaced, doubled, swapped, renamed or nested."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places: list[Any] = []
        level: list[Any] = [value]
        while level:
            inner = level.pop()
            if isinstance(inner, dict | list) and inner:
                places.append(inner)
                level += list(inner.values()) if isinstance(inner, dict) else inner
        if not places:
            return rng.choice(JUNK)
        place = rng.choice(places)
        key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        other = rng.choice(places)
        change = rng.randrange(7)
        if change == 0:
            del place[key]
        elif change == 1:
            place[key] = rng.choice(JUNK)
        elif change == 2:
            place[key] = rng.choice(WORDS)
        elif change == 3:
            place[key] = copy.deepcopy(other)
        elif change == 4:
            place[key] = [place[key]] * rng.choice([1, 2, 50])
        elif change == 5 and isinstance(place, dict):
            place[rng.choice(["name", "class_name", "config", "layers", "x"])] = place.pop(key)
        elif change == 5 and isinstance(place, list):
            place.insert(rng.randrange(len(place) + 1), copy.deepcopy(rng.choice(place)))
        elif isinstance(place[key], bool | int | float):
            place[key] = rng.choice([-place[key], place[key] + 1, place[key] * 1000, float(place[key])])
    return value


def edit_text(text: str, rng: Random) -> str:
    """A JSON text with changes in its values, or in its bytes."""
    if rng.random() < 0.8:
        return json.dumps(edit(json.loads(text), rng))
    return rng.choice([flip, cut, overwrite, splice])(text.encode(), rng).decode("utf-8", "replace")


# --- HDF5 ---


def spoil_hdf5(content: bytes, rng: Random) -> bytes:
    """An HDF5 file with one to three changes of its objects."""
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        for _ in range(rng.choice([1, 1, 2, 3])):
            objects: list[Any] = [file]
            file.visititems(lambda name, found: objects.append(found))  # noqa: B023
            change = rng.choice([change_attribute, change_attribute, change_dataset, change_dataset, change_link])
            try:
                change(objects, rng)
            except (ValueError, KeyError, TypeError, IndexError, OSError, RuntimeError, MemoryError):
                continue  # HDF5 refuses the change, or an earlier change has removed its object
    return buffer.getvalue()


def change_attribute(objects: list[Any], rng: Random) -> None:
    """Edit, remove, rename or move an attribute, or change its type."""
    holders = [found for found in objects if len(found.attrs)]
    if not holders:
        return
    holder, other = rng.choice(holders), rng.choice(objects)
    key = rng.choice(list(holder.attrs))
    value = holder.attrs[key]
    change = rng.randrange(6)
    if change == 0:
        del holder.attrs[key]
    elif change == 1:
        other.attrs[key] = value
    elif change == 2:
        other_key = rng.choice(
            ["layer_names", "weight_names", "model_config", "keras_version", "backend", "dtype", f"{key}0"]
        )
        rng.choice(objects).attrs[other_key] = value
    elif change == 3:
        holder.attrs[key] = rng.choice([1, 1.5, "", "x", b"\xff\xfe", np.zeros(3), h5py.Empty("f"), ["a", "b"], "3.0"])
    elif isinstance(value, str):
        holder.attrs[key] = edit_text(value, rng) if value.startswith("{") else value[::-1]
    elif isinstance(value, np.ndarray) and value.size:
        names = list(value)
        place = rng.randrange(len(names))
        names[place] = rng.choice(["", "..", "/", names[0], names[place] + "x", "a/" * 40, names[place][:-1], "."])
        holder.attrs[key] = rng.choice([names, names[:-1], names + names, names[::-1]])


def change_dataset(objects: list[Any], rng: Random) -> None:
    """Remove a dataset, or replace it by one of another type, shape or layout, or with other numbers."""
    datasets = [found for found in objects if isinstance(found, h5py.Dataset)]
    if not datasets:
        return
    dataset = rng.choice(datasets)
    parent, name, array = dataset.parent, dataset.name.rpartition("/")[2], np.asarray(dataset[()])
    del parent[name]
    change = rng.randrange(9)
    if change == 0:
        parent.create_group(name)
    elif change == 1:
        parent[name] = array.astype(rng.choice(["f2", "f8", "i4", "u1", "S5", "c8", "bool"]))
    elif change == 2:
        parent[name] = rng.choice([array.T, array.reshape(-1), array[..., None], array[:0], np.float32(1)])
    elif change == 3:
        array = array.astype("f4") if array.dtype.kind in "iub" else array  # integers have no NaN
        array.reshape(-1)[: rng.choice([1, 5])] = rng.choice([np.nan, np.inf, -np.inf, 1e38])
        parent[name] = array
    elif change == 4:
        parent.create_dataset(name, rng.choice([(), (1 << 34,), (1 << 20,) * 3, (0,)]), "f4")
    elif change == 5 and array.ndim:
        packed = rng.choice([{"compression": "gzip"}, {"compression": "lzf"}, {"shuffle": True}, {"fletcher32": True}])
        parent.create_dataset(name, data=array, chunks=tuple(max(1, n // 2) for n in array.shape), **packed)
    elif change == 6:
        parent.create_dataset(
            name, array.shape, rng.choice([h5py.string_dtype(), h5py.ref_dtype, h5py.vlen_dtype("f4")])
        )
    elif change == 7:
        parent.create_dataset(name, (4,), "f4", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


def change_link(objects: list[Any], rng: Random) -> None:
    """Rename, move or double a member, put it into itself, or replace it by a link."""
    owners = [found for found in objects if isinstance(found, h5py.Group) and len(found)]
    if not owners:
        return
    owner = rng.choice(owners)
    name, other = rng.choice(list(owner)), rng.choice(owners)
    new = rng.choice(["x", name + "_1", "0", "1", "vars", "layers", "é"])
    if new in other:
        del other[new]
    change = rng.randrange(5)
    if name not in owner:  # it has just been removed
        return
    if change == 0:
        del owner[name]
    elif change == 1:
        other[new] = owner[name]
    elif change == 2:
        other[new] = rng.choice([h5py.SoftLink("/"), h5py.ExternalLink("/etc/passwd", "/"), h5py.SoftLink(new)])
    elif change == 3:
        other[new] = owner[name]
        del owner[name]
    else:
        del owner[name]
        owner[name] = rng.choice([h5py.SoftLink("/"), h5py.SoftLink("/nowhere"), h5py.ExternalLink("x.h5", "/")])


# --- zip ---


def spoil_zip(content: bytes, rng: Random) -> bytes:
    """An archive with one change, in one of its members or in its list of members."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    place = rng.randrange(len(members))
    name, inner = members[place]
    change = rng.randrange(8)
    if change < 3:  # the JSON most often, as most decisions depend on it
        place = [name for name, _ in members].index("config.json")
        members[place] = ("config.json", edit_text(members[place][1].decode(), rng).encode())
    elif change < 5:
        place = [name for name, _ in members].index("model.weights.h5")
        spoil = rng.choice([spoil_hdf5, spoil_hdf5, rng.choice(BYTES)])
        members[place] = ("model.weights.h5", spoil(members[place][1], rng))
    elif change == 5:
        members[place] = (rng.choice(["x", name + "/", "/" + name, "../" + name, name.upper(), "a" * 3000]), inner)
    elif change == 6:
        members.insert(rng.randrange(3), rng.choice(members))
    else:
        del members[place]
    method = rng.choice([zipfile.ZIP_STORED] * 3 + [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, inner in members:
            archive.writestr(zipfile.ZipInfo(name), inner, method)
    return buffer.getvalue()


def spoil_directory(content: bytes, rng: Random) -> bytes:
    """An archive with bytes changed in the directory of its members."""
    begin = content.rindex(b"PK\x01\x02", 0, content.rindex(b"PK\x01\x02"))
    return content[:begin] + rng.choice([flip, overwrite, splice])(content[begin:], rng)


# --- safetensors ---


def spoil_header(content: bytes, rng: Random) -> bytes:
    """A file with changes in the JSON before its numbers, or with another length of that JSON."""
    size = int.from_bytes(content[:8], "little")
    header, numbers = content[8 : 8 + size], content[8 + size :]
    if rng.random() < 0.1:
        return rng.choice([0, 1, size + 1, 2**40, 2**63]).to_bytes(8, "little") + header + numbers
    described = json.loads(header)
    metadata = described["__metadata__"]
    key = rng.choice(list(metadata))
    if rng.random() < 0.7:
        metadata[key] = edit_text(metadata[key], rng)
    else:
        described = edit(described, rng)
    header = json.dumps(described).encode()
    return len(header).to_bytes(8, "little") + header + numbers


# --- the index of shards ---


def spoil_index(content: bytes, rng: Random) -> bytes:
    """An index with changes in its JSON."""
    return edit_text(content.decode(), rng).encode()


MUTATIONS: dict[str, list[Callable[[bytes, Random], bytes]]] = {
    "h5": [*BYTES, *[spoil_hdf5] * 7],
    "h5 weights": [*BYTES, *[spoil_hdf5] * 7],
    "weights.h5": [*BYTES, *[spoil_hdf5] * 7],
    "weights.json": [*BYTES, *[spoil_index] * 7],
    "keras": [*BYTES, *[spoil_zip] * 6, spoil_directory],
    "safetensors": [*BYTES, *[spoil_header] * 7],
}


def make(kind: str, number: int, original: bytes) -> bytes:
    """The spoiled file of a format and a number."""
    rng = Random(f"{kind} {number}")
    return rng.choice(MUTATIONS[kind])(original, rng)

"""Hostile files. Each function here spoils a file that Keras wrote, in any of its three formats.

`SPOILED` is {name: (what spoils it, the error that refuses it, a part of what it says)}.
"""

import io
import json
import zipfile
import zlib
from contextlib import contextmanager

import h5py
import numpy as np

from weights_convert import NotReadable, UnsafeFile, UnsupportedLayer, WeightMismatch

FORMATS = ("m.h5", "m.keras", "m.weights.h5")
FIRST = "conv"  # the convolution whose kernel is spoiled
GIB = 1 << 30


@contextmanager
def inside(path):
    """The HDF5 file in any format, to be changed."""
    if path.suffix != ".keras":
        with h5py.File(path, "r+") as file:
            yield file
        return
    members = read_zip(path)
    buffer = io.BytesIO(members["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        yield file
    write_zip(path, members | {"model.weights.h5": buffer.getvalue()})


def read_zip(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def kernel(file):
    """The group and the name of the first kernel."""
    if "layers" in file:
        return file["layers/conv2d/vars"], "0"
    return file["model_weights/conv/net/conv"], "kernel"


def instead(make):
    """Spoil a file by putting what `make(group, name, array)` puts into it in place of the first kernel."""

    def spoil(path):
        with inside(path) as file:
            group, name = kernel(file)
            array = group[name][()]
            del group[name]
            make(group, name, array)

    return spoil


def soft_link(group, name, array):
    group[name] = h5py.SoftLink("/")


def external_link(group, name, array):
    group[name] = h5py.ExternalLink("/etc/passwd", "x")


def external_storage(group, name, array):
    group.create_dataset(name, array.shape, "f4", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


def virtual(group, name, array):
    layout = h5py.VirtualLayout(array.shape, "f4")
    layout[...] = h5py.VirtualSource("/etc/hostname", "x", array.shape)
    group.create_virtual_dataset(name, layout)


def bomb(group, name, array):
    group.create_dataset(name, (GIB,), "f4", chunks=(1 << 20,), compression="gzip", fillvalue=1)


def unstored(group, name, array):
    group.create_dataset(name, (GIB,), "f4")


def many_small_bombs(group, name, array):
    group.create_dataset(name, array.shape, "f4")
    for number in range(100):  # 60 MiB each, in which nothing is stored
        place = group if name == "0" else group.file["model_weights/conv"]
        place.create_dataset(f"{number + 10}", (15 << 20,), "f4")
    if name != "0":
        place.attrs["weight_names"] = ["net/conv/kernel", *(f"{number + 10}" for number in range(100))]


def packed_chunk(group, name, array):
    """A chunk that unpacks to more than it should: libhdf5 would make room for all of it."""
    dataset = group.create_dataset(name, array.shape, "f4", chunks=array.shape, compression="gzip")
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(40)) + packer.flush()
    dataset.id.write_direct_chunk((0,) * array.ndim, packed)


def large_chunk(group, name, array):
    shape = (1 << 14, 1 << 14, 1, 1)
    group.create_dataset(name, array.shape, "f4", maxshape=(None,) * 4, chunks=shape, compression="gzip", fillvalue=1)


def strings(group, name, array):
    group.create_dataset(name, array.shape, h5py.string_dtype())


def ragged(group, name, array):
    group.create_dataset(name, array.shape, h5py.vlen_dtype(np.float32))


def compound(group, name, array):
    group.create_dataset(name, array.shape, np.dtype([("a", "f4"), ("b", "f4")]))


def references(group, name, array):
    group.create_dataset(name, array.shape, h5py.ref_dtype)


def other_filter(group, name, array):
    group.create_dataset(name, data=array.astype("i4"), scaleoffset=0)


def not_finite(group, name, array):
    array.flat[3] = np.nan
    group[name] = array


def other_shape(group, name, array):
    group[name] = array[:, :, :, :1]


def no_array(group, name, array):
    group.create_group(name)


def cut_short(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def configured(change):
    """Spoil a file by changing the text of its description."""

    def spoil(path):
        if path.suffix == ".keras":
            members = read_zip(path)
            write_zip(path, members | {"config.json": change(members["config.json"].decode())})
        elif path.name == "m.h5":
            with h5py.File(path, "r+") as file:
                file.attrs["model_config"] = change(file.attrs["model_config"])
        else:
            description = path.with_name("m.json")
            description.write_text(change(description.read_text()))

    return spoil


def a_lambda(text):
    code = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None, "closure": None}}
    return with_another_class(text, {"class_name": "Lambda", "config": {"name": "flat", "function": code}})


def an_import(text):
    return with_another_class(text, {"module": "os", "class_name": "system", "registered_name": "os>system"})


def with_another_class(text, changes):
    model = json.loads(text)
    (layer,) = [layer for layer in model["config"]["layers"] if layer["config"].get("name") == "flat"]
    layer |= changes
    return json.dumps(model)


SPOILED = {
    "soft link": (instead(soft_link), UnsafeFile, "is a link to '/', which is not followed"),
    "external link": (instead(external_link), UnsafeFile, "is a link to 'x', which is not followed"),
    "external storage": (instead(external_storage), UnsafeFile, "keeps its numbers in another file"),
    "virtual dataset": (instead(virtual), UnsafeFile, "keeps its numbers in another file"),
    "bomb": (instead(bomb), UnsafeFile, "claims 4,294,967,296 bytes, but the file stores 0 of them"),
    "unstored numbers": (instead(unstored), UnsafeFile, "claims 4,294,967,296 bytes, but the file stores 0 of them"),
    "many small bombs": (instead(many_small_bombs), UnsafeFile, "bytes of weights, more than the 4,294,967,296"),
    "packed chunk": (instead(packed_chunk), UnsafeFile, "holds a chunk of more than"),
    "large chunk": (instead(large_chunk), UnsafeFile, "claims 1,073,741,824 bytes, but the file stores"),
    "strings": (instead(strings), UnsafeFile, "holds object, not numbers"),
    "ragged arrays": (instead(ragged), UnsafeFile, "holds object, not numbers"),
    "compound numbers": (instead(compound), UnsafeFile, "not numbers"),
    "references": (instead(references), UnsafeFile, "holds object, not numbers"),
    "other filter": (instead(other_filter), UnsafeFile, "is packed by filter 6, which would be looked for on disk"),
    "no array": (instead(no_array), NotReadable, "is not an array"),
    "cut short": (cut_short, NotReadable, "or it is damaged (cut short by a download?)"),
    "not finite": (instead(not_finite), WeightMismatch, "holds NaN or infinity"),
    "other shape": (instead(other_shape), WeightMismatch, "+ conv kernel (3, 3, 3, 1)"),
    "Lambda": (configured(a_lambda), UnsupportedLayer, "- flat: layers of kind Lambda are not supported"),
    "import": (configured(an_import), UnsupportedLayer, "- flat: layers of kind system are not supported"),
    "broken JSON": (configured(lambda text: text[:-1]), NotReadable, "is not JSON"),
    "deep JSON": (configured(lambda text: '{"a":' * 900 + "0" + "}" * 900), UnsafeFile, "nests deeper than 200 levels"),
    "deeper JSON": (configured(lambda text: "[" * 50_000), UnsafeFile, "nests deeper than 200 levels"),
    "long JSON": (configured(lambda text: " " * (17 << 20) + text), UnsafeFile, "at most 16,777,216 are read"),
}

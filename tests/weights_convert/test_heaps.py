"""Heaps of HDF5 files.

Law: a heap or a text for which libhdf5 would hang, or need memory without end, is found in the bytes of the file.
"""

import io
import struct

import h5py
import numpy as np
import pytest
from keras import layers as L  # noqa: N812
from keras_oracle import save, sequential

from weights_convert import NotReadable, UnsafeFile, read
from weights_convert.files.heaps import BLOCK, HEAP, check_heaps

MOST = 1 << 20


@pytest.fixture
def path(tmp_path):
    return save(sequential((6, 6, 3), L.Conv2D(4, 3, name="conv"), L.Flatten(name="flat")), tmp_path / "m.h5")


def heap(*objects, free=0):
    """A collection of (number, size) objects, and what is left free."""
    inner = b"".join(struct.pack("<H6xQ", number, size) + bytes((size + 7) // 8 * 8) for number, size in objects)
    inner += struct.pack("<H6xQ", 0, free) + bytes(max(0, free - 16)) if free else b""
    return HEAP + struct.pack("<Q", 16 + len(inner)) + inner


@pytest.mark.parametrize("content", [heap(), heap((1, 5), (2, 8)), heap((1, 5), free=64), b"no heap", b""])
@pytest.mark.parametrize("before", [0, 8, BLOCK - 8, BLOCK])
def test_sound_heaps(content, before):
    check_heaps(io.BytesIO(bytes(before) + content), MOST)


@pytest.mark.parametrize(
    "content",
    [
        heap((1, 5)).replace(struct.pack("<Q", 5), struct.pack("<Q", 500)),  # longer than the heap
        heap((1, 5), (0, 0)),  # the rest of it is free, and takes no room
        heap((1, 5))[:-8],  # longer than the file
        heap((1, 5)).replace(struct.pack("<Q", 5), struct.pack("<Q", 2**63)),
    ],
)
def test_heaps_without_an_end(content):
    with pytest.raises(NotReadable, match="the heap at byte 16 does not add up"):
        check_heaps(io.BytesIO(bytes(16) + content), MOST)


def test_a_heap_in_a_file_of_keras(path):
    """libhdf5 1.14 walks this one for ever."""
    content = path.read_bytes()
    begin = content.index(HEAP)
    where = content.index(struct.pack("<Q", 4) + b"conv", begin)  # the size of an object
    path.write_bytes(content[:where] + struct.pack("<Q", 1034) + content[where + 8 :])
    with pytest.raises(NotReadable, match=rf"m\.h5: a damaged HDF5 file: the heap at byte {begin:,} does not add up"):
        read(path)


def test_the_length_of_a_text(path):
    """libhdf5 would make room for 2 GB."""
    content = path.read_bytes()
    name = content.index(b"layer_names\0")
    where = content.index(struct.pack("<I", len("conv")), name + 60)  # the first record, after type and shape
    path.write_bytes(content[:where] + struct.pack("<I", 2**31) + content[where + 4 :])
    with pytest.raises(UnsafeFile, match=r"m\.h5: an attribute at byte [\d,]+ claims 2,147,\d{3},\d{3} bytes of text"):
        read(path)


def test_one_text_many_times(tmp_path):
    """An attribute of 4,000 names, which are one text of 64 KiB."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["layer_names"] = np.array(["x" * (1 << 16)] * 100, h5py.string_dtype())
        file.attrs["layer_names0"] = np.array(["x" * (1 << 16)] * 3900, h5py.string_dtype())
    with pytest.raises(UnsafeFile, match=r"claims 255,590,400 bytes of text; at most 16,777,216 are read"):
        read(tmp_path / "m.h5")


@pytest.mark.parametrize("kept", range(0, 41, 3))
def test_an_attribute_that_the_file_ends_in(kept):
    name, kind, space = b"layer_names\0\0\0\0\0", b"\x19" + bytes(7), b"\x01\x02" + bytes(6) + struct.pack("<2Q", 3, 4)
    header = b"\x01\0" + struct.pack("<3H", len(name), len(kind), len(space))
    check_heaps(io.BytesIO(header + (name + kind + space)[: 8 + kept]), 1)


def test_an_attribute_without_a_type():
    header = b"\x01\0" + struct.pack("<3H", 16, 0, 8)
    check_heaps(io.BytesIO(header + b"layer_names\0\0\0\0\0" + bytes(64)), 1)

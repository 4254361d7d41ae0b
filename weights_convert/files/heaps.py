"""What libhdf5 trusts without a look, and hangs or swells over where it is damaged: heaps, and the lengths of texts.

HDF5 keeps text of any length in heaps, and in an attribute only where it is. Both are looked at in the bytes of the
file, before libhdf5 sees them. They are found by how they begin, at multiples of 8 bytes, where libhdf5 puts them.
"""

import io
import math
import struct
from typing import IO

import numpy as np

from ..errors import NotReadable, UnsafeFile

HEAP = b"GCOL\x01\0\0\0"
# The first 8 bytes of the attributes that are read as text.
ATTRIBUTES = (b"layer_na", b"weight_n", b"model_co", b"keras_ve", b"backend\0", b"weights_")
BEGINNINGS = np.frombuffer(b"".join((HEAP, *ATTRIBUTES)), "<u8")
VARIABLE_LENGTH = 9  # class of a type
RECORD = 16  # bytes of such a text in an attribute: its length in 4, then where it is
BLOCK = 4 << 20

File = IO[bytes] | io.IOBase


def check_heaps(file: File, most: int) -> None:
    """Refuse a file that libhdf5 would hang or swell over.

    Raises:
        NotReadable: a heap has no end.
        UnsafeFile: an attribute claims more than `most` bytes of text.
    """
    size = file.seek(0, io.SEEK_END)
    places: list[int] = []
    for begin in range(0, size, BLOCK):
        file.seek(begin)
        block = file.read(BLOCK)
        words = np.frombuffer(block[: len(block) // 8 * 8], "<u8")
        places += (begin + 8 * np.flatnonzero(np.isin(words, BEGINNINGS))).tolist()
    for place in places:
        file.seek(place)
        if file.read(8) != HEAP:
            if (claimed := _text(file, place)) > most:
                raise UnsafeFile(
                    f"an attribute at byte {place:,} claims {claimed:,} bytes of text; at most {most:,} are read"
                )
        elif not _heap_ends(file, size - place):
            raise NotReadable(f"a damaged HDF5 file: the heap at byte {place:,} does not add up")


def _heap_ends(file: File, room: int) -> bool:
    """Whether a heap adds up: after its size come objects, a number in 2 bytes, 6 others, a size in 8, and the content.

    Content is padded to multiples of 8 bytes. The object of number 0 is what is left free, its own 16 bytes included.
    """
    left = int.from_bytes(file.read(8), "little") - 16
    if left + 16 > room:
        return False
    while left >= 16:
        number, size = struct.unpack("<H6xQ", file.read(16))
        taken = 16 + _padded(size) if number else size
        if not 16 <= taken <= left:
            return False
        file.seek(taken - 16, io.SEEK_CUR)
        left -= taken
    return True


def _text(file: File, place: int) -> int:
    """How many bytes of text an attribute claims whose name is at `place`; 0 if it is none, or keeps them in itself."""
    file.seek(place - 8)
    header = file.read(8)
    if len(header) < 8 or header[0] != 1:
        return 0
    name, kind, space = struct.unpack("<2x3H", header)
    file.seek(place + _padded(name))
    type_, shape = file.read(_padded(kind)), file.read(_padded(space))
    if not type_ or type_[0] & 15 != VARIABLE_LENGTH or len(shape) < 8:
        return 0
    lengths = shape[8 : 8 + 8 * shape[1]]
    if len(lengths) < 8 * shape[1]:  # the file ends in the middle: libhdf5 says so itself
        return 0
    count = math.prod(np.frombuffer(lengths, "<u8").tolist())
    records = file.read(min(count, BLOCK) * RECORD)
    return int(np.frombuffer(records[: len(records) // RECORD * RECORD], "<u4")[::4].sum(dtype=np.uint64))


def _padded(size: int) -> int:
    return (size + 7) // 8 * 8

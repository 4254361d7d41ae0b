"""The parts of an HDF5 file that libhdf5 does not check itself: heaps, and the lengths of texts.

If these are damaged, libhdf5 hangs, or needs memory without end. HDF5 keeps text of any length in heaps; an attribute
holds only its length and its place. Both are checked here in the bytes of the file, before libhdf5 reads them. They are
found by their first bytes, at multiples of 8 bytes, where libhdf5 puts them.
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
VARIABLE_LENGTH = 9  # the class of a type: text of any length
RECORD = 16  # bytes that stand for such a text in an attribute: 4 for its length, then its place
BLOCK = 4 << 20

File = IO[bytes] | io.IOBase


def check_heaps(file: File, most: int) -> None:
    """Refuse a file for which libhdf5 would hang, or would need far more memory than the file stores.

    Raises:
        NotReadable: the sizes of a heap do not add up.
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
    """Whether the sizes of the objects in a heap add up to the size of the heap, which comes first.

    An object is a number of 2 bytes, 6 other bytes, a size of 8 bytes, and the content, which is padded to a multiple
    of 8 bytes. The object with number 0 is free space; its size includes its own first 16 bytes.
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
    """How many bytes of text in heaps the attribute claims whose name is at `place`; 0 if it is not an attribute."""
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
    if len(lengths) < 8 * shape[1]:  # the file ends here: libhdf5 reports that itself
        return 0
    count = math.prod(np.frombuffer(lengths, "<u8").tolist())
    records = file.read(min(count, BLOCK) * RECORD)
    return int(np.frombuffer(records[: len(records) // RECORD * RECORD], "<u4")[::4].sum(dtype=np.uint64))


def _padded(size: int) -> int:
    return (size + 7) // 8 * 8

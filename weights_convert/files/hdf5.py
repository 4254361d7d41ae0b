"""An HDF5 file, opened safely: nothing in it leads to another file, or becomes far larger than what is stored.

HDF5 can name other files, make objects and claim any size in a few bytes. All of that is checked here, and refused,
before any number is read. All other modules read HDF5 through this one.
"""

import io
import itertools
import math
import mmap
import zlib
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from h5py import Dataset, Group

from ..errors import KerasFileError, NotReadable, UnsafeFile
from .heaps import check_heaps
from .saved import Weight

# The filters that libhdf5 itself has. Any other filter is a plugin: code that libhdf5 would look for on disk.
FILTERS = {
    h5py.h5z.FILTER_DEFLATE: "gzip",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
    h5py.h5z.FILTER_LZF: "lzf",
}
MAX_RATIO = 200  # bytes claimed for each byte stored; trained weights can hardly be compressed
MAX_UNSTORED = 64 << 20  # bytes; a smaller claim does no harm
MAX_TEXT = 16 << 20  # bytes; the largest description that Keras writes has less than 2 MB
MAX_OBJECTS = 100_000
MAX_DEPTH = 32


class Source(NamedTuple):
    """Where an HDF5 file is: `path` is its name in messages, `open` returns what h5py opens."""

    path: Path
    open: Callable[[], Path | io.IOBase]

    def __str__(self) -> str:
        return str(self.path)


@contextmanager
def opened(source: Source) -> Iterator[Group]:
    """The root group of the open file. Errors of libhdf5 become one `NotReadable`.

    Raises:
        NotReadable: it is not HDF5, or it is cut short or damaged.
    """
    try:
        with h5py.File(source.open(), "r") as file:
            yield file
    except (KerasFileError, FileNotFoundError):
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:  # it depends on where the damage is
        raise NotReadable(
            f"{source} is not an HDF5 file, or it is damaged (cut short by a download?): {error}"
        ) from error


def check_text(source: Source) -> None:
    """Refuse a file for which libhdf5 would hang, or would need far more memory than the file stores.

    Raises:
        NotReadable: a heap of the file is damaged.
        UnsafeFile: an attribute claims too much text.
    """
    opened = source.open()
    with opened.open("rb") if isinstance(opened, Path) else opened as file:
        try:
            check_heaps(file, MAX_TEXT)
        except KerasFileError as error:
            raise type(error)(f"{source}: {error}") from None


def member(group: Group, name: str, source: Source) -> Group | Dataset:
    """`group[name]`, if it and every group on the way to it is an ordinary member of this file.

    Raises:
        NotReadable: there is no such member.
        UnsafeFile: a link is on the way, or Keras never writes such a path.
    """
    parts = name.split("/")
    if ".." in parts or "\0" in name or len(parts) > MAX_DEPTH:
        raise UnsafeFile(f"{source}: lists {name[:80]!r} in {group.name}, which is no path inside of it")
    found = group
    for part in parts:
        link = found.get(part, getlink=True) if part and isinstance(found, Group) else None
        if link is None:
            raise NotReadable(f"{source}: lists {name!r} in {group.name}, but does not hold it")
        if not isinstance(link, h5py.HardLink):
            raise UnsafeFile(f"{source}: {part!r} in {found.name} is a link to {link.path!r}, which is not followed")
        found = found[part]
    return found


def members(group: Group, source: Source) -> Iterator[tuple[str, Group | Dataset]]:
    """(name, member) of every member of a group, in the order of their names."""
    if len(group) > MAX_OBJECTS:
        raise UnsafeFile(f"{source}: {group.name} claims {len(group):,} members, more than {MAX_OBJECTS:,}")
    for name in group:
        yield name, member(group, name, source)


def arrays(group: Group, source: Source, skip: Container[str] = ()) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(path, shape) of all arrays in a group, except its members in `skip`, and in the groups in it, without links.

    Raises:
        UnsafeFile: it has groups without end.
    """
    waiting = [(group[name], 1) for name in group if name not in skip and _is_member(group, name)]
    for visited in itertools.count():
        if not waiting:
            return
        found, depth = waiting.pop()
        if visited > MAX_OBJECTS or depth > MAX_DEPTH:
            raise UnsafeFile(f"{source}: holds more than {MAX_OBJECTS:,} groups, or {MAX_DEPTH} in each other")
        if isinstance(found, Dataset):
            yield word(found.name), found.shape or ()
        elif isinstance(found, Group):
            waiting += [(found[name], depth + 1) for name in reversed(found) if _is_member(found, name)]


def _is_member(group: Group, name: str) -> bool:
    return isinstance(group.get(name, getlink=True), h5py.HardLink)


def texts(owner: Group | Dataset, key: str, source: Source) -> list[str]:
    """The strings in an attribute; [] if there is no such attribute.

    Raises:
        UnsafeFile: it holds something else than text and numbers, or too much text.
    """
    if key not in owner.attrs:
        return []
    attribute = owner.attrs.get_id(key)
    where = f"{source}: the attribute {key!r} of {owner.name}"
    kind = attribute.get_type().get_class()
    if kind not in (h5py.h5t.STRING, h5py.h5t.INTEGER, h5py.h5t.FLOAT):  # Keras writes an empty list as numbers
        raise UnsafeFile(f"{where} holds {attribute.dtype}, not text")
    count = math.prod(attribute.shape or ())
    if count * attribute.get_type().get_size() > MAX_TEXT or count > MAX_OBJECTS:
        raise UnsafeFile(f"{where} claims more than {MAX_TEXT >> 20} MiB or {MAX_OBJECTS:,} words")
    return [word(value) for value in np.ravel(owner.attrs[key])]


def text(owner: Group | Dataset, key: str, source: Source) -> str | None:
    """The string in an attribute; None if there is no such attribute."""
    words = texts(owner, key, source)
    return words[0] if words else None


def word(value: object) -> str:
    """Text that can be printed, from any bytes, or from the name of a group."""
    found = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    return found.decode("utf-8", "replace")


def weight(dataset: Group | Dataset, source: Source) -> Weight:
    """The array in a dataset, which is not read yet.

    Raises:
        NotReadable: it is not an array.
        UnsafeFile: it is in another file, holds something else than numbers, or claims far more than the file stores.
    """
    where = f"{source}: {dataset.name}"
    if not isinstance(dataset, Dataset) or dataset.shape is None:
        raise NotReadable(f"{where} is not an array")
    if dataset.external or dataset.is_virtual:
        raise UnsafeFile(f"{where} keeps its numbers in another file, which is not opened")
    bfloat16 = dataset.dtype == "V2" and text(dataset, "dtype", source) == "bfloat16"
    if not bfloat16 and (dataset.dtype.kind not in "fiu" or dataset.dtype.itemsize > 8):
        raise UnsafeFile(f"{where} holds {dataset.dtype}, not numbers")
    plan = dataset.id.get_create_plist()
    for number in range(plan.get_nfilters()):
        if (code := plan.get_filter(number)[0]) not in FILTERS:
            raise UnsafeFile(
                f"{where} is packed by filter {code}, which would be looked for on disk; supported are "
                f"{', '.join(FILTERS.values())}"
            )
    stored = dataset.id.get_storage_size()
    for shape in (dataset.shape, dataset.chunks or ()):
        claimed = math.prod(shape) * dataset.dtype.itemsize
        if claimed > MAX_UNSTORED and claimed > MAX_RATIO * stored:
            raise UnsafeFile(
                f"{where} claims {claimed:,} bytes, but the file stores {stored:,} of them: a decompression bomb"
            )
    whole = not bfloat16 and dataset.dtype.kind in "iu"
    return Weight(dataset.shape, partial(_read, source, dataset.name, bfloat16), whole=whole)


def _read(source: Source, name: str, bfloat16: bool) -> np.ndarray:
    with opened(source) as file:
        dataset = file[name]
        _check_chunks(dataset, source)
        if bfloat16:  # bfloat16 is the upper half of a float32
            return (dataset[()].view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(dataset.shape)
        if not dataset.ndim or not dataset.size:
            return np.asarray(dataset[()], np.float32)
        array = _aligned(dataset.shape)
        dataset.read_direct(array)
        return array


def _check_chunks(dataset: Dataset, source: Source) -> None:
    """Refuse a chunk that is longer than the dataset says: libhdf5 would unpack all of it."""
    if dataset.compression != "gzip":
        return
    size = math.prod(dataset.chunks) * dataset.dtype.itemsize

    def check(chunk: h5py.h5d.StoreInfo) -> None:
        packed = dataset.id.read_direct_chunk(chunk.chunk_offset)[1]
        unpacked = zlib.decompressobj()
        if len(unpacked.decompress(packed, size + 1)) > size:
            raise UnsafeFile(
                f"{source}: {dataset.name} holds a chunk of more than {size:,} bytes: a decompression bomb"
            )

    dataset.id.chunk_iter(check)


def _aligned(shape: tuple[int, ...]) -> np.ndarray:
    """An empty array that JAX can use without a copy: XLA needs its first byte at a multiple of 64."""
    size = 4 * math.prod(shape)
    block = np.empty(size + 64, np.uint8)
    # In a virtual machine, reading into memory whose pages were never touched can take many times as long.
    block[:: mmap.PAGESIZE] = 0
    begin = -block.ctypes.data % 64
    return block[begin : begin + size].view(np.float32).reshape(shape)

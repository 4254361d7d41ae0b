"""A `.keras` archive → `Saved`. A zip of a description, a version and an HDF5 file; nothing is extracted to disk."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ..config.description import MAX_TEXT, decode
from ..errors import KerasFileError, NotReadable, UnsafeFile
from .foreign import foreign_zip
from .hdf5 import MAX_RATIO, MAX_UNSTORED, Source, check_text
from .keras_3 import named, read_containers, shared, with_names
from .notes import KEY, read_notes
from .saved import Saved

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
HEADER = struct.Struct(
    "<26x2H"
)  # in front of the name and the extra field of a member; its last two numbers are their lengths
BLOCK = 1 << 20


def is_archive(path: Path) -> bool:
    """Whether a file begins as a zip does; its suffix does not matter."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def read_archive(path: Path, max_bytes: int) -> Saved:
    """The contents of an archive.

    Keras does not compress the weights in the zip, so they are read from the archive itself. Compressed weights are
    unpacked to memory, at most `max_bytes` of them.

    Raises:
        NotReadable: it is not a zip, it is damaged, or it is not an archive of Keras.
        UnsafeFile: it has members that Keras never writes: encrypted, twice, or far larger than what is stored.
    """
    with _opened(path) as archive:
        members = _members(archive, path)
        model = with_names(decode(archive.read(_checked(members[CONFIG], MAX_TEXT, path)), f"{path}: {CONFIG}"))
        metadata = {}
        if METADATA in members:
            metadata = decode(archive.read(_checked(members[METADATA], MAX_TEXT, path)), f"{path}: {METADATA}")
        inputs, names = read_notes(metadata.get(KEY), f"{path}: {KEY!r} in {METADATA}")
        model = {"keras_version": str(metadata.get("keras_version", ""))} | model
        source = Source(path, _weights(archive, _checked(members[WEIGHTS], max_bytes, path), path))
    check_text(source)
    found, rest = read_containers(source)
    weights = named(shared(found, model), model)
    layers = {names.get(layer, layer): group for layer, group in weights.items()}
    keras = 2 if str(metadata.get("keras_version")).startswith("2.") else 3
    return Saved(
        path=path, weights=layers, config=model, keras=keras, inputs=inputs, numbered=True, names=names, rest=rest
    )


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The open archive; errors of zipfile become one `NotReadable`."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (KerasFileError, FileNotFoundError):
        raise
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise NotReadable(
            f"{path} is not a .keras archive, or it is damaged (cut short by a download?): {error}"
        ) from error


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """{name: member}; every name occurs once, and none leads out of the archive."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename
        if name in found or name.startswith("/") or ".." in name.split("/"):
            raise UnsafeFile(
                f"{path}: {name!r} is {'there twice' if name in found else 'not a path inside an archive'}"
            )
        found[name] = info
    for name in (CONFIG, WEIGHTS):
        if name not in found:
            if not {CONFIG, WEIGHTS} & set(found) and (reason := foreign_zip(path, found)) is not None:
                raise NotReadable(reason)
            raise NotReadable(
                f"{path} is a zip without {name!r}, so it is not an archive of Keras; it holds {list(found)[:9]}"
            )
    return found


def _checked(info: zipfile.ZipInfo, limit: int, path: Path) -> zipfile.ZipInfo:
    where, size, stored = f"{path}: {info.filename}", info.file_size, info.compress_size
    if info.flag_bits & 1:
        raise UnsafeFile(f"{where} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnsafeFile(f"{where} is packed by method {info.compress_type}; supported are stored and deflated")
    if size > limit:
        raise UnsafeFile(f"{where} claims {size:,} bytes; at most {limit:,} are read")
    if size > MAX_UNSTORED and size > MAX_RATIO * stored:
        raise UnsafeFile(f"{where} claims {size:,} bytes, but the file stores {stored:,} of them: a decompression bomb")
    return info


def _weights(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Callable[[], io.IOBase]:
    """A function that opens the HDF5 file in an archive."""
    if info.compress_type == zipfile.ZIP_DEFLATED:
        return partial(io.BytesIO, archive.read(info))
    with archive.open(info) as member:
        while member.read(BLOCK):  # until its end, where zipfile compares the checksum
            pass
    with path.open("rb") as file:
        file.seek(info.header_offset)
        begin = info.header_offset + HEADER.size + sum(HEADER.unpack(file.read(HEADER.size)))
    return partial(_Stretch, path, begin, info.file_size)


class _Stretch(io.RawIOBase):
    """The `size` bytes of a file that start at `begin`, as a file."""

    def __init__(self, path: Path, begin: int, size: int):
        self.file = path.open("rb")
        self.begin, self.size, self.place = begin, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.place = offset + (0, self.place, self.size)[whence]
        return self.place

    def readinto(self, buffer: Any) -> int:
        self.file.seek(self.begin + self.place)
        count = self.file.readinto(memoryview(buffer)[: max(0, self.size - self.place)])
        self.place += count
        return count

    def close(self) -> None:
        self.file.close()
        super().close()

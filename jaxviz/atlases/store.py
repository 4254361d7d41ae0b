"""An atlas on disk or in an object store: what is written, and in which order. This is the only file that knows Zarr.

Law: a chunk of filters is whole, or its marker is not there. The arrays of a chunk are written first, each as one
object (a shard, with one inner chunk a filter); when they are on disk, the marker is. Each object is replaced at once,
on a file system by renaming and in an object store by nature. So nothing is half written whenever a writer stops, and
two writers of the same chunk write the same bytes. Every chunk has a CRC-32C, so a damaged one cannot be read.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from jaxviz.atlases.layout import ENTRIES, FORMAT, MANIFEST, MARKER, Kind, Part
from jaxviz.errors import InputError, first_line

INSTALL = 'install the extra "atlas": pip install "jaxviz-engine[atlas]"'
WRITTEN = "written"
REMADE = "the call that made the atlas makes it again"


class Store:
    """An atlas on disk, or in an object store.

    Args:
        path: a folder, or an address that fsspec knows, such as `s3://bucket/atlas.zarr`.
        write: whether it may be written.
    """

    def __init__(self, path: str | os.PathLike[str], *, write: bool = False):
        zarr = _zarr()
        self.path = os.fspath(path)
        self.remote = "://" in self.path
        with self._said("opened"):
            if self.remote:
                self._store = zarr.storage.FsspecStore.from_url(self.path, read_only=not write)
            else:
                self._store = zarr.storage.LocalStore(self.path, read_only=not write)

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        """A context in which whatever the file system or the object store refuses is an InputError."""
        try:
            yield
        except InputError:
            raise
        except ImportError as error:
            raise ImportError(f"{self.path} needs a package of fsspec: {error}") from error
        except Exception as error:
            if not (self.remote or isinstance(error, OSError)):
                raise
            reason = getattr(error, "strerror", None) or first_line(error)
            more = "; what is finished is kept, and the same call goes on" if what == WRITTEN else ""
            raise InputError(f"the atlas {self.path} cannot be {what}: {reason}{more}") from error

    def _text(self, key: str) -> bytes | None:
        """The bytes of one object; None if there is none."""
        from zarr.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        with suppress(FileNotFoundError):  # there is no such folder
            found = sync(self._store.get(key, default_buffer_prototype()))
            return None if found is None else found.to_bytes()
        return None

    def read_manifest(self) -> dict[str, Any] | None:
        """The manifest; None if nothing is there.

        Raises:
            InputError: something else is there.
        """
        with self._said("read"):
            # The folder is listed first, since another writer may make it now. A dead one leaves part of a manifest.
            entries = () if self.remote else tuple(Path(self.path).glob("*"))
            text = self._text("zarr.json")
        if text is None:
            if any(not each.match("zarr.*.partial") for each in entries):
                raise InputError(f"{self.path} is no atlas, since it holds other files: choose another place")
            return None
        try:
            found = json.loads(text)["attributes"][MANIFEST]
            form = found["format"]
            if form == FORMAT and not found.keys() >= set(ENTRIES):
                raise KeyError
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{self.path} is no atlas, or its manifest is damaged: zarr.json does not say {MANIFEST!r} with "
                f"{', '.join(ENTRIES)}; nothing was written. Choose another place"
            ) from None
        if form != FORMAT:
            raise InputError(f"{self.path} is an atlas of format {form!r}, and this jaxviz reads format {FORMAT}")
        return found

    def claim(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest, unless another writer has just done so."""
        from zarr.buffer import cpu
        from zarr.core.sync import sync

        group = {"zarr_format": 3, "node_type": "group", "attributes": {MANIFEST: {"format": FORMAT, **manifest}}}
        text = json.dumps(group, indent=2).encode()
        with self._said(WRITTEN):
            sync(self._store.set_if_not_exists("zarr.json", cpu.Buffer.from_bytes(text)))
            self._keep("zarr.json")

    def prepare(self, part: Part, chunk: int) -> None:
        """Make whatever arrays of a part are not there yet, or not described. They are the same whoever makes them."""
        with self._said(WRITTEN):
            group = self._group(part.path, part.attributes)
            for name, kind in {**part.arrays, MARKER: Kind((), "uint8")}.items():
                self._create(group, name, part.filters, kind, chunk)

    def _create(self, group: Any, name: str, filters: int, kind: Kind, chunk: int | None) -> None:
        """Make an empty array, if it is not there, with an object for each chunk of filters; None: one object."""
        from zarr.codecs import Crc32cCodec, ZstdCodec

        if self._described(group, name):
            return
        shard = {"shards": (chunk, *kind.shape)} if chunk and kind.shape else {}  # a filter is a chunk in the object
        with suppress(_zarr().errors.ContainsArrayError):  # another writer has just made it
            group.create_array(
                name,
                shape=(filters, *kind.shape),
                dtype=kind.dtype,
                chunks=(1 if shard else chunk or filters, *kind.shape),
                compressors=(ZstdCodec(level=0), Crc32cCodec()),
                fill_value=0,
                **shard,
            )
        self._keep(f"{group.path}/{name}/zarr.json".lstrip("/"))

    def _described(self, group: Any, name: str) -> bool:
        """Whether an array or a group is there. A description that cannot be read, as after a power cut, is removed."""
        from zarr.core.sync import sync

        try:
            return name in group
        except (ValueError, TypeError):
            sync(self._store.delete(f"{group.path}/{name}/zarr.json".lstrip("/")))
            return False

    def _keep(self, key: str) -> None:
        """Wait until a file and its entry in the folder are on disk, also when the power goes."""
        file = Path(self.path, key)
        for path in () if self.remote else (file, file.parent):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def has(self, path: str, name: str) -> bool:
        """Whether an array that belongs to no chunk is there, and whole."""
        group = self.group(path)
        return self._described(group, name) and self._whole(group[name], 0, group[name].shape[0])

    def put_constant(self, path: str, name: str, values: np.ndarray) -> None:
        """Write an array that belongs to no chunk."""
        with self._said(WRITTEN):
            group = self.group(path)
            self._create(group, name, len(values), Kind(values.shape[1:], str(values.dtype)), None)
            self._write(group[name], 0, values)

    def files(self) -> list[str]:
        """The names of the photographs.

        Raises:
            InputError: they cannot be read.
        """
        try:
            return json.loads(bytes(self.group("")["files"][:]))
        except (KeyError, ValueError) as error:
            raise InputError(f"the names of photographs in {self.path} are damaged: {error}") from error

    def _group(self, path: str, attributes: Mapping[str, Any]) -> Any:
        root = _zarr().open_group(self._store, mode="r+", zarr_format=3)
        if not self._described(root, path):
            with suppress(_zarr().errors.ContainsGroupError):  # another writer has just made it
                root.create_group(path, attributes=dict(attributes))
            self._keep(f"{path}/zarr.json")
        return root[path]

    def group(self, path: str) -> Any:
        """A group of the store.

        Raises:
            InputError: it is not there, or its description is damaged.
        """
        try:
            mode = "r" if self._store.read_only else "r+"
            return _zarr().open_group(self._store, path=path, mode=mode, zarr_format=3)
        except Exception as error:
            raise InputError(
                f"{path} of the atlas {self.path} cannot be read: {first_line(error)}; {REMADE}"
            ) from error

    def array(self, path: str, name: str) -> Any:
        """An array of a group; None if it is not there.

        Raises:
            InputError: its description, or that of the group, is damaged.
        """
        group = self.group(path)
        try:
            return group.get(name)
        except Exception as error:
            raise InputError(
                f"{path}/{name} of the atlas {self.path} cannot be read: {first_line(error)}; {REMADE}"
            ) from error

    def fates(self, path: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """The fate of filters of a part; a damaged marker counts as missing, so its chunk is done again."""
        array = self.array(path, MARKER)
        if array is None:
            raise InputError(f"{path}/{MARKER} of the atlas {self.path} is not there; {REMADE}")
        found = np.zeros(array.shape, np.uint8)
        (chunk,) = array.chunks
        for first in range(start, len(found) if stop is None else stop, chunk):
            with self._said("read"), suppress(ValueError):  # the checksum is wrong
                found[first : first + chunk] = array[first : first + chunk]
        return found[start:stop]

    def put(self, path: str, start: int, arrays: Mapping[str, np.ndarray], fate: np.ndarray) -> None:
        """Write a chunk of filters from number `start` on, and then its marker."""
        group = self.group(path)
        with self._said(WRITTEN):
            for name, values in arrays.items():
                self._write(group[name], start, values)
            self._write(group[MARKER], start, fate)

    def _write(self, array: Any, start: int, values: np.ndarray) -> None:
        chunk = slice(start, start + len(values))
        array = array.with_config({"write_empty_chunks": True})  # else what is all 0 would not be there
        try:
            array[chunk] = values
        except ValueError:  # what is there is damaged, and Zarr wants to read it first
            self._delete(array, start)
            array[chunk] = values
        self._keep(f"{array.path}/{_key(array, start)}")

    def _delete(self, array: Any, start: int) -> None:
        from zarr.core.sync import sync

        sync(self._store.delete(f"{array.path}/{_key(array, start)}"))

    def damaged(self, part: Part, start: int, stop: int) -> list[str]:
        """The names of the arrays of a finished chunk that cannot be read, or are not there."""
        group = self.group(part.path)
        return [name for name in part.arrays if not self._whole(group[name], start, stop)]

    def _whole(self, array: Any, start: int, stop: int) -> bool:
        with suppress(InputError):
            self.read(array, slice(start, stop))
            return True
        return False

    def read(self, array: Any, filters: int | slice) -> np.ndarray:
        """Some filters of an array. Zarr reads an object that is not there as zeros; here it is an error.

        Raises:
            InputError: an object is not there, or damaged.
        """
        from zarr.core.sync import sync

        numbers = np.arange(array.shape[0])[filters]
        rows = (array.shards or array.chunks)[0]
        try:
            for first in np.unique(numbers // rows).tolist():
                if not sync(self._store.exists(f"{array.path}/{_key(array, first * rows)}")):
                    raise InputError(f"chunk {first} is not there")
            return array[filters]
        except Exception as error:  # of the checksum, of a codec that meets nonsense, or of the file system
            raise InputError(
                f"{array.path} of the atlas {self.path} is damaged, at filters {numbers.min()} to {numbers.max()}: "
                f"{first_line(error)}; jv.atlas(…, verify=True) finds such chunks and makes them again"
            ) from error

    def forget(self, path: str, start: int) -> None:
        """Take the marker of a chunk away, so that it is not there."""
        with self._said(WRITTEN):
            self._delete(self.group(path)[MARKER], start)


def _zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise ImportError(f"an atlas is a Zarr store: {INSTALL}") from error
    return zarr


def _key(array: Any, start: int) -> str:
    """The key of the object that holds the filters from `start` on."""
    rows = (array.shards or array.chunks)[0]
    return array.metadata.encode_chunk_key((start // rows, *(0,) * (array.ndim - 1)))

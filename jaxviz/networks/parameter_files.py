"""Files and folders of parameters, read as trees of arrays: Orbax, msgpack and safetensors.

    read_parameters(path) -> {path in the tree: array}

Law: nothing in a file is executed, imported or unpickled. A damaged file, and one of another kind, gets a sentence.

Orbax and msgpack keep a tree; safetensors has flat names, `a/b/kernel` or `a.b.kernel`. Numbers in a path, of layers in
a list, are text, since msgpack makes them text.
"""

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.serialization import msgpack_restore
from safetensors import safe_open

from jaxviz.errors import InputError
from weights_convert.files.foreign import foreign, foreign_path, foreign_zip, is_hdf5

Flat = dict[tuple[str, ...], Any]  # {path: array, or its shape}

ORBAX = "_METADATA"  # the file that each folder with a tree of Orbax has


def read_parameters(path: Path) -> Flat:
    """The arrays in a file or folder, by their paths.

    Raises:
        InputError: it holds something else, or is damaged.
        FileNotFoundError: there is nothing there.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    if path.is_dir():
        parts = sorted(path.glob("*.safetensors"))
        return _all_of(parts) if parts else _guarded(path, lambda path: _read_orbax(_orbax_folder(path)))
    if _is_safetensors(path):
        return _all_of([path])
    what = foreign(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            what = foreign_zip(path, file.namelist()) or f"{path} is an archive: unpack it"
    if is_hdf5(path):
        what = f"{path} is an HDF5 file. If Keras wrote it, jv.load(path) reads the network with its weights"
    if what:
        raise InputError(f"{what}. Parameters of a module come from Orbax, safetensors or msgpack (flax)")
    return _guarded(path, lambda path: dict(_flat(msgpack_restore(path.read_bytes()))))


def _guarded(path: Path, read: Callable[[Path], Flat]) -> Flat:
    try:
        return read(path)
    except InputError:
        raise
    except Exception as error:  # whatever a reader raises for a damaged file
        own = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"{path} is damaged, or no file of Orbax, safetensors or msgpack (flax): {own}") from error


def begins(path: Path, magic: bytes) -> bool:
    """Whether the first bytes of a file are these."""
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins as such a file does: the length of a text, and the text, which is JSON."""
    with path.open("rb") as file:
        head = file.read(9)
    return path.suffix == ".safetensors" or (head[8:] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000)


def _all_of(paths: Iterable[Path]) -> Flat:
    """The arrays of safetensors files, the parts of one network."""
    found: Flat = {}
    for path in paths:
        part = _guarded(path, _read_safetensors)
        if twice := sorted(found.keys() & part.keys()):
            name = "/".join(twice[0])
            raise InputError(f"the .safetensors files of a folder are parts of one network; {path} repeats {name}")
        found |= part
    return found


def _read_safetensors(path: Path) -> Flat:
    with safe_open(path, "numpy") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    separator = "/" if any("/" in name for name in found) else "."
    return {tuple(name.split(separator)): array for name, array in found.items()}


def _orbax_folder(path: Path) -> Path:
    """The folder with the tree itself, in that of a `CheckpointManager`, which has one for each step and each item."""
    while not (path / ORBAX).exists():
        inner = [each for each in path.iterdir() if each.is_dir() and any(each.glob(f"**/{ORBAX}"))]
        inner.sort(key=lambda each: (len(each.name), each.name))  # steps are numbers
        if not inner:
            raise InputError(foreign_path(path) or f"{path} is no folder of Orbax: no {ORBAX} in it")
        if len(inner) > 1:
            names = ", ".join(each.name for each in inner)
            raise InputError(f"{path} holds several checkpoints, {names}: name one of them, such as {inner[-1]}")
        (path,) = inner
    return path


def _read_orbax(path: Path) -> Flat:
    try:
        from orbax import checkpoint
    except ImportError:
        raise InputError("a folder of Orbax needs the package orbax-checkpoint: pip install orbax-checkpoint") from None
    with checkpoint.Checkpointer(checkpoint.PyTreeCheckpointHandler()) as reader:
        tree = reader.metadata(path.absolute()).item_metadata.tree
        # As NumPy's arrays, they need no devices like those that they were saved from.
        arguments = jax.tree.map(lambda _: checkpoint.RestoreArgs(restore_type=np.ndarray), tree)
        return dict(_flat(reader.restore(path.absolute(), args=checkpoint.args.PyTreeRestore(restore_args=arguments))))


def _flat(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, array) of each array in a tree of dictionaries and lists. What is no number, such as a text, is left."""
    if isinstance(tree, Mapping | list | tuple):
        for name, part in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            yield from _flat(part, (*path, str(name)))
    elif isinstance(tree, int | float):
        yield path, np.asarray(tree)
    elif hasattr(tree, "dtype"):
        yield path, tree

"""The files that one path stands for: Keras 3 splits large weights into shards, and lists them in a `.weights.json`."""

from pathlib import Path

from ..config.description import MAX_TEXT, decode
from ..errors import NotReadable, UnsafeFile
from .foreign import is_hdf5

SUFFIX = ".json"
MAP = "weight_map"  # {path of a group: a shard that holds some of it, or a list of them}
MAX_NAME = 255  # bytes; no file system allows more
IN_LAYERS = "/layers/"  # the other groups hold the state of the optimizer


def parts(path: Path) -> list[Path]:
    """The file itself; if it is an index, also its shards that hold weights of layers.

    Raises:
        NotReadable: Keras did not write the index, or a shard is missing.
        UnsafeFile: the index is too long, nested too deeply, or leads out of its folder.
    """
    return [path, *_shards(path)] if path.suffix == SUFFIX and not is_hdf5(path) else [path]


def _shards(path: Path) -> list[Path]:
    if (size := path.stat().st_size) > MAX_TEXT:
        raise UnsafeFile(f"{path} is {size:,} bytes long; at most {MAX_TEXT:,} are read")
    groups = decode(path.read_bytes(), str(path)).get(MAP)
    if not isinstance(groups, dict):
        raise NotReadable(f"{path} has no {MAP!r}, so it is not an index of sharded weights (`.weights.json`) of Keras")
    listed = [names for group, names in groups.items() if group.startswith(IN_LAYERS)]
    listed = [each if isinstance(each, list) else [each] for each in listed]
    names = dict.fromkeys(_plain(name, path) for each in listed for name in each)
    if not names:
        raise NotReadable(f"{path} lists no group in {IN_LAYERS!r}, so no weights of a Sequential or Functional model")
    shards = [path.with_name(name) for name in names]
    if missing := [shard.name for shard in shards if not shard.is_file()]:
        raise NotReadable(f"{path} lists {', '.join(missing)[:200]}, which must lie next to it, but is not there")
    homes = {path.resolve().parent, path.parent.resolve()}  # the folder of the index, which may itself be a link
    for shard in shards:
        if shard.resolve().parent not in homes:
            raise UnsafeFile(f"{shard} is a link to {shard.resolve()}, out of the folder of its index: not followed")
    return shards


def _plain(name: object, path: Path) -> str:
    plain = isinstance(name, str) and name.endswith(".h5") and not set(name) & {"/", "\\", ":", "\0"}
    if not isinstance(name, str) or not plain or len(name.encode()) > MAX_NAME:
        raise UnsafeFile(f"{path} lists {str(name)[:80]!r} as a shard, which is not the name of an .h5 file next to it")
    return name

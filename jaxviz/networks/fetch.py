"""Files that Keras publishes: found in Keras' cache or ours, or downloaded once and checked against a pinned hash.

Law: a file of another hash than the pinned one is never read.

`tests/golden/make_applications.py` collects the names, addresses and hashes of `published.json` from Keras itself. For
some files Keras publishes no hash (MobileNet v1 and v2). The first such file is trusted, since it came by HTTPS, and
its sha256 is recorded; from then on any other file is refused.
"""

import json
import os
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import pooch

from jaxviz.compiling.cache import cache_folder
from jaxviz.errors import InputError


class Published(NamedTuple):
    """A file on Keras' storage. An md5 only guards against damage; HTTPS guards against a stranger's file."""

    name: str  # in Keras' cache
    url: str
    hash: str | None  # md5 or sha256 digits, if Keras publishes them


# The weights of every application, each with and without its top, and the index of ImageNet's classes.
FILES = {
    name: Published(**file)
    for name, file in json.loads(
        resources.files(__package__).joinpath("published.json").read_text(encoding="utf-8")
    ).items()
}


def keras_cache() -> Path:
    """The folder in which Keras keeps weights: `$KERAS_HOME/models`, or `~/.keras/models`."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"


def cached(name: str) -> Path | None:
    """The path of the published file `name` in Keras' cache or ours, with the right hash; None if it is in neither."""
    file = FILES[name]
    known = _known_hash(file)
    for folder in (keras_cache(), cache_folder()):
        path = folder / file.name
        if path.is_file() and (known is None or _hash(path, known) == known):
            _record(file, path)
            return path
    return None


def fetch(name: str, *, instead: str = "") -> Path:
    """The path of the published file `name`, from a cache, or downloaded with a progress bar and checked.

    Args:
        instead: another way to go on without this file, which the error names.

    Raises:
        InputError: the file cannot be downloaded; the message says where to put it by hand. Or its hash is not the
            published one, or not that of the file loaded first.
    """
    if found := cached(name):
        return found
    file = FILES[name]
    known = _known_hash(file)
    pooch.get_logger().setLevel("WARNING")  # the progress bar is enough
    download = pooch.HTTPDownloader(progressbar=True, timeout=30)
    try:
        path = Path(pooch.retrieve(file.url, known, fname=file.name, path=cache_folder(), downloader=download))
    except OSError as error:  # all errors of requests are such
        import requests  # it takes 0.1 s, which only a download needs

        reason = "no connection" if isinstance(error, requests.ConnectionError) else str(error)
        raise InputError(
            f"could not download {file.name} ({reason}): put the file into {keras_cache()} or {cache_folder()}"
            + (f", or {instead}" if instead else "")
        ) from None
    except ValueError:
        reason = "the pinned" if file.hash else "that of the file loaded first, recorded in"
        raise InputError(
            f"{file.url} gave a file of another hash than {reason} {known if file.hash else _record_of(file)}; deleted"
        ) from None
    _record(file, path)
    return path


def _known_hash(file: Published) -> str | None:
    """Keras' hash, or that of the file loaded first, as "algorithm:digits"; None if neither is known."""
    known = file.hash
    if known is None and _record_of(file).is_file():
        known = _record_of(file).read_text(encoding="ascii").strip()
    return f"{'md5' if len(known) == 32 else 'sha256'}:{known}" if known else None


def _hash(path: Path, known: str) -> str:
    """The hash of a file by the algorithm of `known`, as "algorithm:digits"."""
    algorithm, _, _ = known.partition(":")
    return f"{algorithm}:{pooch.hashes.file_hash(str(path), algorithm)}"


def _record(file: Published, path: Path) -> None:
    """Record the sha256 of the first file loaded, if Keras publishes no hash of it."""
    record = _record_of(file)
    if file.hash is None and not record.exists():
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(pooch.hashes.file_hash(str(path), "sha256") + "\n", encoding="ascii")


def _record_of(file: Published) -> Path:
    return cache_folder() / f"{file.name}.sha256"

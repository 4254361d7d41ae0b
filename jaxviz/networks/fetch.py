"""Files that Keras publishes: found where Keras keeps them, or downloaded once and checked against a pinned hash.

The names, addresses and hashes of `published.json` are what Keras itself asks for, written down by
`tests/golden/make_applications.py`. Where Keras publishes no hash (MobileNet v1 and v2), the first file is
taken on trust, which HTTPS gives, and its sha256 is recorded; another one is refused from then on.
"""

import json
import os
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import pooch
import requests

from jaxviz.compiling.cache import cache_folder
from jaxviz.errors import InputError


class Published(NamedTuple):
    """A file on Keras' storage: its name in Keras' cache, where it is, and Keras' hash of it, if there is one.

    An md5 guards against damage only; against strangers there is HTTPS.
    """

    name: str
    url: str
    hash: str | None


# What it is: the weights of every application, each with and without its top, and the index of ImageNet's classes.
FILES = {
    name: Published(**file)
    for name, file in json.loads(
        resources.files(__package__).joinpath("published.json").read_text(encoding="utf-8")
    ).items()
}


def keras_cache() -> Path:
    """Where Keras keeps its weights: `$KERAS_HOME/models`, or `~/.keras/models`."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"


def cached(name: str) -> Path | None:
    """The published file `name` where it already is: in Keras' cache, or in ours, with the right hash."""
    file = FILES[name]
    known = _known_hash(file)
    for folder in (keras_cache(), cache_folder()):
        path = folder / file.name
        if path.is_file() and (known is None or _hash(path, known) == known):
            _record(file, path)
            return path
    return None


def fetch(name: str, *, instead: str = "") -> Path:
    """The published file `name`: from a cache, or downloaded with a progress bar and checked.

    Raises:
        InputError: it cannot be had, with the file's name, where to put it by hand, and what to do `instead`; or it is
            not the file that was published, or loaded before.
    """
    if found := cached(name):
        return found
    file = FILES[name]
    known = _known_hash(file)
    pooch.get_logger().setLevel("WARNING")  # the progress bar says what is going on
    download = pooch.HTTPDownloader(progressbar=True, timeout=30)
    try:
        path = Path(pooch.retrieve(file.url, known, fname=file.name, path=cache_folder(), downloader=download))
    except (requests.RequestException, OSError) as error:
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
    """Keras' hash, or that of the file loaded first, as "algorithm:digits"; None before that."""
    known = file.hash
    if known is None and _record_of(file).is_file():
        known = _record_of(file).read_text(encoding="ascii").strip()
    return f"{'md5' if len(known) == 32 else 'sha256'}:{known}" if known else None


def _hash(path: Path, known: str) -> str:
    """The hash of a file in the form, and by the algorithm, of `known`."""
    algorithm, _, _ = known.partition(":")
    return f"{algorithm}:{pooch.hashes.file_hash(str(path), algorithm)}"


def _record(file: Published, path: Path) -> None:
    """Remember what was loaded, where Keras does not say what it should be."""
    record = _record_of(file)
    if file.hash is None and not record.exists():
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(pooch.hashes.file_hash(str(path), "sha256") + "\n", encoding="ascii")


def _record_of(file: Published) -> Path:
    return cache_folder() / f"{file.name}.sha256"

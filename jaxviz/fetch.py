"""Files that Keras publishes: found where Keras keeps them, or downloaded once and checked against a pinned hash."""

import os
from pathlib import Path
from typing import NamedTuple

import pooch
import requests

from jaxviz.errors import InputError


class Published(NamedTuple):
    """A file on Keras' storage. Keras publishes md5 only; it guards against damage, and HTTPS against strangers."""

    url: str
    md5: str

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


_STORAGE = "https://storage.googleapis.com"
VGG16 = f"{_STORAGE}/tensorflow/keras-applications/vgg16"

FILES = {
    "vgg16": Published(f"{VGG16}/vgg16_weights_tf_dim_ordering_tf_kernels.h5", "64373286793e3c8b2b4e3219cbf3544b"),
    "vgg16_notop": Published(
        f"{VGG16}/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "6d6bbae143d832006294945121d1f1fc"
    ),
    "imagenet_class_index": Published(
        f"{_STORAGE}/download.tensorflow.org/data/imagenet_class_index.json", "c2c37ea517e94d9795004a39431a14cb"
    ),
}


def keras_cache() -> Path:
    """Where Keras keeps its weights: `$KERAS_HOME/models`, or `~/.keras/models`."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"


def cache() -> Path:
    """Where jaxviz keeps what it downloads: `$JAXVIZ_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("JAXVIZ_CACHE") or pooch.os_cache("jaxviz"))


def cached(name: str) -> Path | None:
    """The published file `name` where it already is: in Keras' cache, or in ours, with the right hash."""
    file = FILES[name]
    for folder in (keras_cache(), cache()):
        path = folder / file.name
        if path.is_file() and pooch.hashes.file_hash(str(path), "md5") == file.md5:
            return path
    return None


def fetch(name: str, *, instead: str = "") -> Path:
    """The published file `name`: from a cache, or downloaded with a progress bar and checked.

    Raises:
        InputError: it cannot be had, with the file's name, where to put it by hand, and what to do `instead`.
    """
    if found := cached(name):
        return found
    file = FILES[name]
    pooch.get_logger().setLevel("WARNING")  # the progress bar says what is going on
    download = pooch.HTTPDownloader(progressbar=True, timeout=30)
    try:
        path = pooch.retrieve(file.url, f"md5:{file.md5}", fname=file.name, path=cache(), downloader=download)
    except (requests.RequestException, OSError) as error:
        reason = "no connection" if isinstance(error, requests.ConnectionError) else str(error)
        raise InputError(
            f"could not download {file.name} ({reason}): put the file into {keras_cache()} or {cache()}"
            + (f", or {instead}" if instead else "")
        ) from None
    except ValueError:
        raise InputError(f"{file.url} gave a file of another hash than the pinned md5 {file.md5}; deleted") from None
    return Path(path)

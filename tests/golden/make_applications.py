"""Write the graphs of Keras' applications, and the addresses of their published weights, to two files.

    python tests/golden/make_applications.py weights_convert/applications.zip jaxviz/networks/published.json

Real Keras builds every application for its ImageNet weights. The download is intercepted, and its address is written
down. (If Keras builds them for random weights, some EfficientNets lack a layer.)
"""

import json
import os
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from flax import nnx
from keras.src.utils import file_utils

from weights_convert.architectures import ARCHITECTURES, NOTOP, OTHERS, compact, fingerprint
from weights_convert.config.parsing import parse
from weights_convert.graph import Graph
from weights_convert.net import KerasNet


def main(graphs: str, published: str) -> None:
    """Write both files: the graphs as a zip, the addresses as JSON."""
    files, members, fingerprints = {}, {}, {}
    for name in sorted(vars(keras.applications)):
        if not (name[0].isupper() and callable(getattr(keras.applications, name))):
            continue
        key = name.lower()
        whole, files[key], fingerprints[key] = build(name, include_top=True)
        base, files[key + NOTOP], fingerprints[key + NOTOP] = build(name, include_top=False)
        members[key] = compact(whole, base)
        print(name, len(whole.nodes), len(members[key]["tail"]), flush=True)
    files["imagenet_class_index"] = class_index()
    Path(published).write_text(json.dumps(files, indent=1) + "\n", encoding="utf-8")
    write(graphs, members)
    for name in OTHERS:
        net = nnx.eval_shape(lambda graph=ARCHITECTURES[name].graph: KerasNet(graph, rngs=nnx.Rngs(0)))
        fingerprints[name] = fingerprint(w.shape for weights in net.weights().values() for w in weights.values())
    write(graphs, {**members, "fingerprints": fingerprints})


def write(path: str, members: dict[str, Any]) -> None:
    """Write a zip of JSON files; the same content always makes the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, member in members.items():
            text = json.dumps(member, separators=(",", ":"))
            archive.writestr(zipfile.ZipInfo(f"{name}.json", (1980, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)


def build(name: str, include_top: bool) -> tuple[Graph, dict[str, str | None], str]:
    """(graph of an application, the file of weights that Keras downloads for it, fingerprint of its shapes)."""
    keras.backend.clear_session()
    # If NASNetLarge is built for images of any size, it lacks layers that the published weights have.
    shape = (331, 331, 3) if name == "NASNetLarge" else None
    with downloads() as asked:
        model = getattr(keras.applications, name)(weights="imagenet", include_top=include_top, input_shape=shape)
    [file] = asked
    config = {"class_name": "Functional", "config": model.get_config()}
    graph = parse(json.loads(json.dumps(config, default=float)))
    return graph, file, fingerprint(weight.shape for weight in model.weights)


def class_index() -> dict[str, str | None]:
    """The file with the names of ImageNet's classes."""
    with downloads() as asked, suppress(FileNotFoundError):
        keras.applications.imagenet_utils.decode_predictions(np.zeros((1, 1000)))
    [file] = asked
    return file


@contextmanager
def downloads() -> Iterator[list[dict[str, str | None]]]:
    """Record the files that Keras would download and load."""
    asked: list[dict[str, str | None]] = []

    def get_file(fname: str, origin: str, file_hash: str | None = None, **others: Any) -> str:
        asked.append({"name": fname, "url": origin, "hash": file_hash})
        return fname

    with mock.patch.object(file_utils, "get_file", get_file), mock.patch.object(keras.Model, "load_weights"):
        yield asked


if __name__ == "__main__":
    main(*sys.argv[1:])

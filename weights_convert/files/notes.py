"""What a KerasNet knows and no format of Keras has a place for, as JSON that Keras passes over.

How the network is fed, and what its layers are called where Keras does not take the name: a `/` is not allowed in one.
"""

import json
from collections.abc import Container, Mapping
from dataclasses import asdict
from typing import Any

from ..config.description import decode
from ..errors import NotReadable
from ..graph import Graph, call_name, split_call
from ..inputs import Inputs
from ..layers.options import flag, number

KEY = "weights_convert"


def encode(inputs: Inputs, names: Mapping[str, str]) -> str:
    """`names` is {what a layer is called in the file: its name}."""
    return json.dumps({"inputs": asdict(inputs), "names": dict(names)})


def read_notes(text: object, where: str) -> tuple[Inputs | None, dict[str, str]]:
    """(inputs, names) of what `encode` gave; (None, {}) where there is no text.

    Raises:
        NotReadable: it says something else.
    """
    if text is None:
        return None, {}
    if not isinstance(text, str):
        raise NotReadable(f"{where} is no text")
    notes = decode(text, where)
    return read_inputs(notes.get("inputs"), where), checked_names(notes.get("names"), where)


def checked_names(names: Any, where: str) -> dict[str, str]:
    """`names`, if it is what `encode` was given.

    Raises:
        NotReadable: it is not.
    """
    if not isinstance(names, dict) or not all(_is_other_name(new, name) for new, name in names.items()):
        raise NotReadable(f"{where} does not say what the layers are called")
    return names


def restored(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The graph in a file with the names that its layers had.

    Raises:
        NotReadable: two layers get one name.
    """
    calls = [(node.name, *split_call(node.name)) for node in graph.nodes]
    graph = graph.renamed(
        {**names, **{name: call_name(names[layer], number) for name, layer, number in calls if layer in names}}
    )
    if len({node.name for node in graph.nodes} | {*dict(graph.inputs)}) < len(graph.nodes) + len(graph.inputs):
        raise NotReadable("the notes in this file give two layers one name")
    return graph


def without_slashes(name: str, taken: Container[str]) -> str:
    """A name that Keras takes, and that none of `taken` is."""
    new = name.replace("/", "__")
    while new in taken:
        new += "_"
    return new


def _is_other_name(new: str, name: object) -> bool:
    """Whether `new` could be what `without_slashes` made of `name`."""
    return isinstance(name, str) and "/" in name and new.rstrip("_") == name.replace("/", "__").rstrip("_")


def read_inputs(saved: Any, where: str) -> Inputs:
    """The `Inputs` that `asdict` made `saved` of.

    Raises:
        NotReadable: it says something else.
    """
    try:
        mean, std = (tuple(map(number, saved[key])) for key in ("mean", "std"))
        if not isinstance(saved["name"], str) or not mean or not std or 0 in std:
            raise ValueError("no name, no numbers, or a division by 0")
        return Inputs(saved["name"], number(saved["scale"]), mean, std, flag(saved["reverse"]))
    except (KeyError, TypeError, ValueError) as error:
        raise NotReadable(f"{where} does not say how the network is fed ({type(error).__name__}: {error})") from error

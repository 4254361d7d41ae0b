"""Notes in a file for Keras: what a KerasNet knows but no format of Keras can hold. They are JSON that Keras ignores.

They say how the network is fed, and the real names of layers that have a `/` in their name, which Keras does not allow.
"""

import json
from collections.abc import Container, Mapping
from dataclasses import asdict
from typing import Any

from ..config.description import decode
from ..errors import NotReadable
from ..graph import Graph
from ..inputs import Inputs
from ..layers.options import flag, number

KEY = "weights_convert"


def encode(inputs: Inputs, names: Mapping[str, str]) -> str:
    """The notes as JSON; `names` is {name of a layer in the file: its real name}."""
    return json.dumps({"inputs": asdict(inputs), "names": dict(names)})


def read_notes(text: object, where: str) -> tuple[Inputs | None, dict[str, str]]:
    """(inputs, names) from the notes that `encode` made; (None, {}) if there are none.

    Raises:
        NotReadable: `encode` did not make them.
    """
    if text is None:
        return None, {}
    if not isinstance(text, str):
        raise NotReadable(f"{where} is not text")
    notes = decode(text, where)
    return read_inputs(notes.get("inputs"), where), checked_names(notes.get("names"), where)


def checked_names(names: Any, where: str) -> dict[str, str]:
    """`names`, checked: they are as `encode` wrote them.

    Raises:
        NotReadable: they are not.
    """
    if not isinstance(names, dict) or not all(_is_other_name(new, name) for new, name in names.items()):
        raise NotReadable(f"{where} does not say what the layers are called")
    return names


def restored(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The graph in a file, with the real names of its layers.

    Raises:
        NotReadable: two layers get the same name.
    """
    graph = graph.renamed({**names, **of_calls(graph, names)})
    if len({node.name for node in graph.nodes} | {*dict(graph.inputs)}) < len(graph.nodes) + len(graph.inputs):
        raise NotReadable("the notes in this file give two layers one name")
    return graph


def of_calls(graph: Graph, names: Mapping[str, str]) -> dict[str, str]:
    """{name of a node: its new name} of the calls of layers that get new names, {layer: new name}."""
    return {
        node.name: names[node.layer] + node.name.removeprefix(node.layer) for node in graph.nodes if node.layer in names
    }


def without_slashes(name: str, taken: Container[str]) -> str:
    """A name for the layer that Keras allows, and that is not in `taken`."""
    new = name.replace("/", "__")
    while new in taken:
        new += "_"
    return new


def _is_other_name(new: str, name: object) -> bool:
    """Whether `without_slashes` can have made `new` from `name`."""
    return isinstance(name, str) and "/" in name and new.rstrip("_") == name.replace("/", "__").rstrip("_")


def read_inputs(saved: Any, where: str) -> Inputs:
    """The `Inputs` whose `asdict` is `saved`.

    Raises:
        NotReadable: `saved` is something else.
    """
    try:
        mean, std = (tuple(map(number, saved[key])) for key in ("mean", "std"))
        if not isinstance(saved["name"], str) or not mean or not std or 0 in std:
            raise ValueError("no name, no numbers, or a division by 0")
        scale, reverse = number(saved["scale"]), flag(saved["reverse"])
        return Inputs(name=saved["name"], scale=scale, mean=mean, std=std, reverse=reverse)
    except (KeyError, TypeError, ValueError) as error:
        raise NotReadable(f"{where} does not say how the network is fed ({type(error).__name__}: {error})") from error

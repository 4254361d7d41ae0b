"""The layers that the caller computes, with the weights that the file has for them.

What the caller gave for a layer becomes a function of its inputs, or of (weights, *inputs) if the file has weights for
it. The weights keep the names of the file, without the name of the layer.
"""

import importlib
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from .errors import UnsupportedLayer
from .files.saved import Saved, Weight, Weights
from .graph import Graph, Node
from .layers import CUSTOM, WITH_WEIGHTS, bound


def imported(places: Iterable[str]) -> dict[str, Any]:
    """`custom` for `load` from the command line: {"Swish": its object} for the place "my_layers:Swish".

    If the object is a dict, its items are taken. Modules are found as Python finds them, and in the current folder.

    Raises:
        ValueError: a place is not "module:name", or there is no such module or name.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a command, unlike `python -m`, does not look there
    found: dict[str, Any] = {}
    for place in places:
        module, _, name = place.partition(":")
        if not module or not name:
            raise ValueError(f"a layer of your own is MODULE:NAME, such as my_layers:Swish; given: {place!r}")
        try:
            given = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"there is no {name!r} in a Python module {module!r} ({error}); given: {place!r}"
            ) from error
        found |= given if isinstance(given, Mapping) else {name: given}
    return found


def with_own(graph: Graph, saved: Saved) -> tuple[Graph, Saved]:
    """`graph` with the functions of the caller's layers ready to run, and `saved` with the weights of these layers.

    Raises:
        UnsupportedLayer: a function cannot take the weights of its layer, or its inputs.
    """
    own = list(dict.fromkeys(node.layer for node in graph.nodes if node.kind == CUSTOM))
    if not own:
        return graph, saved
    weights = dict(saved.weights)
    for layer in own:
        weights = _gathered(layer, weights)
    made: dict[str, Node] = {}
    complaints = []
    for node in graph.nodes:
        if node.layer in own and node.layer not in made:
            try:
                made[node.layer] = _made(node, weights.get(node.layer, {}))
            except ValueError as error:
                complaints.append(f"{node.layer}: {error}")
    if complaints:
        raise UnsupportedLayer(complaints)
    nodes = (
        replace(node, kind=made[node.layer].kind, config=made[node.layer].config) if node.layer in made else node
        for node in graph.nodes
    )
    return replace(graph, nodes=tuple(nodes)), replace(saved, weights=weights)


def _made(node: Node, weights: Mapping[str, Weight]) -> Node:
    """The node with what it computes, as the kind that it then is."""
    config: dict[str, Any] = dict(node.config)
    config["function"] = bound(config["function"], config["settings"], len(node.inputs), list(weights))
    kind = WITH_WEIGHTS if weights else CUSTOM
    if weights:
        config["weights"] = tuple((name, weight.shape) for name, weight in weights.items())
    return replace(node, kind=kind, config=tuple(config.items()))


def _gathered(layer: str, weights: Weights) -> dict[str, Mapping[str, Weight]]:
    """`weights` with those of a layer under its name, with short names.

    A legacy file keeps the weights of a layer of a nested model in the group of the model. A nested model that the
    caller computes as one layer may have a group for each of its layers.
    """
    found = {layer: dict(weights.get(layer, {}))}
    rest = {name: group for name, group in weights.items() if name != layer}
    for name, group in weights.items():
        if name.startswith(f"{layer}/"):
            inner = name.removeprefix(f"{layer}/")
            found[layer] |= {f"{inner}/{each}": weight for each, weight in group.items()}
            del rest[name]
        elif layer.startswith(f"{name}/") and not found[layer]:
            mine = {key: weight for key, weight in group.items() if _within(weight.name, layer)}
            found[layer] |= mine
            rest[name] = {key: weight for key, weight in group.items() if key not in mine}
    found[layer] = _short(found[layer], layer)
    # The layer's own weights come first, as in Keras; a `.keras` file has those of the layers in it by name.
    found[layer] = dict(sorted(found[layer].items(), key=lambda item: "/" in item[0]))
    order = {name: found[name] if name == layer else rest[name] for name in weights if name == layer or name in rest}
    return {**order, **found}


def _within(name: str, layer: str) -> bool:
    """Whether a weight of this name is that of the layer, whose outer models may be missing in the name."""
    *outer, last = layer.split("/")
    ends = ["/".join([*outer[start:], last]) for start in range(len(outer) + 1)]
    return any(name.startswith(f"{end}/") for end in ends)


def _short(weights: Mapping[str, Weight], layer: str) -> dict[str, Weight]:
    """`weights` under the last part of their names, without ":0"; under more parts where two have the same."""
    paths = {name: name.partition(":")[0].split("/") for name in weights}
    own = layer.rpartition("/")[2]
    for parts in paths.values():
        while len(parts) > 1 and own in parts[:-1]:
            del parts[: parts.index(own) + 1]
    last = Counter(parts[-1] for parts in paths.values())
    names = ["/".join(parts) if last[parts[-1]] > 1 else parts[-1] for parts in paths.values()]
    return dict(zip(names if len(set(names)) == len(names) else weights, weights.values(), strict=True))

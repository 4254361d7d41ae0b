"""Which weights of a file belong to which layer of a network.

There are three ways, by how the file says it. `match` chooses one of them, once:

- by name: a full model in the legacy layout, or a `.safetensors` file. The file calls its layers as the network does.
- by number: the layout of Keras 3, which counts the layers of a class and the weights of a layer.
- in order: a file of weights only in the legacy layout. Its layers are in the order of the network's layers.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

from flax import nnx

from .config.describe import describe
from .files.keras_3 import named, numbers
from .files.nested import unnest
from .files.saved import Saved, Weight, Weights
from .graph import Graph
from .layers import KINDS
from .net import KerasNet

Needed = Mapping[str, Mapping[str, nnx.Variable]]


class Match(NamedTuple):
    """A layer of the network, the layer of the file that has its weights, and the weights of both by name.

    A layer without a counterpart has one too: with no name, "", and no weights.
    """

    layer: str
    place: str
    needed: Mapping[str, nnx.Variable]
    found: Mapping[str, Weight]


def match(saved: Saved, net: KerasNet) -> list[Match]:
    """Every layer with weights, of the network and of the file, with its counterpart.

    Args:
        saved: the contents of the file.
        net: the network, whose weights may be abstract; it already has the file's names of layers, if it has names.
    """
    needed, kinds = net.weights(), {node.layer: KINDS[node.kind] for node in net.graph.nodes}
    if saved.numbered:
        weights = named(saved.weights, _nested(net.graph)) if saved.config is None else saved.weights
        parts = {layer: kind.parts for layer, kind in kinds.items()}
        return _by_name(
            needed,
            {layer: _numbered(needed.get(layer, {}), found, parts.get(layer, {})) for layer, found in weights.items()},
        )
    weights = unnest(saved.weights, needed, saved.config)
    weights = {layer: _of_parts(needed.get(layer, {}), found) for layer, found in weights.items()}
    return _in_order(needed, weights) if saved.config is None else _by_name(needed, weights)


def _by_name(needed: Needed, weights: Weights) -> list[Match]:
    mine = [Match(layer, layer, needed[layer], weights.get(layer, {})) for layer in needed if needed[layer]]
    known = {each.layer for each in mine}
    theirs = [Match("", layer, {}, found) for layer, found in weights.items() if found and layer not in known]
    return [each._replace(found=_only_one(each.needed, each.found)) for each in mine] + theirs


def _in_order(needed: Needed, weights: Weights) -> list[Match]:
    mine, theirs = ([layer for layer, found in each.items() if found] for each in (needed, weights))
    return [
        Match(layer, place, needed.get(layer, {}), _only_one(needed.get(layer, {}), weights.get(place, {})))
        for layer, place in zip_longest(mine, theirs, fillvalue="")
    ]


def _only_one(needed: Mapping[str, nnx.Variable], found: Mapping[str, Weight]) -> Mapping[str, Weight]:
    """`found` under the needed name, if there is only one weight: Keras 3 calls that of a LayerScale `variable_7`."""
    return dict(zip(needed, found.values(), strict=True)) if len(found) == len(needed) == 1 else found


def _numbered(
    needed: Mapping[str, nnx.Variable], found: Mapping[str, Weight], parts: Mapping[str, str]
) -> Mapping[str, Weight]:
    """`found`, whose names are the numbers of the weights in Keras' order, under the needed names.

    The weights of a layer in this layer, such as `query_dense/0`, are numbered for themselves.
    """
    if not parts or not any("/" in name for name in found):
        return dict(zip(needed, found.values(), strict=True)) if len(found) == len(needed) else found
    theirs = dict(zip(numbers(needed, parts), needed, strict=True))
    # Keras 2 writes `_query_dense`.
    return {theirs.get(name.removeprefix("_"), name): weight for name, weight in found.items()}


def _of_parts(needed: Mapping[str, nnx.Variable], found: Mapping[str, Weight]) -> Mapping[str, Weight]:
    """`found`, where the needed names are those of layers in the layer: `query/kernel` for `net/mha/query/kernel:0`."""
    if not any("/" in name for name in needed):
        return found
    ends = {re.sub(r":\d+$", "", name): name for name in found}
    whole = {full: full for full in found if full in needed}  # the weights of a layer that the caller computes
    mine = {full: next((n for n in needed if f"/{end}".endswith(f"/{n}")), full) for end, full in ends.items()} | whole
    return {mine[full]: weight for full, weight in found.items()}


def _nested(graph: Graph) -> dict[str, Any]:
    """The description of a known architecture, with a nested model for each name before a `/`.

    All of these are counted as Sequential models. Only ConvNeXt has any, and there they are.
    """
    folded: dict[str, Any] = {}
    for layer in describe(graph)["config"]["layers"]:
        outer, slash, inner = layer["name"].partition("/")
        if slash:
            model = {"class_name": "Sequential", "name": outer, "config": {"layers": []}}
            folded.setdefault(outer, model)["config"]["layers"].append({**layer, "name": inner})
        else:
            folded[outer] = layer
    return {"config": {"layers": list(folded.values())}}


def differences(matches: list[Match]) -> Iterator[str]:
    """A line for each weight without a counterpart of its shape: `-` the network needs it, `+` the file has it."""
    for layer, place, needed, found in matches:
        mine = {name: variable.shape for name, variable in needed.items()}
        theirs = {name: weight.shape for name, weight in found.items()}
        yield from (f"- {layer} {name} {shape}" for name, shape in mine.items() if theirs.get(name) != shape)
        yield from (f"+ {place} {name} {shape}" for name, shape in theirs.items() if mine.get(name) != shape)

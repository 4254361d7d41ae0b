"""A network of images [c h w] ("channels_first") → the same network of images [h w c], which is what it is here.

The weights are the same: Keras stores every kernel with its channels last. What changes are the axes of the options,
such as that of a batch normalisation. A layer that sees the order of the numbers, such as Flatten or Reshape, gets a
Permute before it, back to [c h w]. So the images, the maps and the outputs that are maps have their channels last.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..errors import UnsupportedLayer
from ..graph import Graph, Node
from ..layers import KINDS, MIXING, node

FIRST = "channels_first"
# Kinds whose options name axes, one or several. All other kinds with axes get their input as it is in the file.
OF_AXES = {"BatchNormalization", "Concatenate", "LayerNormalization", "GroupNormalization", "Normalization", "Softmax"}
OF_AXES |= {"ops.Concatenate", "UnitNormalization"}
# Kinds of several inputs that treat each number by itself.
TOGETHER = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
# Kinds whose output has other axes than their input.
NEW_AXES = ("Permute", "Reshape", *(f"ops.{name}" for name in ("Transpose", "Moveaxis", "Swapaxes", "Reshape")))
# Activation functions along the last axis, wherever the channels are.
LAST_AXIS = (*MIXING, "glu")
# What a global pooling returns has no axes but that of the channels.
GLOBAL = ("GlobalAveragePooling", "GlobalMaxPooling")


def channels_last(graph: Graph) -> Graph:
    """The graph of the same network for images [h w c]; `graph` itself if no layer has its channels first.

    Raises:
        UnsupportedLayer: layers of both orders read the same image, or a layer ends in a softmax along the width.
    """
    ranks = {_rank(each) for each in graph.nodes if _is_first(each)}
    if not ranks:
        return graph
    first = _read_with_channels_first(graph)
    moved = {name: len(shape) - 1 for name, shape in graph.inputs if name in first and len(shape) - 1 in ranks}
    if both := [each.name for each in graph.nodes if _is_last(each) and moved.keys() & {*each.inputs}]:
        raise UnsupportedLayer(
            [f"{both[0]}: its channels are last, those of other layers are first; supported is one order"]
        )
    inputs = tuple((name, (*shape[1:], shape[0]) if name in moved else shape) for name, shape in graph.inputs)
    nodes: list[Node] = []
    for each in graph.nodes:
        nodes += _moved(each, moved)
    return Graph(inputs=inputs, nodes=tuple(nodes), outputs=graph.outputs)


def _read_with_channels_first(graph: Graph) -> set[str]:
    """The inputs whose channels are first. An image [h w c] that the network permutes by itself stays as it is."""
    sources = {name: {name} for name, _ in graph.inputs}  # {node: the inputs that reach it with the same axes}
    found: set[str] = set()
    for each in graph.nodes:
        reached = {source for name in each.inputs for source in sources[name]}
        if _is_first(each):
            found |= reached
        sources[each.name] = set() if each.kind in NEW_AXES else reached
    return found


def _moved(each: Node, moved: dict[str, int]) -> Iterator[Node]:
    """The node for inputs with their channels last, after those that it needs. `moved` gets it if its output is so.

    Args:
        moved: {node: the number of its axes in space} of those whose channels are last here, and first in the file.
    """
    ranks = {moved.get(name) for name in each.inputs}
    rank = max((rank for rank in ranks if rank is not None), default=None)
    if _is_first(each):
        if (function := dict(each.config).get("activation")) in LAST_AXIS:
            raise UnsupportedLayer(
                [
                    f"{each.name}: {each.kind} with data_format='channels_first' and activation={function!r}, which "
                    "Keras computes along the width, not the channels; supported is a layer Softmax(axis=1) after it"
                ]
            )
        wanted, config = _rank(each), dict(each.config) | {"data_format": "channels_last"}
        permuted, inputs = _permuted(each, moved, wanted)
        yield from permuted
        each = replace(each, inputs=inputs, config=tuple(config.items()))
        if each.kind != "Flatten" and (not each.kind.startswith(GLOBAL) or config["keepdims"]):
            moved[each.name] = wanted
    elif rank is not None and len(ranks) == 1 and _stays(each):
        if each.kind in OF_AXES:
            each = replace(each, config=tuple({**dict(each.config), **_axes(dict(each.config), rank)}.items()))
        moved[each.name] = rank
    elif rank is not None:  # back to the order of the file
        permuted, inputs = _permuted(each, moved, 0)
        yield from permuted
        each = replace(each, inputs=inputs)
    yield each


def _permuted(each: Node, moved: Mapping[str, int], rank: int) -> tuple[list[Node], tuple[str, ...]]:
    """(the Permutes before a node, its inputs then): to channels last if `rank` is not 0, else back to the file's."""
    found, inputs = [], []
    for number, name in enumerate(each.inputs):
        if (name in moved) == bool(rank):
            inputs.append(name)
            continue
        axes = rank or moved[name]
        dims = (*range(2, axes + 2), 1) if rank else (axes + 1, *range(1, axes + 1))
        new = f"{each.name}/channels_{'last' if rank else 'first'}" + (f"_{number}" if number else "")
        found.append(node(new, "Permute", {"dims": dims}, (name,)))
        inputs.append(new)
    return found, tuple(inputs)


def _stays(each: Node) -> bool:
    """Whether a node computes the same wherever the channels are, once its axes are moved."""
    row = KINDS[each.kind]
    same = row.leaves_its_input or (row.elementwise and each.kind not in OF_AXES)
    function = dict(each.config).get("activation")
    if each.kind in OF_AXES:  # the arrays of a normalisation along several axes are in the order of the file
        axis: Any = dict(each.config)["axis"]
        return isinstance(axis, int) or len(axis) < 2 or not KINDS[each.kind].weights
    if function in LAST_AXIS:
        return False
    if each.kind.startswith("ops.") and "axis" in dict(each.config):
        return False
    alone = ("PReLU", "LayerScale", "Rescaling")  # their arrays follow the order of the file
    return (same and each.kind not in alone) or each.kind in TOGETHER or _is_scalar(each)


def _is_scalar(each: Node) -> bool:
    """Whether a node is arithmetic with numbers or with arrays of one shape, or a Rescaling by numbers."""
    config: dict[str, Any] = dict(each.config)
    if each.kind == "Rescaling":
        return all(isinstance(config[key], float) for key in ("scale", "offset"))
    if not each.kind.startswith("ops.") or "arguments" not in config or each.kind in ("ops.Matmul", "ops.Einsum"):
        return False
    return each.kind != "ops.Tensordot" and all(
        given is None or isinstance(given, float) for given in config["arguments"]
    )


def _axes(config: Mapping[str, Any], rank: int) -> dict[str, Any]:
    """The option `axis`, for channels last: the channels go from 1 to the end, and the others one place forward."""

    def new(axis: int) -> int:
        axis %= rank + 2
        return axis if axis == 0 else rank + 1 if axis == 1 else axis - 1

    axis = config["axis"]
    return {"axis": new(axis) if isinstance(axis, int) else tuple(map(new, axis))}


def _rank(each: Node) -> int:
    """The number of axes in space of a kind, which is in its name."""
    return next((int(digit) for digit in each.kind if digit in "123"), 2)


def _is_first(each: Node) -> bool:
    return dict(each.config).get("data_format") == FIRST


def _is_last(each: Node) -> bool:
    return dict(each.config).get("data_format") == "channels_last" and each.kind not in ("Flatten", "Resizing")

"""A Graph → Keras 3's description of it, a Functional `model_config`.

The law: `parse(describe(graph)) == graph`. (For a layer with a function of the caller, `parse` needs the function.)
"""

from collections.abc import Mapping
from typing import Any

from ..graph import Graph, Node, split_call
from ..layers import CUSTOM, KINDS, TIME_DISTRIBUTED, WITH_WEIGHTS, Activation, inner_kind
from .operations import PREFIX, written


def describe(graph: Graph) -> dict[str, Any]:
    """The graph as JSON that `parse` reads. Keras reads it too, if no name has a `/` in it."""
    tensors = {name: (name, 0, 0) for name, _ in graph.inputs}
    calls: dict[str, list[Node]] = {}
    for node in graph.nodes:
        calls.setdefault(node.layer, []).append(node)
    firsts: dict[str, list[Node]] = {}  # {layer: one node for each of its calls, in order}
    for layer, nodes in calls.items():
        by_call: dict[int, list[Node]] = {}
        for node in nodes:
            by_call.setdefault(split_call(node.name)[1], []).append(node)
        firsts[layer] = [by_call[number][0] for number in sorted(by_call)]
        for place, number in enumerate(sorted(by_call)):
            tensors |= {node.name: (layer, place, _output(node)) for node in by_call[number]}

    def tensor(name: str) -> dict[str, Any]:
        config = {"shape": [None], "dtype": "float32", "keras_history": [*tensors[name]]}
        return {"class_name": "__keras_tensor__", "config": config}  # Keras finds out the shape itself

    layers = [_layer(name, "InputLayer", {"batch_shape": [None, *shape]}, []) for name, shape in graph.inputs]
    for layer, nodes in firsts.items():
        config = dict(nodes[0].config)
        read = [written(node.kind, dict(node.config), [tensor(name) for name in node.inputs]) for node in nodes]
        config |= dict(nodes[0].training)
        layers.append(_written(layer, nodes[0].kind, config, [{"args": args, "kwargs": keys} for args, keys in read]))
    ends = {
        "input_layers": [[name, 0, 0] for name, _ in graph.inputs],
        "output_layers": [[*tensors[name]] for name in graph.outputs],
    }
    order = [node.name for node in graph.nodes]  # a list of layers does not say it if a layer is called more than once
    return {"class_name": "Functional", "config": {"name": "network", "layers": layers, **ends}, "order": order}


def _output(node: Node) -> int:
    """Which of the tensors of a layer the node is."""
    config: dict[str, Any] = dict(node.config)
    output: int = config.get("output", 0)
    return output


def _written(name: str, kind: str, config: Mapping[str, Any], calls: list[Any]) -> dict[str, Any]:
    if kind in (CUSTOM, WITH_WEIGHTS):
        return _layer(name, CUSTOM, {key: config[key] for key in ("of", "settings")}, calls)
    if isinstance(config.get("activation"), Activation):
        config = {**config, "activation": config["activation"].own}
    row = KINDS[kind]
    config = {key: value for key, value in config.items() if key not in {"arguments", "output", *row.called}}
    if (one := inner_kind(kind)) and not row.operands and not one.startswith(PREFIX):
        layer = {"class_name": one, "config": {"name": name, **config}, "module": row.package, "registered_name": None}
        return _layer(name, TIME_DISTRIBUTED, {"layer": layer}, calls)
    if not kind.startswith(PREFIX):
        return _layer(name, kind, config, calls)
    kind = kind.removeprefix(PREFIX)
    package = row.package or "keras.src.ops.numpy"  # the parser must see that it is an operation
    return {**_layer(name, kind, config, calls), "module": package, "registered_name": kind}


def _layer(name: str, kind: str, config: Mapping[str, Any], calls: list[Any]) -> dict[str, Any]:
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": calls}

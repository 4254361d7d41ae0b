"""A Graph → Keras 3's description of it, a Functional `model_config`.

The law: `parse(describe(graph)) == graph`. (For a layer with a function of the caller, `parse` needs the function.)
"""

from collections.abc import Mapping
from typing import Any

from ..graph import Graph, Node, split_call
from ..layers import CUSTOM, WITH_WEIGHTS, Activation
from .operations import arguments


def describe(graph: Graph) -> dict[str, Any]:
    """The graph as JSON that `parse` reads. Keras reads it too, if no name has a `/` in it."""
    tensors = {name: (name, 0) for name, _ in graph.inputs}
    calls: dict[str, list[Node]] = {}
    for node in graph.nodes:
        calls.setdefault(node.layer, []).append(node)
    for layer, nodes in calls.items():
        nodes.sort(key=lambda node: split_call(node.name)[1])
        tensors |= {node.name: (layer, number) for number, node in enumerate(nodes)}

    def tensor(name: str) -> dict[str, Any]:
        config = {"shape": [None], "dtype": "float32", "keras_history": [*tensors[name], 0]}
        return {"class_name": "__keras_tensor__", "config": config}  # Keras finds out the shape itself

    layers = [_layer(name, "InputLayer", {"batch_shape": [None, *shape]}, []) for name, shape in graph.inputs]
    for layer, nodes in calls.items():
        config = dict(nodes[0].config)
        read = [arguments(nodes[0].kind, config, [tensor(name) for name in node.inputs]) for node in nodes]
        config |= dict(nodes[0].training)
        layers.append(_written(layer, nodes[0].kind, config, [{"args": args, "kwargs": {}} for args in read]))
    ends = {
        "input_layers": [[name, 0, 0] for name, _ in graph.inputs],
        "output_layers": [[*tensors[name], 0] for name in graph.outputs],
    }
    order = [node.name for node in graph.nodes]  # a list of layers does not say it if a layer is called more than once
    return {"class_name": "Functional", "config": {"name": "network", "layers": layers, **ends}, "order": order}


def _written(name: str, kind: str, config: Mapping[str, Any], calls: list[Any]) -> dict[str, Any]:
    if kind in (CUSTOM, WITH_WEIGHTS):
        return _layer(name, CUSTOM, {key: config[key] for key in ("of", "settings")}, calls)
    if isinstance(config.get("activation"), Activation):
        config = {**config, "activation": config["activation"].own}
    if not kind.startswith("ops."):
        return _layer(name, kind, config, calls)
    config = {key: value for key, value in config.items() if key not in ("arguments", "key")}
    kind = kind.removeprefix("ops.")
    return {**_layer(name, kind, config, calls), "module": "keras.src.ops.numpy", "registered_name": kind}


def _layer(name: str, kind: str, config: Mapping[str, Any], calls: list[Any]) -> dict[str, Any]:
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": calls}

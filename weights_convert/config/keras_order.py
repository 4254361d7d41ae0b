"""The order in which Keras lists the layers of a Functional model, and thus the order of the weights in its files.

This is not the order in the description of the model. Keras sorts layers by depth, which is the longest path from a
call of the layer to an output. Layers of the same depth are in the order in which a walk back from the outputs first
comes to them.
"""

from collections.abc import Iterator

from ..graph import Graph, Node


def keras_order(graph: Graph) -> tuple[list[str], list[str]]:
    """(the layers that an output depends on, in the order of `model.layers` without the inputs; all other layers).

    The other layers come from nested models with outputs that nothing reads. Keras leaves them out of `model.layers`.
    """
    nodes = {node.name: node for node in graph.nodes}
    met: dict[str, int] = {}
    finished = list(_walk(graph, nodes, met))
    depths: dict[str, int] = {}
    layers: dict[str, int] = {}
    for node in reversed(finished):  # from the outputs back
        depth = max(depths.get(node.name, 0), layers.get(node.layer, 0))
        depths[node.name] = layers[node.layer] = depth
        for name in node.inputs:
            depths[name] = max(depths.get(name, 0), depth + 1)
    unused = dict.fromkeys(node.layer for node in graph.nodes if node.layer not in layers)
    return sorted(layers, key=lambda layer: (-layers[layer], met[layer])), list(unused)


def _walk(graph: Graph, nodes: dict[str, Node], met: dict[str, int]) -> Iterator[Node]:
    """The nodes, each after those that it reads. `met` is filled with the layers, in the order of the walk."""
    seen: set[str] = set()
    for output in graph.outputs:
        waiting = [(output, False)]
        while waiting:
            name, done = waiting.pop()
            if done:
                yield nodes[name]
            elif name in nodes and name not in seen:
                seen.add(name)
                met.setdefault(nodes[name].layer, len(met))
                waiting += [(name, True), *((source, False) for source in reversed(nodes[name].inputs))]

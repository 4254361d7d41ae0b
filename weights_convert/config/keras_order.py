"""The order in which Keras lists the layers of a Functional model, and so the order of the weights in its files.

It is not the order of the description. Keras sorts layers by depth, which is the longest way from a call of the layer
to an output, and layers of one depth by when a walk back from the outputs first meets them.
"""

from collections.abc import Iterator

from ..graph import Graph, Node


def keras_order(graph: Graph) -> tuple[list[str], list[str]]:
    """The layers that an output depends on, as `model.layers` has them but without the inputs, and all others.

    The others come from nested models whose outputs are not all read. Keras forgets them.
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
    """Each node after all that it reads; `met` gets the layers in the order in which the walk comes to them."""
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

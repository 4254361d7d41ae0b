"""The logits of a classifier: what the softmax or sigmoid takes that the network ends in.

Law: probabilities that are moved, as by a Flatten or a Dropout after the softmax, are still the probabilities of these
logits. Whether the last nodes only move numbers is tried with numbers, so no list of kinds has to say it.
"""

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from .graph import Graph, Node, Shape
from .layers import KINDS, activation


def find_logits(
    graph: Graph, shapes: Mapping[str, Shape], function: Callable[[Node], Callable]
) -> tuple[str | None, tuple[str, ...]]:
    """The handle of the logits in the shape of the output, and the nodes that give them this shape, if any do.

    Args:
        shapes: {node: its shape with a batch axis}, None where a length depends on the size of the image.
        function: what a node computes before its activation function.

    Returns:
        None, if the network does not end in probabilities. Without nodes that change the shape, the handle is the
        `/pre` of the node with the softmax or sigmoid, and else that of the output.
    """
    nodes = {node.name: node for node in graph.nodes}
    node, after = nodes.get(graph.outputs[0]), list[Node]()
    while node is not None and not ((ending := activation(node)) and ending.probabilities):
        if ending is not None or KINDS[node.kind].module is not None or len(node.inputs) != 1:
            return None, ()
        after.insert(0, node)
        node = nodes.get(node.inputs[0])
    if node is None or (after and not _moves([function(each) for each in after], shapes[node.name])):
        return None, ()
    if shapes[node.name] == shapes[graph.outputs[0]]:
        return f"{node.name}/pre", ()
    return f"{graph.outputs[0]}/pre", tuple(each.name for each in after)


def _moves(functions: list[Callable], shape: Shape) -> bool:
    """Whether the functions, one after the other, leave all numbers as they are, and in their order."""
    sides = [2 if length is None else length for length in shape]
    numbers = np.linspace(0.1, 0.9, math.prod(sides), dtype=np.float32).reshape(sides)
    with jax.ensure_compile_time_eval():
        found = jnp.asarray(numbers)
        for function in functions:
            try:
                found = function(found)
            except (TypeError, ValueError, LookupError, ArithmeticError):  # the 2 of an unknown length does not fit
                return False
        return np.array_equal(np.ravel(found), numbers.ravel())

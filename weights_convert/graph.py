"""A network as pure data, without weights: nodes in execution order; each names the nodes that it reads.

The law: equal graphs compute the same function of equal weights.
"""

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

IMAGE = "image"
"""The reserved name of a network's only input."""

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Node:
    """One call of a layer. `kind` is Keras' class name; `config` has every option of it, Keras' defaults filled in.

    A layer that is called more than once is several nodes, `conv`, `conv#2`, …, with the same weights. A layer that
    returns several tensors is a node for each that is read, `split`, `split:1`, …. `training` has
    the options that matter during training only, such as the rate of a Dropout. They are kept for files for Keras, and
    do not count when two nodes are compared.
    """

    name: str
    kind: str
    config: tuple[tuple[str, Hashable], ...]
    inputs: tuple[str, ...]
    training: tuple[tuple[str, Any], ...] = field(default=(), compare=False)

    @property
    def layer(self) -> str:
        """The layer that is called: `conv` for the node `conv#2`."""
        return split_call(self.name)[0]


def call_name(layer: str, number: int, output: int = 0) -> str:
    """The name of a call of a layer: the `number`-th call in Keras' list, counted from 0, and its output `output`."""
    called = f"{layer}#{number + 1}" if number else layer
    return f"{called}:{output}" if output else called


def split_call(name: str) -> tuple[str, int]:
    """(layer, number of the call) of a name that `call_name` made."""
    found = re.fullmatch(r"(.+?)(?:#(\d+))?(?::\d+)?", name, re.DOTALL)
    return (found[1], int(found[2] or 1) - 1) if found else (name, 0)


@dataclass(frozen=True)
class Graph:
    """`nodes` in execution order, fed with `inputs` ((name, shape without the batch axis), …), ending in `outputs`.

    A shape has None where any length is allowed. The only input of a network is called `image`; if there are several
    inputs, each has its name from Keras. `outputs` are nodes or inputs, in Keras' order.
    """

    inputs: tuple[tuple[str, Shape], ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of_image(cls, shape: tuple[int | None, int | None, int], nodes: tuple[Node, ...]) -> "Graph":
        """The graph of a network from one image [h w c] to the output of the last node."""
        return cls(inputs=((IMAGE, shape),), nodes=nodes, outputs=(nodes[-1].name,))

    def renamed(self, names: Mapping[str, str]) -> "Graph":
        """The same graph with new names, {old: new}; others stay. Inputs that get the same name become one input."""

        def new(name: str) -> str:
            return names.get(name, name)

        return Graph(
            inputs=tuple(dict.fromkeys((new(name), shape) for name, shape in self.inputs)),
            nodes=tuple(replace(node, name=new(node.name), inputs=tuple(map(new, node.inputs))) for node in self.nodes),
            outputs=tuple(map(new, self.outputs)),
        )

    def same_network(self, other: "Graph") -> bool:
        """Whether the two graphs are equal but for the names of their layers."""
        return len(self.nodes) == len(other.nodes) and other == self.renamed(
            {mine.name: theirs.name for mine, theirs in zip(self.nodes, other.nodes, strict=True)}
        )

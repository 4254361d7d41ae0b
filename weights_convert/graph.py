"""A network as pure data: nodes in execution order, each naming the nodes that it reads. No arrays, no functions.

The law: equal graphs compute the same function of equal weights.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

IMAGE = "image"
"""The reserved name of the network's input."""


@dataclass(frozen=True)
class Node:
    """One layer. `kind` is Keras' class name; `config` has every option of that kind, Keras' defaults filled in."""

    name: str
    kind: str
    config: tuple[tuple[str, Hashable], ...]
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Graph:
    """`nodes` in execution order, fed with images of `input_shape` (h, w, c); h and w are None where any will do."""

    input_shape: tuple[int | None, int | None, int]
    nodes: tuple[Node, ...]

    @property
    def output(self) -> str:
        """The name of the last node."""
        return self.nodes[-1].name

    def renamed(self, names: Mapping[str, str]) -> "Graph":
        """The same graph under other names; a node that is not in `names` keeps its own."""
        return replace(
            self,
            nodes=tuple(
                replace(
                    node,
                    name=names.get(node.name, node.name),
                    inputs=tuple(names.get(source, source) for source in node.inputs),
                )
                for node in self.nodes
            ),
        )

    def same_network(self, other: "Graph") -> bool:
        """Whether the two graphs are equal but for the names of their layers."""
        return len(self.nodes) == len(other.nodes) and other == self.renamed(
            {mine.name: theirs.name for mine, theirs in zip(self.nodes, other.nodes, strict=True)}
        )

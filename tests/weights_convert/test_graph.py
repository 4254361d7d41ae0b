"""Graphs are values."""

from dataclasses import replace

from weights_convert import Graph, Node

CHAIN = Graph((8, 8, 3), (Node("a", "Flatten", (), ("image",)), Node("b", "Dense", (("units", 2),), ("a",))))


def test_is_a_value():
    assert hash(CHAIN) == hash(Graph(CHAIN.input_shape, CHAIN.nodes))


def test_output_is_the_last_node():
    assert CHAIN.output == "b"


def test_renaming_reaches_the_inputs():
    renamed = CHAIN.renamed({"a": "x"})
    assert [(node.name, node.inputs) for node in renamed.nodes] == [("x", ("image",)), ("b", ("x",))]
    assert renamed.renamed({"x": "a"}) == CHAIN


def test_same_network_looks_past_names_only():
    assert CHAIN.same_network(CHAIN.renamed({"a": "x", "b": "y"}))
    assert not CHAIN.same_network(replace(CHAIN, input_shape=(8, 8, 1)))
    assert not CHAIN.same_network(replace(CHAIN, nodes=CHAIN.nodes[:1]))
    assert not CHAIN.same_network(replace(CHAIN, nodes=(CHAIN.nodes[0], replace(CHAIN.nodes[1], inputs=("image",)))))

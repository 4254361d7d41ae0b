"""Graphs.

Law: graphs are values: equal graphs are the same network, and renaming the layers there and back changes nothing.
"""

from dataclasses import replace

from weights_convert import Graph, Node
from weights_convert.graph import call_name, split_call

CHAIN = Graph.of_image((8, 8, 3), (Node("a", "Flatten", (), ("image",)), Node("b", "Dense", (("units", 2),), ("a",))))


def test_is_a_value():
    assert hash(CHAIN) == hash(Graph(CHAIN.inputs, CHAIN.nodes, CHAIN.outputs))


def test_a_network_of_one_image():
    assert CHAIN.inputs == (("image", (8, 8, 3)),)
    assert CHAIN.outputs == ("b",)


def test_calls_of_a_shared_layer():
    names = [call_name("conv", number) for number in range(3)]
    assert names == ["conv", "conv#2", "conv#3"]
    assert [split_call(name) for name in names] == [("conv", 0), ("conv", 1), ("conv", 2)]
    assert split_call("c#major") == ("c#major", 0)
    assert Node("conv#2", "Flatten", (), ("conv",)).layer == "conv"


def test_renaming_inputs_to_one_name_makes_one_input_of_them():
    twins = Graph((("a", (2,)), ("b", (2,))), (Node("sum", "Add", (), ("a", "b")),), ("sum", "a"))
    assert twins.renamed({"a": "image", "b": "image"}) == Graph(
        (("image", (2,)),), (Node("sum", "Add", (), ("image", "image")),), ("sum", "image")
    )


def test_renaming_reaches_the_inputs():
    renamed = CHAIN.renamed({"a": "x"})
    assert [(node.name, node.inputs) for node in renamed.nodes] == [("x", ("image",)), ("b", ("x",))]
    assert renamed.renamed({"x": "a"}) == CHAIN


def test_same_network_looks_past_names_only():
    assert CHAIN.same_network(CHAIN.renamed({"a": "x", "b": "y"}))
    assert not CHAIN.same_network(replace(CHAIN, inputs=(("image", (8, 8, 1)),)))
    assert not CHAIN.same_network(Graph.of_image((8, 8, 3), CHAIN.nodes[:1]))
    assert not CHAIN.same_network(replace(CHAIN, nodes=(CHAIN.nodes[0], replace(CHAIN.nodes[1], inputs=("image",)))))

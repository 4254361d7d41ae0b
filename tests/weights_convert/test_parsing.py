"""Keras' descriptions of models.

Law: every version's description of a network gives the same graph; one error lists all that is wrong with a
description.
"""

import json

import keras
import numpy as np
import pytest
import tf_keras
from flax import nnx
from keras import layers as L  # noqa: N812
from keras_oracle import described
from tf_keras.src.applications import inception_resnet_v2

from weights_convert import ARCHITECTURES, KerasNet, NotReadable, UnsupportedLayer
from weights_convert.config.describe import describe
from weights_convert.config.parsing import OF_KERAS_1, parse


def small(*layers):
    return keras.Sequential([keras.Input((8, 8, 3), name="in"), *layers])


def residual():
    image = keras.Input((8, 8, 3))
    conv = L.Conv2D(3, 3, padding="same", name="conv")(image)
    return keras.Model(image, L.Flatten(name="flatten")(L.Add(name="add")([conv, image])))


# The same network as four generations of Keras describe it.
KERAS_1 = [
    {
        "class_name": "Convolution2D",
        "config": {
            "batch_input_shape": [None, 8, 8, 3], "name": "conv", "nb_filter": 4, "nb_row": 3, "nb_col": 3,
            "border_mode": "same", "subsample": [2, 2], "dim_ordering": "tf", "activation": "relu", "bias": True,
            "init": "glorot_uniform", "W_regularizer": None, "b_regularizer": None, "activity_regularizer": None,
            "W_constraint": None, "b_constraint": None, "input_dtype": "float32", "trainable": True,
        },
    },
    {
        "class_name": "BatchNormalization",
        "config": {
            "name": "norm", "mode": 0, "axis": 3, "epsilon": 0.001, "momentum": 0.99, "beta_init": "zero",
            "gamma_init": "one", "gamma_regularizer": None, "beta_regularizer": None, "trainable": True,
        },
    },
    {
        "class_name": "MaxPooling2D",
        "config": {
            "name": "pool", "pool_size": [2, 2], "strides": [2, 2], "border_mode": "valid", "dim_ordering": "tf",
            "trainable": True,
        },
    },
    {"class_name": "Dropout", "config": {"name": "drop", "p": 0.5, "trainable": True}},
    {"class_name": "Flatten", "config": {"name": "flat", "trainable": True}},
    {
        "class_name": "Dense",
        "config": {
            "name": "dense", "output_dim": 2, "input_dim": 16, "activation": "softmax", "bias": True,
            "init": "glorot_uniform", "W_regularizer": None,
        },
    },
]  # fmt: skip


def keras_3():
    return small(
        L.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv"),
        L.BatchNormalization(axis=3, name="norm"),
        L.MaxPooling2D(2, name="pool"),
        L.Dropout(0.5, name="drop"),
        L.Flatten(name="flat"),
        L.Dense(2, activation="softmax", name="dense"),
    )


def test_keras_1_means_what_keras_3_means():
    assert parse({"class_name": "Sequential", "config": KERAS_1}, keras=1) == parse(described(keras_3()))


def test_a_sequential_model_is_a_functional_one():
    model = keras_3()
    functional = keras.Model(model.inputs[0], model.outputs[0])
    assert parse(described(functional)) == parse(described(model))


def test_the_shape_may_be_said_by_the_first_layer_or_by_the_model():
    config = described(keras_3())
    image, *layers = config["config"]["layers"]
    shape = image["config"]["batch_shape"]
    by_the_model = {"class_name": "Sequential", "config": {"layers": layers, "build_input_shape": shape}}
    assert parse(by_the_model) == parse(config)
    layers[0]["config"]["batch_input_shape"] = shape  # Keras 2
    assert parse({"class_name": "Sequential", "config": {"layers": layers}}, keras=2) == parse(config)


@pytest.mark.parametrize("extra", [[], [{}]], ids=["keras 1", "keras 2"])
def test_functional_models_of_keras_1_and_2(extra):
    config = described(residual())
    for layer in config["config"]["layers"]:
        for node in layer["inbound_nodes"]:
            tensors = node["args"][0] if isinstance(node["args"][0], list) else node["args"]
            layer["inbound_nodes"] = [[[*tensor["config"]["keras_history"], *extra] for tensor in tensors]]
    for end in ("input_layers", "output_layers"):
        config["config"][end] = [config["config"][end]]
    graph = parse(config | {"class_name": "Model"}, keras=2)
    assert graph == parse(described(residual()))
    assert graph.nodes[1].inputs == ("conv", "image")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_describing_and_parsing_are_inverse(name):
    graph = ARCHITECTURES[name].graph
    assert parse(json.loads(json.dumps(describe(graph)))) == graph


def complaints(config, keras=3):
    with pytest.raises(UnsupportedLayer) as error:
        parse(config, keras)
    return error.value.complaints


def names(graph):
    return [(node.name, node.inputs) for node in graph.nodes]


def test_shared_layers_are_a_node_for_each_call():
    image, conv = keras.Input((8, 8, 3)), L.Conv2D(3, 3, padding="same", name="twin")
    graph = parse(described(keras.Model(image, conv(conv(image)))))
    assert names(graph) == [("twin", ("image",)), ("twin#2", ("twin",))]
    assert graph.outputs == ("twin#2",)


def test_a_layer_that_is_called_later_by_its_first_call():
    """Keras lists the layers by their distance from the output, the calls of a layer as they were made."""
    image, conv = keras.Input((8, 8, 3)), L.Conv2D(3, 3, padding="same", name="twin")
    late, early = conv(L.ReLU(name="relu")(image)), conv(image)
    graph = parse(described(keras.Model(image, L.Add(name="sum")([late, L.ReLU(name="after")(early)]))))
    assert dict(names(graph)) == {
        "relu": ("image",), "twin": ("relu",), "twin#2": ("image",), "after": ("twin#2",), "sum": ("twin", "after"),
    }  # fmt: skip


def base(name="base", **inner):
    image = keras.Input((8, 8, 3))
    conv = L.Conv2D(3, 3, padding="same", name="conv")(image)
    return keras.Model(image, L.ReLU(name="relu")(conv), name=name)


def test_nested_models_are_opened():
    sequential = keras.Sequential([keras.Input((8, 8, 3)), base("inner"), L.Flatten(name="flat")], name="outer")
    image = keras.Input((8, 8, 3))
    graph = parse(described(keras.Model(image, L.Dense(2, name="head")(sequential(L.ReLU(name="relu")(image))))))
    assert names(graph) == [
        ("relu", ("image",)),
        ("outer/inner/conv", ("relu",)),
        ("outer/inner/relu", ("outer/inner/conv",)),
        ("outer/flat", ("outer/inner/relu",)),
        ("head", ("outer/flat",)),
    ]


def test_nested_models_that_are_called_repeatedly():
    left, right, twin = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right"), base()
    graph = parse(described(keras.Model([left, right], L.Add(name="sum")([twin(left), twin(twin(right))]))))
    assert dict(names(graph)) == {
        "base/conv": ("left",), "base/relu": ("base/conv",),
        "base/conv#2": ("right",), "base/relu#2": ("base/conv#2",),
        "base/conv#3": ("base/relu#2",), "base/relu#3": ("base/conv#3",),
        "sum": ("base/relu", "base/relu#3"),
    }  # fmt: skip


def test_nested_models_with_several_inputs_and_outputs():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    swap = keras.Model({"b": b, "a": a}, {"y": a, "x": L.ReLU(name="relu")(b)}, name="swap")
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    found = swap({"a": left, "b": right})
    graph = parse(described(keras.Model([right, left], [found["y"], found["x"], left])))
    assert names(graph) == [("swap/relu", ("right",))]
    assert graph.inputs == (("right", (4,)), ("left", (4,)))
    assert graph.outputs == ("left", "swap/relu", "left")


def test_layers_in_any_order():
    config = described(residual())
    config["config"]["layers"].reverse()
    assert [node.name for node in parse(config).nodes] == ["conv", "add", "flatten"]


def test_several_inputs_keep_their_names():
    a, b = keras.Input((8, 8, 3), name="a"), keras.Input((5,), name="b")
    graph = parse(described(keras.Model([b, a], [L.ReLU(name="relu")(a), b])))
    assert graph.inputs == (("b", (5,)), ("a", (8, 8, 3)))
    assert graph.outputs == ("relu", "b")


def test_calls_of_nested_models_in_keras_2():
    """The making of a model is its call 0, but for a Sequential model that was made without an input."""
    for inner in (
        tf_keras.Sequential([tf_keras.Input((8, 8, 3)), tf_keras.layers.ReLU(name="relu")], name="inner"),
        tf_keras.Sequential([tf_keras.layers.ReLU(name="relu")], name="inner"),
    ):
        image = tf_keras.Input((8, 8, 3))
        model = tf_keras.Model(image, tf_keras.layers.Add(name="sum")([inner(image), inner(inner(image))]))
        config = json.loads(model.to_json())
        assert names(parse(config, keras=2))[-1] == ("sum", ("inner/relu", "inner/relu#3"))
    config["config"]["output_layers"] = [["inner", 4, 0]]
    with pytest.raises(UnsupportedLayer, match="inner: its calls are not numbered as Keras does"):
        parse(config, keras=2)


def test_sequential_models_of_keras_2_0():
    """A bare list, without a name and without a layer for the input, whose shape the first layer knows."""
    inner = {"class_name": "Sequential", "name": "inner", "config": KERAS_1}
    graph = parse({"class_name": "Sequential", "config": [inner]}, keras=2)
    assert graph.inputs == (("image", (8, 8, 3)),)
    assert [node.name for node in graph.nodes][:2] == ["inner/conv", "inner/norm"]


def test_a_billion_layers_in_a_few_lines():
    model = base("bomb")
    for _ in range(20):
        image = keras.Input((8, 8, 3))
        model = keras.Model(image, model(model(image)), name="bomb")
    assert complaints(described(model)) == ("the model has more than 5,000 layers",)


def test_a_circle():
    config = described(residual())
    conv = config["config"]["layers"][1]
    conv["inbound_nodes"][0]["args"][0]["config"]["keras_history"] = ["add", 0, 0]
    [complaint] = complaints(config)
    assert complaint in ("add, conv: read each other in a circle", "conv, add: read each other in a circle")


def test_what_no_layer_gives():
    config = described(residual())
    config["config"]["layers"][2]["inbound_nodes"][0]["args"][0][0]["config"]["keras_history"] = ["conv", 0, 1]
    config["config"]["output_layers"] = [["gone", 0, 0], ["flatten", 0, 0]]
    config["config"]["layers"].append({"class_name": "ReLU", "name": "idle", "config": {}, "inbound_nodes": []})
    assert complaints(config) == (
        "idle: reads nothing",
        "add: reads output 1 of call 0 of 'conv', which no layer above it gives",
        "the model: ends in 'gone', which no layer gives",
    )


def test_lambda_layers_are_not_run():
    model = small(L.Lambda(lambda x: 1 / 0 if x is None else x, name="trick"))
    with pytest.raises(UnsupportedLayer, match=r'a Python function: custom=\{"trick": function\}') as error:
        parse(described(model))
    assert error.value.complaints == ("trick: layers of kind Lambda are not supported",)


def double(x):
    return 2 * x


def test_functions_of_the_callers():
    config = described(small(L.Lambda(lambda x: x, name="trick"), L.ReLU(name="relu")))
    graph = parse(config, custom={"trick": double})
    assert dict(graph.nodes[0].config)["function"] is double
    assert graph != parse(config, custom={"trick": abs})
    assert parse(json.loads(json.dumps(describe(graph))), custom={"trick": double}) == graph
    with pytest.raises(UnsupportedLayer, match="trick: Custom without 'function'"):
        parse(describe(graph))
    with pytest.raises(ValueError, match="custom functions for trik: there is no such layer"):
        parse(config, custom={"trick": double, "trik": double})


def test_a_file_cannot_name_a_function():
    config = described(small(L.ReLU(name="relu")))
    config["config"]["layers"][1] |= {"class_name": "Custom", "config": {"name": "relu", "function": "os.abort"}}
    assert complaints(config) == ("relu: Custom with function='os.abort'; supported is a Python function",)


def test_ways_of_calling_that_are_refused():
    config = described(residual())
    conv = config["config"]["layers"][1]["inbound_nodes"][0]
    conv["args"].append(3)
    conv["kwargs"] = {"mask": None, "scale": 2, "other": conv["args"][0]}
    assert complaints(config) == (
        "conv: is called with 3, which is not supported",
        "conv: is called with scale=2, which is not supported",
        "conv: is called with other=a tensor, which is not supported",
    )


def test_inputs_of_no_shape():
    config = described(small(L.ReLU()))
    config["config"]["layers"][0]["config"] |= {"batch_shape": [None, 8, None], "sparse": True}
    assert complaints(config) == (
        "in: takes (None, 8, None), which is not a batch of arrays (n, …, features)",
        "in: takes sparse or ragged tensors, which are not supported",
    )


@pytest.mark.parametrize("order", [["conv", "flatten", "add"], ["conv", "add"], ["conv"] * 3, ["image"], 3])
def test_a_wrong_order(order):
    config = describe(parse(described(residual())))
    with pytest.raises(NotReadable):
        parse({**config, "order": order})


def test_models_without_an_input_shape():
    config = {"class_name": "Sequential", "config": {"layers": [{"class_name": "Flatten", "config": {"name": "f"}}]}}
    [complaint] = complaints(config)
    assert complaint.endswith("its shape is not saved; call the model on an image in Keras before saving")


def test_models_of_an_own_class():
    """They are what their config says; a config with layers that is not that of a model is refused."""
    config = described(residual())
    assert parse(config | {"class_name": "mine>MyModel"}) == parse(config)
    chain = described(small(L.ReLU(name="relu")))
    assert parse(chain | {"class_name": "MyModel"}) == parse(chain)
    layers = {"name": "block", "layers": config["config"]["layers"][1:]}
    with pytest.raises(NotReadable):
        parse({"class_name": "MyBlock", "config": layers})


def test_calls_in_training_mode():
    """Keras 3 notes `training=True` of every call of an augmentation, and goes by how the model is called."""
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, L.Resizing(4, 4)(L.RandomFlip()(image)))
    assert '"training": true' in json.dumps(described(model))
    images = np.random.default_rng(0).random((5, 8, 8, 3), np.float32)
    net = KerasNet(parse(described(model)), rngs=nnx.Rngs(0))
    np.testing.assert_allclose(net(images), model.predict(images, verbose=0), rtol=1e-5)

    config = described(keras.Model(image, L.BatchNormalization(name="norm")(image, training=True)))
    assert parse(config).nodes[0].name == "norm"
    assert complaints(config, keras=2) == ("norm: is called with training=True, which is not supported",)


def test_names_that_are_taken():
    assert complaints(described(small(L.ReLU(name="image")))) == (
        "image: this name is taken; rename the layer in Keras",
    )


def test_channels_first_of_keras_1():
    config = json.loads(json.dumps(KERAS_1).replace('"tf"', '"th"'))
    assert complaints({"class_name": "Sequential", "config": config}, 1) == (
        f"conv: Conv2D with data_format='channels_first' {OF_KERAS_1}",
        f"pool: MaxPooling2D with data_format='channels_first' {OF_KERAS_1}",
    )


def test_hard_sigmoid_changed_its_meaning():
    config = described(small(L.Activation("hard_sigmoid", name="gate")))
    for version, name in ((3, "hard_sigmoid"), (2, "hard_sigmoid_of_keras_2")):
        assert dict(parse(config, keras=version).nodes[0].config) == {"activation": name}


def test_everything_that_is_wrong_is_said_at_once():
    model = small(L.Equalization(name="even"), L.Conv2D(2, 3, name="conv"), L.AutoContrast(name="auto"))
    config = described(model)
    config["config"]["layers"][2]["config"]["data_format"] = "channels_second"
    with pytest.raises(UnsupportedLayer) as error:
        parse(config)
    *lines, supported, hint = str(error.value).splitlines()
    assert lines == [
        "3 things in this network cannot be reproduced:",
        "- even: layers of kind Equalization are not supported",
        "- conv: Conv2D with data_format='channels_second'; supported is 'channels_last' or 'channels_first'",
        "- auto: layers of kind AutoContrast are not supported",
    ]
    assert supported.startswith("Supported kinds of layer: Conv1D, Conv2D, ")
    assert hint == 'A layer without weights may be given as a Python function: custom={"even": function}'


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"config": 3},
        {"class_name": "Sequential", "config": []},
        {"class_name": "Model", "config": {"layers": [{}]}},
    ],
)
def test_json_that_describes_no_model(config):
    with pytest.raises(NotReadable, match="`model_config` does not describe a Keras model"):
        parse(config)


def test_the_layer_of_an_application_as_keras_2_registers_it():
    image = tf_keras.Input((8, 8, 3))
    scaled = inception_resnet_v2.CustomScaleLayer(0.17)([image, image])
    [found] = parse(json.loads(tf_keras.Model(image, scaled).to_json()), keras=2).nodes
    assert (found.kind, found.config, found.inputs) == ("CustomScaleLayer", (("scale", 0.17),), ("image", "image"))

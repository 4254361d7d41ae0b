"""Keras' descriptions of models, as each version writes them; and all that is wrong with one, in one error."""

import json

import keras
import pytest
from keras import layers as L  # noqa: N812
from keras_oracle import described

from weights_convert import ARCHITECTURES, NotReadable, UnsupportedLayer
from weights_convert.config import describe, parse


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


def test_shared_layers():
    image, conv = keras.Input((8, 8, 3)), L.Conv2D(3, 3, padding="same", name="twin")
    model = keras.Model(image, conv(conv(image)))
    assert "twin: is shared, 2 calls; only layers that are called once are supported" in complaints(described(model))


def test_nested_models():
    base = keras.Sequential([keras.Input((8, 8, 3)), L.ReLU()], name="base")
    assert complaints(described(small(base))) == ("base: layers of kind Sequential are not supported",)


def test_lambda_layers_are_not_run():
    model = small(L.Lambda(lambda x: 1 / 0 if x is None else x, name="trick"))
    [complaint] = complaints(described(model))
    assert complaint == "trick: layers of kind Lambda are not supported"


def test_several_inputs():
    a, b = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    assert "the model has 2 inputs; one is supported" in complaints(described(keras.Model([a, b], L.Add()([a, b]))))


def test_several_outputs():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, [L.ReLU(name="a")(image), L.ReLU(name="b")(image)])
    assert complaints(described(model)) == ("the model's outputs are a, b; supported is one, the last layer",)


def test_inputs_that_are_no_images():
    model = keras.Sequential([keras.Input((784,), name="pixels"), L.Dense(2)])
    assert complaints(described(model)) == ("pixels: takes (None, 784), which is not a batch of images (n, h, w, c)",)


def test_models_without_an_input_shape():
    config = {"class_name": "Sequential", "config": {"layers": [{"class_name": "Flatten", "config": {"name": "f"}}]}}
    [complaint] = complaints(config)
    assert complaint.endswith("its shape is not saved; call the model on an image in Keras before saving")


def test_custom_models():
    assert complaints(described(residual()) | {"class_name": "MyModel"}) == (
        "the model is of class 'MyModel'; supported are Sequential and Functional",
    )


def test_calls_in_training_mode():
    image = keras.Input((8, 8, 3))
    config = described(keras.Model(image, L.BatchNormalization(name="norm")(image, training=True)))
    assert complaints(config) == ("norm: is called with training=True, which is not supported",)


def test_names_that_are_taken():
    assert complaints(described(small(L.ReLU(name="image")))) == (
        "image: this name is taken; rename the layer in Keras",
    )


def test_channels_first_of_keras_1():
    config = json.loads(json.dumps(KERAS_1).replace('"tf"', '"th"'))
    assert complaints({"class_name": "Sequential", "config": config}, 1) == (
        "conv: Conv2D with data_format='channels_first'; supported is 'channels_last'",
        "pool: MaxPooling2D with data_format='channels_first'; supported is 'channels_last'",
    )


def test_hard_sigmoid_changed_its_meaning():
    config = described(small(L.Activation("hard_sigmoid", name="gate")))
    for version, name in ((3, "hard_sigmoid"), (2, "hard_sigmoid_of_keras_2")):
        assert dict(parse(config, keras=version).nodes[0].config) == {"activation": name}


def test_everything_that_is_wrong_is_said_at_once():
    model = small(L.Equalization(name="even"), L.Conv2D(2, 3, name="conv"), L.AutoContrast(name="auto"))
    config = described(model)
    config["config"]["layers"][2]["config"]["data_format"] = "channels_first"
    with pytest.raises(UnsupportedLayer) as error:
        parse(config)
    assert str(error.value).splitlines()[:-1] == [
        "3 things in this network cannot be reproduced:",
        "- even: layers of kind Equalization are not supported",
        "- conv: Conv2D with data_format='channels_first'; supported is 'channels_last'",
        "- auto: layers of kind AutoContrast are not supported",
    ]
    assert str(error.value).splitlines()[-1].startswith("Supported kinds of layer: Conv1D, Conv2D, ")


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

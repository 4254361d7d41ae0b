"""Every row of KINDS against Keras, option by option; and what a row does not honour is refused by name."""

import keras
import pytest
from keras import layers as L  # noqa: N812
from keras_oracle import assert_same, images_for, save, sequential

import weights_convert
from weights_convert.layers import KINDS, node

CASES = [
    [L.Conv2D(4, 3)],
    [L.Conv2D(4, 3, padding="same", use_bias=False)],
    [L.Conv2D(4, (2, 5), strides=(2, 3), activation="relu")],
    [L.Conv2D(4, (3, 2), strides=2, padding="same")],
    [L.Conv2D(4, 3, dilation_rate=(2, 3))],
    [L.Conv2D(4, 3, dilation_rate=2, padding="same", activation="tanh")],
    [L.Conv2D(6, 3, groups=3)],
    [L.Conv2D(6, 3, kernel_regularizer="l2", bias_constraint="non_neg", activity_regularizer="l1")],
    [L.MaxPooling2D()],
    [L.MaxPooling2D(3, strides=2)],
    [L.MaxPooling2D((3, 2), padding="same")],
    [L.MaxPooling2D(3, strides=1, padding="same")],
    [L.AveragePooling2D(2)],
    [L.AveragePooling2D((2, 3), strides=(1, 2))],
    [L.AveragePooling2D(3, strides=2, padding="same")],
    [L.GlobalAveragePooling2D()],
    [L.GlobalAveragePooling2D(keepdims=True)],
    [L.GlobalMaxPooling2D()],
    [L.GlobalMaxPooling2D(keepdims=True)],
    [L.BatchNormalization()],
    [L.BatchNormalization(axis=3, epsilon=0.1)],
    [L.BatchNormalization(axis=1)],
    [L.BatchNormalization(scale=False)],
    [L.BatchNormalization(center=False)],
    [L.BatchNormalization(center=False, scale=False)],
    [L.Flatten(), L.BatchNormalization()],
    [L.ZeroPadding2D()],
    [L.ZeroPadding2D((1, 2))],
    [L.ZeroPadding2D(((1, 0), (2, 3)))],
    [L.Flatten()],
    [L.Flatten(), L.Flatten()],
    [L.Dropout(0.5)],
    [L.Dense(5)],
    [L.Flatten(), L.Dense(5, use_bias=False, activation="softmax")],
    [L.Activation("sigmoid")],
    [L.Activation("linear")],
    [L.ReLU()],
    [L.ReLU(max_value=1.5)],
    [L.ReLU(negative_slope=0.2)],
    [L.ReLU(threshold=0.5)],
    [L.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.5)],
    [L.LeakyReLU()],
    [L.LeakyReLU(negative_slope=0.05)],
    [L.Softmax()],
    [L.Softmax(axis=1)],
    [L.Rescaling(1 / 255)],
    [L.Rescaling(2.0, offset=-1.0)],
    [L.Rescaling([1.0, 2.0, 3.0], offset=[0.5, -0.5, 0.0])],
]


def spelled(layers):
    """The case as it would be written, for the test's name."""
    return "-".join(type(layer).__name__ for layer in layers)


@pytest.mark.parametrize("layers", CASES, ids=spelled)
def test_keras_row(layers, tmp_path):
    model = sequential((13, 11, 3), *layers)
    net = weights_convert.load(save(model, tmp_path / "m.h5"))
    assert_same(net, model, images_for(model))


@pytest.mark.parametrize("terms", [2, 3])
def test_add_has_several_inputs(terms, tmp_path):
    image = keras.Input((6, 6, 2))
    model = keras.Model(image, L.Add()([image, *(L.ReLU(threshold=i)(image) for i in range(1, terms))]))
    assert_same(weights_convert.load(save(model, tmp_path / "m.h5")), model, images_for(model))


def test_every_row_has_a_case():
    assert {type(layer).__name__ for case in CASES for layer in case} | {"Add"} == set(KINDS)


MINIMAL = {
    "Conv2D": {"filters": 4, "kernel_size": 3},
    "Dense": {"units": 4},
    "MaxPooling2D": {"pool_size": 2},
    "AveragePooling2D": {"pool_size": 2},
    "Dropout": {"rate": 0.5},
    "Rescaling": {"scale": 1.0},
    "Activation": {"activation": "relu"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_those_of_keras(kind):
    """What a row assumes for a key that a file leaves out is what Keras writes for a layer with nothing set."""
    given = MINIMAL.get(kind, {})
    written = getattr(L, kind)(**given).get_config()
    if "pool_size" in written:
        written["strides"] = None  # Keras writes out that strides are as wide as the window
    assert node("n", kind, given, ("image",)) == node("n", kind, written, ("image",))


@pytest.mark.parametrize(
    ("kind", "config", "complaint"),
    [
        ("Conv2D", {"filters": 2}, "Conv2D without 'kernel_size'"),
        ("Conv2D", {"filters": 0, "kernel_size": 3}, "filters=0; supported is a whole number above 0"),
        ("Conv2D", {"filters": 2, "kernel_size": [3, 3, 3]}, "supported is one or two whole numbers above 0"),
        ("Conv2D", {"filters": 2, "kernel_size": "3"}, "kernel_size='3'; supported is a whole number above 0"),
        (
            "MaxPooling2D",
            {"data_format": "channels_first"},
            "data_format='channels_first'; supported is 'channels_last'",
        ),
        ("MaxPooling2D", {"padding": "full"}, "padding='full'; supported is 'valid' or 'same'"),
        ("Dense", {"units": 2, "activation": "sparsemax"}, "activation='sparsemax'; supported is one of linear, relu"),
        ("Dense", {"units": 2, "use_bias": 1}, "use_bias=1; supported is true or false"),
        ("Dense", {"units": 2, "quantization_config": {"bits": 4}}, "an option that is not supported"),
        ("BatchNormalization", {"epsilon": float("nan")}, "epsilon=nan; supported is a finite number"),
        ("Rescaling", {"scale": 10**400}, "0; supported is a finite number"),
        ("BatchNormalization", {"axis": [1, 2]}, "axis=[1, 2]; supported is a whole number"),
        ("ZeroPadding2D", {"padding": [1, 2, 3]}, "supported is ((top, bottom), (left, right)) in whole numbers"),
        ("Lambda", {"function": "…"}, "layers of kind Lambda are not supported"),
    ],
)
def test_what_a_row_does_not_honour_is_refused_by_name(kind, config, complaint):
    with pytest.raises(weights_convert.UnsupportedLayer) as error:
        node("block", kind, config, ("image",))
    [sentence] = error.value.complaints
    assert sentence.startswith("block: ")
    assert complaint in sentence


def test_all_complaints_about_a_layer_come_at_once():
    with pytest.raises(weights_convert.UnsupportedLayer) as error:
        node("conv", "Conv2D", {"filters": 0, "padding": "causal", "virtual": 3}, ("image",))
    assert len(error.value.complaints) == 4
    assert str(error.value).startswith("4 things in this network cannot be reproduced:\n- conv: ")

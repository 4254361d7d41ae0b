"""How a full model was fed.

Law: whether a network takes images in [0, 1] or [0, 255] follows from the layers that prepare the image.
"""

import h5py
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from keras import layers as L  # noqa: N812
from keras_oracle import error, save, sequential

import weights_convert
from weights_convert import RAW255, TF, UNIT

APPLICATIONS = keras.applications


def functional(prepare, channels=3):
    image = keras.Input((16, 16, channels))
    return keras.Model(image, L.Conv2D(2, 3)(prepare(image)))


def adapted(high):
    layer = L.Normalization()
    layer.adapt(np.random.default_rng(1).random((4, 16, 16, 3), np.float32) * high)
    return layer


RAW = {
    "rescaling": lambda: sequential((16, 16, 3), L.Rescaling(1 / 255), L.Conv2D(2, 3)),
    "behind augmentation": lambda: sequential(
        (16, 16, 3), L.RandomFlip(), L.RandomRotation(0.1), L.Rescaling(1 / 127.5, -1.0), L.Conv2D(2, 3)
    ),
    "behind a nested augmentation": lambda: functional(
        lambda x: L.Rescaling(1 / 255)(sequential((16, 16, 3), L.RandomFlip(), L.RandomZoom(0.1))(x))
    ),
    "resized first": lambda: sequential((16, 16, 3), L.Resizing(8, 8), L.Rescaling(1 / 255), L.Conv2D(2, 3)),
    "then standardised": lambda: sequential(
        (16, 16, 3), L.Rescaling(1 / 255), L.Normalization(mean=[0.4] * 3, variance=[0.04] * 3), L.Conv2D(2, 3)
    ),
    "gray to three": lambda: functional(lambda x: L.Rescaling(1 / 255)(L.Concatenate()([x, x, x])), channels=1),
    "any size": lambda: sequential((None, None, 3), L.ZeroPadding2D(40), L.Rescaling(1 / 255), L.Conv2D(2, 3)),
    "tf": lambda: functional(APPLICATIONS.mobilenet_v2.preprocess_input),
    "caffe": lambda: functional(APPLICATIONS.vgg16.preprocess_input),
    "torch": lambda: functional(APPLICATIONS.densenet.preprocess_input),
    "mean and variance": lambda: sequential((16, 16, 3), L.Normalization(mean=120, variance=3600), L.Conv2D(2, 3)),
    "adapted": lambda: functional(adapted(255)),
}
UNITS = {
    "nothing": lambda: sequential((16, 16, 3), L.RandomFlip(), L.Conv2D(2, 3)),
    "to -1 … 1": lambda: sequential((16, 16, 3), L.Rescaling(2.0, -1.0), L.Conv2D(2, 3)),
    "up, for a base that takes 255": lambda: functional(lambda x: APPLICATIONS.vgg16.preprocess_input(255.0 * x)),
    "adapted": lambda: functional(adapted(1)),
    "later": lambda: sequential((16, 16, 3), L.Conv2D(2, 3), L.Rescaling(1 / 255)),
    "constant": lambda: sequential((16, 16, 3), L.Rescaling(0.0, 1.0), L.Conv2D(2, 3)),
    "fresh": lambda: sequential((16, 16, 3), L.BatchNormalization(), L.Conv2D(2, 3)),
}


@pytest.mark.parametrize(("wanted", "build"), [(RAW255, b) for b in RAW.values()] + [(UNIT, b) for b in UNITS.values()])
def test_the_range_is_read_from_the_first_layers(wanted, build, tmp_path):
    model = build()
    net = weights_convert.load(save(model, tmp_path / "m.keras"))
    assert net.inputs == wanted
    images = np.random.default_rng(2).random((2, 16, 16, model.input_shape[-1]), np.float32)
    assert error(net(images), model(images, training=False)) <= 1e-5


def test_a_batch_normalisation_tells_what_it_was_trained_on(tmp_path):
    model = sequential((16, 16, 3), L.BatchNormalization(), L.Conv2D(2, 3))
    gamma, beta, mean, variance = model.layers[0].get_weights()
    model.layers[0].set_weights([gamma, beta, mean + 110, variance + 4000])
    assert weights_convert.load(save(model, tmp_path / "m.keras")).inputs == RAW255


def test_the_function_of_a_lambda_layer_counts(tmp_path):
    model = sequential((16, 16, 3), L.Lambda(lambda x: x / 127.5 - 1, name="scaled"), L.Conv2D(2, 3))
    path = save(model, tmp_path / "m.keras")
    assert weights_convert.load(path, custom={"scaled": lambda x: x / 127.5 - 1}).inputs == RAW255
    assert weights_convert.load(path, custom={"scaled": lambda x: 2 * x - 1}).inputs == UNIT


def test_what_a_file_says_goes_before_what_it_looks_like(tmp_path):
    net = weights_convert.load(save(RAW["rescaling"](), tmp_path / "m.keras"))
    net.inputs = UNIT
    weights_convert.save(net, tmp_path / "n.keras")
    assert weights_convert.load(tmp_path / "n.keras").inputs == UNIT


def test_what_a_file_asks_for_is_not_allocated(tmp_path):
    """An image of 30 TB; and one that is doubled 40 times. Neither is made."""
    path = save(sequential((None, None, 3), L.Rescaling(1 / 255), L.GlobalMaxPooling2D()), tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        text = file.attrs["model_config"]
        file.attrs["model_config"] = text.replace("[null, null, null, 3]", "[null, 1000000, 1000000, 3]")
        assert file.attrs["model_config"] != text
    assert weights_convert.load(path).inputs == RAW255

    def doubled(x):
        for _ in range(40):
            x = L.Concatenate(axis=1)([x, x])
        return L.GlobalMaxPooling2D()(L.Rescaling(1 / 255)(x))

    image = keras.Input((None, 4, 3))
    path = save(keras.Model(image, doubled(image)), tmp_path / "m.h5")
    assert weights_convert.load(path).inputs == UNIT


def test_a_function_that_a_pixel_is_too_small_for(tmp_path):
    def crop(x):
        return x[:, 4:-4, 4:-4][:, jnp.arange(3)] / 255

    model = sequential((16, 16, 3), L.Lambda(lambda x: x, name="cropped"), L.Conv2D(2, 3))
    path = save(model, tmp_path / "m.keras")
    assert weights_convert.load(path, custom={"cropped": crop}).inputs == UNIT


def test_what_a_file_does_not_record_is_said(tmp_path):
    """An export of Teachable Machine is known by the names of its layers; of others, only the assumption is known."""

    def network(base, *head):
        layers = [L.Conv2D(2, 3, name=base[0]), L.DepthwiseConv2D(3, name=base[1]), L.GlobalAveragePooling2D(), *head]
        return weights_convert.load(save(sequential((16, 16, 3), *layers), tmp_path / "m.h5"))

    mobile = ("Conv1", "expanded_conv_depthwise")
    exported = network(mobile, L.Dense(5, name="dense_Dense1"), L.Dense(2, use_bias=False, name="dense_Dense2")).inputs
    assert exported == TF
    assert "an export of Teachable Machine, which feeds x / 127.5 - 1" in exported.note
    tuned = network(mobile, L.Dense(2)).inputs
    assert tuned == UNIT
    assert tuned.note.endswith('it has the layers of MobileNetV2, which Keras feeds as inputs="tf"')
    plain = network(("a", "b"), L.Dense(2)).inputs
    assert plain == UNIT
    assert plain.note.startswith("the file does not record how images were prepared")
    assert not weights_convert.load(save(RAW["rescaling"](), tmp_path / "m.h5")).inputs.note

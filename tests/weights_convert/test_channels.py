"""Networks whose images have their channels first.

Law: such a network computes, for an image [h w c], what Keras computes for the same image [c h w].
"""

import keras
import numpy as np
import pytest
import tf_keras
from keras_oracle import TOLERANCE, error, randomize

import jaxviz as jv
import weights_convert
from weights_convert import UnsupportedLayer


def network(package, order):
    """One network, written for either order. TensorFlow computes only the one with channels last on a CPU."""
    layers, first = package.layers, order == "channels_first"
    axis = 1 if first else -1

    def as_in_the_file(x):
        return x if first else layers.Permute((3, 1, 2))(x)

    image = layers.Input((3, 12, 10) if first else (12, 10, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.ZeroPadding2D(((1, 0), (0, 2)), data_format=order)(x)
    x = layers.Conv2D(4, (3, 2), data_format=order, name="conv")(x)
    x = layers.ReLU()(layers.BatchNormalization(axis=axis)(x))
    y = layers.DepthwiseConv2D(3, padding="same", data_format=order, activation="relu")(x)
    x = layers.MaxPooling2D((2, 1), data_format=order)(layers.Concatenate(axis=axis)([x, y]))
    gate = layers.GlobalAveragePooling2D(data_format=order, keepdims=True)(x)
    x = layers.Multiply()([x, layers.Conv2D(8, 1, activation="sigmoid", data_format=order)(gate)])
    x = layers.SeparableConv2D(5, 2, data_format=order)(x)
    x = layers.UpSampling2D(data_format=order)(layers.Cropping2D(((1, 0), (0, 1)), data_format=order)(x))
    x = layers.Dropout(0.3)(layers.Conv2DTranspose(4, 2, strides=2, data_format=order)(x))
    flat = layers.Flatten()(as_in_the_file(x))
    rows = layers.Reshape((4, -1))(as_in_the_file(x))
    head = layers.Concatenate()([layers.GlobalMaxPooling2D(data_format=order)(x), flat])
    return package.Model(image, [layers.Dense(3, activation="softmax")(head), rows, x])


@pytest.mark.parametrize("package", [keras, tf_keras])
def test_channels_first(package, tmp_path):
    model, twin = network(package, "channels_first"), network(package, "channels_last")
    randomize(twin)
    model.set_weights(twin.get_weights())
    images = 255 * np.random.default_rng(0).random((2, 12, 10, 3), np.float32)
    model.save(tmp_path / "m.h5")
    net = weights_convert.load(tmp_path / "m.h5")
    assert net.open_inputs == {"image": (12, 10, 3)}
    wanted = [np.asarray(each) for each in twin(images)]
    assert max(error(found, want) for found, want in zip(net(images), wanted, strict=True)) <= TOLERANCE
    weights_convert.save(net, tmp_path / "again.keras")
    assert weights_convert.load(tmp_path / "again.keras").graph == net.graph
    again = keras.models.load_model(tmp_path / "again.keras", compile=False)(images)
    assert max(error(found, want) for found, want in zip(again, wanted, strict=True)) <= TOLERANCE

    loaded = jv.load(tmp_path / "m.h5")
    assert loaded.image_shape == (12, 10, 3)
    assert jv.grad_cam(loaded, images[0] / 255, layer="conv").values.shape == (12, 10)


def test_flatten_with_channels_first(tmp_path):
    """Keras computes this layer on a CPU: it puts the channels last, and then flattens."""
    model = keras.Sequential([keras.Input((3, 4, 5)), keras.layers.Flatten(data_format="channels_first")])
    model.save(tmp_path / "m.h5")
    images = np.random.default_rng(0).random((2, 4, 5, 3), np.float32)
    found = weights_convert.load(tmp_path / "m.h5")(images)
    np.testing.assert_array_equal(found, model(images.transpose(0, 3, 1, 2)))


def test_an_image_that_the_network_permutes(tmp_path):
    """It stays [h w c]. Keras computes these layers on a CPU; the weights along several axes are as in the file."""
    layers, order = keras.layers, "channels_first"
    image = keras.Input((4, 5, 3))
    x = layers.ZeroPadding2D(data_format=order)(layers.Permute((3, 1, 2))(image))
    x = layers.LayerNormalization(axis=[1, 2, 3])(x)
    each = np.arange(21.0).reshape(3, 7)
    x = layers.Normalization(axis=(1, 3), mean=each, variance=each + 1)(x)
    x = layers.UpSampling2D(data_format=order)(x)
    model = randomize(keras.Model(image, layers.Flatten()(x)))
    model.save(tmp_path / "m.h5")
    images = np.random.default_rng(0).random((2, 4, 5, 3), np.float32)
    assert error(weights_convert.load(tmp_path / "m.h5")(images), model(images)) <= TOLERANCE


def test_a_softmax_along_the_width_is_refused(tmp_path):
    layers = keras.layers
    conv = layers.Conv2D(2, 1, data_format="channels_first", activation="softmax", name="conv")
    keras.Sequential([keras.Input((3, 4, 5)), conv]).save(tmp_path / "m.h5")
    with pytest.raises(UnsupportedLayer, match=r"conv: Conv2D .*activation='softmax'.* a layer Softmax\(axis=1\)"):
        weights_convert.load(tmp_path / "m.h5")


def test_both_orders_are_refused(tmp_path):
    image = keras.Input((4, 4, 4))
    one = keras.layers.MaxPooling2D(data_format="channels_first")(image)
    model = keras.Model(image, [one, keras.layers.MaxPooling2D(name="other")(image)])
    model.save(tmp_path / "m.h5")
    with pytest.raises(UnsupportedLayer, match="other: its channels are last, those of other layers are first"):
        weights_convert.load(tmp_path / "m.h5")

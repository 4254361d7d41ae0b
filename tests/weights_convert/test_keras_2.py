"""Layers that Keras 2 writes differently from Keras 3.

Law: a file that Keras 2 wrote is the network that Keras 2 computes.
"""

import keras_oracle
import numpy as np
import pytest
import tf_keras
from keras_oracle import error
from tf_keras import layers as L  # noqa: N812

import weights_convert

CASES = [
    [L.ThresholdedReLU()],
    [L.ThresholdedReLU(theta=0.3)],
    [L.RandomHeight(0.2)],
    [L.RandomWidth(0.2)],
    [L.RandomFlip(), L.RandomRotation(0.2), L.RandomZoom(0.2), L.RandomContrast(0.3)],
    [L.Activation("hard_sigmoid")],
    [L.Conv2D(4, 3, activation="hard_sigmoid")],
    [L.LeakyReLU()],
    [L.LeakyReLU(alpha=0.05)],
    [L.ELU(alpha=0.3)],
    [L.PReLU(shared_axes=[1, 2])],
    [L.ReLU(max_value=6.0)],
    [L.Dense(4, activation="gelu")],
    [L.DepthwiseConv2D(3, depth_multiplier=2, activation="swish")],
    [L.SeparableConv2D(4, 3, depth_multiplier=2)],
    [L.Conv2DTranspose(4, 3, strides=2, padding="same")],
    [L.BatchNormalization(scale=False)],
    [L.BatchNormalization(fused=False)],
    [L.LayerNormalization(axis=[1, 2])],
    [L.GroupNormalization(groups=3)],
    [L.UnitNormalization()],
    [L.Normalization()],
    [L.Normalization(mean=[0.5, 0.1, -2.0], variance=[1.0, 2.0, 0.1])],
    [L.Rescaling(1 / 127.5, offset=-1)],
    [L.Resizing(6, 7), L.CenterCrop(4, 4)],
    [L.UpSampling2D(2, interpolation="bilinear")],
    [L.ZeroPadding2D(((1, 0), (2, 3))), L.Cropping2D(((0, 1), (1, 2)))],
    [L.SpatialDropout2D(0.3), L.GaussianDropout(0.2), L.AlphaDropout(0.1), L.GaussianNoise(0.1)],
    [L.Flatten(), L.Dense(6), L.Reshape((2, 3)), L.Permute((2, 1)), L.Conv1D(2, 2, padding="causal")],
    [L.GlobalMaxPooling2D(keepdims=True), L.Softmax()],
]


@pytest.mark.parametrize("layers", CASES, ids=lambda layers: "-".join(type(layer).__name__ for layer in layers))
def test_keras_2_row(layers, tmp_path):
    model = keras_oracle.randomize(tf_keras.Sequential([L.InputLayer((13, 11, 3)), *layers], name="net"))
    model.save(tmp_path / "m.h5")
    images = np.random.default_rng(0).standard_normal((2, 13, 11, 3), np.float32)
    net = weights_convert.load(tmp_path / "m.h5")
    x = images
    for layer in model.layers:
        x = layer(x, training=False)
        assert error(net.activations(images, [layer.name])[layer.name], x) <= keras_oracle.TOLERANCE

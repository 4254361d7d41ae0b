"""The table of layer kinds.

Laws: every row computes the same as Keras' layer, for each of its options, also after saving and loading; an option
that a row does not honour is refused by name.
"""

import json
import re

import keras
import numpy as np
import pytest
import tf_keras
from flax import nnx
from keras import layers as L  # noqa: N812
from keras.src.applications import convnext, inception_resnet_v2
from keras_oracle import (
    PortableConv2DTranspose,
    PortableConv3D,
    assert_same,
    error,
    images_for,
    portable,
    randomize,
    save,
    sequential,
)

import weights_convert
from weights_convert import KerasNet
from weights_convert.config.parsing import parse
from weights_convert.layers import KINDS, node, operations


def signal():
    """The numbers of an image of 13 × 11 × 3, with which each case starts, as 33 samples of 13 channels."""
    return L.Reshape((33, 13))


def volume():
    """The same as a volume."""
    return L.Reshape((13, 11, 3, 1))


LINEAR = [
    [L.Conv2D(4, 3)],
    [L.Conv2D(4, 3, padding="same", use_bias=False)],
    [L.Conv2D(4, (2, 5), strides=(2, 3), activation="relu")],
    [L.Conv2D(4, (3, 2), strides=2, padding="same")],
    [L.Conv2D(4, 3, dilation_rate=(2, 3))],
    [L.Conv2D(4, 3, dilation_rate=2, padding="same", activation="tanh")],
    [L.Conv2D(6, 3, groups=3)],
    [L.Conv2D(6, 3, kernel_regularizer="l2", bias_constraint="non_neg", activity_regularizer="l1")],
    [L.Conv2D(4, 3, activation="glu")],
    [signal(), L.Conv1D(4, 3)],
    [signal(), L.Conv1D(4, 4, strides=3, padding="same", activation="relu")],
    [signal(), L.Conv1D(4, 3, padding="causal")],
    [signal(), L.Conv1D(4, 3, padding="causal", dilation_rate=2, use_bias=False)],
    [signal(), L.Conv1D(4, 4, padding="causal", strides=2)],
    [signal(), L.Conv1D(26, 3, groups=13)],
    [volume(), L.Conv3D(2, 2)],
    [volume(), L.Conv3D(2, (3, 2, 1), strides=(2, 1, 3), padding="same", activation="selu")],
    *(
        [layer(3, window, strides=stride, padding=padding)]
        for layer in (L.Conv2DTranspose,)
        for window, stride in ((3, 1), (2, 2), (3, 2), (2, 3), ((1, 4), (2, 1)), (5, 3))
        for padding in ("valid", "same")
    ),
    [L.Conv2DTranspose(3, 3, strides=2, output_padding=1)],
    [L.Conv2DTranspose(3, 3, strides=2, padding="same", output_padding=1, use_bias=False, activation="elu")],
    [L.Conv2DTranspose(3, (4, 5), strides=(3, 2), padding="same", output_padding=(2, 0))],
    [L.Conv2DTranspose(3, 3, dilation_rate=2)],
    [L.Conv2DTranspose(3, (2, 3), dilation_rate=2, padding="same")],
    [signal(), L.Conv1DTranspose(3, 4, strides=3)],
    [signal(), L.Conv1DTranspose(3, 3, strides=2, padding="same", activation="relu")],
    [volume(), L.Conv3DTranspose(2, 2, strides=2)],
    [volume(), L.Conv3DTranspose(2, 3, strides=(1, 2, 2), padding="same")],
    [L.DepthwiseConv2D(3)],
    [L.DepthwiseConv2D((2, 3), strides=2, padding="same", depth_multiplier=2, activation="relu6")],
    [L.DepthwiseConv2D(3, dilation_rate=2, use_bias=False, depthwise_regularizer="l2")],
    [signal(), L.DepthwiseConv1D(3, depth_multiplier=2)],
    [signal(), L.DepthwiseConv1D(4, strides=2, padding="same")],
    [L.SeparableConv2D(4, 3)],
    [L.SeparableConv2D(4, (2, 3), strides=2, padding="same", depth_multiplier=3, activation="relu")],
    [L.SeparableConv2D(4, 3, dilation_rate=2, use_bias=False, pointwise_constraint="max_norm")],
    [signal(), L.SeparableConv1D(4, 3)],
    [signal(), L.SeparableConv1D(4, 4, strides=2, padding="same", depth_multiplier=2)],
    [L.Dense(5)],
    [L.Flatten(), L.Dense(5, use_bias=False, activation="softmax")],
]
POOLING = [
    [L.MaxPooling2D()],
    [L.MaxPooling2D(3, strides=2)],
    [L.MaxPooling2D((3, 2), padding="same")],
    [L.MaxPooling2D(3, strides=1, padding="same")],
    [L.AveragePooling2D(2)],
    [L.AveragePooling2D((2, 3), strides=(1, 2))],
    [L.AveragePooling2D(3, strides=2, padding="same")],
    [signal(), L.MaxPooling1D()],
    [signal(), L.MaxPooling1D(3, strides=2, padding="same")],
    [signal(), L.AveragePooling1D(2)],
    [signal(), L.AveragePooling1D(4, strides=3, padding="same")],
    [volume(), L.MaxPooling3D()],
    [volume(), L.MaxPooling3D((3, 2, 1), strides=2, padding="same")],
    [volume(), L.AveragePooling3D(2)],
    [volume(), L.AveragePooling3D((3, 2, 2), strides=(1, 2, 1), padding="same")],
    *(
        [*(make() for make in before), layer(**options)]
        for before, layer in (
            ([], L.GlobalAveragePooling2D),
            ([], L.GlobalMaxPooling2D),
            ([signal], L.GlobalAveragePooling1D),
            ([signal], L.GlobalMaxPooling1D),
            ([volume], L.GlobalAveragePooling3D),
            ([volume], L.GlobalMaxPooling3D),
        )
        for options in ({}, {"keepdims": True})
    ),
    [L.AdaptiveAveragePooling2D(4)],
    [L.AdaptiveAveragePooling2D((13, 1))],
    [L.AdaptiveMaxPooling2D((5, 3))],
    [signal(), L.AdaptiveAveragePooling1D(7)],
    [signal(), L.AdaptiveMaxPooling1D(10)],
    [volume(), L.AdaptiveAveragePooling3D((3, 4, 2))],
    [volume(), L.AdaptiveMaxPooling3D(2)],
]
NORMALIZATION = [
    [L.BatchNormalization()],
    [L.BatchNormalization(axis=3, epsilon=0.1)],
    [L.BatchNormalization(axis=1)],
    [L.BatchNormalization(axis=-2, momentum=0.5)],
    [L.BatchNormalization(scale=False)],
    [L.BatchNormalization(center=False)],
    [L.BatchNormalization(center=False, scale=False)],
    [L.Flatten(), L.BatchNormalization()],
    [signal(), L.BatchNormalization()],
    [L.LayerNormalization()],
    [L.LayerNormalization(axis=[1, 2, 3], epsilon=0.1)],
    [L.LayerNormalization(axis=[3, 1])],
    [L.LayerNormalization(axis=2, center=False)],
    [L.LayerNormalization(scale=False)],
    [L.GroupNormalization(groups=3)],
    [L.GroupNormalization(groups=1, epsilon=0.1)],
    [L.GroupNormalization(groups=-1, center=False)],
    [L.Conv2D(8, 1), L.GroupNormalization(groups=4, scale=False)],
    [L.GroupNormalization(groups=13, axis=1)],
    [L.Conv2D(8, 4), L.GroupNormalization(groups=4, axis=-2)],
    [L.RMSNormalization()],
    [L.RMSNormalization(axis=[2, 3], epsilon=0.1)],
    [L.UnitNormalization()],
    [L.UnitNormalization(axis=[1, 2])],
    [L.Normalization()],
    [L.Normalization(invert=True)],
    [L.Normalization(axis=[1, 3])],
    [L.Normalization(axis=None)],
    [L.Normalization(mean=[0.5, 0.1, -2.0], variance=[1.0, 2.0, 0.1])],
    [L.Normalization(mean=0.5, variance=0.0)],
    [L.Normalization(axis=(1, 3), mean=[0.5, 0.1, -2.0], variance=[1.0, 2.0, 0.1], invert=True)],
    [convnext.LayerScale(init_values=1e-6, projection_dim=3)],
]
NONLINEAR = [
    [L.Activation("sigmoid")],
    [L.Activation("linear")],
    [L.ReLU()],
    [L.ReLU(max_value=1.5)],
    [L.ReLU(negative_slope=0.2)],
    [L.ReLU(threshold=0.5)],
    [L.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.5)],
    [L.LeakyReLU()],
    [L.LeakyReLU(negative_slope=0.05)],
    [L.ELU()],
    [L.ELU(alpha=0.3)],
    [L.Softmax()],
    [L.Softmax(axis=1)],
    [L.Softmax(axis=[1, 2])],
    [L.PReLU()],
    [L.PReLU(shared_axes=[1, 2], alpha_regularizer="l2")],
    [L.Flatten(), L.PReLU()],
]
SHAPING = [
    [L.Flatten()],
    [L.Flatten(), L.Flatten()],
    [L.Reshape((11, 39))],
    [L.Reshape((-1, 3))],
    [L.Permute((3, 1, 2))],
    [L.Flatten(), L.RepeatVector(3)],
    [L.Cropping2D()],
    [L.Cropping2D((1, 2))],
    [L.Cropping2D(((1, 0), (2, 3)))],
    [signal(), L.Cropping1D()],
    [signal(), L.Cropping1D((0, 5))],
    [volume(), L.Cropping3D()],
    [volume(), L.Cropping3D(((1, 2), (0, 0), (0, 1)))],
    [L.ZeroPadding2D()],
    [L.ZeroPadding2D((1, 2))],
    [L.ZeroPadding2D(((1, 0), (2, 3)))],
    [signal(), L.ZeroPadding1D()],
    [signal(), L.ZeroPadding1D((0, 2))],
    [volume(), L.ZeroPadding3D()],
    [volume(), L.ZeroPadding3D(((1, 2), (0, 0), (3, 1)))],
    [L.UpSampling2D()],
    [L.UpSampling2D((1, 3))],
    [L.UpSampling2D((2, 3), interpolation="bilinear")],
    [L.UpSampling2D((2, 3), interpolation="lanczos3")],
    [signal(), L.UpSampling1D(3)],
    [volume(), L.UpSampling3D((1, 2, 3))],
]
IMAGES = [
    [L.Rescaling(1 / 255)],
    [L.Rescaling(2.0, offset=-1.0)],
    [L.Rescaling([1.0, 2.0, 3.0], offset=[0.5, -0.5, 0.0])],
    *(
        [L.Resizing(*size, interpolation=interpolation)]
        for interpolation in ("bilinear", "nearest", "lanczos3", "lanczos5")
        for size in ((29, 17), (6, 5), (13, 22))
    ),
    [L.Resizing(6, 9, antialias=True)],
    [L.Resizing(6, 9, crop_to_aspect_ratio=True)],
    [L.Resizing(20, 7, crop_to_aspect_ratio=True, interpolation="nearest")],
    [L.Resizing(6, 9, pad_to_aspect_ratio=True, fill_value=0.5)],
    [L.Resizing(20, 7, pad_to_aspect_ratio=True)],
    [L.CenterCrop(6, 4)],
    [L.CenterCrop(13, 10)],
    [L.CenterCrop(20, 9)],
]
IDENTITY = [
    [L.Identity()],
    [L.Dropout(0.5)],
    [signal(), L.SpatialDropout1D(0.5)],
    [L.SpatialDropout2D(0.5)],
    [volume(), L.SpatialDropout3D(0.5)],
    [L.AlphaDropout(0.5)],
    [L.GaussianDropout(0.5)],
    [L.GaussianNoise(0.5)],
    [L.ActivityRegularization(l1=0.1)],
    [convnext.StochasticDepth(0.5)],
]
AUGMENTATION = [
    [L.AugMix()],
    [L.RandAugment()],
    [L.RandomBrightness(0.5)],
    [L.RandomColorDegeneration(0.5)],
    [L.RandomColorJitter(brightness_factor=0.5, hue_factor=0.2)],
    [L.RandomContrast(0.5)],
    [L.RandomElasticTransform()],
    [L.RandomCrop(6, 5)],
    [L.RandomErasing()],
    [L.RandomFlip("horizontal")],
    [L.RandomGaussianBlur()],
    [L.RandomGrayscale()],
    [L.RandomHue(0.5)],
    [L.RandomInvert()],
    [L.RandomPerspective()],
    [L.RandomPosterization(4)],
    [L.RandomRotation(0.2, fill_mode="nearest")],
    [L.RandomSaturation(0.5)],
    [L.RandomSharpness(0.5)],
    [L.RandomShear((0.1, 0.2), (0.0, 0.2))],  # of one number Keras writes what it then refuses to read
    [L.RandomTranslation(0.2, 0.2)],
    [L.RandomZoom(0.2)],
    [L.Solarization()],
]
CASES = [*LINEAR, *POOLING, *NORMALIZATION, *NONLINEAR, *SHAPING, *IMAGES, *IDENTITY]


def spelled(layers):
    """The case as it would be written, for the test's name."""
    return "-".join(type(layer).__name__ for layer in layers)


@pytest.mark.parametrize("layers", CASES, ids=spelled)
def test_keras_row(layers, tmp_path):
    model = sequential((13, 11, 3), *layers)
    net = weights_convert.load(save(model, tmp_path / "m.h5"))
    assert_same(net, model, images_for(model))
    assert_back(net, model, tmp_path / "again.keras")


STRIDED = [((3, 2, 1), (2, 1, 1)), ((2, 3, 3), (2, 2, 3)), ((1, 1, 1), 1)]


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("window", "strides"), STRIDED)
def test_the_portable_convolution_is_that_of_keras(window, strides, padding):
    """Wherever TensorFlow computes the same on every processor: no stride is larger than its window."""
    images = np.random.default_rng(0).standard_normal((2, 7, 6, 5, 2), np.float32)
    model, again = (
        randomize(keras.Sequential([keras.Input((7, 6, 5, 2)), layer(3, window, strides, padding, activation="selu")]))
        for layer in (L.Conv3D, PortableConv3D)
    )
    assert error(again(images), model(images)) <= 1e-6


def test_a_portable_convolution_takes_the_first_of_each_stride():
    """Of a window of 1 and no padding, output i is input i · stride, by definition."""
    layer = PortableConv3D(1, 1, strides=3, padding="same", use_bias=False, kernel_initializer="ones")
    x = np.arange(27.0, dtype=np.float32).reshape(1, 3, 3, 3, 1)
    np.testing.assert_array_equal(np.asarray(layer(x)).ravel(), [0.0])


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_portable_transposed_convolution_spreads_each_input(padding):
    """By definition, in float64: input i adds w[k] times itself to output i + k · dilation - cut."""
    (n, rate), rng = (5, 3), np.random.default_rng(0)
    x, kernel = rng.standard_normal((1, n, n, 1)), rng.standard_normal((3, 3))
    window = (len(kernel) - 1) * rate + 1
    whole = np.zeros([n - 1 + window] * 2)
    for i, j, k, m in np.ndindex(n, n, 3, 3):
        whole[i + k * rate, j + m * rate] += x[0, i, j, 0] * kernel[k, m]
    size = n if padding == "same" else len(whole)
    cut = (len(whole) - size) // 2
    wanted = whole[cut : cut + size, cut : cut + size]

    layer = PortableConv2DTranspose(1, 3, padding=padding, dilation_rate=rate, use_bias=False)
    found = layer.build(x.shape) or layer.set_weights([kernel[:, :, None, None]]) or layer(x)
    np.testing.assert_allclose(np.asarray(found)[0, ..., 0], wanted, atol=1e-5)


def assert_back(net, model, path):
    """What is written makes the same layer in Keras, with what it needs to know for training."""
    weights_convert.save(net, path)
    again = keras.models.load_model(path, compile=False)
    images = images_for(model)
    assert error(portable(again)(images, training=False), portable(model)(images, training=False)) <= 1e-6
    assert settings(again.layers[-1]) == settings(model.layers[-1])


def settings(layer):
    """The config of a layer, but what it is called and how its weights started and are held back."""
    not_written = "name|trainable|dtype|seed|ax[ie]s|.*_(initializer|regularizer|constraint)"
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)["config"]))
    return {key: value for key, value in config.items() if not re.fullmatch(not_written, key)}


MERGING = [
    (L.Add(), 2),
    (L.Add(), 3),
    (L.Subtract(), 2),
    (L.Multiply(), 3),
    (L.Average(), 3),
    (L.Maximum(), 3),
    (L.Minimum(), 2),
    (L.Concatenate(), 3),
    (L.Concatenate(axis=1), 2),
    (inception_resnet_v2.CustomScaleLayer(scale=0.17), 2),
    (L.Dot(axes=3), 2),
    (L.Dot(axes=(1, 2)), 2),
    (L.Dot(axes=-1, normalize=True), 2),
]


@pytest.mark.parametrize(("merge", "terms"), MERGING, ids=lambda case: type(case).__name__)
def test_merging_row(merge, terms, tmp_path):
    image = keras.Input((6, 6, 2))
    model = keras.Model(image, merge([image, *(L.ReLU(threshold=i / 4)(image) for i in range(1, terms))]))
    net = weights_convert.load(save(model, tmp_path / "m.h5"))
    assert_same(net, model, images_for(model))
    assert_back(net, model, tmp_path / "again.keras")


@pytest.mark.parametrize("merge", [L.Add(), L.Multiply(), L.Maximum()], ids=lambda merge: type(merge).__name__)
def test_merging_what_is_not_of_one_shape(merge, tmp_path):
    image = keras.Input((6, 6, 2))
    vector, gate = L.GlobalMaxPooling2D()(image), L.GlobalAveragePooling2D(keepdims=True)(image)
    model = keras.Model(image, merge([vector, image, gate]))
    assert_same(weights_convert.load(save(model, tmp_path / "m.h5")), model, images_for(model))


def test_a_dot_product_of_vectors(tmp_path):
    image = keras.Input((6, 6, 2))
    vectors = L.GlobalMaxPooling2D()(image), L.GlobalAveragePooling2D()(image)
    model = keras.Model(image, L.Dot(axes=1)(vectors))
    assert_same(weights_convert.load(save(model, tmp_path / "m.h5")), model, images_for(model))


KERAS_2_ONLY = {"ThresholdedReLU", "RandomHeight", "RandomWidth"}  # see test_keras_2
KERAS_2_ONLY |= {"Addons>InstanceNormalization", "InstanceNormalization"}  # see test_own


@pytest.mark.parametrize("layers", AUGMENTATION, ids=spelled)
def test_augmentation_is_over(layers, tmp_path):
    """From the description alone: Keras cannot write all of these into an .h5 file."""
    model = sequential((13, 11, 3), *layers)
    net = KerasNet(parse(json.loads(model.to_json())), rngs=nnx.Rngs(0))
    assert_same(net, model, images_for(model))
    assert_back(net, model, tmp_path / "again.keras")


@pytest.mark.parametrize("package", [keras, tf_keras])
def test_random_crop_at_inference(package, tmp_path):
    """Keras 2, and Keras 3 before 3.6, resize the largest part of that shape; Keras 3.8 and newer do nothing."""
    layers = package.layers
    model = package.Sequential([layers.Input((13, 11, 3)), layers.RandomCrop(6, 8), layers.ReLU()])
    model.save(tmp_path / "m.keras")
    net, images = weights_convert.load(tmp_path / "m.keras"), images_for(model)
    assert error(net(images), model(images, training=False)) <= 1e-5
    written = {**json.loads(model.to_json()), "keras_version": "3.3.3"}
    assert parse(written).nodes[0].kind == "Resizing"
    with pytest.raises(weights_convert.UnsupportedLayer, match=r"Keras 3.7.0 cuts out .* 3.8 or newer"):
        parse({**written, "keras_version": "3.7.0"})


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("end", ["keras", "h5"])
def test_layers_quantised_to_int8(end, tmp_path):
    """The kernel is what its whole numbers stand for: within half a step of 1/127 of the greatest number."""
    model = sequential((6, 6, 3), L.Flatten(), L.Dense(5, activation="tanh"), L.Dense(3, use_bias=False))
    kernels = [np.asarray(layer.kernel) for layer in model.layers[1:]]
    wanted = model(images_for(model))
    model.quantize("int8")
    model.save(tmp_path / f"m.{end}")
    net = weights_convert.load(tmp_path / f"m.{end}")
    for weights, kernel in zip(net.weights().values(), kernels, strict=True):
        step = np.abs(kernel).max(0) / 127
        assert (np.abs(weights["kernel"].get_value() - kernel) <= 0.501 * step).all()
    assert error(net(images_for(model)), wanted) <= 0.02


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize(("layer", "mode"), [("Dense", "int4"), ("Embedding", "int8")])
def test_other_quantised_layers_are_refused(layer, mode):
    inner = keras.layers.Embedding(4, 4, name="q") if layer == "Embedding" else keras.layers.Dense(4, name="q")
    model = keras.Sequential([keras.Input((4,)), inner])
    model.quantize(mode)
    with pytest.raises(
        weights_convert.UnsupportedLayer, match=f"q: {layer} quantised to {mode}.*; supported are Dense and conv"
    ):
        parse(json.loads(model.to_json()))


def test_every_row_has_a_case():
    cases = {type(layer).__name__ for case in [*CASES, *AUGMENTATION] for layer in case} | {
        type(merge).__name__ for merge, _ in MERGING
    }
    cases |= {"MultiHeadAttention", "Attention", "AdditiveAttention", "Embedding"}  # see test_attention
    assert cases | KERAS_2_ONLY == set(KINDS) - set(operations.KINDS)


# What Keras asks for, of the kinds that it does not build with nothing set.
REQUIRED = [
    ({"filters": 4, "kernel_size": 3}, r"(Separable)?Conv\dD(Transpose)?"),
    ({"kernel_size": 3}, r"DepthwiseConv\dD"),
    ({"pool_size": 2}, r"(Max|Average)Pooling\dD"),
    ({"output_size": 2}, r"Adaptive\w+"),
    ({"rate": 0.5}, r"\w*Dropout(\dD)?"),
    ({"factor": 0.5}, r"Random(Brightness|ColorDegeneration|Contrast|Hue|Rotation|Saturation|Sharpness)"),
    ({"factor": 4}, r"RandomPosterization"),
    ({"height_factor": 0.5, "width_factor": 0.5}, r"Random(Translation|Zoom)"),
    ({"height": 3, "width": 4}, r"Resizing|CenterCrop|RandomCrop"),
    ({"num_heads": 2, "key_dim": 3}, r"MultiHeadAttention"),
    ({"input_dim": 5, "output_dim": 3}, r"Embedding"),
    ({"units": 4}, r"Dense"),
    ({"stddev": 0.5}, r"GaussianNoise"),
    ({"scale": 1.0}, r"Rescaling|CustomScaleLayer"),
    ({"activation": "relu"}, r"Activation"),
    ({"init_values": 0.1, "projection_dim": 3}, r"LayerScale"),
    ({"drop_path_rate": 0.5}, r"StochasticDepth"),
    ({"axes": 1}, r"Dot"),
    ({"target_shape": (3, 4)}, r"Reshape"),
    ({"dims": (2, 1)}, r"Permute"),
    ({"n": 2}, r"RepeatVector"),
]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {*KERAS_2_ONLY, *operations.KINDS}])
def test_defaults_are_those_of_keras(kind):
    """What a row assumes for a key that a file leaves out is what Keras writes for a layer with nothing set."""
    given = next((given for given, kinds in REQUIRED if re.fullmatch(kinds, kind)), {})
    layer = getattr(L, kind, None) or getattr(convnext, kind, None) or getattr(inception_resnet_v2, kind)
    written = json.loads(json.dumps(keras.saving.serialize_keras_object(layer(**given))["config"]))
    if kind == "MultiHeadAttention":
        written["value_dim"] = None  # Keras writes out that it is key_dim
    if "pool_size" in written:
        written["strides"] = None  # Keras writes out that strides are as wide as the window
    assert node("n", kind, given, ("image",)) == node("n", kind, written, ("image",))


@pytest.mark.parametrize(
    ("kind", "config", "complaint"),
    [
        ("Conv2D", {"filters": 2}, "Conv2D without 'kernel_size'"),
        ("Conv2D", {"filters": 0, "kernel_size": 3}, "filters=0; supported is a whole number above 0"),
        ("Conv2D", {"filters": 2, "kernel_size": [3, 3, 3]}, "supported is one or two whole numbers"),
        ("Conv2D", {"filters": 2, "kernel_size": "3"}, "kernel_size='3'; supported is a whole number above 0"),
        ("MaxPooling2D", {"data_format": "tf"}, "data_format='tf'; supported is 'channels_last' or 'channels_first'"),
        ("MaxPooling2D", {"padding": "full"}, "padding='full'; supported is 'valid' or 'same'"),
        ("Dense", {"units": 2, "activation": "maxout"}, "activation='maxout'; supported is one of linear, relu"),
        ("BatchNormalization", {"renorm": True}, "renorm=True; supported is false"),
        ("Conv1D", {"filters": 2, "kernel_size": [3, 3]}, "kernel_size=[3, 3]; supported is a whole number"),
        ("Cropping1D", {"cropping": [1, -1]}, "supported is a whole number, 0 or above"),
        ("Reshape", {"target_shape": 7}, "target_shape=7; supported is a list of whole numbers"),
        (
            "Resizing",
            {"height": 2, "width": 2, "interpolation": "area"},
            "interpolation='area'; supported is 'nearest'",
        ),
        ("RandomFlip", {"mode": "horizontal", "probability": 1}, "probability=1, an option that is not supported"),
        ("Dense", {"units": 2, "use_bias": 1}, "use_bias=1; supported is true or false"),
        ("Dense", {"units": 2, "quantization_config": {"bits": 4}}, "an option that is not supported"),
        ("BatchNormalization", {"epsilon": float("nan")}, "epsilon=nan; supported is a finite number"),
        ("Rescaling", {"scale": 10**400}, "0; supported is a finite number"),
        ("BatchNormalization", {"axis": [1, 2]}, "axis=[1, 2]; supported is a whole number"),
        ("ZeroPadding2D", {"padding": [1, 2, 3]}, "supported is a whole number, or two pairs of (before, after)"),
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

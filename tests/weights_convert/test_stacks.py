"""Random stacks of layers.

Law: every stack of supported layers that Keras can build has Keras' activations here, layer by layer.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers as L  # noqa: N812
from keras_oracle import TOLERANCE, every_layer, images_for, randomize, save

import weights_convert
from weights_convert.layers import ACTIVATIONS

flag = st.booleans()
few, size = st.integers(1, 3), st.integers(1, 6)
pair = st.tuples(few, few)
padding = st.sampled_from(["same", "valid"])
margins = st.tuples(st.tuples(st.integers(0, 2), st.integers(0, 2)), st.tuples(st.integers(0, 2), st.integers(0, 2)))
# Without those that one rounding error can move far: a jump, and what grows without end.
names = st.sampled_from(
    sorted(
        set(ACTIVATIONS)
        - {"hard_shrink", "exponential"}
        - {name for name in ACTIVATIONS if "_v2" in name or "_2" in name}
    )
)
axis = st.sampled_from([1, 2, -1])


def recipes(layer, **options):
    """Ways to build a layer; it is built in the test, since Keras draws random numbers where it builds one."""
    return st.fixed_dictionaries(options).map(lambda drawn: (layer, drawn))


CONVOLUTION = {"padding": padding, "activation": names, "use_bias": flag}
IMAGES = [
    recipes(L.Conv2D, filters=size, kernel_size=pair, strides=pair, **CONVOLUTION),
    recipes(L.Conv2D, filters=size, kernel_size=pair, dilation_rate=pair, **CONVOLUTION),
    recipes(L.Conv2D, filters=st.sampled_from([2, 4, 6]), kernel_size=pair, groups=st.just(2), **CONVOLUTION),
    recipes(L.Conv2DTranspose, filters=size, kernel_size=pair, strides=pair, **CONVOLUTION),
    recipes(L.DepthwiseConv2D, kernel_size=pair, strides=few, depth_multiplier=few, **CONVOLUTION),
    recipes(L.SeparableConv2D, filters=size, kernel_size=pair, strides=few, depth_multiplier=few, **CONVOLUTION),
    *(recipes(pool, pool_size=pair, strides=pair, padding=padding) for pool in (L.MaxPooling2D, L.AveragePooling2D)),
    recipes(L.GlobalAveragePooling2D, keepdims=flag),
    recipes(L.GlobalMaxPooling2D, keepdims=flag),
    recipes(L.AdaptiveAveragePooling2D, output_size=pair),
    recipes(L.GroupNormalization, groups=few, axis=axis, epsilon=st.just(0.1)),
    recipes(L.PReLU, shared_axes=st.sampled_from([[1, 2], [1], [3]])),
    recipes(L.ZeroPadding2D, padding=margins),
    recipes(L.Cropping2D, cropping=margins),
    recipes(L.UpSampling2D, size=pair, interpolation=st.sampled_from(["nearest", "bilinear"])),
    recipes(L.Resizing, height=size, width=size, crop_to_aspect_ratio=flag),
    recipes(L.CenterCrop, height=size, width=size),
    recipes(L.SpatialDropout2D, rate=st.just(0.5)),
    recipes(L.Permute, dims=st.permutations([1, 2, 3])),
    recipes(L.Reshape, target_shape=st.sampled_from([(-1, 2), (2, -1), (-1,)])),
]
SIGNALS = [
    recipes(L.Conv1D, filters=size, kernel_size=few, strides=few, **CONVOLUTION),
    recipes(L.Conv1D, filters=size, kernel_size=few, dilation_rate=few, padding=st.just("causal")),
    recipes(L.Conv1DTranspose, filters=size, kernel_size=few, strides=few, **CONVOLUTION),
    recipes(L.SeparableConv1D, filters=size, kernel_size=few, strides=few, **CONVOLUTION),
    recipes(L.MaxPooling1D, pool_size=few, padding=padding),
    recipes(L.AveragePooling1D, pool_size=few, strides=few, padding=padding),
    recipes(L.ZeroPadding1D, padding=few),
    recipes(L.Cropping1D, cropping=few),
    recipes(L.UpSampling1D, size=few),
    recipes(L.GlobalAveragePooling1D),
    recipes(L.Permute, dims=st.just((2, 1))),
]
ANY = [
    recipes(L.Dense, units=size, activation=names, use_bias=flag),
    recipes(L.BatchNormalization, axis=axis, center=flag, scale=flag),
    recipes(L.LayerNormalization, axis=axis, center=flag, scale=flag, epsilon=st.just(0.1)),
    recipes(L.Activation, activation=names),
    recipes(L.ReLU, max_value=st.sampled_from([None, 1.0]), negative_slope=st.sampled_from([0.0, 0.2])),
    recipes(L.LeakyReLU),
    recipes(L.ELU, alpha=st.sampled_from([0.3, 1.0])),
    recipes(L.Softmax, axis=axis),
    recipes(L.Rescaling, scale=st.just(0.5), offset=st.just(-0.1)),
    recipes(L.Dropout, rate=st.just(0.5)),
    recipes(L.Flatten),
    recipes(L.RepeatVector, n=few),
]
stacks = st.lists(st.one_of(*IMAGES, *SIGNALS, *ANY), min_size=1, max_size=7)
shapes = st.tuples(st.integers(8, 14), st.integers(8, 14), st.integers(1, 4))


def legal(shape, stack, seed):
    """A model of those layers of a stack that Keras takes, each on the one before; None if it takes none."""
    image = x = keras.Input(shape)
    found = np.random.default_rng(seed).standard_normal((2, *shape), np.float32)
    for make, options in stack:
        layer = make(**options)
        try:
            y, value = layer(x), layer(found, training=False)
        except (ValueError, TypeError, IndexError, ZeroDivisionError, tf.errors.OpError):
            continue
        if value.shape[1:] == y.shape[1:] and 0 not in value.shape and len(value.shape) > 1:
            x, found = y, value
    return None if x is image else randomize(keras.Model(image, x), seed)


def check(shape, stack, seed, folder):
    model = legal(shape, stack, seed)
    if model is None:
        return
    net, images = weights_convert.load(save(model, folder / "m.h5")), images_for(model, seed=seed)
    wanted = every_layer(model, images)
    found = net.activations(images, wanted)
    for name, theirs in wanted.items():
        # Of 1 where all is smaller: TensorFlow's elu(x), exp(x) - 1, is no closer than that.
        assert np.abs(found[name] - theirs).max() <= TOLERANCE * max(1, np.abs(theirs).max()), name


@pytest.mark.filterwarnings("ignore:(.|\\n)*You are using a softmax over axis:UserWarning")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shapes, stacks, st.integers(0, 99))
def test_any_stack_of_layers(tmp_path_factory, shape, stack, seed):
    check(shape, stack, seed, tmp_path_factory.mktemp("stack"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:(.|\\n)*You are using a softmax over axis:UserWarning")
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shapes, stacks, st.integers(0, 99))
def test_many_stacks_of_layers(tmp_path_factory, shape, stack, seed):
    check(shape, stack, seed, tmp_path_factory.mktemp("stack"))

"""Expanded weights: a filter as one kernel over an earlier layer.

Laws:
- They are the composition of the kernels between the two layers, as NumPy convolves them, with an average in the place
  of a max-pool and nothing in that of a ReLU, a bias or a batch normalisation's shift.
- On a linear network, the filter is the sum of weight × activation over its window, plus a constant.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import filled, image, keras_model

import jaxviz as jv
from jaxviz.filters.weights import read
from weights_convert.layers.functions import ACTIVATIONS

SHAPE = (16, 16, 2)


def composed(first: np.ndarray, second: np.ndarray, stride: int = 1) -> np.ndarray:
    """The kernel `[h w in out]` of a convolution by `first` with a stride, and then by `second`."""
    size = (len(second) - 1) * stride + len(first)
    kernel = np.zeros((size, size, first.shape[2], second.shape[3]))
    for y, x in np.ndindex(*second.shape[:2]):
        part = np.einsum("hwim,mo->hwio", first, second[y, x])
        kernel[y * stride : y * stride + len(first), x * stride : x * stride + len(first)] += part
    return kernel


def kernels(model, *names):
    return [np.asarray(model.params["layers"][name]["kernel"][...], np.float64) for name in names]


@pytest.fixture(scope="module")
def keras():
    """Convolution, ReLU, max-pool of 2 × 2, convolution, flatten, dense."""
    return keras_model()


def test_a_neighbour_s_weights_are_its_kernel(keras):
    (second,) = kernels(keras, "second")
    found = jv.expanded_weights(keras, "second", 4, "pool")
    np.testing.assert_allclose(found, second[..., 4], rtol=1e-5, atol=1e-7)
    (first,) = kernels(keras, "first")
    np.testing.assert_allclose(jv.expanded_weights(keras, "first/pre", 1), first[..., 1], rtol=1e-5, atol=1e-7)


def test_kernels_are_composed_through_relu_and_max_pool(keras):
    first, second = kernels(keras, "first", "second")
    average = np.einsum("hw,io->hwio", np.full((2, 2), 1 / 4), np.eye(4))
    through_pool = composed(average, second, stride=2)
    found = jv.expanded_weights(keras, "second", 4)  # its source is the convolution before it
    np.testing.assert_allclose(found, through_pool[..., 4], rtol=1e-4, atol=1e-6)
    whole = composed(first, through_pool)
    found = jv.expanded_weights(keras, "second/pre", 4, "image")
    assert found.shape == (8, 8, 3)
    np.testing.assert_allclose(found, whole[..., 4], rtol=1e-4, atol=1e-6)


def test_a_unit_reads_the_whole_source(keras):
    (dense,) = kernels(keras, "head")
    found = jv.expanded_weights(keras, "head/pre", 3)
    assert found.shape == (6, 6, 6)
    np.testing.assert_allclose(found, dense[:, 3].reshape(6, 6, 6), rtol=1e-5, atol=1e-7)


class Branched(nn.Module):
    """Two branches that are added, one of them dilated; a batch normalisation; and a layer off the path."""

    @nn.compact
    def __call__(self, x):
        conv = functools.partial(nn.Conv, kernel_size=(3, 3), kernel_init=nn.initializers.normal(1.0))
        stem = jnp.maximum(conv(3, strides=2, padding=((1, 1), (1, 1)), name="stem")(x), 0)
        body = conv(3, kernel_dilation=2, name="body")(stem)
        body = nn.relu(nn.BatchNorm(use_running_average=True, epsilon=0, name="norm")(body))
        beside = conv(2, name="beside")(x)
        joined = nn.silu(stem + body)
        return conv(4, name="last")(joined) + beside.mean()


@pytest.fixture(scope="module")
def branched():
    variables = filled(jax.eval_shape(Branched().init, jax.random.key(0), jnp.zeros((1, *SHAPE))))
    variables["batch_stats"]["norm"] = {"mean": jnp.ones(3), "var": jnp.full(3, 0.25)}
    return jv.wrap(Branched(), variables, SHAPE)


def test_kernels_are_composed_through_skips_and_dilation(branched):
    first, dilated, last = (
        np.asarray(branched.params["params"][name]["kernel"], np.float64) for name in ("stem", "body", "last")
    )
    wide = np.zeros((5, 5, 3, 3))
    wide[::2, ::2] = dilated * np.asarray(branched.params["params"]["norm"]["scale"]) / 0.5
    wide[2, 2] += np.eye(3)  # the skip
    found = jv.expanded_weights(branched, "last", 2, "stem")
    np.testing.assert_allclose(found, composed(wide, last)[..., 2], rtol=1e-4, atol=1e-5)
    found = jv.expanded_weights(branched, "last", 2, "image")
    np.testing.assert_allclose(found, composed(first, composed(wide, last), 2)[..., 2], rtol=1e-4, atol=1e-5)


def conv(x, kernel, strides=(1, 1)):
    return jax.lax.conv_general_dilated(x, kernel, strides, "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def test_a_linear_network_is_its_weights():
    def function(params, x):
        first = conv(x, params[0]) + 1
        return {"first": first, "output": conv(first, params[1], (2, 2))}

    random = np.random.default_rng(1)
    params = [jnp.asarray(random.normal(size=(3, 3, *ends)), jnp.float32) for ends in ((2, 3), (3, 4))]
    model = jv.wrap(function, params, SHAPE, output="output")
    weights = jv.expanded_weights(model, "output", 1, "image")
    field = jv.receptive_field(model, "output")
    assert weights.shape[:2] == field.size
    one, two = random.random((2, *SHAPE)).astype(np.float32)
    y, x = (o + 2 * s for o, s in zip(field.offset, field.stride, strict=True))
    window = (one - two)[y : y + field.size[0], x : x + field.size[1]]
    values = [jv.activations(model, each, "output")["output"][2, 2, 1] for each in (one, two)]
    np.testing.assert_allclose((window * weights).sum(), values[0] - values[1], rtol=1e-4)


class Gated(nn.Module):
    """The gate of a squeeze-and-excitation block, and a layer behind it."""

    @nn.compact
    def __call__(self, x):
        gate = nn.sigmoid(nn.Conv(2, (1, 1), name="squeeze")(x.mean((1, 2), keepdims=True)))
        return nn.Conv(4, (3, 3), name="last")(Product(name="product")(x, gate))


class Product(nn.Module):
    @nn.compact
    def __call__(self, x, gate):
        return x * gate


def test_behind_a_gate_the_nearest_layer_is_read():
    variables = filled(jax.eval_shape(Gated().init, jax.random.key(0), jnp.zeros((1, *SHAPE))))
    model = jv.wrap(Gated(), variables, SHAPE)
    kernel = variables["params"]["last"]["kernel"]
    source, weights = read(model, "last", 3, None)
    assert source == "product"
    np.testing.assert_allclose(weights, kernel[..., 3], rtol=1e-5)
    np.testing.assert_array_equal(jv.expanded_weights(model, "last", 3), weights)
    with pytest.raises(jv.InputError, match="the path from squeeze to last is not linear"):
        jv.expanded_weights(model, "last", 3, "squeeze")


@pytest.mark.parametrize(
    "rectify",
    [
        *(getattr(jax.nn, name) for name in ("relu", "relu6", "leaky_relu", "elu", "silu", "hard_silu", "mish")),
        *(ACTIVATIONS[name].function for name in ("relu", "relu6", "leaky_relu", "silu", "elu")),
        lambda x: jnp.maximum(x, 0),
        lambda x: jnp.where(x > 0, x, 0.1 * x),
        lambda x: jnp.clip(x, 0, 6),
    ],
)
def test_a_rectifier_is_the_identity(rectify):
    model = jv.wrap(lambda params, x: {"a": x, "output": 2 * rectify(x)}, image_shape=(4, 4, 3))
    found = jv.expanded_weights(model, "output", 1, "image")
    np.testing.assert_allclose(found, [[[0, 2, 0]]], rtol=1e-6)


def test_weights_that_cannot_be_computed(keras, branched):
    with pytest.raises(jv.InputError, match=r"first does not depend on second: take a layer before it, such as image"):
        jv.expanded_weights(keras, "first", 0, "second")
    with pytest.raises(jv.InputError, match=r"last does not depend on beside"):
        jv.expanded_weights(branched, "last", 0, "beside")
    with pytest.raises(jv.InputError, match="second has 6 filters, 0 to 5; given: 6"):
        jv.expanded_weights(keras, "second", 6)
    with pytest.raises(jv.InputError, match="did you mean second"):
        jv.expanded_weights(keras, "secnd", 0)
    gated = jv.wrap(lambda params, x: {"a": x, "output": x * x.mean((1, 2), keepdims=True)}, image_shape=(4, 4, 3))
    with pytest.raises(jv.InputError, match="the path from image to output is not linear, even with the identity"):
        jv.expanded_weights(gated, "output", 0, "image")
    with pytest.raises(jv.InputError, match="the path from flat to head is not linear"):
        jv.expanded_weights(keras, "head", 0)  # the softmax


def test_weights_that_are_nan_are_called_so():
    broken = keras_model()
    params = jax.tree.map(lambda leaf: leaf * np.nan, broken.params)
    with pytest.raises(
        jv.InputError, match="the weights from first to filter 4 of second are NaN or infinite: numbers"
    ):
        jv.expanded_weights(broken.replace(params=params), "second", 4)


def test_another_filter_compiles_nothing(keras):
    from jaxviz.filters import weights

    jv.expanded_weights(keras, "second", 0, "pool")
    before = weights._slopes.compiled()._cache_size()
    jv.expanded_weights(keras, "second", 3, "pool")
    assert weights._slopes.compiled()._cache_size() == before
    assert np.abs(jv.activations(keras, image())["second"]).max() > 0

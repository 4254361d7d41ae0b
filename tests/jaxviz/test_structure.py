"""What the traced program shows of a network's layers, and the layer that a CAM looks at by default.

Law: a layer is judged by what it computes, not by its name. A CAM looks at a layer that convolves, that depends on the
explained image, and that the target depends on.
"""

import flax.linen as nn
import jax
import keras
import numpy as np
import pytest
from flax import nnx

import jaxviz as jv
from jaxviz.attribution.cams import last_convolution
from jaxviz.structure import structure

SHAPE = (16, 16, 3)


def picture(seed=0):
    return np.random.default_rng(seed).random(SHAPE, np.float32)


class ConvNet(nn.Module):
    """A network that is called a convolution and is none."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3))(x))
        return nn.Dense(3)(x.mean((1, 2)))


class Stem(nnx.Module):
    """A convolution that is not called one."""

    def __init__(self, rngs):
        self.kernel = nnx.Param(0.1 * jax.random.normal(rngs(), (3, 3, 3, 4)))

    def __call__(self, x):
        return jax.lax.conv_general_dilated(
            x, self.kernel[...], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )


class ConvClassifier(nnx.Module):
    def __init__(self, rngs):
        self.stem = Stem(rngs)
        self.head = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.stem(x)).mean((1, 2)))


class Block(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x):
        y = nn.relu(nn.Conv(self.features, (3, 3))(x))
        y = nn.Conv(self.features, (3, 3))(y)
        return nn.relu(y + nn.Conv(self.features, (1, 1), name="projection")(x))


class Residual(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(Block(6)(x).mean((1, 2)))


def linen(module):
    return jv.wrap(module, module.init(jax.random.key(0), picture()[None]), image_shape=SHAPE)


class Decoder(nn.Module):
    """Its last convolution is a transposed one, whose name JAX also gives to the backward pass."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(
            nn.ConvTranspose(4, (3, 3), (2, 2), name="conv_transpose")(nn.Conv(4, (3, 3))(x)).mean((1, 2))
        )


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (lambda: linen(Decoder()), "conv_transpose"),
        (lambda: linen(ConvNet()), "Conv_0"),
        (lambda: jv.wrap(ConvClassifier(nnx.Rngs(0)), image_shape=SHAPE), "stem"),
        (lambda: linen(Residual()), "Block_0"),  # the end of the block, not its projection, which runs last
    ],
    ids=["a transposed one", "a network called ConvNet", "a convolution called Stem", "a projection that runs last"],
)
def test_the_default_layer_convolves(model, name):
    model = model()
    assert last_convolution(model, jv.Unit(model.output, 0)) == name
    default = jv.grad_cam(model, picture(), 1, relu=False).values
    np.testing.assert_array_equal(default, jv.grad_cam(model, picture(), 1, relu=False, layer=name).values)


def test_layers_that_depend_on_each_other():
    model = linen(Residual())
    found = structure(model, model.handles[: model.handles.index("Block_0") + 1], (16, 16))
    assert found.convolutions == ("Block_0/Conv_0", "Block_0/Conv_1", "Block_0/projection")
    assert found.pointwise == {"Block_0/projection"}
    assert found.after("Block_0/Conv_0") == {"Block_0/Conv_1", "Block_0"}
    assert found.after("Block_0/Conv_1") == {"Block_0"}
    assert found.shapes["Block_0"] == (16, 16, 6)


@pytest.fixture
def siamese(tmp_path):
    """Two images through one encoder; the right one is fixed."""
    layers = keras.layers
    encoder = keras.Sequential(
        [keras.Input(SHAPE), layers.Conv2D(5, 3, activation="relu", name="c"), layers.GlobalAveragePooling2D()],
        name="encoder",
    )
    left, right = keras.Input(SHAPE, name="left"), keras.Input(SHAPE, name="right")
    joined = layers.Concatenate()([encoder(left), encoder(right)])
    keras.Model([left, right], layers.Dense(3, name="head")(joined)).save(tmp_path / "two.keras")
    return jv.load(tmp_path / "two.keras", others={"right": picture(1)})


def test_the_default_layer_sees_the_explained_image(siamese):
    maps = [jv.grad_cam(siamese, image, 1, relu=False).values for image in (picture(0), picture(2))]
    assert np.abs(maps[0] - maps[1]).max() > 1e-4
    np.testing.assert_array_equal(maps[0], jv.grad_cam(siamese, picture(0), 1, relu=False, layer="encoder/c").values)


@pytest.mark.parametrize("method", [jv.grad_cam, jv.eigen_cam, jv.score_cam])
def test_a_layer_that_does_not_see_the_image_is_refused_by_name(siamese, method):
    with pytest.raises(jv.InputError, match=r"encoder/c#2 depends on other inputs only; .*see it: encoder/c$"):
        method(siamese, picture(), 1, layer="encoder/c#2")


class Shared(nnx.Module):
    """One encoder for two images, of which the explained one comes second."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.head = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x, other):
        both = [nnx.relu(self.conv(each)).mean((1, 2)) for each in (other, x)]
        return self.head(jax.numpy.concatenate(both, -1))


def test_each_call_of_a_wrapped_layer_is_a_convolution():
    model = jv.wrap(Shared(nnx.Rngs(0)), image_shape=SHAPE, other=picture(1)[None])
    assert last_convolution(model, jv.Unit("output", 1)) == "conv#2"

"""Code that a file cannot bring: the caller's own classes and activation functions.

Law: a network with own classes computes what Keras computes, from every format, whether the caller gives a function, a
function of the weights, a Flax module, or the name of a kind; and a network of an own class is what its config says.
"""

import jax.numpy as jnp
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from flax import linen, nnx
from jax import lax
from keras_oracle import error

import weights_convert
from weights_convert import KerasFileError, UnsupportedLayer

KERAS = {"keras": keras, "tf_keras": tf_keras}
FORMATS = [(name, suffix) for name in KERAS for suffix in ("h5", "keras")]
IMAGES = np.random.default_rng(1).random((2, 8, 8, 3), np.float32)


def own_classes(k):
    """Classes as people write them, for either Keras."""
    register = k.saving.register_keras_serializable("mine")

    @register
    class Trainer(k.Model):
        def train_step(self, data):
            return super().train_step(data)

    @register
    class Stack(k.Sequential):
        pass

    @register
    class Scale(k.layers.Layer):
        """Two weights of the same shape, a sublayer, and an option."""

        def __init__(self, offset=0.0, **kwargs):
            super().__init__(**kwargs)
            self.offset = offset
            self.mixed = k.layers.Conv2D(3, 1, name="mixed")

        def build(self, shape):
            self.a = self.add_weight(name="a", shape=(shape[-1],))
            self.b = self.add_weight(name="b", shape=(shape[-1],))
            with tf.name_scope("mixed"):
                self.mixed.build(shape)
            self.built = True

        def call(self, x):
            return self.mixed(x * self.a + self.b + self.offset)

        def compute_output_shape(self, shape):
            return (*shape[:-1], 3)

        def get_config(self):
            return {**super().get_config(), "offset": self.offset}

    @register
    def bent(x):
        return x * x

    return Trainer, Stack, Scale, bent


def network(k, path):
    """(its file, its outputs): own models, one in the other, with own layers and an own activation function."""
    trainer, stack, scale, bent = own_classes(k)
    layers = k.layers
    start = k.Input((8, 8, 3)) if k is keras else layers.InputLayer((8, 8, 3))
    base = stack([start, layers.Conv2D(4, 3, activation=bent, name="conv"), scale(2.0, name="scaled")], name="base")
    image = k.Input((8, 8, 3))
    x = layers.Activation(bent, name="bent")(scale(-1.0, name="top")(base(image)))
    model = trainer(image, layers.Dense(2, name="head")(layers.Flatten()(x)))
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random.standard_normal(weight.shape) / 3)
    model.save(path)
    return path, np.asarray(model(IMAGES, training=False))


def mixed(x, kernel, bias):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias


def scale(weights, x, *, config):
    a, b, kernel, bias = weights.values()
    assert weights[0] is a
    assert weights[-1] is bias
    return mixed(x * a + b + config["offset"], kernel, bias)


class Module(nnx.Module):
    def __init__(self, n, offset):
        self.b_first = nnx.Param(jnp.zeros(n))  # the file's first weight, though its name is not the first
        self.a_second = nnx.Param(jnp.zeros(n))
        self.conv = nnx.Conv(n, 3, (1, 1), rngs=nnx.Rngs(0))
        self.offset = offset

    def __call__(self, x):
        return self.conv(x * self.b_first[...] + self.a_second[...] + self.offset)


class Linen(linen.Module):
    offset: float

    @linen.compact
    def __call__(self, x):
        a, b = (self.param(name, linen.initializers.zeros, (x.shape[-1],)) for name in "ab")
        return linen.Conv(3, (1, 1), name="mixed")(x * a + b + self.offset)


GIVEN = {
    "function": {"Scale": scale},
    "nnx": {"base/scaled": Module(4, 2.0), "top": Module(3, -1.0)},
    "linen": {"base/scaled": Linen(2.0), "mine>Scale": Linen(-1.0)},  # by class, for those not given by name
}


@pytest.mark.parametrize(("name", "suffix"), FORMATS)
def test_own_classes_with_weights(name, suffix, tmp_path):
    path, wanted = network(KERAS[name], tmp_path / f"m.{suffix}")
    for given in GIVEN.values():
        custom = {**given, "bent": jnp.square}
        net = weights_convert.load(path, custom=custom)
        assert error(net(IMAGES), wanted) <= 1e-5
    weights_convert.save(net, tmp_path / "again.safetensors")
    assert error(weights_convert.load(tmp_path / "again.safetensors", custom=custom)(IMAGES), wanted) <= 1e-5
    with pytest.raises(UnsupportedLayer, match="Keras 3 has no layer of kind Custom with weights"):
        weights_convert.save(net, tmp_path / "again.keras")


def test_what_does_not_fit_is_said(tmp_path):
    path, _ = network(keras, tmp_path / "m.h5")
    for given, reason in (
        ({}, r"base/scaled: layers of kind mine>Scale are not supported(.|\n)*custom=\{name: …\}: a function x -> y"),
        ({"Scale": scale}, "base/conv: Conv2D with activation=(.|\n)*its activation function, custom="),
        ({"Scale": lambda x: x}, r"top: has weights in the file, .* give a function \(weights, x\) -> y, or a Flax"),
        ({"Scale": Module}, "top: is given as the class Module; give a function, or a module that is made of it"),
        (
            {"Scale": Module(5, 0.0)},
            r"base/scaled: does not fit its input .*the module has the weights b_first \[5\], a_second",
        ),
        ({"Scale": lambda w, x: w["gamma"] * x}, "the file has no weight 'gamma' for this layer; it has a, b, "),
    ):
        custom = given if "Scale" not in given or given["Scale"] is scale else {**given, "bent": jnp.square}
        with pytest.raises(UnsupportedLayer, match=reason):
            weights_convert.load(path, custom=custom)
    with pytest.raises(
        ValueError, match="custom functions for Skale: there is no such layer in this network, no class"
    ):
        weights_convert.load(path, custom={"Scale": scale, "bent": jnp.square, "Skale": scale})


class FixedDropout(tf_keras.layers.Dropout):
    pass


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_own_classes_without_weights(suffix, tmp_path):
    layers = tf_keras.layers

    class Dropout(layers.Layer):  # not what Keras calls so: a `.keras` file says it, an `.h5` file cannot
        def call(self, x):
            return 2 * x

    x = image = tf_keras.Input((8, 8, 3))
    for number in range(2):
        x = FixedDropout(0.2, noise_shape=(None, 1, 1, 1), name=f"drop{number}")(layers.Conv2D(4, 3)(x))
    x = Dropout(name="double")(x) if suffix == "keras" else x
    model = tf_keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))
    path = tmp_path / f"m.{suffix}"
    model.save(path)
    wanted = model(IMAGES, training=False)
    double = {"double": lambda x: 2 * x} if suffix == "keras" else {}
    for given in (
        {"FixedDropout": lambda x: x},
        {"FixedDropout": "Dropout"},
        {f"drop{n}": lambda x: x for n in (0, 1)},
    ):
        net = weights_convert.load(path, custom={**given, **double})
        assert error(net(IMAGES), wanted) <= 1e-5
    if suffix == "keras":
        with pytest.raises(UnsupportedLayer, match="double: layers of kind own>Dropout are not supported"):
            weights_convert.load(path, custom={"FixedDropout": "Dropout"})
    with pytest.raises(UnsupportedLayer, match="drop0: has no weights in the file, but the function has an argument"):
        weights_convert.load(path, custom={"FixedDropout": lambda weights, x: x, **double})


@pytest.mark.parametrize(("name", "suffix"), FORMATS)
def test_an_own_class_with_the_name_of_an_operation(name, suffix, tmp_path):
    layers = KERAS[name].layers

    class Square(layers.Layer):
        def call(self, x):
            return 3 * x

        def compute_output_shape(self, shape):
            return shape

    image = KERAS[name].Input((8, 8, 3))
    graph = KERAS[name].Model(image, layers.Flatten()(Square(name="mine")(image)))
    for model in (graph, KERAS[name].Sequential([layers.Input((8, 8, 3)), Square(name="mine"), layers.Flatten()])):
        model.save(tmp_path / f"m.{suffix}")
        with pytest.raises(UnsupportedLayer, match="mine: layers of kind Square are not supported"):
            weights_convert.load(tmp_path / f"m.{suffix}")
        net = weights_convert.load(tmp_path / f"m.{suffix}", custom={"Square": lambda x: 3 * x})
        assert error(net(IMAGES), 3 * IMAGES.reshape(2, -1)) <= 1e-5


@pytest.mark.parametrize(("name", "suffix"), FORMATS)
def test_an_own_class_keeps_the_names_of_its_options(name, suffix, tmp_path):
    """Of a layer of Keras 1, `p` is the rate and `init` the initializer; of an own class they are what it says."""
    layers = KERAS[name].layers

    class GeM(layers.Layer):
        def call(self, x):
            return tf.reduce_mean(x**3.0, (1, 2)) ** (1 / 3.0)

        def compute_output_shape(self, shape):
            return (shape[0], shape[3])

        def get_config(self):
            return {**super().get_config(), "p": 3.0, "init": "three"}

    model = KERAS[name].Sequential([layers.Input((8, 8, 3)), GeM(), layers.Dense(2)])
    model.save(tmp_path / f"m.{suffix}")

    def pooled(x, *, config):
        assert config["init"] == "three"
        return (x ** config["p"]).mean((1, 2)) ** (1 / config["p"])

    net = weights_convert.load(tmp_path / f"m.{suffix}", custom={"GeM": pooled})
    assert error(net(IMAGES), model(IMAGES)) <= 1e-5


# The classes of TensorFlow Addons and keras-contrib, which no longer install, with their options and their formulas.
class _Normalization(tf_keras.layers.Layer):
    def __init__(self, epsilon=1e-3, center=True, scale=True, **own):
        keys = ("axis", "groups")
        super().__init__(**{key: value for key, value in own.items() if key not in keys})
        self.options = {"epsilon": epsilon, "center": center, "scale": scale}
        self.options |= {key: own[key] for key in keys if key in own}

    def build(self, shape):
        n = 1 if self.options["axis"] is None else shape[self.options["axis"]]
        self.gamma = self.add_weight(name="gamma", shape=(n,)) if self.options["scale"] else 1.0
        self.beta = self.add_weight(name="beta", shape=(n,)) if self.options["center"] else 0.0

    def get_config(self):
        harmless = {f"{name}_{role}": None for name in ("gamma", "beta") for role in ("regularizer", "constraint")}
        return {**super().get_config(), **self.options, **harmless, "gamma_initializer": "ones"}


@tf_keras.saving.register_keras_serializable("Addons")
class GroupNormalization(_Normalization):
    def call(self, x):
        groups = self.options["groups"] if self.options["groups"] > 0 else x.shape[-1]
        parts = tf_keras.backend.reshape(x, (-1, *x.shape[1:3], groups, x.shape[3] // groups))
        mean = tf_keras.backend.mean(parts, (1, 2, 4), keepdims=True)
        variance = tf_keras.backend.var(parts, (1, 2, 4), keepdims=True)
        y = (parts - mean) / (variance + self.options["epsilon"]) ** 0.5
        return tf_keras.backend.reshape(y, (-1, *x.shape[1:])) * self.gamma + self.beta


class InstanceNormalization(_Normalization):  # of keras-contrib
    def call(self, x):
        axes = (1, 2, 3) if self.options["axis"] is None else (1, 2)
        mean, deviation = (f(x, axes, keepdims=True) for f in (tf_keras.backend.mean, tf_keras.backend.std))
        return (x - mean) / (deviation + self.options["epsilon"]) * self.gamma + self.beta


tf_keras.saving.register_keras_serializable("Addons")(type("InstanceNormalization", (GroupNormalization,), {}))
ADDONS_INSTANCE = tf_keras.saving.get_registered_object("Addons>InstanceNormalization")


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_normalizations_of_others(suffix, tmp_path):
    layers = [
        GroupNormalization(groups=2, axis=-1),
        GroupNormalization(groups=4, axis=-1, epsilon=0.1, center=False),
        ADDONS_INSTANCE(groups=-1, axis=-1, scale=False),
        InstanceNormalization(axis=None),
        InstanceNormalization(axis=-1, epsilon=0.3),
    ]
    image = tf_keras.Input((8, 8, 3))
    maps = tf_keras.layers.Conv2D(4, 3)(image)  # each layer takes these, so that none hides the one before it
    model = tf_keras.Model(image, [layer(maps) for layer in layers])
    for number, weight in enumerate(model.weights):
        weight.assign(np.random.default_rng(number).standard_normal(weight.shape))
    model.save(tmp_path / f"m.{suffix}")
    found = weights_convert.load(tmp_path / f"m.{suffix}")(IMAGES)
    for mine, theirs in zip(found, model(IMAGES), strict=True):
        assert error(mine, theirs) <= 1e-5


def test_another_class_of_that_name_is_not_guessed(tmp_path):
    class InstanceNormalization(tf_keras.layers.Layer):
        def call(self, x):
            return x

    tf_keras.Sequential([tf_keras.layers.Input((8, 8, 3)), InstanceNormalization(name="mine")]).save(tmp_path / "m.h5")
    with pytest.raises(UnsupportedLayer, match="mine: InstanceNormalization without 'axis'"):
        weights_convert.load(tmp_path / "m.h5")


def test_a_subclassed_model_can_be_saved_as_a_functional_one(tmp_path):
    """The advice in the refusal works."""

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv, self.head = keras.layers.Conv2D(4, 3), keras.layers.Dense(2)

        def call(self, x):
            return self.head(keras.layers.Flatten()(self.conv(x)))

    model = Subclassed()
    wanted = model.predict(IMAGES, verbose=0)
    model.save(tmp_path / "m.keras")
    with pytest.raises(KerasFileError, match=r"`image = keras.Input.*keras.Model\(image, model.call\(image\)\).save\("):
        weights_convert.load(tmp_path / "m.keras")
    image = keras.Input((8, 8, 3))
    keras.Model(image, model.call(image)).save(tmp_path / "m.keras")
    assert error(weights_convert.load(tmp_path / "m.keras")(IMAGES), wanted) <= 1e-5

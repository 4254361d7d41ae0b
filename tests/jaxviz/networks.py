"""Networks and images for other tests; there is no test here.

One small network is written six times, as a Keras graph, in nnx, linen, Equinox and Haiku and as a plain function, with
the same weights, so that a test can compare the kinds of networks.
"""

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxviz as jv
from jaxviz.networks.keras import from_net
from weights_convert import Graph, KerasNet
from weights_convert.layers import node

SHAPE = (12, 12, 3)
CLASSES = 5


def keras_graph(head: str = "softmax", units: int = CLASSES) -> Graph:
    """Convolution, pool, convolution, flatten, dense."""
    config = {"kernel_size": (3, 3), "padding": "same", "activation": "relu"}
    rows = [
        ("first", "Conv2D", {"filters": 4, **config}),
        ("pool", "MaxPooling2D", {}),
        ("second", "Conv2D", {"filters": 6, **config}),
        ("flat", "Flatten", {}),
        ("head", "Dense", {"units": units, "activation": head}),
    ]
    sources = ["image", *(name for name, _, _ in rows)]
    nodes = tuple(
        node(name, kind, config, (source,)) for (name, kind, config), source in zip(rows, sources, strict=False)
    )
    return Graph.of_image(SHAPE, nodes)


def keras_model(head: str = "softmax", units: int = CLASSES, seed: int = 0) -> jv.Model:
    return from_net(KerasNet(keras_graph(head, units), rngs=nnx.Rngs(seed)))


class Head(nnx.Module):
    """The last layer as a module of its own."""

    def __init__(self, rngs: nnx.Rngs):
        self.dense = nnx.Linear(6 * 6 * 6, CLASSES, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.dense(x)


class InheritedHead(Head):
    """Its `__call__` is inherited: it must be tapped all the same."""


class Nnx(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.blocks = nnx.List([nnx.Conv(4, 6, (3, 3), rngs=rngs)])
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.head = InheritedHead(rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.max_pool(nnx.relu(self.first(x)), (2, 2), (2, 2))
        x = nnx.relu(self.blocks[0](x))
        return self.head(self.dropout(x.reshape(len(x), -1)))


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.max_pool(nn.relu(nn.Conv(4, (3, 3), name="first")(x)), (2, 2), (2, 2))
        x = nn.relu(nn.Conv(6, (3, 3), name="second")(x))
        return nn.Dense(CLASSES, name="head")(x.reshape(len(x), -1))


def three_of_a_kind() -> tuple[jv.Model, jv.Model, jv.Model, Nnx]:
    """The network as KerasNet, nnx and linen models, and the nnx module itself."""
    module = Nnx(nnx.Rngs(0))
    net = KerasNet(keras_graph(), rngs=nnx.Rngs(1))
    pairs = [("first", module.first), ("second", module.blocks[0]), ("head", module.head.dense)]
    variables = {}
    for name, layer in pairs:
        net.layers[name].kernel[...] = layer.kernel[...]
        net.layers[name].bias[...] = layer.bias[...]
        variables[name] = {"kernel": layer.kernel[...], "bias": layer.bias[...]}
    return (
        from_net(net),
        jv.wrap(module, image_shape=SHAPE),
        jv.wrap(Linen(), {"params": variables}, SHAPE),
        module,
    )


class Equinox(eqx.Module):
    first: eqx.nn.Conv2d
    second: eqx.nn.Conv2d
    pool: eqx.nn.MaxPool2d
    dropout: eqx.nn.Dropout
    head: eqx.nn.Linear

    def __call__(self, x, key=None):
        x = self.pool(jax.nn.relu(self.first(x)))
        x = self.dropout(jax.nn.relu(self.second(x)), key=key)
        return self.head(jnp.moveaxis(x, 0, -1).reshape(-1))


def _equinox(weights: dict) -> Equinox:
    def layer(kind, name, *sizes, **settings):
        empty = eqx.filter_eval_shape(lambda: kind(*sizes, **settings, key=jax.random.key(0)))
        kernel, bias = weights[name].values()
        kernel = kernel.T if kind is eqx.nn.Linear else kernel.transpose(3, 2, 0, 1)
        return eqx.tree_at(lambda part: (part.weight, part.bias), empty, (kernel, bias.reshape(empty.bias.shape)))

    first, second = (
        layer(eqx.nn.Conv2d, name, inputs, outputs, 3, padding=1)
        for name, inputs, outputs in (("first", 3, 4), ("second", 4, 6))
    )
    head = layer(eqx.nn.Linear, "head", 6 * 6 * 6, CLASSES)
    return Equinox(first, second, eqx.nn.MaxPool2d(2, 2), eqx.nn.Dropout(0.5), head)


@hk.transform
def haiku_network(x):
    x = hk.max_pool(jax.nn.relu(hk.Conv2D(4, 3, name="first")(x)), (2, 2, 1), (2, 2, 1), "SAME")
    x = jax.nn.relu(hk.Conv2D(6, 3, name="second")(x))
    return hk.Linear(CLASSES, name="head")(x.reshape(len(x), -1))


def function_network(params, x):
    def convolution(params, x):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, params["kernel"], (1, 1), "SAME", None, None, layout) + params["bias"]

    x = jax.nn.relu(convolution(params["first"], x))
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
    x = jax.nn.relu(convolution(params["second"], x))
    return x.reshape(len(x), -1) @ params["head"]["kernel"] + params["head"]["bias"]


def six_of_a_kind() -> dict[str, jv.Model]:
    """The network as a model of each kind."""
    keras, module, linen, _ = three_of_a_kind()
    weights = linen.params["params"]
    in_haiku = {name: {"w": each["kernel"], "b": each["bias"]} for name, each in weights.items()}
    return {
        "keras": keras,
        "nnx": module,
        "linen": linen,
        "equinox": jv.wrap(_equinox(weights), image_shape=SHAPE),
        "haiku": jv.wrap(haiku_network, in_haiku, SHAPE),
        "function": jv.wrap(function_network, weights, SHAPE),
    }


class Convolutions(nnx.Module):
    """Two convolutions: it takes images of any size, and compiles fast."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.second = nnx.Conv(4, 5, (3, 3), strides=2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(nnx.relu(self.first(x)))


def convolutions() -> jv.Model:
    """A model of `Convolutions`, with the layers first and second."""
    graph, state = nnx.split(nnx.eval_shape(lambda: Convolutions(nnx.Rngs(0))))
    return jv.wrap(nnx.merge(graph, filled(state)), image_shape=SHAPE).replace(image_shape=(None, None, 3))


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(SHAPE, np.float32)


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, *SHAPE), np.float32)


def linear_model(weights: np.ndarray) -> jv.Model:
    """f(x) = w · x, two units: w · x and -2 w · x."""

    def function(params, batch):
        score = jnp.einsum("nhwc,hwc->n", batch, params)
        return jnp.stack([score, -2 * score], axis=-1)

    return jv.wrap(function, jnp.asarray(weights), weights.shape)


def filled(shapes):
    """Weights of these shapes. (To compile an initialiser takes longer than the test.)"""
    random = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(0, 0.3, leaf.shape), leaf.dtype), shapes)

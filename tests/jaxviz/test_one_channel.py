"""Law: `narrow(f)` has the values and gradients of `f`, and computes one channel where `f` reads only one.

A rule may decline: operations that mix channels are computed whole.
"""

import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from networks import SHAPE, image, three_of_a_kind

import jaxviz as jv
from jaxviz.compiling.one_channel import narrow


def convolutions(function, *args):
    """The output channels of every convolution that a function traces to."""
    found = []

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "conv_general_dilated":
                found.append(equation.outvars[0].aval.shape[-1])
            for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
                walk(getattr(inner, "jaxpr", inner)) if hasattr(inner, "eqns") or hasattr(inner, "jaxpr") else None

    walk(jax.make_jaxpr(function)(*args).jaxpr)
    return found


def score(layer):
    def of(x, index):
        return lax.dynamic_index_in_dim(layer(x), index, -1, keepdims=False).mean()

    return of


@pytest.mark.parametrize("which", [0, 1, 2])
def test_one_channel_of_a_network_is_one_channel_of_its_last_convolution(which, relative):
    model = three_of_a_kind()[which]
    layer = "blocks/0" if "blocks/0" in model.layers else "second"

    def of(x, index):
        return jv.Channel(layer, index)(model(x, (layer,)))

    x = jnp.asarray(image())
    assert convolutions(of, x, 0) == [4, 6]
    assert convolutions(narrow(of), x, 0) == [4]  # the second became a product with its taps
    alive = [index for index in range(6) if of(x, index) > 0]
    assert len(alive) > 2
    for index in alive:
        value, gradient = jax.value_and_grad(narrow(of))(x, index)
        wanted, reference = jax.value_and_grad(of)(x, index)
        assert float(value) == pytest.approx(float(wanted), rel=1e-5, abs=1e-6)
        assert relative(gradient, reference) < 1e-5


@pytest.mark.parametrize("strides", [1, 2, (1, 3)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("dilation", [1, 2])
def test_every_geometry(strides, padding, dilation, relative):
    module = nn.Conv(5, (3, 2), strides, padding, kernel_dilation=dilation)
    x = jnp.asarray(np.random.default_rng(0).random((2, 11, 9, 3), np.float32))
    variables = module.init(jax.random.key(0), x)
    of = score(lambda x: nn.relu(module.apply(variables, x)))
    assert convolutions(narrow(of), x, 3) == []
    assert float(narrow(of)(x, 3)) == pytest.approx(float(of(x, 3)), rel=1e-5)
    assert relative(jax.grad(narrow(of))(x, 3), jax.grad(of)(x, 3)) < 1e-5


ENDINGS = {
    "gelu": nn.gelu,
    "leaky": lambda x: jnp.where(x > 0, x, 0.3 * x),
    "pooled": lambda x: nn.max_pool(nn.relu(x), (2, 2), (2, 2)),
    "normed": lambda x: (x - jnp.arange(5.0)) * lax.rsqrt(jnp.arange(5.0) + 1),
    "tanh": jnp.tanh,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_acts_on_each_channel_by_itself_is_passed_through(ending, relative):
    module = nnx.Conv(3, 5, (3, 3), rngs=nnx.Rngs(0))
    of = score(lambda x: ENDINGS[ending](module(x)))
    x = jnp.asarray(image())[None]
    assert convolutions(narrow(of), x, 2) == []
    assert relative(jax.grad(narrow(of))(x, 2), jax.grad(of)(x, 2)) < 1e-5


@pytest.mark.parametrize("size", [(1, 2), (6, 5)])
def test_a_transposed_convolution(size, relative):
    module = nnx.ConvTranspose(3, 5, (3, 3), strides=(2, 2), rngs=nnx.Rngs(0))
    of = score(lambda x: nnx.relu(module(x)))
    x = jnp.asarray(np.random.default_rng(0).random((2, 1, *size, 3), np.float32))
    assert convolutions(narrow(of), x[0], 2) == []
    ours, theirs = (jax.vmap(jax.grad(each), (0, None))(x, 2) for each in (narrow(of), of))
    assert relative(ours, theirs) < 1e-5


def test_what_mixes_channels_is_left_alone(relative):
    module = nnx.Conv(3, 5, (3, 3), rngs=nnx.Rngs(0))
    of = score(lambda x: jax.nn.softmax(module(x)))
    x = jnp.asarray(image())[None]
    assert convolutions(narrow(of), x, 2) == [5]
    assert relative(jax.grad(narrow(of))(x, 2), jax.grad(of)(x, 2)) < 1e-5


def test_a_layer_that_is_needed_whole_is_computed_once(relative):
    module = nnx.Conv(3, 5, (3, 3), rngs=nnx.Rngs(0))

    def of(x, index):
        y = nnx.relu(module(x))
        return (y**2).mean() + lax.dynamic_index_in_dim(y, index, -1).mean()

    x = jnp.asarray(image())[None]
    assert convolutions(narrow(of), x, 2) == [5]
    assert relative(jax.grad(narrow(of))(x, 2), jax.grad(of)(x, 2)) < 1e-5


def test_a_function_with_its_own_derivative_keeps_it():
    @jax.custom_jvp
    def relu(x):
        return jnp.maximum(x, 0)

    relu.defjvp(lambda primals, tangents: (relu(*primals), 7 * tangents[0]))
    of = score(lambda x: relu(x * jnp.arange(3.0)))
    x = jnp.ones((2, 2, 3))
    np.testing.assert_array_equal(jax.grad(narrow(of))(x, 2), jax.grad(of)(x, 2))
    assert jax.grad(narrow(of))(x, 2).sum() == 14


def test_relu_has_no_gradient_at_zero():
    module = nnx.Conv(3, 5, (1, 1), use_bias=False, rngs=nnx.Rngs(0))
    of = score(lambda x: nnx.relu(module(x)))
    assert not jax.grad(narrow(of))(jnp.zeros((1, *SHAPE)), 1).any()


def test_a_network_may_be_deeper_than_python_lets_calls_be(relative):
    kernel = jnp.asarray(np.random.default_rng(0).random((1, 1, 3, 4), np.float32))

    def of(x, index):
        for _ in range(sys.getrecursionlimit()):
            x = x * 1.001
        convolved = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jax.lax.dynamic_index_in_dim(convolved, index, -1).sum()

    x = jnp.asarray(image())[None]
    assert relative(jax.jit(narrow(of))(x, 2), jax.jit(of)(x, 2)) < 1e-5

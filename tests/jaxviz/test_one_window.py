"""Law: `within(f, image, changed, …) == f(changed)`, whatever the window; only the part that sees it is computed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxviz.compiling.one_window import within
from jaxviz.compiling.patch import Field, Window

SIZE = (61, 57)


def everything(x):
    """Strides, skips, odd padding, pools with and without overlap, dilation, concatenation."""
    x = nn.relu(nn.Conv(8, (3, 3), strides=(2, 2))(2 * x[..., ::-1] - 1))
    x = nn.relu(x + nn.Conv(8, (3, 3))(x))
    x = jnp.pad(nn.BatchNorm(use_running_average=True)(x), ((0, 0), (2, 1), (1, 2), (0, 0)))
    x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
    x = jnp.concatenate([nn.Conv(4, (1, 1))(x), nn.Conv(4, (5, 5), kernel_dilation=2)(x)], -1)
    x = nn.Conv(8, (3, 3), padding="VALID")(nn.avg_pool(x, (2, 2), (2, 2)))
    return nn.Dense(3)(jnp.tanh(x).mean((1, 2)))


def gaps(x):
    """Strides larger than the window, so that no output sees some of the pixels."""
    return nn.Dense(2)(nn.max_pool(nn.Conv(4, (2, 2), strides=(3, 3), padding="VALID")(x), (2, 2), (3, 3)).sum((1, 2)))


def mixing(x):
    """An operation over all pixels in the middle."""
    x = nn.Conv(4, (3, 3))(x)
    return nn.Conv(2, (3, 3))(x / (1 + x.std((1, 2), keepdims=True))).mean((1, 2))


@functools.cache
def network(body):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return body(x)

    net = Net()
    variables = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, *SIZE, 3)))
    return lambda image: net.apply(variables, image[None])[0]


@pytest.mark.parametrize("body", [everything, gaps, mixing])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (20, 30), SIZE], ids=str)
def test_it_is_the_function_of_the_changed_image(body, size):
    function, rng = network(body), np.random.default_rng(0)
    expected = jax.jit(function)
    image = rng.random((*SIZE, 3), np.float32)
    patched = jax.jit(functools.partial(within, function), static_argnums=3)
    edges = [(0, 0), (SIZE[0] - 1, SIZE[1] - 1), (0, SIZE[1] - 3)]
    for y, x in [*edges, *rng.integers(0, SIZE, (9, 2))]:
        changed = image.copy()
        changed[y : y + size[0], x : x + size[1]] = rng.random(3)
        found = patched(image, changed, jnp.array([y, x]), size)
        np.testing.assert_allclose(found, expected(changed), atol=2e-6)


def work(function, *args):
    """The heights and widths of the outputs of all convolutions of a traced function."""
    jaxpr = jax.make_jaxpr(function)(*args)
    found = [e for e in jaxpr.eqns if e.primitive.name == "conv_general_dilated"]
    return [e.outvars[0].aval.shape[1:3] for e in found]


def test_a_small_window_costs_little():
    function = network(lambda x: nn.Conv(4, (3, 3))(nn.relu(nn.Conv(4, (3, 3))(x))).mean((1, 2)))
    image = jnp.zeros((*SIZE, 3))
    sizes = work(lambda corner: within(function, image, image + 1, corner, (5, 5)), jnp.array([9, 9]))
    assert sorted(sizes) == sorted([SIZE, (7, 7), SIZE, (9, 9)])  # all of the layer, and the part that sees the window


@pytest.mark.parametrize("layers", [[(3, 1, 1)], [(3, 2, 1), (2, 2, 0), (5, 1, 2)], [(2, 3, 0), (3, 1, 1)]])
@pytest.mark.parametrize("size", [1, 4, 9])
def test_a_field_says_which_outputs_see_a_window(layers, size):
    length, field, outputs = 40, Field(), np.eye(40, dtype=bool)  # output × input
    for window, stride, padding in layers:
        field = field.then(window, stride, padding)
        padded = np.pad(outputs, ((padding, padding), (0, 0)))
        count = (len(padded) - window) // stride + 1
        outputs = np.stack([padded[o * stride : o * stride + window].any(0) for o in range(count)])
    for start in range(length):
        seen = np.flatnonzero(outputs[:, start : start + size].any(1))
        first, count = Window(np.array(start), size, length).seen(field, len(outputs))
        assert set(seen) <= set(range(int(first), int(first) + count))

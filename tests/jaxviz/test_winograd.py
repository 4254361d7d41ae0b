"""Law: Winograd's convolution and the convolution tap by tap have the values of XLA's own, up to rounding.

`rewrite` uses Winograd's where it is faster: inside loops, with many channels and pixels.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from jaxviz.compiling import winograd
from jaxviz.compiling.batches import map_in_loop
from jaxviz.compiling.execution import Execution
from jaxviz.compiling.jit import jit
from jaxviz.compiling.rewrite import rewrite

PADDINGS = ["SAME", "VALID", [(2, 2), (2, 2)], [(0, 3), (1, 0)], [(-1, 2), (0, -1)]]


def arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.standard_normal(shape, np.float32)) for shape in shapes]


def direct(images, kernel, padding, strides=(1, 1)):
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(images, kernel, strides, padding, dimension_numbers=layout, precision="highest")


compiled = jax.jit(winograd.convolution, static_argnums=2)


@pytest.mark.parametrize("padding", PADDINGS, ids=str)
@pytest.mark.parametrize("size", [(8, 8), (9, 9), (7, 10), (3, 4)])
@pytest.mark.parametrize("tile", winograd.TILES.values(), ids=str)
def test_it_is_the_convolution(padding, size, tile, relative):
    images, kernel = arrays((2, *size, 5), (3, 3, 5, 6))
    expected = direct(images, kernel, padding)
    pads = lax.padtype_to_pads(size, (3, 3), (1, 1), padding) if isinstance(padding, str) else padding
    found = compiled(images, winograd.transform(kernel, tile), tuple(pads))
    assert found.shape == expected.shape
    assert relative(found, expected) < 2e-5


@pytest.mark.parametrize(("tile", "bound"), [("2x2", 2e-6), ("2x4", 5e-6), ("4x4", 1.5e-5)])
@pytest.mark.parametrize("channels", [64, 512])
def test_its_error_is_that_of_float32(channels, tile, bound, relative):
    images, kernel = arrays((2, 14, 14, channels), (3, 3, channels, channels))
    kernels = winograd.transform(kernel, winograd.TILES[tile])
    found = compiled(images, kernels, ((1, 1), (1, 1)))
    padded = np.pad(np.asarray(images, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))  # [n h w c 3 3]
    exact = np.tensordot(windows, np.asarray(kernel, np.float64), ((4, 5, 3), (0, 1, 2)))
    assert relative(found, exact) < bound


def network(kernels, image):
    """Smooth: where a ReLU is switched by the last digit, a gradient jumps."""
    x = image[None]
    for kernel in kernels:
        x = nn.avg_pool(nn.softplus(direct(x, kernel, "SAME")), (2, 2), (2, 2))
    return (jnp.tanh(x) ** 2).mean()


def test_gradients_are_the_same_with_and_without_the_pass(relative):
    widths = [3, 64, 128, 64]
    kernels = arrays(*((3, 3, i, o) for i, o in itertools.pairwise(widths)))
    kernels = [kernel / np.sqrt(9 * kernel.shape[2]) for kernel in kernels]
    (images,) = arrays((16, 49, 51, 3), seed=1)
    gradient = jax.value_and_grad(network, argnums=1)

    def looped(kernels, images):
        return map_in_loop(lambda image: gradient(kernels, image), images, size=2)

    ours, theirs = jit()(looped)(kernels, images), jax.vmap(gradient, (None, 0))(kernels, images)
    text = str(jax.make_jaxpr(looped)(kernels, images))
    assert text.count("conv_general_dilated[") == 1  # from 3 channels; the one back to 3 is tap by tap
    assert relative(ours[0], theirs[0]) < 1e-5
    assert relative(ours[1], theirs[1]) < 1e-5


# fmt: off
DIRECT = {
    "5×5 kernel": lambda x, k: lax.conv(x, jnp.ones((64, 64, 5, 5)), (1, 1), "SAME"),
    "stride": lambda x, k: lax.conv(x, k, (2, 2), "SAME"),
    "dilated": lambda x, k: lax.conv_general_dilated(x, k, (1, 1), "SAME", rhs_dilation=(2, 2)),
    "groups": lambda x, k: lax.conv_general_dilated(x, k[:, :32], (1, 1), "SAME", feature_group_count=2),
    "half precision": lambda x, k: lax.conv(x.astype(jnp.bfloat16), k.astype(jnp.bfloat16), (1, 1), "SAME"),
    "few tiles": lambda x, k: lax.conv(x[:, :, :11, :11], k, (1, 1), "SAME"),
    "few channels": lambda x, k: lax.conv(x, k[:32], (1, 1), "SAME"),
}
# fmt: on


@pytest.mark.parametrize("name", list(DIRECT))
def test_what_does_not_pay_stays_a_direct_convolution(name):
    x, k = arrays((8, 64, 32, 32), (64, 64, 3, 3))

    assert "conv_general_dilated[" in in_a_loop(DIRECT[name], x, k)
    assert "conv_general_dilated[" not in in_a_loop(plain, x, k)


def plain(x, k):
    return lax.conv(x, k, (1, 1), "SAME")


def in_a_loop(function, x, k, **settings):
    return str(
        jax.make_jaxpr(lambda x, k: map_in_loop(lambda each: function(each[None], k), x, size=1, **settings))(x, k)
    )


def test_outside_of_loops_it_would_cost_more_to_compile_than_it_saves():
    x, k = arrays((1, 64, 32, 32), (64, 64, 3, 3))
    assert "conv_general_dilated[" in str(jax.make_jaxpr(rewrite(plain))(x, k))


def test_it_can_be_switched_off_by_argument():
    x, k = arrays((8, 64, 32, 32), (64, 64, 3, 3))
    assert "conv_general_dilated[" in in_a_loop(plain, x, k, execution=Execution(winograd=None))
    assert "dot_general" not in in_a_loop(plain, x, k, execution=Execution(rewrite=False))


@pytest.mark.parametrize("tile", winograd.TILES)
def test_the_tile_is_an_argument(tile):
    x, k = arrays((8, 64, 32, 32), (64, 64, 3, 3))
    text = in_a_loop(plain, x, k, execution=Execution(winograd=tile))
    rows = winograd.TILES[tile][0] + 2  # of points, each with its products and their transform
    assert text.count("dot_general") == 2 * rows + 2  # the kernel's transform, and that of the image


def test_a_short_loop_does_not_pay():
    x, k = arrays((7, 64, 32, 32), (64, 64, 3, 3))
    assert "conv_general_dilated[" in in_a_loop(plain, x, k)


def loops(x, kernel):
    step = jax.jit(lambda x: jax.grad(lambda x: jnp.tanh(direct(x, kernel, "SAME")).sum())(x))
    return {
        "while": lambda: lax.fori_loop(0, 2 + x[0, 0, 0, 0].astype(int), lambda _, x: step(x), x),
        "scan": lambda: lax.scan(lambda x, add: (step(x) + add, x.mean()), x, jnp.arange(8.0)),
        "scan of vmap": lambda: lax.scan(lambda x, _: (jax.vmap(lambda y: step(y[None])[0])(x), None), x, length=8),
    }


@pytest.mark.parametrize("name", ["while", "scan", "scan of vmap"])
def test_kernels_are_transformed_before_the_loop(name, relative):
    x, kernel = arrays((1, 17, 18, 64), (3, 3, 64, 66))
    kernel /= np.sqrt(9 * 64)  # else the steps are chaotic and magnify the last digit

    def function(x, kernel):
        return loops(x, kernel)[name]()

    ours = jax.make_jaxpr(rewrite(function))(x, kernel)
    (loop,) = [equation for equation in ours.eqns if equation.primitive.name in ("while", "scan")]
    body = loop.params.get("body_jaxpr") or loop.params["jaxpr"]
    inside = [equation.primitive.name for equation in body.eqns]
    made = [equation.outvars[0].aval.shape for equation in body.eqns]
    assert inside.count("dot_general") == 18  # there and back, four rows of points and the image
    assert not any({*shape[-2:]} == {64, 66} for shape in made)  # nothing of a kernel's shape
    for a, b in zip(*(jax.tree.leaves(f(x, kernel)) for f in (rewrite(function), function)), strict=True):
        assert relative(a, b) < 1e-5

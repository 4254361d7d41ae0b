"""Law: `rewrite(f)` has the values of `f`, and leaves no operation that XLA:CPU computes slowly in a compiled loop.

What the programs of a GPU and a TPU keep is in test_execution.py, what a TPU's replaces in test_scatters.py.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

import jaxviz as jv
from jaxviz.ascent import slots
from jaxviz.ascent.arguments import alike
from jaxviz.compiling.rewrite import choices, rewrite


def primitives(function, *args):
    return str(jax.make_jaxpr(function)(*args))


LAYOUTS = [("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW"), ("NHWC", "OIHW", "NCHW"), ("CHWN", "IHWO", "NHWC")]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("settings", [{}, {"window_strides": (2, 2)}, {"padding": "VALID", "rhs_dilation": (2, 1)}])
def test_a_convolution_of_any_layout_has_the_same_gradients(layout, settings, relative):
    sizes = {"N": 2, "H": 9, "W": 8, "C": 3, "I": 3, "O": 4}
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal([sizes[axis] for axis in layout[0]], np.float32))
    k = jnp.asarray(rng.standard_normal([3 if axis in "HW" else sizes[axis] for axis in layout[1]], np.float32))
    settings = {"window_strides": (1, 1), "padding": "SAME", **settings}

    def loss(x, k):
        return (lax.conv_general_dilated(x, k, dimension_numbers=layout, **settings) ** 2).sum()

    gradient = jax.value_and_grad(loss, argnums=0)
    ours, theirs = (jax.jit(each)(x, k) for each in (rewrite(gradient), gradient))
    assert float(ours[0]) == pytest.approx(float(theirs[0]), rel=1e-5)
    assert relative(ours[1], theirs[1]) < 1e-5
    specs = set(
        re.findall(
            r"lhs_spec=\S+ \d, \d, \d\), rhs_spec=[^)]*\), out_spec=[^)]*\)", primitives(rewrite(gradient), x, k)
        )
    )
    assert specs == {"lhs_spec=(0, 3, 1, 2), rhs_spec=(3, 2, 0, 1), out_spec=(0, 3, 1, 2)"}


GROUPS = {
    "depthwise": ((9, 8), 6, 6, 6, {}),
    "stride": ((9, 8), 6, 6, 6, {"window_strides": (2, 2)}),
    "stride beyond the window": ((11, 13), 4, 4, 4, {"window_strides": (4, 5), "padding": "VALID"}),
    "multiplier": ((9, 8), 4, 4, 12, {"window_strides": (2, 1), "padding": "VALID"}),
    "dilation": ((9, 8), 4, 4, 4, {"rhs_dilation": (2, 1)}),
    "signal": ((17,), 4, 4, 8, {"window_strides": (3,)}),
    "volume": ((5, 6, 4), 3, 3, 3, {"window_strides": (1, 2, 2)}),
    "ResNeXt": ((9, 8), 64, 16, 32, {"window_strides": (2, 2)}),
    "odd groups": ((6, 5), 15, 5, 10, {}),
}


@pytest.mark.parametrize("name", GROUPS)
def test_a_convolution_in_groups_has_the_same_gradients(name, relative):
    spatial, inputs, groups, outputs, settings = GROUPS[name]
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, *spatial, inputs), np.float32))
    k = jnp.asarray(rng.standard_normal((*(3,) * len(spatial), inputs // groups, outputs), np.float32))
    axes = "DHW"[-len(spatial) :]
    settings = {"window_strides": (1,) * len(spatial), "padding": "SAME", **settings}
    layout = (f"N{axes}C", f"{axes}IO", f"N{axes}C")

    def loss(x):
        y = lax.conv_general_dilated(x, k, dimension_numbers=layout, feature_group_count=groups, **settings)
        return (y**2).sum()

    gradient = jax.value_and_grad(loss)
    ours, theirs = (jax.jit(each)(x) for each in (rewrite(gradient), gradient))
    assert float(ours[0]) == pytest.approx(float(theirs[0]), rel=1e-5)
    assert relative(ours[1], theirs[1]) < 1e-5
    assert f"feature_group_count={groups}" in primitives(gradient, x)
    assert f"feature_group_count={groups}" not in primitives(rewrite(gradient), x)


POOLS = [((2, 2), (2, 2)), ((3, 3), (3, 3)), ((2, 3), (2, 3)), ((3, 3), (2, 2)), ((3, 2), (1, 3)), ((5, 5), (1, 2))]


@pytest.mark.parametrize(("window", "strides"), POOLS)
@pytest.mark.parametrize("padding", ["VALID", "SAME"])
@pytest.mark.parametrize("size", [(12, 12), (13, 11)])
def test_each_window_of_a_max_pool_gives_its_gradient_to_its_first_maximum(window, strides, padding, size):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(-3, 3, (2, *size, 3)).astype(np.float32))  # full of ties, below zero too
    pool = lambda x: nn.max_pool(x, window, strides, padding)  # noqa: E731
    w = jnp.asarray(rng.integers(1, 99, pool(x).shape).astype(np.float32))  # their sums are exact in any order
    gradient = jax.grad(lambda x: (w * pool(x)).sum())
    assert "select_and_scatter_add" in primitives(gradient, x)
    assert "select_and_scatter_add" not in primitives(rewrite(gradient), x)
    np.testing.assert_array_equal(*(jax.jit(each)(x) for each in (rewrite(gradient), gradient)))


@pytest.mark.parametrize(("window", "strides"), POOLS)
@pytest.mark.parametrize("padding", ["VALID", "SAME"])
@pytest.mark.parametrize("pool", [nn.max_pool, nn.avg_pool])
def test_a_pool_has_the_same_values_and_gradients(pool, window, strides, padding, relative):
    x = np.random.default_rng(0).standard_normal((2, 13, 11, 3)).astype(np.float32)
    function = jax.value_and_grad(lambda x: (pool(x, window, strides, padding) ** 2).sum())
    assert "reduce_window" in primitives(function, x)
    assert "reduce_window" not in primitives(rewrite(function), x)
    ours, theirs = (jax.jit(each)(x) for each in (rewrite(function), function))
    assert float(ours[0]) == pytest.approx(float(theirs[0]), rel=1e-5)
    assert relative(ours[1], theirs[1]) < 1e-5


WINDOWS = {
    "signal": ((2, 9, 3), (1, 3, 1), (1, 2, 1), ((0, 0), (1, 1), (0, 0)), {}),
    "volume": ((1, 5, 6, 4, 2), (1, 2, 3, 2, 1), (1, 2, 1, 2, 1), ((0, 0), (0, 1), (1, 1), (0, 0), (0, 0)), {}),
    "channels first": ((2, 3, 8, 7), (1, 1, 2, 3), (1, 1, 2, 2), ((0, 0),) * 4, {}),
    "cropped": ((2, 9, 8, 3), (1, 2, 2, 1), (1, 2, 2, 1), ((0, 0), (-1, 0), (0, -2), (0, 0)), {}),
    "dilated window": ((2, 9, 8, 3), (1, 3, 2, 1), (1, 1, 2, 1), ((0, 0),) * 4, {"window_dilation": (1, 2, 3, 1)}),
    "dilated pixels": ((2, 5, 4, 3), (1, 2, 3, 1), (1, 1, 1, 1), ((0, 0),) * 4, {"base_dilation": (1, 2, 3, 1)}),
}


def test_float64_stays_float64():
    with jax.enable_x64(True):
        x, k = np.random.default_rng(0).standard_normal((1, 9, 8, 8)), np.ones((3, 3, 1, 8))
        settings = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": 8}

        def score(x):
            y = nn.avg_pool(nn.max_pool(x, (3, 3), (2, 2), "SAME"), (2, 2), (1, 1))
            return (lax.conv_general_dilated(y, k, (2, 2), "SAME", **settings) ** 2).sum()

        ours, theirs = (jax.jit(each)(x) for each in (rewrite(jax.grad(score)), jax.grad(score)))
        assert ours.dtype == theirs.dtype == jnp.float64
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("combine", [lax.add, lax.max], ids=["sum", "maximum"])
@pytest.mark.parametrize("name", WINDOWS)
def test_windows_of_any_kind_have_the_same_values(name, combine, relative):
    shape, window, strides, padding, more = WINDOWS[name]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    start = np.float32(0 if combine is lax.add else -np.inf)
    function = lambda x: lax.reduce_window(x, start, combine, window, strides, padding, **more)  # noqa: E731
    assert "reduce_window" in primitives(function, x)
    assert "reduce_window" not in primitives(rewrite(function), x)
    ours, theirs = (jax.jit(each)(x) for each in (rewrite(function), function))
    finite = np.isfinite(theirs)
    np.testing.assert_array_equal(np.isfinite(ours), finite)
    assert relative(np.where(finite, ours, 0), np.where(finite, theirs, 0)) < 1e-6


@pytest.mark.parametrize("name", ["signal", "volume", "channels first"])
def test_the_way_back_of_a_max_pool_of_any_kind(name):
    shape, window, strides, padding, _ = WINDOWS[name]
    x = np.random.default_rng(0).integers(-3, 3, shape).astype(np.float32)

    def score(x):
        pooled = lax.reduce_window(x, np.float32(-np.inf), lax.max, window, strides, padding)
        return (pooled * jnp.arange(1.0, pooled.size + 1).reshape(pooled.shape)).sum()

    gradient = jax.grad(score)
    assert "select_and_scatter_add" not in primitives(rewrite(gradient), x)
    np.testing.assert_array_equal(*(jax.jit(each)(x) for each in (rewrite(gradient), gradient)))


def test_what_does_not_pay_stays_a_window():
    """Long windows would be many operations, and sums of bfloat16 would lose digits."""
    long = jax.grad(lambda x: nn.max_pool(x, (9, 9), (9, 9)).sum())
    assert "select_and_scatter_add" in primitives(rewrite(long), jnp.ones((1, 9, 9, 1)))
    average = lambda x: nn.avg_pool(x, (2, 2), (2, 2))  # noqa: E731
    assert "reduce_window_sum" in primitives(rewrite(average), jnp.ones((1, 4, 4, 1), jnp.bfloat16))
    long = lambda x: nn.avg_pool(x, (9, 9), (9, 9))  # noqa: E731
    assert "reduce_window_sum" in primitives(rewrite(long), jnp.ones((1, 9, 9, 1)))


def test_nothing_comes_of_nothing():
    """A branch of a network may be empty, where an image is smaller than a window."""
    k, plain = jnp.ones((3, 3, 2, 2)), ("NHWC", "HWIO", "NHWC")
    layers = (
        lambda x: lax.conv_general_dilated(x, k, (2, 2), "VALID", dimension_numbers=plain),
        lambda x: nn.avg_pool(x, (3, 3), (2, 2)),
        lambda x: nn.max_pool(x, (3, 3), (2, 2)),
    )
    for layer in layers:
        assert rewrite(layer)(jnp.ones((1, 2, 5, 2))).shape == (1, 0, 2, 2)


def test_a_pool_keeps_what_is_not_finite():
    x = np.full((1, 6, 6, 1), -np.inf, np.float32)
    x[0, 0, 0, 0], x[0, 3, 3, 0] = np.nan, np.inf
    for pool in (nn.max_pool, nn.avg_pool):
        function = lambda x: pool(x, (2, 2), (2, 2))  # noqa: B023, E731
        np.testing.assert_array_equal(*(jax.jit(each)(x) for each in (rewrite(function), function)))


def bodies(x):
    k = jnp.ones((3, 3, 2, 2)) / 9

    def layer(x):
        return nn.max_pool(nn.relu(nn.avg_pool(x, (1, 1))), (2, 2), (2, 2)) if x.shape[1] > 99 else jnp.tanh(conv(x))

    def conv(x):
        return lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    return {
        "jit": lambda x: jax.jit(layer)(x).sum(),
        "remat": lambda x: jax.checkpoint(layer)(x).sum(),
        "scan": lambda x: lax.scan(lambda c, _: (layer(c), None), x, None, length=3)[0].sum(),
        "cond": lambda x: lax.cond(x.sum() > 0, layer, lambda x: x, x).sum(),
        "relu": lambda x: nn.relu(layer(x)).sum(),
    }


@pytest.mark.parametrize("name", list(bodies(jnp.zeros((1, 4, 4, 2)))))
def test_the_pass_reaches_into_every_body(name):
    x = jnp.asarray(np.random.default_rng(0).random((1, 4, 4, 2), np.float32))
    gradient = jax.grad(bodies(x)[name])
    text = primitives(rewrite(gradient), x)
    assert "rhs_spec=(2, 3, 0, 1)" in primitives(gradient, x)
    assert "rhs_spec=(2, 3, 0, 1)" not in text
    np.testing.assert_allclose(*(jax.jit(each)(x) for each in (rewrite(gradient), gradient)), atol=1e-6)


def test_while_loops_are_rewritten_too():
    k = jnp.ones((2, 2, 3, 3)) / 9

    def shrink(x):  # NCHW, which XLA:CPU runs slowly in a loop
        step = lambda x: lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))  # noqa: E731
        return lax.while_loop(lambda x: x.sum() > 1, lambda x: 0.5 * step(x), x)

    x = jnp.ones((1, 2, 4, 4))
    assert "lhs_spec=(0, 1, 2, 3)" not in primitives(rewrite(shrink), x)
    np.testing.assert_allclose(rewrite(shrink)(x), shrink(x), rtol=1e-6)


def test_no_slow_path_in_the_compiled_ascent(vgg):
    """XLA:CPU's only fast convolution is `b01f_01io->b01f`; every other one in a loop body runs element by element."""
    recipe = jv.recipes.chollet(size=70)  # no matrix of activations has the shape of a kernel at this size
    canvas, optimizer = recipe["canvas"], recipe["optimizer"]
    ((_, objectives),) = alike(jv.channels(vgg, "block4_conv1", [0, 1]))
    keys = jax.random.split(jax.random.key(0), 2)
    state = slots._begin(canvas, optimizer, None, keys, None, channels=3)
    done, live = np.zeros(2, np.int32), np.ones(2, bool)
    lowered = slots._climb.compiled().lower(vgg, objectives, keys, state, done, live, 1, canvas, None, optimizer, None)
    text = lowered.compile().as_text()
    bodies = re.findall(r" while\(.*?body=(%[\w.-]+)", text)
    body = max((computation for computation in text.split("\n\n") if computation.startswith(tuple(bodies))), key=len)
    layouts = re.findall(r"convolution\(.*?dim_labels=(\S+?),", body)
    assert layouts == ["b01f_01io->b01f"]  # from 3 channels to 64; its backward pass is tap by tap
    # The 6 other layers before block4_conv1, forward and backward, are 4 products each; its one channel is one more.
    assert body.count(" dot(") >= 12 * 4
    # Kernels are flipped, transposed and transformed outside: in a step, arrays of their shapes are only read.
    kernel = r"f32\[(?:3,3,|6,)?(?:64,64|64,128|128,64|128,128|128,256|256,128|256,256)\]\S* "
    assert set(re.findall(rf"= {kernel}([a-z-]+)\(", body)) <= {"get-tuple-element", "parameter", "bitcast"}
    assert "select-and-scatter" not in text
    assert "ynn_fusion" not in text


@pytest.mark.parametrize(("channels", "inside"), [(16, True), (9000, False)])
def test_small_slices_are_taken_in_the_loop_and_large_ones_before_it(channels, inside):
    """Each slice outside is a function of its own to compile; a large slice inside would be copied in each step."""
    weights = jnp.asarray(np.random.default_rng(0).random((3, channels), np.float32))

    def function(x, weights):
        return lax.scan(lambda x, _: (jnp.sin(x * weights[1]) * jnp.exp(weights)[2], None), x, None, length=9)[0]

    body = jax.make_jaxpr(rewrite(function))(weights[0], weights).jaxpr
    (scan,) = (each for each in body.eqns if each.primitive.name == "scan")
    names = [each.primitive.name for each in scan.params["jaxpr"].jaxpr.eqns]
    assert ("slice" in names) == inside
    assert "exp" not in names  # whatever is computed, is computed before the loop
    np.testing.assert_allclose(rewrite(function)(weights[0], weights), function(weights[0], weights), rtol=1e-6)


FEW_PIXELS = {
    "a pixel": ((3, 1, 1, 8), (3, 3), {"padding": "SAME"}),
    "four pixels": ((3, 2, 2, 8), (3, 3), {"padding": "SAME"}),
    "uneven padding": ((3, 2, 3, 8), (4, 4), {"padding": ((1, 3), (2, 0))}),
    "a stride": ((3, 3, 3, 8), (5, 5), {"padding": "SAME", "window_strides": (2, 2)}),
    "a dilation": ((3, 3, 2, 8), (3, 3), {"padding": ((2, 2), (3, 3)), "rhs_dilation": (2, 3)}),
    "cropped": ((3, 2, 2, 8), (1, 5), {"padding": ((-1, 0), (3, 2))}),
    "one axis": ((3, 2, 8), (5,), {"padding": "SAME"}),
    "three axes": ((3, 1, 2, 2, 8), (3, 3, 3), {"padding": "SAME"}),
}


@pytest.mark.parametrize("name", FEW_PIXELS)
def test_an_image_of_fewer_pixels_than_the_kernel_is_not_taken_for_the_kernel(name, relative):
    shape, window, settings = FEW_PIXELS[name]
    space = "DHW"[-len(window) :]
    layout = (f"N{space}C", f"{space}IO", f"N{space}C")
    rng = np.random.default_rng(0)
    images = rng.standard_normal(shape).astype(np.float32)
    kernel = rng.standard_normal((*window, 8, 16)).astype(np.float32)

    options = {"window_strides": (1,) * len(window)} | settings

    def function(images, kernel):
        return lax.conv_general_dilated(images, kernel, dimension_numbers=layout, **options)

    ours = jax.jit(rewrite(function))
    assert relative(ours(images, kernel), function(images, kernel)) < 1e-5
    digits = "012"[: len(window)]
    text = ours.lower(images, kernel).compile().as_text()
    (convolution,) = (line for line in text.splitlines() if " convolution(" in line)
    assert f"dim_labels=b{digits}f_{digits}io->" in convolution


def test_what_a_loop_prints_of_its_weights_is_printed_once(capfd):
    def step(x, weight):
        jax.debug.print("the weight is {}", weight)
        return x * weight

    def function(x, weight):
        return lax.scan(lambda x, _: (step(x, weight), None), x, None, length=3)[0]

    jax.block_until_ready(jax.jit(rewrite(function))(1.0, 2.0))
    jax.effects_barrier()
    assert capfd.readouterr().out.count("the weight is") == 1


def test_a_value_that_is_made_again_in_a_loop_may_leave_it():
    weights = jnp.arange(6.0).reshape(2, 3)

    def function(x, weights):
        return lax.scan(lambda x, _: (x + weights[1], (weights[1], weights * 2)), x, None, length=3)

    found, expected = (each(jnp.zeros(3), weights) for each in (rewrite(function), function))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize(("steps", "images", "chosen"), [(8, 1, True), (4, 2, True), (4, 1, False), (1, 8, False)])
def test_winograd_needs_a_loop_of_enough_images(steps, images, chosen):
    kernel = jnp.zeros((3, 3, 64, 64))

    def convolution(x):
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    function = convolution if steps == 1 else lambda xs: lax.map(convolution, xs)
    shape = (images, 16, 16, 64) if steps == 1 else (steps, images, 16, 16, 64)
    with choices() as found:
        jax.eval_shape(rewrite(function), jax.ShapeDtypeStruct(shape, jnp.float32))
    assert [choice.algorithm != "direct" for choice in found] == [chosen]

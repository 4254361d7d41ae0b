"""Law: a convolution tap by tap is the sum that defines it, whatever its stride, dilation and padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxviz.compiling import taps
from jaxviz.compiling.rewrite import rewrite

PLAIN = {"window_strides": (1, 1), "rhs_dilation": (1, 1), "lhs_dilation": (1, 1), "padding": ((0, 0), (0, 0))}
GEOMETRIES = {
    "plain": {},
    "padding": {"padding": ((1, 1), (2, 0))},
    "cropped": {"padding": ((-1, 1), (0, -2))},
    "stride": {"window_strides": (2, 3), "padding": ((1, 2), (0, 1))},
    "dilated kernel": {"rhs_dilation": (1, 2), "padding": ((0, 1), (2, 2))},
    "gradient of a stride": {"lhs_dilation": (2, 2), "padding": ((2, 1), (1, 1))},
    "gradient of a long stride": {"lhs_dilation": (4, 3), "padding": ((2, 5), (1, 1))},
    "gradient of a stride and a dilation": {
        "lhs_dilation": (2, 1),
        "rhs_dilation": (3, 2),
        "padding": ((6, 7), (4, 4)),
    },
    "cropped gradient of a stride": {"lhs_dilation": (2, 3), "padding": ((-1, 2), (0, -3))},
}


def by_definition(images, kernel, window_strides, rhs_dilation, lhs_dilation, padding):
    """The convolution of images [n h w i] with a kernel [y x i o], in float64."""
    n, h, w, _ = images.shape
    dilated = np.zeros((n, (h - 1) * lhs_dilation[0] + 1, (w - 1) * lhs_dilation[1] + 1, images.shape[-1]))
    dilated[:, :: lhs_dilation[0], :: lhs_dilation[1]] = images
    padded = np.pad(dilated, [(0, 0), *([max(0, each) for each in pair] for pair in padding), (0, 0)])
    (top, bottom), (left, right) = ([-min(0, each) for each in pair] for pair in padding)
    padded = padded[:, top : padded.shape[1] - bottom, left : padded.shape[2] - right]
    spans = [padded.shape[axis + 1] - rhs_dilation[axis] * (kernel.shape[axis] - 1) for axis in (0, 1)]
    return sum(
        padded[:, y * rhs_dilation[0] :, x * rhs_dilation[1] :][:, : spans[0], : spans[1]][
            :, :: window_strides[0], :: window_strides[1]
        ]
        @ kernel[y, x]
        for y in range(kernel.shape[0])
        for x in range(kernel.shape[1])
    )


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("window", [(1, 1), (3, 2)])
@pytest.mark.parametrize("kernel_first", [False, True])
def test_the_sum_over_all_taps(geometry, window, kernel_first, relative):
    settings = PLAIN | GEOMETRIES[geometry]
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, 7, 9, 3)).astype(np.float32)
    kernel = rng.standard_normal((*window, 3, 2)).astype(np.float32)
    params = settings | {"precision": None}
    function = jax.jit(lambda *args: taps.convolution(*args, params, kernel_first=kernel_first))
    found = function(images, kernel.swapaxes(2, 3))
    assert relative(found, by_definition(np.float64(images), np.float64(kernel), **settings)) < 1e-5


def test_the_kernel_stays_on_the_left_hand_side():
    images, kernel = np.zeros((1, 2, 2, 64), np.float32), np.zeros((1, 1, 32, 64), np.float32)
    params = PLAIN | {"precision": None}
    function = jax.jit(lambda *args: taps.convolution(*args, params, kernel_first=True))
    program = function.lower(images, kernel).compile().as_text()
    (product,) = (line for line in program.splitlines() if " dot(" in line)
    assert "f32[32,4]" in product


@pytest.mark.parametrize("settings", [{}, {"window_strides": (2, 2)}, {"padding": "VALID", "rhs_dilation": (1, 2)}])
def test_the_gradient_of_few_pixels_reads_a_large_kernel_as_it_lies(settings, relative):
    rng = np.random.default_rng(0)
    images, kernel = (jnp.asarray(rng.standard_normal(shape, np.float32)) for shape in ((1, 7, 6, 24), (3, 3, 24, 40)))
    settings = {"window_strides": (1, 1), "padding": "SAME", **settings}

    def score(images):
        output = lax.conv_general_dilated(images, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **settings)
        return jnp.tanh(output).sum()

    gradient = rewrite(jax.grad(score))
    program = str(jax.make_jaxpr(gradient)(images))
    assert program.count("conv_general_dilated[") == 1  # the forward pass
    assert relative(gradient(images), jax.grad(score)(images)) < 1e-5

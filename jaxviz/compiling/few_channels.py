"""A convolution with few output channels, tap by tap.

    convolution(images, kernel, params) == the convolution of the images with the kernel, up to rounding

Every pixel is multiplied with every tap (element) of the kernel; then the products are shifted and added. All products
are one matrix product of width taps × channels. A direct convolution is as wide as its few output channels, which do
not fill the vector registers of a CPU. With many output channels, the products would take too much memory.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float


def convolution(
    images: Float[jax.Array, "n h w i"], kernel: Float[jax.Array, "y x i o"], params: dict[str, Any]
) -> Float[jax.Array, "n p q o"]:
    """The convolution of the images with the kernel.

    Args:
        params: of the equation of a plain convolution (`is_plain`): its padding, strides, dilation and precision.
    """
    taps = jnp.einsum("nhwi,yxio->nhwyxo", images, kernel, precision=params["precision"])
    padding = [(0, 0, 0), *((*pad, 0) for pad in params["padding"]), *[(0, 0, 0)] * 3]
    taps = lax.pad(taps, jnp.zeros((), taps.dtype), padding)
    (stride_y, stride_x), (gap_y, gap_x) = params["window_strides"], params["rhs_dilation"]
    height = taps.shape[1] - gap_y * (kernel.shape[0] - 1)
    width = taps.shape[2] - gap_x * (kernel.shape[1] - 1)
    shifted = [
        taps[:, y * gap_y : y * gap_y + height : stride_y, x * gap_x : x * gap_x + width : stride_x, y, x]
        for y in range(kernel.shape[0])
        for x in range(kernel.shape[1])
    ]
    return sum(shifted[1:], start=shifted[0])


def is_plain(params: dict[str, Any]) -> bool:
    """Whether a convolution is of [n h w c] images and a [h w i o] kernel, without groups and dilated images."""
    layout = params["dimension_numbers"]
    return (
        (layout.lhs_spec, layout.rhs_spec, layout.out_spec) == ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
        and params["feature_group_count"] == params["batch_group_count"] == 1
        and tuple(params["lhs_dilation"]) == (1, 1)
    )

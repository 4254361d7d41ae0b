"""A convolution with few output channels: the product of every pixel with every tap, then the taps shifted and added.

    convolution(images, kernel, …) == the convolution of images with kernel

The products are one matrix product, whose width is taps × channels instead of the few channels alone, too few to keep
a CPU's vectors full. With many channels the shifted products would be more memory than they are worth.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float


def convolution(
    images: Float[jax.Array, "n h w i"], kernel: Float[jax.Array, "y x i o"], params: dict[str, Any]
) -> Float[jax.Array, "n p q o"]:
    """With the padding, strides, gaps between taps and precision in the `params` of a plain convolution's equation."""
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
    """Whether a convolution is of [n h w c] images with a [h w i o] kernel, without groups or gaps between pixels."""
    layout = params["dimension_numbers"]
    return (
        (layout.lhs_spec, layout.rhs_spec, layout.out_spec) == ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
        and params["feature_group_count"] == params["batch_group_count"] == 1
        and tuple(params["lhs_dilation"]) == (1, 1)
    )

"""A convolution tap by tap: first all products of pixels and taps (elements of the kernel), then their shifted sums.

    convolution(images, kernel, params) == the convolution of the images with the kernel, up to rounding

All products are one matrix product of width taps × output channels. It is faster than a direct convolution where

- there are few output channels, which do not fill the vector registers of a CPU, or
- the kernel has more numbers than the images, as in the gradients of deep layers. A gradient reads the kernel with its
  channel axes swapped and its taps reversed. A direct convolution needs a copy of the kernel in that order, which
  takes longer than the multiplications; a matrix product reads it as it lies in memory.

Elsewhere, the products would take too much memory.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float


def convolution(
    images: Float[jax.Array, "n h w i"], kernel: Float[jax.Array, "y x o i"], params: dict[str, Any]
) -> Float[jax.Array, "n p q o"]:
    """The convolution of the images with the kernel, whose channel axes are swapped, as in every gradient.

    Args:
        params: of the equation of a plain convolution (`is_plain`): its padding, strides, dilation and precision.
    """
    # A gradient has reversed the kernel already, and XLA leaves out what is reversed twice.
    backwards = lax.rev(kernel, (0, 1))
    taps = jnp.einsum("nhwi,yxoi->nhwyxo", images, backwards, precision=params["precision"])
    padding = [(0, 0, 0), *((*pad, 0) for pad in params["padding"]), *[(0, 0, 0)] * 3]
    taps = lax.pad(taps, jnp.zeros((), taps.dtype), padding)
    (stride_y, stride_x), (gap_y, gap_x) = params["window_strides"], params["rhs_dilation"]
    height = taps.shape[1] - gap_y * (kernel.shape[0] - 1)
    width = taps.shape[2] - gap_x * (kernel.shape[1] - 1)
    shifted = [
        taps[:, y * gap_y : y * gap_y + height : stride_y, x * gap_x : x * gap_x + width : stride_x, -1 - y, -1 - x]
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

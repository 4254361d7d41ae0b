"""A convolution tap by tap: first all products of pixels and taps (elements of the kernel), then their shifted sums.

    convolution(images, kernel, params) == the convolution of the images with the kernel, up to rounding

All products are one matrix product of width taps × output channels. It is faster than a direct convolution where

- there are few output channels, which do not fill the vector registers of a CPU, or
- the images are dilated, as in the gradient of a stride: the zeros between the pixels are left out (`phases`), or
- the kernel has more numbers than the images, as in the gradients of deep layers, or only one tap. A gradient reads the
  kernel with its channel axes swapped and its taps reversed. A direct convolution needs a copy of the kernel in that
  order, which takes longer than the multiplications; a matrix product reads it as it lies in memory.

Elsewhere, the products would take too much memory.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from jaxviz.compiling import products
from jaxviz.compiling.phases import axes_of, shifted_sum


def convolution(
    images: Float[jax.Array, "n h w i"],
    kernel: Float[jax.Array, "y x o i"],
    params: dict[str, Any],
    *,
    kernel_first: bool = False,
) -> Float[jax.Array, "n p q o"]:
    """The convolution of the images with the kernel, whose channel axes are swapped, as in every gradient.

    Args:
        params: of the equation of a plain convolution (`is_plain`): its padding, strides, dilations and precision.
        kernel_first: whether the kernel is on the left-hand side of the product (`products.kernel_first`), which pays
            where there are fewer pixels than channels.
    """
    axes = axes_of(params, (*images.shape[:-1], kernel.shape[2]), kernel.shape[:2])
    # A gradient has reversed its kernel already, and XLA leaves out what is reversed twice.
    taps = _products(images, lax.rev(kernel, (0, 1)), params["precision"], kernel_first)  # [n h w y x o]
    batch, rows, columns, channels = (axis.around for axis in axes)
    taps = lax.pad(taps, jnp.zeros((), taps.dtype), [batch, rows, columns, (0, 0, 0), (0, 0, 0), channels])

    def product(tap: tuple[int, ...], pixels: tuple[slice, ...]) -> jax.Array:
        _, y, x, _ = tap
        return taps[(*pixels[:-1], -1 - y, -1 - x, pixels[-1])]

    return shifted_sum(axes, product, taps.dtype)


def _products(images: jax.Array, kernel: jax.Array, precision: Any, kernel_first: bool) -> jax.Array:
    """The products of all pixels and taps, [n h w y x o]."""
    pixels, columns = images.reshape(-1, images.shape[-1]), kernel.reshape(-1, kernel.shape[-1])
    if kernel_first:
        found = products.kernel_first(pixels, columns, precision=precision)
    else:
        found = lax.dot_general(pixels, columns, (((1,), (1,)), ((), ())), precision=precision)
    return found.reshape(*images.shape[:-1], *kernel.shape[:-1])


def is_plain(params: dict[str, Any]) -> bool:
    """Whether a convolution is of [n h w c] images and a [h w i o] kernel, without groups."""
    layout = params["dimension_numbers"]
    canonical = (layout.lhs_spec, layout.rhs_spec, layout.out_spec) == ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
    return canonical and params["feature_group_count"] == params["batch_group_count"] == 1

"""A convolution in groups: each group of output channels reads a group of input channels of its own.

    convolution(images, kernel, params) == the convolution of the images with the kernel, up to rounding

XLA:CPU computes it element by element, 20 to 200 times slower than what follows. There are two cases:

- *Depthwise*: one input channel in each group. For each tap (element) of the kernel, the shifted image is multiplied by
  one number for each channel, and the products are added. XLA fuses the slices, products and sums of all taps into one
  loop over the channels, which fill the vector registers. This loop runs once, however many operations read its result.
- *Several input channels in each group*, as in ResNeXt: neighbouring groups are joined to blocks of at least `BLOCK`
  input channels. Each block is a dense convolution, whose kernel is 0 between channels of different groups. Larger
  blocks multiply more zeros; smaller ones are more operations, which cost compilation, and do not fill the registers.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from jaxviz.compiling.phases import axes_of, shifted_sum
from jaxviz.compiling.workarounds import computed_once

BLOCK = 32  # measured on ResNeXt's four shapes: 1.4 to 5 times faster than XLA:CPU's own, with 4 to 32 convolutions


def convolution(
    images: Float[jax.Array, "n *spatial i"], kernel: Float[jax.Array, "*window j o"], params: dict[str, Any]
) -> Float[jax.Array, "n *out o"]:
    """The convolution of the images with the kernel, whose j is i divided by the number of groups.

    Args:
        params: of the equation of a convolution with channels last: its groups, padding, strides and dilations.
    """
    if kernel.shape[-2] > 1:
        return _in_blocks(images, kernel, params)
    return computed_once(partial(_depthwise, params))(images, kernel)


def _depthwise(params: dict[str, Any], images: jax.Array, kernel: jax.Array) -> jax.Array:
    axes = axes_of(params, (*images.shape[:-1], kernel.shape[-1]), kernel.shape[:-2])
    padded = lax.pad(images, jnp.zeros((), images.dtype), [axis.around for axis in axes])
    if (copies := kernel.shape[-1] // images.shape[-1]) > 1:
        padded = jnp.repeat(padded, copies, axis=-1)
    return shifted_sum(axes, lambda tap, pixels: padded[pixels] * kernel[tap[1:-1]][0], images.dtype)


def _in_blocks(images: jax.Array, kernel: jax.Array, params: dict[str, Any]) -> jax.Array:
    groups, (*window, inputs, outputs) = params["feature_group_count"], kernel.shape
    divisors = [size for size in range(1, groups + 1) if groups % size == 0]
    joined = next((size for size in divisors if size * inputs >= BLOCK), groups)
    blocks, each = groups // joined, outputs // groups
    if joined > 1:
        diagonal = jnp.eye(joined, dtype=kernel.dtype)[:, None, None, :, None]
        apart = kernel.reshape(*window, 1, inputs, blocks, joined, each) * diagonal
        kernel = apart.reshape(*window, joined * inputs, outputs)
    pairs = zip(jnp.split(images, blocks, -1), jnp.split(kernel, blocks, -1), strict=True)
    dense = params | {"feature_group_count": 1}
    return jnp.concatenate([lax.conv_general_dilated_p.bind(*pair, **dense) for pair in pairs], -1)

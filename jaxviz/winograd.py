"""Winograd's convolution: a 3×3 convolution of stride 1 with 2.25 times fewer multiplications.

    convolution(images, transform(kernel), padding) == the convolution of images with kernel, to float32's last digits

F(2×2, 3×3): each 2×2 tile of the output comes from a 4×4 window of the input. Window d and kernel k are transformed by
additions, multiplied point by point, which over all tiles and channels is one matrix product for each of the 16 points,
and transformed back: Y = Aᵀ [(G k Gᵀ) ⊙ (Bᵀ d B)] A. Larger tiles save more, but lose digits.

Source: Lavin & Gray 2016, Fast algorithms for convolutional neural networks, section 4.1.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float


def transform(kernel: Float[jax.Array, "3 3 i o"]) -> Float[jax.Array, "4 4 i o"]:
    """A kernel at the sixteen points: G k Gᵀ."""

    def along(k: jax.Array) -> jax.Array:  # G k
        return jnp.stack([k[0], (k[0] + k[1] + k[2]) / 2, (k[0] - k[1] + k[2]) / 2, k[2]])

    return along(along(kernel).swapaxes(0, 1)).swapaxes(0, 1)


def convolution(
    images: Float[jax.Array, "n h w i"],
    points: Float[jax.Array, "4 4 i o"],
    padding: Sequence[tuple[int, int]],
    precision: Any = None,
) -> Float[jax.Array, "n y x o"]:
    """The convolution with the kernel that was transformed to `points`; `padding` is (low, high) for h and w."""
    (top, bottom), (left, right) = padding
    count, height, width, channels = images.shape
    height, width = height + top + bottom - 2, width + left + right - 2  # of the output
    rows, columns = tiles(height, width)
    # Tiles cover an odd output and one pixel more, which is cut off in the end.
    fill = [(0, 0, 0), (top, bottom + height % 2, 0), (left, right + width % 2, 0), (0, 0, 0)]
    padded = lax.pad(images, jnp.zeros((), images.dtype), fill)

    def pixel(y: int, x: int) -> jax.Array:
        """One pixel of every window, [n rows columns i]."""
        return padded[:, y : y + 2 * rows - 1 : 2, x : x + 2 * columns - 1 : 2]

    def product(y: int, x: int) -> jax.Array:
        # A dot for each point: one batched dot is a little faster where all points fit in the cache together (less than
        # about 16 MB), and slower by up to a half where they do not.
        output = jnp.dot(windows[y][x].reshape(-1, channels), points[y, x], precision=precision)
        return output.reshape(count, rows, columns, -1)

    windows = _both(_before, [[pixel(y, x) for x in range(4)] for y in range(4)])
    outputs = _both(_after, [[product(y, x) for x in range(4)] for y in range(4)])
    output = jnp.stack([jnp.stack(row, 3) for row in outputs], 2)  # [n rows 2 columns 2 o]
    return output.reshape(count, 2 * rows, 2 * columns, -1)[:, :height, :width]


def tiles(height: int, width: int) -> tuple[int, int]:
    """How many 2×2 tiles cover an output."""
    return -(-height // 2), -(-width // 2)


def _both(transform: Any, square: list[list[jax.Array]]) -> list[list[jax.Array]]:
    """T s Tᵀ of a square of arrays."""
    columns = [transform(list(column)) for column in zip(*square, strict=True)]  # [x][y]
    return [transform(list(row)) for row in zip(*columns, strict=True)]


def _before(d: list[jax.Array]) -> list[jax.Array]:  # Bᵀ d
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _after(m: list[jax.Array]) -> list[jax.Array]:  # Aᵀ m
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]

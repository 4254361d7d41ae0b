"""Winograd's convolution: a 3×3 convolution of stride 1 with fewer multiplications.

    convolution(images, transform(kernel, tile), padding) == the convolution with the kernel, up to rounding

F(m×n, 3×3) computes each m×n tile of the output from a window of (m+2)×(n+2) pixels. The window d and the kernel k are
transformed by additions, multiplied point by point, and transformed back: Y = Aᵀ [(G k Gᵀ) ⊙ (Bᵀ d B)] A. Height and
width have different matrices if m and n differ. Over all tiles and channels, the multiplication of one point is one
matrix product.

| tile | multiplications saved | numbers moved for each pixel | largest error, 256 channels, outputs of variance 1 |
|---|---|---|---|
| 2×2 | 2.25 × | 4 | 3e-6 (direct convolution: 1e-6) |
| 2×4 | 3 × | 3 | 7e-6 |
| 4×4 | 4 × | 2.25 | 2e-5 |

2×4 is the default: it moves less memory and multiplies less than 2×2, and its error is still in the last digits of
float32.

Source: Lavin & Gray 2016, Fast algorithms for convolutional neural networks, section 4.1. The points of F(4, 3) are 0,
±1, 1/2, -2 and infinity, by Barabasz et al. 2020 (Error analysis and improving the accuracy of Winograd convolution,
table 2). At 4×4 they have a third of the error of the usual points 0, ±1, ±2.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

Tile = tuple[int, int]  # height and width


class _Matrices(NamedTuple):
    """F(m, 3) along one axis."""

    output: np.ndarray  # Aᵀ [m m+2]
    kernel: np.ndarray  # G [m+2 3]
    window: np.ndarray  # Bᵀ [m+2 m+2]


# fmt: off
_ALONG = {
    2: _Matrices(
        np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
        np.array([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]),
        np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
    ),
    4: _Matrices(
        np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 1 / 2, -2, 0], [0, 1, 1, 1 / 4, 4, 0], [0, 1, -1, 1 / 8, -8, 1]]),
        np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [-1 / 3, 1 / 3, -1 / 3], [-16 / 15, -8 / 15, -4 / 15],
                  [1 / 15, -2 / 15, 4 / 15], [0, 0, 1]]),
        np.array([[1, -3 / 2, -2, 3 / 2, 1, 0], [0, -1, 1 / 2, 5 / 2, 1, 0], [0, 1, -5 / 2, 1 / 2, 1, 0],
                  [0, -2, -1, 2, 1, 0], [0, 1 / 2, -1, -1 / 2, 1, 0], [0, 1, -3 / 2, -2, 3 / 2, 1]]),
    ),
}
# fmt: on

TILES: dict[str, Tile] = {f"{m}x{n}": (m, n) for m, n in ((2, 2), (2, 4), (4, 4))}
Points = Float[jax.Array, "p q i o"]  # m + 2 rows of n + 2 points


def transform(kernel: Float[jax.Array, "3 3 i o"], tile: Tile) -> Points:
    """The kernel at the (m+2)(n+2) points of a tile of m × n: G k Gᵀ, as one matrix product over the 9 taps."""
    rows, columns = (_ALONG[size].kernel for size in tile)
    both = np.einsum("py,qx->pqyx", rows, columns).reshape(-1, 9).astype(np.float32)
    points = lax.dot(jnp.asarray(both), kernel.reshape(9, -1), precision=lax.Precision.HIGHEST)
    return points.reshape(len(rows), len(columns), *kernel.shape[2:])


def convolution(
    images: Float[jax.Array, "n h w i"], points: Points, padding: Sequence[tuple[int, int]], precision: Any = None
) -> Float[jax.Array, "n y x o"]:
    """The convolution of the images with the kernel that was transformed to `points`.

    The transforms along the width are matrix products too. As sums of slices they would be as fast, but XLA would
    compile each of them anew, which takes 3 times as long for the whole convolution.

    Args:
        padding: (low, high) for h and for w; it may be negative.
        precision: of the matrix products, as for `jax.lax.dot_general`.
    """
    (top, bottom), (left, right) = padding
    m, n = points.shape[0] - 2, points.shape[1] - 2
    height, width = images.shape[1] + top + bottom - 2, images.shape[2] + left + right - 2  # of the output
    rows, columns = tiles(height, width, (m, n))
    # The tiles cover the output and a few pixels beyond it, which are cut off at the end.
    fill = [(0, 0, 0), (top, bottom + m * rows - height, 0), (left, right + n * columns - width, 0), (0, 0, 0)]
    padded = lax.pad(images, jnp.zeros((), images.dtype), fill)

    def every(values: jax.Array, axis: int, start: int, step: int, count: int) -> jax.Array:
        return lax.slice_in_dim(values, start, start + step * (count - 1) + 1, step, axis)

    pixels = jnp.stack([every(padded, 2, x, n, columns) for x in range(n + 2)])
    across = _product(_ALONG[n].window, pixels)  # [n+2 images h columns i]

    def products(down: np.ndarray, kernels: jax.Array) -> jax.Array:
        """The products of one row of points, [n images rows columns o].

        There is one `dot_general` for each row. In a single one for all points, XLA would write all transformed
        windows to memory before it reads the first.
        """
        windows = _combination(down, [every(across, 2, y, m, rows) for y in range(m + 2)])
        windows = windows.reshape(n + 2, -1, windows.shape[-1])
        found = lax.dot_general(windows, kernels, (((2,), (1,)), ((0,), (0,))), precision=precision)
        return _product(_ALONG[n].output, found).reshape(n, len(images), rows, columns, -1)

    found = [products(down, row) for down, row in zip(_ALONG[m].window, points, strict=True)]
    output = jnp.stack([_combination(factors, found) for factors in _ALONG[m].output])  # [m n images rows columns o]
    output = output.transpose(2, 3, 0, 4, 1, 5)
    return output.reshape(len(images), m * rows, n * columns, -1)[:, :height, :width]


def tiles(height: int, width: int, tile: Tile) -> tuple[int, int]:
    """The number of tiles, along height and width, that cover an output."""
    return -(-height // tile[0]), -(-width // tile[1])


def _product(matrix: np.ndarray, values: Float[jax.Array, "k ..."]) -> Float[jax.Array, "l ..."]:
    """The matrix `[l k]` times the values, along their first axis."""
    return lax.dot_general(jnp.asarray(matrix, values.dtype), values, (((1,), (0,)), ((), ())))


def _combination(factors: np.ndarray, values: list[jax.Array]) -> jax.Array:
    """The sum of the values times their factors, most of which are 0, 1 or -1."""
    pairs = [(float(factor), value) for factor, value in zip(factors, values, strict=True) if factor]
    terms = [value if factor == 1 else factor * value for factor, value in pairs]
    return sum(terms[1:], start=terms[0])

"""Products of a matrix with a kernel that is read across its rows, as in the gradient of a dense layer."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from jaxviz.compiling.workarounds import Equation, parameters


def is_turned(equation: Equation) -> bool:
    """Whether a product is of a few rows `[... k]`, but more than one, with a kernel `[o k]`."""
    operands: list[Any] = equation.invars
    rows, kernel = (atom.aval.shape for atom in operands)
    params = parameters(equation)
    (axes, contracted), (batched, _) = params["dimension_numbers"]
    if len(kernel) != 2 or tuple(contracted) != (1,) or batched or params["out_sharding"] is not None:
        return False
    count = math.prod(rows[: axes[0]]) * math.prod(rows[axes[0] + 1 :])
    return count > 1 and are_few(count, kernel)


def are_few(rows: int, kernel: Sequence[int]) -> bool:
    """Whether a product has no more rows than its kernel `[o k]` has channels: then reading the kernel takes long."""
    return 0 < rows <= min(kernel)


def kernel_first(
    rows: Float[jax.Array, "..."],
    kernel: Float[jax.Array, "o k"],
    axis: int = -1,
    precision: Any = None,
    **settings: Any,
) -> Float[jax.Array, "... o"]:
    """The product of all rows `[… k]` with the kernel, computed with the kernel on the left-hand side.

    There, XLA:CPU reads a kernel as it lies in memory. On the right-hand side it copies the kernel in another order
    first, which takes most of the time where there are few rows: for kernels of 512 × 512 to 25088 × 4096, the whole
    product took 3 to 12 times as long with 2 to 16 rows, and 2 to 3 times as long with 49 (AMD EPYC of family 25).

    Args:
        axis: that of `rows` which has length k; the result lacks it.
        precision: of `dot_general`; one value, or one for the rows and one for the kernel.
        settings: all other arguments of `dot_general`.
    """
    settings["precision"] = precision[::-1] if isinstance(precision, tuple) else precision
    product = lax.dot_general(kernel, rows, (((1,), (axis % rows.ndim,)), ((), ())), **settings)
    return jnp.moveaxis(lax.optimization_barrier(product), 0, -1)  # without the barrier, XLA turns the product round

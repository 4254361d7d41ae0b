"""Products of a matrix with a kernel that is read across its rows, as in the gradient of a dense layer."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from jaxviz.compiling.workarounds import Equation, parameters


def is_turned(equation: Equation) -> bool:
    """Whether a product is of several rows `[... k]` with a kernel `[o k]`, and has more numbers in the kernel."""
    shapes: list[Any] = [atom.aval for atom in equation.invars]
    rows, kernel = shapes
    params = parameters(equation)
    (axes, contracted), (batched, _) = params["dimension_numbers"]
    if kernel.ndim != 2 or tuple(contracted) != (1,) or batched or params["out_sharding"] is not None:
        return False
    return 0 not in rows.shape and 1 < rows.size // rows.shape[axes[0]] <= min(kernel.shape)


def kernel_first(
    rows: Float[jax.Array, "..."], kernel: Float[jax.Array, "o k"], axis: int = -1, **settings: Any
) -> Float[jax.Array, "... o"]:
    """The product of all rows `[… k]` with the kernel, computed with the kernel on the left-hand side.

    There, XLA:CPU reads a kernel as it lies in memory. On the right-hand side it would copy the kernel in another order
    first. With fewer rows than channels, the copy takes 3 to 12 times as long as the product.

    Args:
        axis: that of `rows` which has length k; the result lacks it.
        settings: of `dot_general`, such as its precision.
    """
    product = lax.dot_general(kernel, rows, (((1,), (axis % rows.ndim,)), ((), ())), **settings)
    return jnp.moveaxis(lax.optimization_barrier(product), 0, -1)  # without the barrier, XLA turns the product round

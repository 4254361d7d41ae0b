"""Scatters without the serial loop that XLA runs for them on a TPU.

    add(operand, places, updates) == XLA's scatter-add of whole columns, up to rounding

The gradient of a resample adds each pixel's gradient at the place that the pixel was read from. A TPU adds them one
after the other, but it multiplies matrices fast. A number is added at a place by a product with a *one-hot* vector,
which is 1 at the place and 0 elsewhere. The places are split into rows and columns, so that two short one-hot vectors
stand for a long one: with the row r(n) and the column q(n) of the place of the update n,

    sum[c, i, j] = Σₙ [r(n) = i] · [q(n) = j] · update[c, n].

This is one matrix product over n. It multiplies each update by zeros, too: an update that is not finite makes all sums
of its channel NaN, where a scatter would spoil one.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Int

from jaxviz.compiling.workarounds import Equation, parameters

COLUMNS = 128  # the lanes of a TPU: numbers that it computes side by side
MANY = 1024  # updates from which on the product is worth its zeros
SMALL = 1 << 18  # places up to which it is; each update is multiplied by as many zeros


def is_of_columns(equation: Equation) -> bool:
    """Whether an equation adds many updates `[… c n]` to a small operand `[… c p]` at places on its last axis.

    This is the gradient of `operand.at[:, places].get()`, for one item or, by `vmap`, for a batch of them.
    """
    operands: list[Any] = equation.invars
    operand, places, updates = (atom.aval for atom in operands)
    if operand.ndim not in (2, 3) or not jnp.issubdtype(operand.dtype, jnp.floating):
        return False
    batch, last = operand.ndim - 2, operand.ndim - 1
    columns = lax.ScatterDimensionNumbers(
        update_window_dims=(batch,),
        inserted_window_dims=(last,),
        scatter_dims_to_operand_dims=(last,),
        operand_batching_dims=tuple(range(batch)),
        scatter_indices_batching_dims=tuple(range(batch)),
    )
    whole = updates.shape[:-1] == operand.shape[:-1] and places.shape == (*updates.shape[:batch], updates.shape[-1], 1)
    many = updates.shape[-1] >= MANY and operand.shape[-1] <= SMALL
    return parameters(equation)["dimension_numbers"] == columns and whole and many


def add(
    operand: Float[jax.Array, "*b c p"], places: Int[jax.Array, "*b n"], updates: Float[jax.Array, "*b c n"]
) -> Float[jax.Array, "*b c p"]:
    """The operand, with each update added at its place; an update whose place is not in the operand is left out."""
    length = operand.shape[-1]
    rows = -(-length // COLUMNS)
    inside = (places >= 0) & (places < length)
    row = jnp.where(inside, places // COLUMNS, rows)
    in_row = _one_hot(row, rows, operand.dtype)
    in_column = _one_hot(places % COLUMNS, COLUMNS, operand.dtype)
    parts = updates[..., None] * in_column[..., None, :, :]
    added = jnp.einsum("...nr,...cnq->...crq", in_row, parts, precision=lax.Precision.HIGHEST)
    return operand + added.reshape(*added.shape[:-2], -1)[..., :length]


def _one_hot(numbers: jax.Array, count: int, dtype: Any) -> jax.Array:
    return (numbers[..., None] == jnp.arange(count)).astype(dtype)

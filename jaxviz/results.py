"""How results print: their type, shapes and ranges, not a page of numbers."""

import dataclasses
from typing import Any

import jax
import numpy as np


def brief(result: Any) -> str:
    """The `__repr__` of a named tuple or a dataclass: its arrays by shape and range, its single numbers to six digits.

    A dataclass leaves out what is None.
    """
    given = dataclasses.is_dataclass(result)
    fields = {name: value for name, value in vars(result).items() if value is not None} if given else result._asdict()
    return f"{type(result).__name__}({', '.join(f'{name}={_of(value)}' for name, value in fields.items())})"


def _of(value: Any) -> str:
    if isinstance(value, jax.core.Tracer) or not isinstance(value, np.ndarray | np.generic | jax.Array | float):
        return repr(value)  # within a traced function, or where JAX has put something else into the fields
    array = np.asarray(value)
    if array.dtype == bool:
        return repr(bool(array)) if array.ndim == 0 else f"bool{list(array.shape)}, {np.count_nonzero(array)} True"
    if array.ndim == 0:
        return f"{array:.6g}"
    ends = f" from {array.min():.4g} to {array.max():.4g}" if array.size else ""
    return f"{array.dtype}{list(array.shape)}{ends}"

"""How results print: what they are and how large, not a page of numbers."""

from typing import Any

import jax
import numpy as np


def brief(result: Any) -> str:
    """A named tuple of arrays by their shapes and ranges, single numbers to six digits; its `__repr__`."""
    fields = zip(result._fields, result, strict=True)
    return f"{type(result).__name__}({', '.join(f'{name}={_of(value)}' for name, value in fields)})"


def _of(value: Any) -> str:
    if isinstance(value, jax.core.Tracer) or not isinstance(value, np.ndarray | np.generic | jax.Array | float):
        return repr(value)  # in a traced function, or of a tree of something else
    array = np.asarray(value)
    if array.ndim == 0:
        return f"{array:.6g}"
    ends = f" from {array.min():.4g} to {array.max():.4g}" if array.size else ""
    return f"{array.dtype}{list(array.shape)}{ends}"

"""The kernel of each filter in few numbers, to find filters with like weights.

    describe(model, layer, filters) -> float32 [filters d], d at most LENGTH, or None

Law: the inner products of two rows are about the cosine of their kernels; exactly, where a kernel has at most LENGTH
weights or the layer at most LENGTH filters.
"""

from typing import Any

import jax
import numpy as np

from jaxviz.model import Model

LENGTH = 64  # numbers; the principal components beyond hold little, and cosines change in the second digit


def describe(model: Model, layer: str, filters: int) -> np.ndarray | None:
    """Principal coordinates of the kernels at unit length; None if there is no array that must be the kernel.

    That is the only array of parameters of this layer with two axes or more, of which the last are the filters.
    """
    kernel = _kernel(model.params, layer, filters)
    if kernel is None or not np.isfinite(kernel).all():
        return None
    rows = kernel.reshape(-1, filters).T.astype(np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    if rows.shape[1] > LENGTH:
        values, vectors = np.linalg.eigh(rows @ rows.T)  # ascending
        rows = (vectors * np.sqrt(np.maximum(values, 0)))[:, ::-1][:, :LENGTH]
    return rows.astype(np.float32)


def _kernel(params: Any, layer: str, filters: int) -> np.ndarray | None:
    own = f"/{layer.removesuffix('/pre')}/"
    found = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if own in f"/{jax.tree_util.keystr(path, simple=True, separator='/')}"
        and np.ndim(leaf) > 1
        and np.shape(leaf)[-1] == filters
    ]
    return np.asarray(found[0]) if len(found) == 1 else None

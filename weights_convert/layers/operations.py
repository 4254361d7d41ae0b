"""The operations, from all their families, and layers that the caller gives as Python functions.

`config/operations.py` says how Keras writes an operation to a file.
"""

from jax import Array

from . import arithmetic, custom, cutting, moving, neural, reducing
from .custom import OPTIONS
from .kind import Config, Kind

CUSTOM = "Custom"
"""The kind of a layer that computes a Python function, which the caller gave."""


def _call(config: Config, *xs: Array) -> Array:
    return config["function"](*xs)


KINDS = {
    **arithmetic.KINDS,
    **reducing.KINDS,
    **cutting.KINDS,
    **moving.KINDS,
    **neural.KINDS,
    **custom.KINDS,
    CUSTOM: Kind(OPTIONS, _call, prepares="values", package=None),
}

"""The operations, from all their families, and layers that the caller gives as Python functions.

`config/operations.py` says how Keras writes an operation to a file.
"""

from jax import Array

from . import arithmetic, axes, neural
from . import options as o
from .kind import Config, Kind
from .options import Option

CUSTOM = "Custom"
"""The kind of a layer that computes a Python function, which the caller gave."""


def _call(config: Config, *xs: Array) -> Array:
    return config["function"](*xs)


KINDS = {
    **arithmetic.KINDS,
    **axes.KINDS,
    **neural.KINDS,
    CUSTOM: Kind({"function": Option(o.function)}, _call, prepares="values"),
}

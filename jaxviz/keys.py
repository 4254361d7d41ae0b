"""Random keys: every function that draws takes a `key`, in either form of JAX, and has the same default.

checked_key(key) -> a typed key, or an array of them
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxviz.errors import InputError


def checked_key(key: Any) -> jax.Array:
    """`key` as typed keys of JAX; None is `jax.random.key(0)`, and one of `jax.random.PRNGKey` is wrapped.

    Raises:
        InputError: anything else, such as the number of a seed.
    """
    if key is None:
        return jax.random.key(0)
    array = isinstance(key, jax.Array | np.ndarray)
    typed = array and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not typed and not (array and key.ndim and key.dtype == jnp.uint32):
        hint = f"jax.random.key({key})" if isinstance(key, int) else "jax.random.key(0)"
        raise InputError(f"a key is a random key of JAX, such as {hint}; given: {key!r}")
    return key if typed else jax.random.wrap_key_data(key)


def one_key(key: Any) -> jax.Array:
    """A single key, as `checked_key` returns it.

    Raises:
        InputError: several keys, or no key.
    """
    key = checked_key(key)
    if key.shape:
        raise InputError(f"there is one key here, since all is drawn from one; given: {list(key.shape)} keys")
    return key

"""Random keys, and what is drawn from them, in as few programs as possible.

Outside of a compiled function, each operation on keys is several programs of its own, and the first call of a process
waits for all of them.
"""

from collections.abc import Callable
from typing import Any

import jax

from jaxviz.compiling.jit import jit


@jit()
def folded(key: jax.Array, numbers: jax.Array) -> jax.Array:
    """A key for each of `numbers` [n], made of one key."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)


@jit()
def picked(keys: jax.Array, which: jax.Array | int) -> jax.Array:
    """The keys at the places `which`."""
    return keys[which]


def drawn(draw: Callable[[jax.Array], Any], keys: jax.Array) -> Any:
    """What `draw` returns for each key, stacked.

    On a CPU it is a loop over the keys, which compiles in half the time and runs no slower. Elsewhere all keys draw
    at once. Both ways draw the same numbers with JAX's usual keys, but not with those of its implementation "rbg".
    """
    return jax.lax.platform_dependent(keys, cpu=lambda keys: jax.lax.map(draw, keys), default=jax.vmap(draw))

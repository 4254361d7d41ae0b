"""Modules of Equinox, which take one image.

Law: the network computes what `jax.vmap` of the module computes, in inference mode.

Equinox is optional, and is imported where there is such a module.
"""

import inspect
import sys
from typing import Any

import jax

from jaxviz.compiling.layers import Path
from jaxviz.errors import InputError
from jaxviz.networks.calls import evaluation
from jaxviz.networks.traced import Network, paths_of, text


def is_equinox(module: Any) -> bool:
    equinox = sys.modules.get("equinox")
    return equinox is not None and isinstance(module, equinox.Module)


def is_state(part: Any) -> bool:
    """Whether it is an `eqx.nn.State`."""
    equinox = sys.modules.get("equinox")
    return equinox is not None and isinstance(part, equinox.nn.State)


def has_state(module: Any) -> bool:
    """Whether a module of Equinox keeps some of its numbers in an `eqx.nn.State`."""
    import equinox

    return bool(_with_paths(module, equinox.nn.StateIndex))


def of_equinox(module: Any, state: Any) -> Network:
    """The network of a callable module.

    A `key` that the call requires is the key 0, unless one is bound: in inference mode, no layer of Equinox draws.

    Args:
        state: the `eqx.nn.State` of a module that has some, for batch normalisation, say; None for others.

    Raises:
        InputError: a state that is missing, or something else in its place.
    """
    import equinox

    indices = _with_paths(module, equinox.nn.StateIndex)
    if not isinstance(state, equinox.nn.State if indices else type(None)):
        needs = "has state, so pass it: wrap(module, state, …)" if indices else "holds its own weights: wrap(module, …)"
        raise InputError(f"this module of Equinox {needs}; given: variables of type {type(state).__name__}")
    module = equinox.nn.inference_mode(module)
    arrays, rest = equinox.partition(module, equinox.is_array)
    switches = evaluation(module)
    taken = inspect.signature(module.__call__).parameters
    if "key" in taken and taken["key"].default is inspect.Parameter.empty:
        switches["key"] = jax.random.key(0)

    def function(params: Any, images: Any, **arguments: Any) -> Any:
        arrays, *states = params

        def of_one(image: Any) -> Any:
            value = equinox.combine(arrays, rest)(image, *states, **{**switches, **arguments})
            if states and isinstance(value, tuple) and isinstance(value[-1], equinox.nn.State):
                return value[0] if len(value) == 2 else value[:-1]
            return value

        return jax.vmap(of_one)(images)

    paths = [path[1:] for path in paths_of((arrays,))]
    kinds = {"/".join(path): type(part).__name__ for path, part in _with_paths(module, equinox.Module).items()}
    if not indices:
        return Network(function, module.__call__, 1, {*switches}, (arrays,), tuple(paths), kinds)
    # The state belongs to the modules that hold its indices.
    leaves, structure = jax.tree.flatten(state)
    numbered = jax.tree.unflatten(structure, [*range(len(leaves))])
    owners = {n: path[:-1] for path, index in indices.items() for n in jax.tree.leaves(numbered.get(index))}
    places = tuple((*owners.get(n, ()), f"state {n}") for n in range(len(leaves)))
    numbers = frozenset(range(len(paths), len(paths) + len(leaves)))
    return Network(function, module.__call__, 2, {*switches}, (arrays, state), (*paths, *places), kinds, numbers)


def _with_paths(part: Any, kind: Any, path: Path = ()) -> dict[Path, Any]:
    """All parts of a module, and itself, that are of the class `kind`, by their paths."""
    found = {path: part} if isinstance(part, kind) else {}
    for keys, child in jax.tree_util.tree_flatten_with_path(part, is_leaf=lambda each: each is not part)[0]:
        if keys:
            found |= _with_paths(child, kind, (*path, *text(keys)))
    return found

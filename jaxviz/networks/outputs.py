"""The one result that is explained, of all that a module or a function returns.

    select(value, output) -> array

`output` is a key or a path of keys: the number of a part of a tuple or list, the key of a dictionary, or the name of a
field of a dataclass or NamedTuple.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from jaxviz.errors import InputError

Path = tuple[Any, ...]


def path_of(output: Any) -> Path:
    """The path of `wrap`'s argument: None is the empty path, and a single key is a path of one."""
    if output is None:
        return ()
    return tuple(output) if isinstance(output, list | tuple) else (output,)


def select(value: Any, output: Path) -> jax.Array:
    """The array at the path `output` of a module's result `value`.

    Raises:
        InputError: there is no array there; the message lists all arrays of the result.
    """
    found = arrays(value)
    if not output and () in found:
        return value
    for path, array in found.items():
        if output and path == _positive(value, output):
            return array
    if () in found:
        raise InputError(f"the module returns one array, so leave output out; given: output={_shown(output)}")
    kind = type(value).__name__
    if not found:
        raise InputError(
            "it returns no array; it must return an array [n …] for n images, or several in a tuple, list, dictionary "
            f"or dataclass; given: a {kind}"
        )
    parts = ", ".join(f"{_shown(path)} {list(array.shape)}" for path, array in found.items())
    first = next(iter(found))
    if output:
        raise InputError(f"output={_shown(output)} names no array of the result; given: a {kind} with {parts}")
    raise InputError(
        f"a module must return one array [n …]; of several, name the one to explain, such as output={_shown(first)}; "
        f"given: a {kind} with {parts}"
    )


def arrays(value: Any) -> dict[Path, jax.Array]:
    """All arrays of a result, by their paths; the path of a result that is an array itself is empty."""
    if isinstance(value, jax.Array):
        return {(): value}
    return {(key, *path): array for key, part in _parts(value) for path, array in arrays(part).items()}


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if hasattr(value, "_fields"):  # a NamedTuple
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, tuple | list):
        return list(enumerate(value))
    if dataclasses.is_dataclass(value):
        return [(field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value)]
    return []


def _positive(value: Any, output: Path) -> Path:
    """The path with numbers counted from the start, and with the names of a NamedTuple's fields for their numbers."""
    path = []
    for key in output:
        parts = dict(_parts(value))
        if key not in parts and isinstance(key, int) and isinstance(value, tuple | list):
            key = dict(zip([*range(len(parts)), *range(-len(parts), 0)], 2 * list(parts), strict=True)).get(key, key)
        value = parts.get(key)
        path.append(key)
    return tuple(path)


def _shown(path: Path) -> str:
    return repr(path[0]) if len(path) == 1 else repr(path)

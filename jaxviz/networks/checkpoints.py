"""The parameters of a module from a file or folder, and into a file.

    restored(module, path, …) -> the module and its variables, as `wrap` takes them
    write_parameters(model, path)

Law: every parameter of a module of Flax, Equinox or Haiku is in the file, with its shape, and the file has no other; or
else an error lists both sides. A function takes whatever the file has. What `write_parameters` wrote comes back bit for
bit. The state of an Equinox module is neither read nor written.

A file is read as a tree, {path: array} (`parameter_files.py`), which may differ from the module's in how its paths
begin and end; `_fit` knows the ways. A file that Equinox wrote itself has arrays without names, one after the other, so
an error names the first that does not fit.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from jaxviz.errors import InputError
from jaxviz.model import Model
from jaxviz.networks.calls import APPLY, EVALUATION, evaluation, switched
from jaxviz.networks.equinox import has_state, is_equinox, is_state
from jaxviz.networks.forwards import own_errors
from jaxviz.networks.haiku import is_haiku
from jaxviz.networks.parameter_files import Flat, begins, read_parameters
from jaxviz.networks.traced import paths_of

__all__ = ["write_parameters"]

OF_TRAINING = {("opt_state",), ("step",)}  # what a TrainState of Flax has besides the variables of its module
PAIR = {"params": "0", "state": "1"}  # what a pair of parameters and state is saved as
BOX = "value"  # the last name in the path of a variable that was saved with its box, as nnx did
NUMPY = b"\x93NUMPY"  # how an array in NumPy's format begins, and so a file of Equinox


def restored(
    module: Any, path: str | PathLike[str], image_shape: tuple[int, ...], channels_first: bool, bound: Mapping[str, Any]
) -> tuple[Any, Any]:
    """The module and its variables, as `wrap` takes them, with the parameters of a file or folder.

    The module is not changed. An nnx or Equinox module may be abstract (`nnx.eval_shape`, `eqx.filter_eval_shape`): it
    needs no parameters of its own.

    Raises:
        InputError: what is there cannot be read, or has other parameters than the module; an Equinox module with state.
        FileNotFoundError: there is nothing there.
    """
    path = Path(path)
    if is_equinox(module):
        return _equinox(module, path), None
    found = read_parameters(path)
    if isinstance(module, nnx.Module):
        graphdef, state = nnx.split(module)
        leaves = {tuple(map(str, key)): (key, leaf) for key, leaf in nnx.to_flat_state(state)}
        random = {name for name, (_, leaf) in leaves.items() if isinstance(leaf, nnx.RngState)}
        needed = {name: leaf.get_value() for name, (_, leaf) in leaves.items() if name not in random}
        values = _fit(path, module, needed, found, random)
        filled = [
            (key, leaf.replace(values[name]) if name in values else _random(leaf))
            for name, (key, leaf) in leaves.items()
        ]
        return nnx.merge(graphdef, nnx.from_flat_state(filled)), None
    if isinstance(module, nn.Module) or is_haiku(module):
        return module, _filled(path, module, _initial(module, image_shape, channels_first, bound), found)
    return module, _nested(found)


def _equinox(module: Any, path: Path) -> Any:
    """A module of Equinox with the parameters of a file: one of Equinox' own, or another whose names are its paths."""
    import equinox

    if has_state(module):
        raise InputError(
            "the state of a module of Equinox is restored together with it: module, state = "
            f"eqx.tree_deserialise_leaves(path, (module, state)), then wrap(module, state, …); given: the path {path}"
        )
    if path.is_file() and begins(path, NUMPY):
        with path.open("rb") as file:  # of a path without a suffix, Equinox would open another one
            try:
                found = equinox.tree_deserialise_leaves(file, module)
            except Exception as error:  # of an array that is missing, has another shape, or is damaged
                own = " ".join(f"{type(error).__name__}: {error}".split())[:400]
                raise InputError(f"{path} does not fit {type(module).__name__}: {own}") from error
            if file.read(1):
                raise InputError(f"{path} does not fit {type(module).__name__}: it has more arrays than the module")
        return found

    def is_parameter(leaf: Any) -> bool:
        return equinox.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)

    arrays, rest = equinox.partition(module, is_parameter)
    return equinox.combine(_filled(path, module, arrays, read_parameters(path)), rest)


def write_parameters(model: Model, path: str | PathLike[str]) -> None:
    """Write the parameters of a wrapped module to a `.safetensors` file, as `jv.wrap(module, path, …)` reads it.

    The names are paths, such as `params/conv/kernel`. A network from a Keras file is saved with
    `weights_convert.save`, which writes its layers, too.

    Args:
        model: what `wrap` returned. Its parameters may be others than at first: `model.replace(params=…)`.
        path: of the file.

    Raises:
        InputError: a model whose parameters are no tree of arrays, or a module of Equinox with state.
        OSError: the file cannot be written.
    """
    params = model.params
    if isinstance(params, nnx.State):
        params = nnx.to_pure_dict(nnx.filter_state(params, nnx.Not(nnx.RngState)))
    if isinstance(params, tuple) and len(params) == 1:  # of Equinox
        (params,) = params
    if any(map(is_state, params if isinstance(params, tuple) else ())):
        raise InputError(
            "the state of a module of Equinox has no names: save both by Equinox, "
            'eqx.tree_serialise_leaves("net.eqx", (module, state))'
        )
    params = nn.meta.unbox(params)
    named = zip(paths_of(params), jax.tree.leaves(params), strict=True)
    arrays = {"/".join(path): np.array(leaf, order="C") for path, leaf in named}
    if not arrays or "" in arrays:
        raise InputError(f"parameters are a tree of arrays with names; given: {type(model.params).__name__}")
    save_file(arrays, path)


def _nested(flat: Flat) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for (*outer, last), leaf in flat.items():
        inner = tree
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = leaf
    return tree


def _random(leaf: Any) -> Any:
    """The state of random numbers, which evaluation does not read: that of the module, or any for an abstract one."""
    value = leaf.get_value()
    if not isinstance(value, jax.ShapeDtypeStruct):
        return leaf
    keys = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    return leaf.replace(
        jax.random.split(jax.random.key(0), value.shape) if keys else jnp.zeros(value.shape, value.dtype)
    )


def _initial(module: Any, image_shape: tuple[int, ...], channels_first: bool, bound: Mapping[str, Any]) -> Any:
    """The shapes of the variables of a linen module or Haiku function. Nothing is computed."""
    *sides, channels = image_shape
    shape = (1, channels, *sides) if channels_first else (1, *image_shape)
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    keys: Any = jax.random.key(0)
    others = {name: value for name, value in bound.items() if name not in APPLY}
    if is_haiku(module):  # which makes its state only while it trains
        others = {name: not EVALUATION[name] if name in EVALUATION else value for name, value in others.items()}
        init, arguments = module.init, {name: value for name, value in others.items() if name != "rng"}
    else:
        method = bound.get("method", "__call__")
        init, arguments = switched(module).init, {"method": method, **evaluation(module, method), **others}
        keys = dict.fromkeys(("params", *bound.get("rngs", ())), keys)
    with own_errors(images):
        return nn.meta.unbox(jax.eval_shape(partial(init, **arguments), keys, images))


def _filled(path: Path, module: Any, tree: Any, found: Flat) -> Any:
    """A tree of arrays, or of their shapes, with the arrays of a file in their places."""
    names = [_split(name) for name in paths_of(tree)]
    needed = dict(zip(names, jax.tree.leaves(tree), strict=True))
    values = _fit(path, module, needed, {_split(name): leaf for name, leaf in found.items()})
    return jax.tree.unflatten(jax.tree.structure(tree), [values[name] for name in names])


def _split(path: tuple[str, ...]) -> tuple[str, ...]:
    """A path whose names are no paths themselves, as those of Haiku are."""
    return tuple("/".join(path).split("/"))


def _fit(path: Any, module: Any, needed: Flat, found: Flat, ignored: Iterable[tuple[str, ...]] = ()) -> Flat:
    """The arrays of a file under the paths of a module, in its precision.

    A file may lack the name `params` in front of linen's parameters, have one more name in front of all, the names
    `params` and `state` for Haiku's pair of both, or a last name `value`, as nnx saved its variables. The view of the
    file that fits best is taken.

    Raises:
        InputError: a parameter without a counterpart of its shape; all of them are listed.
    """
    own = {key[:1] for key in needed}
    found = {key: leaf for key, leaf in found.items() if key[:1] in own or key[:1] not in OF_TRAINING}
    views = [found, {("params", *key): leaf for key, leaf in found.items()}]
    views.append({(*(PAIR.get(name, name) for name in key[:1]), *key[1:]): leaf for key, leaf in found.items()})
    if len({key[:1] for key in found}) == 1:
        views.append({key[1:]: leaf for key, leaf in found.items()})
    views += [{key[:-1] if key[-1:] == (BOX,) else key: leaf for key, leaf in view.items()} for view in views]
    views = [{key: leaf for key, leaf in view.items() if key not in ignored} for view in views]
    best = min(views, key=lambda view: len(_differences(needed, view)))
    if lines := _differences(needed, best):
        named = [any(key[-1:] == ("weight",) for key in each) for each in (needed, found)]
        if named == [False, True]:
            lines.append("These may be the names of PyTorch, whose kernels have other axes, too: convert them first.")
        head = f"{path} does not fit {type(module).__name__} (- what the module needs, + what the file has):"
        raise InputError("\n".join([head, *lines]))
    return {key: jnp.asarray(best[key], leaf.dtype) for key, leaf in needed.items()}


def _differences(needed: Flat, found: Flat) -> list[str]:
    mine, theirs = ({key: tuple(leaf.shape) for key, leaf in each.items()} for each in (needed, found))
    return [
        *(f"- {'/'.join(key)} {shape}" for key, shape in mine.items() if theirs.get(key) != shape),
        *(f"+ {'/'.join(key)} {shape}" for key, shape in theirs.items() if mine.get(key) != shape),
    ]

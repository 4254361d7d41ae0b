"""Networks that are functions: their layers are found in the traced program (`compiling.layers`).

    Network(function, params, paths, kinds)          what the kinds of such networks have in common
    TracedForward(network.function, …)               its forward

Law: an edit of any layer changes everything after it, and a network of which nothing is read runs as its author wrote
it: a mark is no operation of the compiled program.

A function may return a dictionary. Its arrays are activations as well, under their keys, where they are computed.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxviz.compiling.layers import Layer, Path, layers
from jaxviz.compiling.marking import run_marked
from jaxviz.compiling.marks import mark
from jaxviz.compiling.workarounds import Var
from jaxviz.errors import InputError
from jaxviz.networks.forwards import OUTPUT, Tapped
from jaxviz.networks.outputs import select


class Network(NamedTuple):
    """A network as a function.

    Attributes:
        function: `(params, images, **bound) -> array or {name: array}`.
        called: what the user's library calls; `first` of its arguments are given anyway, and those with the names
            `given` may be.
        params: its parameters, a pytree of arrays.
        paths: of the leaves of `params`: the path of the module that holds it, and its own name.
        kinds: {path of a module: its class}, where that is known.
        state: the numbers of the leaves that are no parameters but state, such as the means of a normalisation.
        ordered: whether a dictionary that the function returns has its own order, so that its last array is the output.
            `jit` and `vmap` sort the names.
    """

    function: Callable[..., Any]
    called: Callable[..., Any]
    first: int
    given: Collection[str]
    params: Any
    paths: tuple[Path, ...]
    kinds: Mapping[str, str] = MappingProxyType({})
    state: frozenset[int] = frozenset()
    ordered: bool = False


def of_function(function: Callable[..., Any], params: Any) -> Network:
    """A plain function `(params, images)`. Of the variables of linen, the names of the collections are left out."""
    paths = paths_of(params)
    if isinstance(params, Mapping) and isinstance(params.get("params"), Mapping):
        paths = tuple(path[1:] for path in paths)
    return Network(function, function, 2, (), params, paths, ordered=not isinstance(function, jax.stages.Wrapped))


def paths_of(params: Any) -> tuple[Path, ...]:
    """The paths of the leaves of a pytree."""
    return tuple(text(keys) for keys, _ in jax.tree_util.tree_flatten_with_path(params)[0])


def text(keys: Sequence[Any]) -> Path:
    """A path of JAX as text: its keys, numbers and names of fields."""
    return tuple(str(next(getattr(key, name) for name in ("key", "idx", "name") if hasattr(key, name))) for key in keys)


@dataclass(frozen=True)
class TracedForward(Tapped):
    """A forward of a network that is a function. Its layers have marks in the traced program."""

    function: Callable[..., Any]
    paths: tuple[Path, ...]
    kinds: Mapping[str, str] = field(default_factory=dict, compare=False)  # they follow from the function
    ordered: bool = field(default=False, compare=False)  # so does this

    def run(self, params: Any, images: jax.Array) -> jax.Array:
        arguments = self.bound(images.dtype) if self.bound else {}
        names: list[str] = []
        failed: list[Exception] = []

        def call(params: Any, images: jax.Array) -> list[jax.Array]:
            try:
                found = self._results(self.function(params, images, **arguments))
            except Exception as error:  # the program ends here, and the layers before can be read
                failed.append(error)
                return []
            names.extend(found)
            return list(found.values())

        images = jnp.moveaxis(images, -1, 1) if self.channels_first else images
        program = jax.make_jaxpr(call)(params, images)
        if any(isinstance(each, jax.core.Tracer) for each in program.consts):
            raise InputError(
                "the function holds a value that JAX is tracing outside of it, which its own trace must not keep: give "
                "it the value in `variables`, or wrap the function where nothing is traced"
            )
        found = [self._of_class(layer) for layer in layers(program, [*self.paths, None])]
        # Values have their marks where they are computed. What is left is the output, images, and a second name.
        made = {variable for equation in program.jaxpr.eqns for variable in equation.outvars}
        results = [*zip(program.jaxpr.outvars, names, strict=not failed)]
        first = {variable: name for variable, name in reversed(results[:-1]) if isinstance(variable, Var)}
        first = {variable: name for variable, name in first.items() if variable in made}
        values = run_marked(program, found, jax.tree.leaves((params, images)), first)
        if failed:
            raise failed[0]
        left = [mark(value, name, "") for value, name in zip(values, names, strict=True) if name not in first.values()]
        return left[-1]

    def _results(self, result: Any) -> dict[str, jax.Array]:
        """The arrays that the function returns by name, and the output as the last one."""
        items = result.items() if isinstance(result, dict) else ()
        named = {name: value for name, value in items if isinstance(name, str) and isinstance(value, jax.Array)}
        path = self.output or (tuple(list(named)[-1:]) if self.ordered else ())
        output = select(result, path)
        name = path[0] if len(path) == 1 and path[0] in named else OUTPUT
        named.pop(name, None)
        return {**named, name: output}

    def _of_class(self, layer: Layer) -> Layer:
        return replace(layer, kind=self.kinds.get(layer.name, layer.kind))

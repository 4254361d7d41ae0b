"""How a network is run: one signature for every kind of module.

    Forward = (params, images [n h w c], names, edits {name: f}) -> {name: array}

`images` are in the network's own units. An *edit* maps a named activation through a function on its way
downstream; the edited value is also what is returned. A forward runs no further than the names it was asked for.
A Keras network brings its own handles (`activations`); any other nnx or linen module is tapped at the outputs of its
submodules, named by their paths; a plain function has the names that it returns.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
from flax import nnx

from jaxviz.errors import InputError
from jaxviz.model import Activations, Edits

OUTPUT = "output"  # the name of what a tapped module itself returns
# What Flax modules call the argument that switches training off, and the value that does.
EVALUATION = {
    "train": False,
    "training": False,
    "is_training": False,
    "deterministic": True,
    "use_running_average": True,
}


class _Done(BaseException):
    """Everything that was asked for has been seen. Not an Exception, so that no module's `except` swallows it."""


class _Tape:
    """Sees every named output of one forward pass: edits it, records it, and ends the pass when nothing is missing."""

    def __init__(self, names: tuple[str, ...] | None, edits: Edits):
        self.names, self.edits = names, edits
        self.found: Activations = {}
        self.kinds: dict[str, str] = {}
        self.calls: dict[str, int] = {}

    def see(self, path: str, kind: str, value: Any) -> Any:
        if not isinstance(value, jax.Array):  # a module may return a tuple or a cache: nothing to show
            return value
        self.calls[path] = calls = self.calls.get(path, 0) + 1
        name = path if calls == 1 else f"{path}#{calls}"
        self.kinds[name] = kind
        if name in self.edits:
            value = self.edits[name](value)
        if self.names is None or name in self.names:
            self.found[name] = value
            if self.names is not None and len(self.found) == len(self.names):
                raise _Done
        return value


class _Tapped:
    """A forward that runs the whole module under a tape, until the tape has seen enough."""

    def run(self, params: Any, images: jax.Array, tape: _Tape) -> None:
        raise NotImplementedError

    def __call__(self, params: Any, images: jax.Array, names: tuple[str, ...] | None, edits: Edits) -> Activations:
        tape = _Tape(names, edits)
        with contextlib.suppress(_Done):
            self.run(params, images, tape)
        return tape.found

    def kinds(self, params: Any, images: jax.ShapeDtypeStruct) -> dict[str, str]:
        """Every name that a forward pass meets, in execution order, with its module's class. Nothing is computed.

        Raises:
            InputError: the pass ends in no array, or in one without the batch axis.
        """
        tape = _Tape(None, {})
        jax.eval_shape(lambda p, x: self.run(p, x, tape), params, images)
        if not tape.found:
            raise InputError("it returns no array: what is shown are arrays [n …] of a batch, or {name: array}")
        name, last = list(tape.found.items())[-1]
        if last.shape[:1] != images.shape[:1]:
            raise InputError(f"{name} is {list(last.shape)} for a batch of one image: it takes [n …] and returns [n …]")
        return tape.kinds


@dataclass(frozen=True)
class KerasForward:
    """An nnx module that names its own activations: `activations(images, names, edits)`."""

    graphdef: nnx.GraphDef

    def __call__(self, params: Any, images: jax.Array, names: tuple[str, ...] | None, edits: Edits) -> Activations:
        net = nnx.merge(self.graphdef, params)
        return net.activations(images, net.names if names is None else names, dict(edits))


def _returned(value: Any) -> None:
    """What a module returns itself, which is the output that is explained.

    Raises:
        InputError: it is no array.
    """
    if not isinstance(value, jax.Array):
        raise InputError(
            f"it returns a {type(value).__name__}, and what is explained is one array [n …]: wrap a module that calls "
            "it and returns the one that you mean"
        )


def evaluation(module: Any) -> dict[str, Any]:
    """The arguments by which a module is called for evaluation, as far as it has any and was not built with them."""
    if not hasattr(module, "__call__"):  # noqa: B004  (what cannot be called is refused where it is)
        return {}
    taken = inspect.signature(module.__call__).parameters.values()
    names = {each.name for each in taken if each.kind != inspect.Parameter.POSITIONAL_ONLY}
    # One that it was built with is a bool of its own; `train` is also a method of every nnx module.
    own = {name for name in names if isinstance(getattr(module, name, None), bool)}
    return {name: value for name, value in EVALUATION.items() if name in names - own}


@dataclass(frozen=True)
class NnxForward(_Tapped):
    """Any nnx module, in evaluation mode, tapped at each of its submodules."""

    graphdef: nnx.GraphDef

    def run(self, params: Any, images: jax.Array, tape: _Tape) -> None:
        module = nnx.merge(self.graphdef, params)  # a fresh copy: ours to re-class
        switches = evaluation(module)
        seen = {}
        for path, part in nnx.iter_modules(module):
            if hasattr(type(part), "__call__"):  # noqa: B004  (containers of layers are modules that nobody calls)
                seen[id(part)] = "/".join(map(str, path)) or OUTPUT, type(part).__name__
                part.__class__ = _tapped(type(part))

        def observe(part: nnx.Module, call: Callable[[], Any]) -> Any:
            if id(part) not in seen:
                return call()
            path, kind = seen[id(part)]
            with jax.named_scope(path):
                value = call()
            return tape.see(path, kind, value)

        token = _observer.set(observe)
        try:
            _returned(module(images, **switches))
        finally:
            _observer.reset(token)


_observer: ContextVar[Callable[[nnx.Module, Callable[[], Any]], Any]] = ContextVar("observer")


@functools.cache
def _tapped(kind: Any) -> Any:
    """A subclass of `kind` whose calls report to the observer.

    Python looks `__call__` up on the type, so an instance cannot be tapped; and unlike a patched class, a subclass
    touches no other instance and catches inherited calls too.
    """

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _observer.get()(self, functools.partial(kind.__call__, self, *args, **kwargs))

    return type(kind)(kind.__name__, (kind,), {"__call__": call})


@dataclass(frozen=True)
class LinenForward(_Tapped):
    """Any linen module, tapped at each of its submodules by an interceptor."""

    module: nn.Module

    def run(self, params: Any, images: jax.Array, tape: _Tape) -> None:
        def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
            value = call(*args, **kwargs)
            if context.method_name != "__call__":
                return value
            return tape.see("/".join(context.module.path) or OUTPUT, type(context.module).__name__, value)

        with nn.intercept_methods(intercept):
            _returned(self.module.apply(params, images, **evaluation(self.module)))


@dataclass(frozen=True)
class FunctionForward(_Tapped):
    """A plain function `(params, images [n h w c]) -> array | {name: array}`: names to read, nothing to edit."""

    function: Callable[[Any, jax.Array], jax.Array | Activations]

    def run(self, params: Any, images: jax.Array, tape: _Tape) -> None:
        if tape.edits:
            raise InputError(
                f"a plain function has no layers inside it to edit (asked for {', '.join(tape.edits)}): "
                "wrap the nnx or linen module itself, or use a gradient method that explains the input"
            )
        result = self.function(params, images)
        for name, value in (result if isinstance(result, dict) else {OUTPUT: result}).items():
            tape.see(name, "", value)

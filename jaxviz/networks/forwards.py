"""How a network is run: one signature for every kind of module.

    Forward = (params, images [n h w c], names, edits {name: f}) -> {name: array}

Law: a forward pass ends as soon as it has all the activations of `names`.

`images` are in the network's own units. An *edit* is a function of one named activation: the rest of the network sees
the edited value, and the edited value is returned. A Keras network brings its own handles (`activations`). Any other
nnx or linen module is tapped at the outputs of its submodules, which are named by their paths. The layers of all other
networks are found in their traced programs (`traced.py`).

A tap only marks a value (`compiling.marks`). The module itself runs once for each shape of images, to be traced, and
the traced program is what is read and edited. So the module may use `jit`, `remat` and `scan`, in which Python can keep
no value for later. If the module fails at a later layer, because the images are too small for it or too large, the
program ends there, and the layers before it can be read.

Checklist for a new kind of module: a function that makes a `traced.Network` of it, such as `of_equinox`; or, if it has
outputs that its operations do not show, a frozen dataclass here, since a forward is static under `jit`, with `call`,
which taps each named output. Then its case in `wrap`, and a test that the same weights give the activations of the
other kinds (`tests/jaxviz/test_model.py`).
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx
from flax.errors import InvalidRngError

from jaxviz.compiling.jit import jit
from jaxviz.compiling.marks import Mark, mark, marks, read
from jaxviz.compiling.workarounds import ClosedJaxpr
from jaxviz.errors import InputError, RunError
from jaxviz.model import Activations, Edits
from jaxviz.networks.calls import evaluation
from jaxviz.networks.outputs import Path, select

OUTPUT = "output"  # the name of a tapped module's own output


Axes = tuple[int, ...]
"""The axis of the images of an activation, and that of its channels if that is known."""
ENDS = (0, -1)  # where they are in `[n … c]`


class _Done(BaseException):
    """Every requested activation has been seen. It is no Exception, so that no module's `except` catches it."""


@dataclass(frozen=True, eq=False)
class Bound:
    """Arguments of a module's call that are the same in every call. Each call gets new copies of nnx objects."""

    graphdef: nnx.GraphDef[Any]
    state: Any

    def __call__(self, dtype: Any) -> dict[str, Any]:
        """{name: value}; floats are in the precision `dtype` of the images."""

        def cast(leaf: Any) -> Any:
            floating = dtype != jnp.float32 and jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
            return leaf.astype(dtype) if floating else leaf

        return nnx.merge(self.graphdef, jax.tree.map(cast, self.state))  # a new state, so its variables are new, too


@dataclass(frozen=True)
class Tapped:
    """A forward that traces a module with taps, and runs the traced program until it has all that was requested.

    Attributes:
        output: the path of the array that is the output, in the module's result.
        bound: further arguments of the call.
        channels_first: whether the module takes images `[n c h w]`.
        moved: {name: the axes of its images and channels} of activations that are read and edited as `[n … c]`.
    """

    output: Path = field(default=(), kw_only=True)
    bound: Bound | None = field(default=None, kw_only=True)
    channels_first: bool = field(default=False, kw_only=True)
    moved: Mapping[str, Axes] = field(default_factory=dict, kw_only=True, compare=False)  # it follows from the others

    def call(self, params: Any, images: jax.Array, **arguments: Any) -> tuple[Any, str]:
        """What the module returns for images `[n c h w]` or `[n h w c]`, and its class. Each output in it is tapped."""
        raise NotImplementedError

    def run(self, params: Any, images: jax.Array) -> jax.Array:
        """The output for images `[n h w c]`. It is tapped, as is each named output on the way."""
        arguments = self.bound(images.dtype) if self.bound else {}
        value, kind = self.call(params, jnp.moveaxis(images, -1, 1) if self.channels_first else images, **arguments)
        output = select(value, self.output)
        return mark(output, OUTPUT, kind) if self.output else output

    def __call__(self, params: Any, images: jax.Array, names: tuple[str, ...] | None, edits: Edits) -> Activations:
        found: Activations = {}

        def see(name: str, value: jax.Array) -> jax.Array:
            axes = self.moved.get(name, ())
            value = jnp.moveaxis(value, axes, ENDS[: len(axes)])
            value = edits[name](value) if name in edits else value
            if names is None or name in names:
                found[name] = value
                if names is not None and len(found) == len(names):
                    raise _Done
            return jnp.moveaxis(value, ENDS[: len(axes)], axes)

        wanted = None if names is None else {*names, *edits}
        program = self.program(params, images)
        with contextlib.suppress(_Done):
            read(program, jax.tree.leaves((params, images)), see, wanted, edits)
            if not program.out_avals:
                self.fail(params, images)
            if names is not None:
                missing = ", ".join(name for name in names if name not in found)
                raise RunError(f"for a batch {list(images.shape)}, the network does not reach {missing}")
        return found

    def program(self, params: Any, images: Any) -> ClosedJaxpr:
        """The traced module with its marks, up to the layer at which it fails; JAX keeps it."""
        return _program.trace(self, params, images).jaxpr

    def marks(self, params: Any, images: Any) -> list[Mark]:
        """All marks of the module, in execution order. Nothing is computed.

        Raises:
            InputError: the module does not run on such images.
        """
        program = self.program(params, images)
        if not program.out_avals:
            self.fail(params, images)
        return marks(program)

    def fail(self, params: Any, images: Any) -> None:
        """Run the module as it is, on shapes alone.

        Raises:
            InputError: the module does not run on such images; its own error is the cause.
        """
        with own_errors(images), _tapping(True):
            jax.eval_shape(self.run, params, images)


def _marked(forward: Tapped, params: Any, images: jax.Array) -> jax.Array | None:
    # Where the module fails, the program ends; `Tapped.fail` raises the error if a layer is missing then.
    with contextlib.suppress(Exception), _tapping(True):
        return forward.run(params, images)
    return None


# What a network raises that asks JAX for a value while it is traced.
UNKNOWN_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


@contextlib.contextmanager
def own_errors(images: Any) -> Iterator[None]:
    """A context in which an error of a user's module, of any class, becomes a `RunError` that quotes it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        count = "one image" if images.shape[0] == 1 else f"{images.shape[0]} images"
        own = ": ".join(filter(None, (type(error).__name__, str(error))))
        if isinstance(error, UNKNOWN_VALUES):
            own = (
                f"{type(error).__name__}. A shape, a branch or a conversion to NumPy depends on the values of images, "
                "which a traced program does not know: use jnp.where, jax.lax.cond or jax.numpy"
            )
        if isinstance(error, InvalidRngError):
            own += ". Bind its random keys, wrap(…, rngs={name: jax.random.key(0)})"
        raise RunError(f"the module does not run on a batch of {count}, {list(images.shape)}: {own}") from error


_program = jit(static=("forward",))(_marked)
# A module may hold a function of `jax.jit`, of which JAX keeps the trace. One without marks must not be taken for one
# with marks, so the two have different contexts.
_tapping = jax.make_user_context(False)


def tap(value: Any, path: str, kind: str) -> Any:
    """The output of a module of class `kind`: an array is marked; in a tuple, list or dictionary, only the place is."""
    return mark(value, path, kind) if isinstance(value, jax.Array) else _place(value, path)


def _place(value: Any, path: str) -> Any:
    if isinstance(value, jax.Array):
        return mark(value, path, None)
    if type(value) is dict and value:
        first = next(iter(value))
        return {**value, first: _place(value[first], path)}
    if type(value) in (tuple, list) and value:
        return type(value)([_place(value[0], path), *value[1:]])
    return value


@dataclass(frozen=True)
class KerasForward:
    """An nnx module that names its own activations: `activations(images, names, edits)`."""

    graphdef: nnx.GraphDef[Any]

    def __call__(self, params: Any, images: jax.Array, names: tuple[str, ...] | None, edits: Edits) -> Activations:
        net = nnx.merge(self.graphdef, params)
        return net.activations(images, net.names if names is None else names, dict(edits))


@dataclass(frozen=True)
class NnxForward(Tapped):
    """Any nnx module, in evaluation mode, tapped at each of its submodules."""

    graphdef: nnx.GraphDef[Any]

    def call(self, params: Any, images: jax.Array, **arguments: Any) -> tuple[Any, str]:
        module = nnx.merge(self.graphdef, params)  # a new copy, so its classes may be changed
        kind, switches = type(module).__name__, evaluation(module)
        for path, part in nnx.iter_modules(module):
            if hasattr(type(part), "__call__"):  # noqa: B004  (containers of layers cannot be called)
                part.__class__ = _tapped(type(part), "/".join(map(str, path)) or OUTPUT)
        return module(images, **{**switches, **arguments}), kind


@functools.cache
def _tapped(kind: Any, path: str) -> Any:
    """A subclass of the module class `kind`, whose calls are tapped as the part of a network at `path`.

    Python looks `__call__` up on the type, so a single instance cannot be tapped. A subclass, unlike a patched class,
    changes no other instance, and it also catches an inherited `__call__`. The transforms of nnx split a module into
    its arrays and the rest, and build another one inside; the class goes with it, and so does the path.
    """

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with jax.named_scope(path):
            value = kind.__call__(self, *args, **kwargs)
        return tap(value, path, kind.__name__)

    return type(kind)(kind.__name__, (kind,), {"__call__": call})


@functools.partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["path"])
@dataclass(frozen=True)
class _ModulePath:
    """The path of a linen module, as a part of its variables that is no array."""

    path: str


# linen's `jit` traces a class of modules once, and would give the second module the paths of the first. It traces again
# for variables of another structure, so a collection of this name gives each module a structure of its own.
_PATHS = "jaxviz paths"


def _paths(variables: Mapping[str, Any], path: str) -> dict[str, Any]:
    inner = {name: _paths(part, f"{path}/{name}") for name, part in variables.items() if isinstance(part, Mapping)}
    return {**inner, _PATHS: _ModulePath(path)}


@dataclass(frozen=True)
class LinenForward(Tapped):
    """Any linen module, tapped at each of its submodules by an interceptor."""

    module: nn.Module

    def __hash__(self) -> int:
        return hash((type(self.module), self.output))  # an attribute of the module may be a list

    def call(self, params: Any, images: jax.Array, **arguments: Any) -> tuple[Any, str]:
        def intercept(
            call: Callable[..., Any],
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
            context: nn.module.InterceptorContext,
        ) -> Any:
            value = call(*args, **kwargs)
            if context.method_name != "__call__":
                return value
            return tap(value, "/".join(context.module.path) or OUTPUT, type(context.module).__name__)

        with nn.intercept_methods(intercept):
            variables = {**params, _PATHS: _paths(params.get("params", {}), "")}
            kind, method = type(self.module).__name__, arguments.get("method", "__call__")
            value = self.module.apply(variables, images, **{**evaluation(self.module, method), **arguments})
        return value if method == "__call__" else tap(value, OUTPUT, kind), kind

"""Scores of the user's own: a function, or an `Objective` whose class is no pytree.

    as_objective(model, function or Objective) -> Objective, a pytree

Law: what `jit` has compiled is never used for other numbers. An `Objective` written with `flax.struct.dataclass` keeps
its numbers as leaves. That of any other class is *static*: its attributes are compiled in, so an objective with other
numbers, or one that has been changed, compiles anew. A function is static too, and known by its identity, as in
`jax.jit`: each lambda that is written in a loop compiles anew.
"""

import copy
import types
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from flax.errors import FlaxError

from jaxviz.errors import InputError, first_line
from jaxviz.groups import Grouped, as_member
from jaxviz.model import IMAGE, Model, check_real
from jaxviz.objectives import Objective, Scaled, Sum

Shape = tuple[int, ...]
UNKNOWN = (  # the code asks for a number that JAX does not know while it traces
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


class _Static:
    """A function of activations that `jit` compiles in; two with equal keys are the same function."""

    def __init__(self, function: Callable[[Mapping[str, Any]], Any], key: Any):
        self.function, self.key = function, key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Static) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)


@struct.dataclass
class Own(Objective):
    """A function or an object of the user's, and the names of the activations that it reads."""

    score: _Static = struct.field(pytree_node=False)
    reads: tuple[str, ...] = struct.field(pytree_node=False)

    @property
    def layers(self) -> tuple[str, ...]:
        return self.reads

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        return jnp.asarray(self.score.function(activations))

    def check(self, shapes: Mapping[str, Shape]) -> None:
        if isinstance(self.score.function, Objective):
            self.score.function.check(shapes)


def as_objective(model: Model, target: Any, shape: Shape, group: int | None = None) -> Objective:
    """An Objective or a function as an Objective that `jit` takes; a tree of objectives is changed at its leaves.

    Args:
        shape: of one image, which decides the shapes of the activations that a function reads.
        group: how many images see each other; None: each is alone.

    Raises:
        InputError: `layers` is missing or no tuple of names, or a function that reads no activation or fails.
    """
    if not isinstance(target, Objective):
        return Own(_static(target), _names_read(model, target, shape, group))

    def leaf(value: Any) -> Any:
        return Own(_static(value), _layers(value)) if isinstance(value, Objective) else value

    found = jax.tree.map(leaf, target)
    _layers(found)
    return found


def check(objective: Objective, structs: Mapping[str, jax.ShapeDtypeStruct], group: int | None = None) -> None:
    """Refuse an objective that does not fit such activations; those of the user's own run on them once.

    Raises:
        InputError: an index out of range, a layer of another rank, or of complex or whole numbers, a score that is no
            single real number or fails, or one that needs a group and has none.
    """
    objective.check({name: each.shape for name, each in structs.items()})
    activations = {name: structs[name] for name in objective.layers}
    if not _is_traced(objective):
        check_real(activations)
        return

    def score(mine: Any, acts: Any) -> jax.Array:
        return as_member(lambda: jnp.asarray(mine(acts)), group)

    found = _run(lambda: jax.eval_shape(score, objective, activations), objective)
    if found.shape != () or not jnp.issubdtype(found.dtype, jnp.floating):
        raise InputError(
            f"a score is one real number, such as the mean of a part of a map; given: {_name(objective)} returns "
            f"{found.dtype}{list(found.shape)}"
        )


def _is_traced(objective: Any) -> bool:
    """Whether only a trace can check an objective: some part was written by the user, or needs a group."""
    if isinstance(objective, Sum):
        return any(map(_is_traced, objective.terms))
    if type(objective) is Scaled:
        return _is_traced(objective.objective)
    return isinstance(objective, Own | Grouped) or type(objective).__module__.partition(".")[0] != "jaxviz"


def _run(trace: Callable[[], Any], what: Any) -> Any:
    """The result of a trace of the user's code, whose errors become sentences.

    Raises:
        InputError: the code fails.
    """
    try:
        return trace()
    except InputError:
        raise
    except KeyError as error:
        raise InputError(
            f"{_name(what)} reads the activation {error.args[0]!r}, which is not among its layers: `layers` is a tuple "
            f"of the names of all that it reads; given: {_layers(what)}"
        ) from error
    except UNKNOWN as error:
        raise InputError(
            f"{_name(what)} cannot be traced by JAX, since it looks at a number that is not known yet: use jnp.where "
            f"in place of `if`, and jnp in place of numpy. {type(error).__name__}: {first_line(error)}"
        ) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, FlaxError) as error:
        hint = ""
        if not isinstance(what, Own) and isinstance(what, Objective):
            hint = ". Names, and numbers that decide a shape, are fields struct.field(pytree_node=False)"
        raise InputError(
            f"{_name(what)} fails on the activations that it reads: {type(error).__name__}: {first_line(error)}{hint}"
        ) from error


def _name(what: Any) -> str:
    if isinstance(what, Own):
        return f"the target {what.score!r}"
    return f"the target {getattr(what, '__name__', type(what).__name__)}"


def _layers(objective: Any) -> tuple[str, ...]:
    try:
        names = objective.layers
    except NotImplementedError:
        names = None
    if isinstance(names, str) or not np.iterable(names) or not all(isinstance(name, str) for name in names):
        given = "none" if names is None else repr(names)
        raise InputError(
            f"an Objective says in `layers` what it reads, a tuple of names such as ('block5_conv3',); given: {given} "
            f"of {type(objective).__name__}"
        )
    return tuple(names)


class _Recorder(Mapping[str, Any]):
    """All activations of a model, as zeros; it notes which are read."""

    def __init__(self, model: Model, shape: Shape):
        self.model, self.shape = model, shape
        self.read: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self.read:
            if name == IMAGE:
                self.read[name] = jnp.zeros(self.shape)
            else:
                names = [self.model.check_layer(name)]
                found = self.model.structs(self.shape, names)[name]
                self.read[name] = jnp.zeros(found.shape, found.dtype)
        return self.read[name]

    def __iter__(self) -> Iterator[str]:
        return iter((IMAGE, *self.model.handles))

    def __len__(self) -> int:
        return 1 + len(self.model.handles)


def _names_read(model: Model, function: Callable[..., Any], shape: Shape, group: int | None) -> tuple[str, ...]:
    """The names of the activations that a function reads.

    Raises:
        InputError: it reads none, reads an unknown one, or fails.
    """
    recorder = _Recorder(model, shape)
    _run(lambda: jax.eval_shape(lambda: as_member(lambda: jnp.asarray(function(recorder)), group)), function)
    if not recorder.read:
        raise InputError(
            f"{_name(function)} reads no activation: a function that is a target takes {{name: activation}} of one "
            f"image and returns the score, such as lambda acts: acts[{model.output!r}].mean()"
        )
    return tuple(recorder.read)


def _static(function: Any) -> _Static:
    """The user's function as it is; of an object, a copy with the attributes that it has now."""
    if isinstance(function, (types.FunctionType, types.BuiltinFunctionType, types.MethodType, partial)):
        try:
            return _Static(function, (function, hash(function)))
        except TypeError:
            return _Static(function, object())
    try:
        snapshot = copy.copy(function)
        values = {
            name: np.array(each) if isinstance(each, np.ndarray) else each for name, each in vars(function).items()
        }
        for name, value in values.items():
            object.__setattr__(snapshot, name, value)
        key = (type(function), tuple((name, _key(value)) for name, value in values.items()))
        hash(key)
    except (AttributeError, TypeError):  # attributes that cannot be compared: each time is a new function
        return _Static(function, object())
    return _Static(snapshot, key)


def _key(value: Any) -> Any:
    """A hashable value that differs where `value` does."""
    if isinstance(value, (np.ndarray, jax.Array)):
        array = np.asarray(value)
        return array.shape, str(array.dtype), array.tobytes()
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(_key, value))
    if isinstance(value, dict):
        return tuple((name, _key(each)) for name, each in value.items())
    return type(value), value

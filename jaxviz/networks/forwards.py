"""How a network is run: one signature for every kind of module.

    Forward = (params, images [n h w c], names, edits {name: f}) -> {name: array}

Law: a forward pass ends as soon as it has all the activations of `names` (a plain function runs to its end).

`images` are in the network's own units. An *edit* is a function of one named activation: the rest of the network sees
the edited value, and the edited value is returned. A Keras network brings its own handles (`activations`). Any other
nnx or linen module is tapped at the outputs of its submodules, which are named by their paths. A plain function has the
names that it returns.

`_observer` is a context variable, one of three in this library. To tap an nnx module, its copy gets a subclass of its
class, which `_tapped` makes once for each class. The subclass outlives the pass, so it cannot hold the tape of a pass.
Nor can the module, since nnx would take a new attribute for a part of the network. So the observer of the running pass
is ambient; each thread has its own.

Checklist for a new kind of module: a frozen dataclass here, since a forward is static under `jit`; for a tapped one,
`run`, which calls the module and shows each named output to `tape.see`; its case in `wrap`; and a test that the same
weights give the activations of the other kinds (`tests/jaxviz/test_model.py`).
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

OUTPUT = "output"  # the name of a tapped module's own output
# The names that modules give to the switch between training and evaluation, with its value in evaluation.
EVALUATION = {
    **dict.fromkeys(("train", "training", "is_training", "is_train", "train_mode", "training_mode"), False),
    **dict.fromkeys(("eval", "evaluate", "evaluation", "evaluating", "is_eval", "is_evaluation", "eval_mode"), True),
    **dict.fromkeys(("inference", "is_inference", "inference_mode", "infer", "predict", "test", "testing"), True),
    **dict.fromkeys(("is_test", "is_testing", "test_mode"), True),
    **dict.fromkeys(("deterministic", "use_running_average", "use_running_stats", "disable_dropout"), True),
    **dict.fromkeys(("enable_dropout", "use_batch_stats", "update_stats"), False),
}
# Words for training mode, and names of switches that take words. Which word means evaluation differs.
TRAINING = ("train", "training", "fit")
WORDS = ("mode", "phase", "stage", "run_mode")


class _Done(BaseException):
    """Every requested activation has been seen. It is no Exception, so that no module's `except` catches it."""


class _Tape:
    """The record of one forward pass: it edits and keeps named outputs, and ends the pass once it has all `names`."""

    def __init__(self, names: tuple[str, ...] | None, edits: Edits):
        self.names, self.edits = names, edits
        self.found: Activations = {}
        self.kinds: dict[str, str] = {}
        self.calls: dict[str, int] = {}

    def see(self, path: str, kind: str, value: Any) -> Any:
        if not isinstance(value, jax.Array):  # such as a tuple or a cache
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
    """A forward that runs the module under a tape, until the tape has all that was requested."""

    def run(self, params: Any, images: jax.Array, tape: _Tape) -> None:
        """Call the module, and show each named output to `tape.see`."""
        raise NotImplementedError

    def __call__(self, params: Any, images: jax.Array, names: tuple[str, ...] | None, edits: Edits) -> Activations:
        tape = _Tape(names, edits)
        with contextlib.suppress(_Done):
            self.run(params, images, tape)
        return tape.found

    def kinds(self, params: Any, images: jax.ShapeDtypeStruct) -> dict[str, str]:
        """{name: class of its module} of all named outputs, in execution order. Nothing is computed.

        Raises:
            InputError: the module returns no array, or one without the batch axis.
        """
        tape = _Tape(None, {})
        jax.eval_shape(lambda p, x: self.run(p, x, tape), params, images)
        if not tape.found:
            raise InputError("it returns no array; it must return an array [n …] for n images, or {name: array}")
        name, last = list(tape.found.items())[-1]
        if last.shape[:1] != images.shape[:1]:
            raise InputError(f"{name} is {list(last.shape)} for a batch of one image; it must be [n …] for n images")
        return tape.kinds


@dataclass(frozen=True)
class KerasForward:
    """An nnx module that names its own activations: `activations(images, names, edits)`."""

    graphdef: nnx.GraphDef[Any]

    def __call__(self, params: Any, images: jax.Array, names: tuple[str, ...] | None, edits: Edits) -> Activations:
        net = nnx.merge(self.graphdef, params)
        return net.activations(images, net.names if names is None else names, dict(edits))


def _check_output(value: Any) -> None:
    """Whether a module's own output can be explained.

    Raises:
        InputError: the output is no array.
    """
    if not isinstance(value, jax.Array):
        raise InputError(
            "a module must return one array [n …]; to explain one of many, wrap a module that returns only that one; "
            f"given: a {type(value).__name__}"
        )


def evaluation(module: Any) -> dict[str, Any]:
    """The keyword arguments that call a module in evaluation mode, without those that it was built with."""
    if not hasattr(module, "__call__"):  # noqa: B004  (an error is raised where it is called)
        return {}
    taken = inspect.signature(module.__call__).parameters.values()
    named = [each for each in taken if each.kind != inspect.Parameter.POSITIONAL_ONLY]
    names = {each.name for each in named if each.default in (None, True, False, inspect.Parameter.empty)}
    # A setting that it was built with is an attribute of type bool; `train` is also a method of every nnx module.
    own = {name for name in names if isinstance(getattr(module, name, None), bool)}
    return {name: value for name, value in EVALUATION.items() if name in names - own}


def in_evaluation(module: nnx.Module) -> None:
    """Switch an nnx module, and all modules in it, to evaluation mode."""
    nnx.Module.eval(module)  # `module.eval` may be an attribute of its own
    for _, part in nnx.iter_modules(module):
        for name, value in list(vars(part).items()):
            if name in EVALUATION and isinstance(value, bool):
                setattr(part, name, EVALUATION[name])


def switched(module: nn.Module) -> nn.Module:
    """A linen module in evaluation mode: it, and modules that are its attributes, are built again if need be."""
    changed: dict[str, Any] = {}
    for name, value in vars(module).items():
        if name in EVALUATION and isinstance(value, bool) and value != EVALUATION[name]:
            changed[name] = EVALUATION[name]
        elif name != "parent" and isinstance(value, nn.Module) and (other := switched(value)) is not value:
            changed[name] = other
    return module.clone(**changed) if changed else module


def check_mode(module: Any) -> None:
    """Whether a switch that is a word, such as `mode="train"`, does not stand at training.

    Raises:
        InputError: it does.
    """
    parts = [part for _, part in nnx.iter_modules(module)] if isinstance(module, nnx.Module) else [module]
    switches = {f"{type(part).__name__}.{name} = ": vars(part).get(name) for part in parts for name in WORDS}
    if hasattr(module, "__call__"):  # noqa: B004  (an error is raised where it is called)
        taken = inspect.signature(module.__call__).parameters
        switches |= {f"{name}=": taken[name].default for name in WORDS if name in taken}
    for name, value in switches.items():
        word = getattr(value, "name", value)  # of an enumeration, or a string
        if isinstance(word, str) and word.lower() in TRAINING:
            raise InputError(
                f"the module is in training mode, {name}{value!r}, and which word means evaluation is not known: build "
                "the module for evaluation, or give its call a default that means evaluation"
            )


@dataclass(frozen=True)
class NnxForward(_Tapped):
    """Any nnx module, in evaluation mode, tapped at each of its submodules."""

    graphdef: nnx.GraphDef[Any]

    def run(self, params: Any, images: jax.Array, tape: _Tape) -> None:
        module = nnx.merge(self.graphdef, params)  # a new copy, so its classes may be changed
        switches = evaluation(module)
        seen = {}
        for path, part in nnx.iter_modules(module):
            if hasattr(type(part), "__call__"):  # noqa: B004  (containers of layers cannot be called)
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
            _check_output(module(images, **switches))
        finally:
            _observer.reset(token)


# The observer of the forward pass that is running; the docstring above says why it is ambient.
_observer: ContextVar[Callable[[nnx.Module, Callable[[], Any]], Any]] = ContextVar("observer")


@functools.cache
def _tapped(kind: Any) -> Any:
    """A subclass of the module class `kind` whose calls report to `_observer`.

    Python looks `__call__` up on the type, so a single instance cannot be tapped. A subclass, unlike a patched class,
    changes no other instance, and it also catches an inherited `__call__`.
    """

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _observer.get()(self, functools.partial(kind.__call__, self, *args, **kwargs))

    return type(kind)(kind.__name__, (kind,), {"__call__": call})


@dataclass(frozen=True)
class LinenForward(_Tapped):
    """Any linen module, tapped at each of its submodules by an interceptor."""

    module: nn.Module

    def run(self, params: Any, images: jax.Array, tape: _Tape) -> None:
        def intercept(
            call: Callable[..., Any],
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
            context: nn.module.InterceptorContext,
        ) -> Any:
            value = call(*args, **kwargs)
            if context.method_name != "__call__":
                return value
            return tape.see("/".join(context.module.path) or OUTPUT, type(context.module).__name__, value)

        with nn.intercept_methods(intercept):
            _check_output(self.module.apply(params, images, **evaluation(self.module)))


@dataclass(frozen=True)
class FunctionForward(_Tapped):
    """A plain function `(params, images [n h w c]) -> array | {name: array}`: its results can be read, not edited."""

    function: Callable[[Any, jax.Array], jax.Array | Activations]

    def run(self, params: Any, images: jax.Array, tape: _Tape) -> None:
        if tape.edits:
            raise InputError(
                "a plain function has no layers that can be edited: wrap the nnx or linen module itself, or use a "
                f"gradient method that explains the input; given: an edit of {', '.join(tape.edits)}"
            )
        result = self.function(params, images)
        for name, value in (result if isinstance(result, dict) else {OUTPUT: result}).items():
            tape.see(name, "", value)

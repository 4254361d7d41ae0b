"""How a module is called for evaluation: its method, its switches and the arguments that it needs.

    module(images, **evaluation(module), **bound)

Law: a module runs in evaluation mode. A switch that can be set is set; one that stands at training and cannot be set
is refused.
"""

import functools
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
from flax import nnx

from jaxviz.checks import near
from jaxviz.errors import InputError

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


def called(module: Any, method: Any = "__call__") -> Any:
    """The method of a module that is called with images, by its name or, as linen takes it, as a function.

    A function is called itself.
    """
    if inspect.isroutine(module):
        return module
    if callable(method):
        return functools.partial(getattr(method, "__func__", method), module)
    return getattr(module, str(method), None)


def evaluation(module: Any, method: Any = "__call__") -> dict[str, Any]:
    """The keyword arguments that call a module in evaluation mode, without those that it was built with."""
    function = called(module, method)
    if function is None:  # an error is raised where it is called
        return {}
    taken = inspect.signature(function).parameters.values()
    named = [each for each in taken if each.kind != inspect.Parameter.POSITIONAL_ONLY]
    # A default may be an array, which has no truth value, so it is not compared.
    switches = [each for each in named if any(each.default is one for one in (None, True, False, each.empty))]
    names = {each.name for each in switches}
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


def check_mode(module: Any, bound: Mapping[str, Any]) -> None:
    """Whether a switch that is a word, such as `mode="train"`, does not stand at training, and is not `bound`.

    Raises:
        InputError: it does.
    """
    parts = [part for _, part in nnx.iter_modules(module)] if isinstance(module, nnx.Module) else [module]
    switches = {f"{type(part).__name__}.{name} = ": vars(part).get(name) for part in parts for name in WORDS}
    if hasattr(module, "__call__"):  # noqa: B004  (an error is raised where it is called)
        taken = inspect.signature(module.__call__).parameters
        switches |= {f"{name}=": taken[name].default for name in WORDS if name in taken and name not in bound}
    for name, value in switches.items():
        word = getattr(value, "name", value)  # of an enumeration, or a string
        if isinstance(word, str) and word.lower() in TRAINING:
            raise InputError(
                f"the module is in training mode, {name}{value!r}, and which word means evaluation is not known: build "
                'the module for evaluation, or bind an argument of its call, such as wrap(…, mode="eval")'
            )


# What linen's `apply` takes for itself.
APPLY = ("rngs", "method", "mutable", "capture_intermediates")


def check_arguments(function: Any, bound: Mapping[str, Any], first: int, given: Iterable[str] = ()) -> None:
    """Whether a function or method can be called with the images, its switches for evaluation, and `bound`.

    Args:
        first: the number of its first arguments that it gets anyway: variables, images.
        given: the names of further arguments that need not be bound, but may be.

    Raises:
        InputError: an argument that the call needs and does not get, or gets and does not know.
    """
    try:
        taken = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # no function, or one without a signature
        return
    by_name = [each for each in taken[first:] if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    names, given = [each.name for each in by_name], {*given}
    unknown = [name for name in bound if name not in names and name not in given]
    if unknown and not any(each.kind == each.VAR_KEYWORD for each in taken):
        raise InputError(
            f"the call of the module has no argument {unknown[0]!r}: {near(unknown[0], names)}"
            f"beside the images it takes {', '.join(names) or 'none'}"
        )
    missing = [each.name for each in by_name if each.default is each.empty and each.name not in {*bound, *given}]
    if missing:
        some = ", ".join(f"{name}=…" for name in missing)
        raise InputError(
            f"the call of the module needs more than images: {', '.join(missing)}. Bind it, wrap(…, {some}), with an "
            "array of the shape that fits a batch of one image, or any other value"
        )

"""The attribution methods by name, as the command line and the demo offer them.

    METHODS {name: (model, image, target, **options) -> Attribution}      show: an Attribution -> Figure

The methods are found by their signature: a new attribution needs no entry here.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import jaxviz as jv
from jaxviz.checks import near
from jaxviz.objectives import decision
from jaxviz.rendering.images import resize

if TYPE_CHECKING:
    import matplotlib.figure


def _is_method(function: Any) -> bool:
    """Whether this is a function `(model, image, target, …)` that needs no further argument."""
    if not inspect.isfunction(function):
        return False
    parameters = list(inspect.signature(function).parameters.values())
    first = [parameter.name for parameter in parameters[:3]] == ["model", "image", "target"]
    return first and all(parameter.default is not inspect.Parameter.empty for parameter in parameters[3:])


def _place(function: Callable[..., Any]) -> tuple[str, int]:
    """Where a function is written: its module and line."""
    return function.__module__, inspect.unwrap(function).__code__.co_firstlineno


# All public attributions, in the order in which they are written, module by module.
METHODS: Mapping[str, Callable[..., Any]] = {
    function.__name__: function for function in sorted(filter(_is_method, vars(jv).values()), key=_place)
}

# Those that take any network: the others follow the attention of a transformer.
GENERAL = tuple(name for name, method in METHODS.items() if not method.__module__.endswith(".attention"))


def decided(model: jv.Model, image: np.ndarray) -> int:
    """The class that the network decides for on one image `[h w c]`."""
    return int(decision(jv.activations(model, image, model.scores)[model.scores], model.is_binary))


def find_method(name: str) -> Callable[..., Any]:
    """The method of this name.

    Raises:
        InputError: there is none; the message has the nearest names and the whole list.
    """
    if name in METHODS:
        return METHODS[name]
    raise jv.InputError(f"no method {name!r}: {near(name, METHODS)}The methods are {', '.join(METHODS)}")


def share(names: Iterable[str], options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{method: those of `options` that it takes}.

    Raises:
        InputError: an unknown method, or an option that none of the methods takes.
    """
    taken = {name: _options(name) for name in names}
    for option in options:
        if not any(option in each for each in taken.values()):
            having = [name for name in METHODS if option in _options(name)]
            raise jv.InputError(f"{option} is an option of {', '.join(having)}; given: {', '.join(taken)}")
    return {name: {option: options[option] for option in each if option in options} for name, each in taken.items()}


def _options(name: str) -> list[str]:
    """The arguments of a method after the model, the image and the target."""
    return list(inspect.signature(find_method(name)).parameters)[3:]


def show(name: str, photograph: np.ndarray, found: Any, *, signed: bool = False) -> "matplotlib.figure.Figure":
    """The map of one image, drawn at the size of the photograph `[h w c]`.

    A map of regions `[h w]` is laid over the photograph. A map of pixels `[h w c]` is drawn alone, and so is a map of
    regions if `signed`: red speaks for the target, blue against it, and the scale ends at the 99.5th percentile.
    """
    values = np.asarray(found.values)
    if isinstance(found, jv.RelativeAttribution):
        values = values - values.min()
    if values.ndim == 2 and not signed:
        return jv.show_overlay(photograph, values, title=name)
    values = values.sum(-1) if values.ndim == 3 else values
    return jv.show_maps({name: resize(values, photograph.shape[:2])}, signed=True)

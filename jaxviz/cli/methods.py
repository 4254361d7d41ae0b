"""The attribution methods by name, as the command line and the demo offer them.

    METHODS {name: (model, image, target, **options) -> Attribution}      show: an Attribution -> Figure

Most are the library's own functions; two combine two others.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import jaxviz as jv
from jaxviz.checks import near
from jaxviz.rendering.images import resize
from jaxviz.targets import Target

if TYPE_CHECKING:
    import matplotlib.figure


def decided(model: jv.Model, image: Any) -> int:
    """The class that the network decides for on one image `[h w c]`."""
    units = jv.activations(model, image, model.scores)[model.scores]
    one_sigmoid = len(units) == 1 and model.scores != model.output  # its logit is of class 1
    return int(units[0] > 0) if one_sigmoid else int(np.argmax(units))


def smoothgrad(
    model: jv.Model, image: Any, target: Target = None, *, samples: int = 25, noise: float | int = 0.15
) -> jv.Attribution:
    """`smooth` of `gradient`, for one image `[h w c]`; a target None is decided once, on the image without noise.

    Source: Smilkov et al. 2017, SmoothGrad.
    """
    named = decided(model, image) if target is None else target
    return jv.smooth(lambda copies: jv.gradient(model, copies, named), image, samples=samples, noise=noise)


def guided_grad_cam(model: jv.Model, image: Any, target: Target = None, *, layer: Any = None) -> jv.Attribution:
    """The product of `guided_gradient` and `grad_cam`: fine detail, where the decision comes from.

    Source: Selvaraju et al. 2017, Grad-CAM, section 3.2.
    """
    cam = jv.grad_cam(model, image, target, layer=layer)
    guided = jv.guided_gradient(model, image, target)
    return guided._replace(values=guided.values * cam.values[..., None])


METHODS: Mapping[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        jv.gradient,
        jv.input_x_gradient,
        jv.integrated_gradients,
        smoothgrad,
        jv.guided_gradient,
        jv.deconvnet,
        guided_grad_cam,
        jv.lrp,
        jv.grad_cam,
        jv.grad_cam_plus_plus,
        jv.hires_cam,
        jv.layer_cam,
        jv.x_grad_cam,
        jv.eigen_cam,
        jv.score_cam,
        jv.occlusion,
        jv.rise,
    )
}


def find_method(name: str) -> Callable[..., Any]:
    """The method of this name.

    Raises:
        InputError: with the nearest names and the whole list.
    """
    if name in METHODS:
        return METHODS[name]
    raise jv.InputError(f"no method {name!r}: {near(name, METHODS)}The methods are {', '.join(METHODS)}")


def share(names: Iterable[str], options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{method: those of `options` that it takes}.

    Raises:
        InputError: an unknown method, or an option that none of them takes.
    """
    taken = {name: _options(name) for name in names}
    for option in options:
        if not any(option in each for each in taken.values()):
            having = [name for name in METHODS if option in _options(name)]
            raise jv.InputError(f"{option} is an option of {', '.join(having)}; given: {', '.join(taken)}")
    return {name: {option: options[option] for option in each if option in options} for name, each in taken.items()}


def _options(name: str) -> list[str]:
    """What a method takes besides the model, the image and the target."""
    return list(inspect.signature(find_method(name)).parameters)[3:]


def show(name: str, photograph: np.ndarray, found: Any, *, signed: bool = False) -> "matplotlib.figure.Figure":
    """What a method found in one image, at the size of the photograph `[h w c]`.

    A map of regions `[h w]` lies over the photograph. One of pixels `[h w c]` is drawn alone, and so is one of regions
    if `signed`: red speaks for the target, blue against it, and the scale ends at the 99.5th percentile.
    """
    values = np.asarray(found.values)
    if name == "rise":
        values = values - values.min()  # only its differences mean something
    if values.ndim == 2 and not signed:
        return jv.show_overlay(photograph, values, title=name)
    values = values.sum(-1) if values.ndim == 3 else values
    return jv.show_maps({name: resize(values, photograph.shape[:2])}, signed=True)

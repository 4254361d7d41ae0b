"""Class activation maps: where in the image a decision came from, as seen by one layer.

    map = ReLU(weigh(activation [h w k], gradient of the score with respect to it [h w k]))

A CAM differentiates the score with respect to an *edit* at one layer: the layer's activation as a free variable. The
family shares that core; each member is one small `weigh`. Guided Grad-CAM is a product:
`guided_gradient(model, image).values * grad_cam(model, image).values[..., None]`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxviz.attribution.explain import BATCH, Array, Attribution, decide, explain
from jaxviz.compiling.batches import at_once, map_in_loop
from jaxviz.compiling.jaxprs import depends
from jaxviz.compiling.jit import jit
from jaxviz.errors import InputError
from jaxviz.model import IMAGE, Model
from jaxviz.objectives import Objective
from jaxviz.targets import Target

__all__ = ["eigen_cam", "grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam", "x_grad_cam"]

Layer = str | Sequence[str] | None
Weigh = Callable[[jax.Array, jax.Array], jax.Array]

AGAINST = (
    "whatever the layer sees speaks against the target, and the positive part is empty. "
    "relu=False shows it with its sign"
)
EPSILON = 1e-7  # where a sum of activations may be zero


def grad_cam(
    model: Model, image: Any, target: Target = None, *, layer: Layer = None, relu: bool = True, batch: int = BATCH
) -> Attribution:
    """An `Attribution` with a map `[h w]`: the regions of `image` that raise the target's score.

    A channel's weight is the mean of the score's gradient over the layer's map; the weighted sum of channels is cut at
    zero and enlarged bilinearly to the image's size. It is not normalised.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each.
        layer: whose maps are weighted; None: the last convolution that the target can depend on. The maps of several
            layers are each divided by their largest magnitude, and averaged.
        relu: keep the positive part only, as all CAMs do; False shows what speaks against the target, too.
        batch: images computed at a time.

    Raises:
        InputError: an unknown layer or class, a layer without maps or that the target does not depend on, an image of
            another shape or outside [0, 1].

    Source: Selvaraju et al. 2017, Grad-CAM, equations 1 and 2.
    """
    return cam(weigh_grad_cam, model, image, target, layer, relu, batch)


def weigh_grad_cam(activation: jax.Array, gradient: jax.Array) -> jax.Array:
    weights = gradient.mean((0, 1))  # eq. 1
    return (activation * weights).sum(-1)  # eq. 2


def grad_cam_plus_plus(
    model: Model, image: Any, target: Target = None, *, layer: Layer = None, relu: bool = True, batch: int = BATCH
) -> Attribution:
    """As `grad_cam`, for several objects of one class: positive gradients, each pixel weighted by its own share.

    Source: Chattopadhay et al. 2018, Grad-CAM++, equations 10 and 19, of exp(score).
    """
    return cam(weigh_grad_cam_plus_plus, model, image, target, layer, relu, batch)


def weigh_grad_cam_plus_plus(activation: jax.Array, gradient: jax.Array) -> jax.Array:
    below = 2 * gradient**2 + activation.sum((0, 1)) * gradient**3
    share = jnp.where(below != 0, gradient**2 / jnp.where(below != 0, below, 1), 0)  # α, eq. 19
    weights = (share * jax.nn.relu(gradient)).sum((0, 1))  # eq. 10
    return (activation * weights).sum(-1)


def hires_cam(
    model: Model, image: Any, target: Target = None, *, layer: Layer = None, relu: bool = True, batch: int = BATCH
) -> Attribution:
    """As `grad_cam`, without averaging: each pixel of each channel has its own gradient.

    Source: Draelos & Carin 2020, HiResCAM, equation 3.
    """
    return cam(weigh_hires_cam, model, image, target, layer, relu, batch)


def weigh_hires_cam(activation: jax.Array, gradient: jax.Array) -> jax.Array:
    return (activation * gradient).sum(-1)


def layer_cam(
    model: Model, image: Any, target: Target = None, *, layer: Layer = None, relu: bool = True, batch: int = BATCH
) -> Attribution:
    """As `hires_cam`, with the positive gradients only: sharp at early layers, too.

    Source: Jiang et al. 2021, LayerCAM, equations 4 and 5.
    """
    return cam(weigh_layer_cam, model, image, target, layer, relu, batch)


def weigh_layer_cam(activation: jax.Array, gradient: jax.Array) -> jax.Array:
    return (activation * jax.nn.relu(gradient)).sum(-1)


def x_grad_cam(
    model: Model, image: Any, target: Target = None, *, layer: Layer = None, relu: bool = True, batch: int = BATCH
) -> Attribution:
    """As `grad_cam`, with each pixel's gradient weighted by its share of the channel's activation.

    Source: Fu et al. 2020, XGrad-CAM, equation 8.
    """
    return cam(weigh_x_grad_cam, model, image, target, layer, relu, batch)


def weigh_x_grad_cam(activation: jax.Array, gradient: jax.Array) -> jax.Array:
    weights = (gradient * activation).sum((0, 1)) / (activation.sum((0, 1)) + EPSILON)
    return (activation * weights).sum(-1)


def eigen_cam(
    model: Model, image: Any, target: Target = None, *, layer: Layer = None, relu: bool = True, batch: int = BATCH
) -> Attribution:
    """As `grad_cam`, whatever the target: the layer's first principal component, what it mostly sees.

    A principal component has no sign; here it points where the layer is active.

    Source: Muhammad & Yeasin 2020, Eigen-CAM, equation 3, with centred channels.
    """
    return cam(weigh_eigen_cam, model, image, target, layer, relu, batch)


def weigh_eigen_cam(activation: jax.Array, gradient: jax.Array) -> jax.Array:
    pixels = activation.reshape(-1, activation.shape[-1])
    pixels = pixels - pixels.mean(0)
    # The first principal component of n pixels × k channels, by the products of whichever are fewer.
    if len(pixels) <= pixels.shape[1]:
        squares, vectors = jnp.linalg.eigh(pixels @ pixels.T)
        values = vectors[:, -1] * jnp.sqrt(jnp.maximum(squares[-1], 0))
    else:
        values = pixels @ jnp.linalg.eigh(pixels.T @ pixels)[1][:, -1]
    sign = jnp.where(values @ activation.sum(-1).ravel() < 0, -1, 1)
    return (sign * values).reshape(activation.shape[:2])


def cam(weigh: Weigh, model: Model, image: Any, target: Target, layer: Layer, relu: bool, batch: int) -> Attribution:
    """The CAM that `weigh` makes of the activation and its gradient."""

    def method(model: Model, images: Array, objectives: Objective) -> Any:
        layers = seen_layers(model, objectives, layer)
        return _cams(model, images, objectives, layers=layers, weigh=weigh, relu=relu)

    return explain(method, model, image, target, batch, otherwise=AGAINST)


@jit(static=("layers", "weigh", "relu"))
def _cams(
    model: Model, images: jax.Array, objectives: Objective, *, layers: tuple[str, ...], weigh: Weigh, relu: bool
) -> tuple[Attribution, jax.Array]:
    def at(layer: str, image: jax.Array, objective: Objective) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The map at one layer, enlarged; the score; and whether it moves with what the layer sees."""
        activation = model(image, (layer,))[layer]
        edited = functools.partial(edited_score, model, image, objective, layer)
        if not depends(edited, activation):
            raise InputError(f"the target, {', '.join(objective.layers)}, does not depend on {layer}")
        value, gradient = jax.value_and_grad(edited)(activation)
        values = enlarged(weigh(activation, gradient), image.shape[:2], relu)
        return values, value, (activation * gradient != 0).any()

    def one(image: jax.Array, objective: Objective) -> tuple[Attribution, jax.Array]:
        objective = decide(model, image, objective)
        maps, values, sensitive = zip(*(at(layer, image, objective) for layer in layers), strict=True)
        return Attribution(fuse(maps), values[0]), jnp.stack(sensitive).any()

    size = at_once(*images.shape[1:3], execution=model.execution)
    return map_in_loop(one, images, objectives, size=size, execution=model.execution)


def enlarged(values: jax.Array, size: tuple[int, ...], relu: bool) -> jax.Array:
    """A map `[h w]` of a layer at the image's size."""
    return jax.image.resize(jax.nn.relu(values) if relu else values, size, "bilinear")


def fuse(maps: Sequence[jax.Array]) -> jax.Array:
    """The maps of several layers, each divided by its largest magnitude, averaged; a single one as it is."""
    if len(maps) == 1:
        return maps[0]
    tiny = jnp.finfo(maps[0].dtype).tiny
    return jnp.stack([each / jnp.maximum(jnp.abs(each).max(), tiny) for each in maps]).mean(0)


def edited_score(model: Model, image: jax.Array, objective: Objective, layer: str, activation: jax.Array) -> jax.Array:
    """The score of one image with the activation of `layer` replaced."""
    return objective(_activations(model, image, objective.layers, layer, activation))


def seen_layers(model: Model, objectives: Objective, layer: Layer) -> tuple[str, ...]:
    """The layers to look at, each of which has maps."""
    layer = last_convolution(model, objectives) if layer is None else layer
    names = [layer] if isinstance(layer, str) or not np.iterable(layer) else list(layer)
    if not names:
        raise InputError("no layers to look at: give names, or None for the last convolution")
    shapes = model.shapes(names=[model.check_layer(name) for name in names])
    for name, shape in shapes.items():
        if len(shape) != 3:
            raise InputError(f"{name} has shape {list(shape)}: a CAM needs a layer with maps [h w c]")
    return tuple(names)


def last_convolution(model: Model, objective: Objective) -> str:
    """The last convolution that what `objective` reads depends on; one that sees more than a single pixel, if there is.

    (Heads may convolve what is left after pooling, and with several heads the last one may be another's.)
    """
    ends = tuple(name for name in objective.layers if name != IMAGE)
    last = max((model.handles.index(name) for name in ends), default=-1)
    kinds = {layer.name: layer.kind for layer in model.table}
    shapes = model.shapes(names=[name for name in model.handles[: last + 1] if "Conv" in kinds.get(name, "")])
    image = jnp.zeros(model.image_size())
    all_lead_there = len(model.outputs) == 1 and {model.output, model.scores}.issuperset(ends)
    for name in sorted(shapes, key=lambda name: (shapes[name][:-1] == (1, 1), -model.handles.index(name))):
        edited = functools.partial(_activations, model, image, ends, name)
        if all_lead_there or depends(edited, jax.ShapeDtypeStruct(shapes[name], jnp.float32)):
            return name
    raise InputError("no convolution before the target: name the layer, layer=…")


def _activations(model: Model, image: jax.Array, names: Sequence[str], layer: str, activation: jax.Array) -> Any:
    return model(image, names, {layer: lambda _: activation[None]})

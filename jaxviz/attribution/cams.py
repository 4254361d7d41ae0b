"""Class activation maps (CAMs): where in the image a decision comes from, as one layer sees it.

    map = ReLU(weigh(activation [h w k], gradient of the score with respect to it [h w k]))

Of a signal, the layer is `[t k]` and the map `[t]`; of a volume, `[d h w k]` and `[d h w]`. So a formula names its axes
by `map_axes(activation)`, all but the last.

All CAMs here are `cam` with a formula `weigh` of their own. `cam` finds the layer, computes the activation and the
gradient, and enlarges the map to the image's size. The gradient is that of the score with respect to an *edit* at the
layer: a number added to each number of its activation.

A new CAM takes three steps and two files:

1. Write the formula `weigh_<name>(activation, gradient) -> map [h w]`; above it, the public function `<name>` with the
   arguments and the docstring of `grad_cam`. The docstring's first line says what the map shows: it is the caption in
   the demo.
2. Add the name to `__all__` below.
3. Write one test in `tests/jaxviz/test_cams.py`: the formula once more in NumPy, in `FORMULAS`.

`jv`, the command line and the demo find it by its signature.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxviz.attribution.explain import BATCH, STILL, Array, Attribution, answer, ask
from jaxviz.attribution.layer_maps import (
    AGAINST,
    Layers,
    Shape,
    edited_score,
    enlarged,
    fuse,
    seen_layers,
    turned,
)
from jaxviz.attribution.layer_maps import last_convolution as last_convolution
from jaxviz.compiling.batches import at_once, map_in_loop
from jaxviz.compiling.jit import jit
from jaxviz.geometry import Place
from jaxviz.model import Model
from jaxviz.objectives import Objective
from jaxviz.targets import Target
from jaxviz.tokens import Tokens

__all__ = [
    "cam",
    "eigen_cam",
    "grad_cam",
    "grad_cam_plus_plus",
    "hires_cam",
    "layer_cam",
    "x_grad_cam",
]

Weigh = Callable[[jax.Array, jax.Array], jax.Array]

NO_WEIGHT = "the formula of this CAM gives every place of the layer the value 0. Another layer may show something"
EPSILON = 1e-7  # added where a sum of activations may be zero


def cam(
    model: Model,
    image: ArrayLike,
    target: Target = None,
    *,
    weigh: Weigh,
    layer: Layers = None,
    relu: bool = True,
    batch: int = BATCH,
) -> Attribution:
    """An `Attribution` with a map `[h w]`: a CAM by a formula of your own.

        def weigh(activation, gradient):            # HiResCAM
            return (activation * gradient).sum(-1)

        jv.cam(model, image, "cornet", weigh=weigh)

    The map is enlarged bilinearly to the image's size and not normalised.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each.
        weigh: `(activation [h w k], gradient [h w k]) -> map [h w]`, a function of JAX arrays: the layer's activation
            for one image, and the gradient of the target's score with respect to it. It is static under `jit`: each
            new function compiles anew, and so does a lambda that is written in a loop. Define it once.
        layer: the layer whose maps are weighed; None: the last convolution between the image and the target, or the
            last tokens that an attention reads. The maps of several layers are each divided by their largest magnitude,
            and averaged.
        relu: keep the positive part only, as all CAMs do; False also shows what speaks against the target.
        batch: images computed at a time.

    Raises:
        InputError: an unknown layer or class, a layer without maps `[h w k]` or without a connection to the image or
            to the target, an image of another shape or outside [0, 1].
    """
    question = ask(model, image, target)
    layers, places, picture = seen_layers(model, question.objectives, layer, question.images.shape[1:-1])
    static = {"layers": layers, "grid": picture[:-1], "weigh": weigh, "relu": relu}

    def method(images: Array, objectives: Objective) -> tuple[Attribution, np.ndarray]:
        found, moves, weighed = _cams(model, images, objectives, places, **static)
        return found, np.select([~np.asarray(moves), np.asarray(weighed)], [STILL, AGAINST], NO_WEIGHT)

    return answer(question, method, batch)


@jit(static=("layers", "grid", "weigh", "relu"))
def _cams(
    model: Model,
    images: jax.Array,
    objectives: Objective,
    places: tuple[Place | Tokens | None, ...],
    *,
    layers: tuple[tuple[str, Shape], ...],
    grid: Shape,
    weigh: Weigh,
    relu: bool,
) -> tuple[Attribution, jax.Array, jax.Array]:
    """The CAMs of a batch; whether the score moves with anything in a layer; whether `weigh` gives anything but 0."""

    def at(
        layer: str, shape: Shape, where: Place | Tokens | None, image: jax.Array, objective: Objective
    ) -> tuple[jax.Array, ...]:
        """The map of one layer at the image's size, the score, and the two facts about them."""
        edited = partial(edited_score, model, image, objective, layer)
        (score, activation), gradient = jax.value_and_grad(edited, has_aux=True)(jnp.zeros(shape))
        values = weigh(turned(activation, where), turned(gradient, where))
        moves, weighed = (activation * gradient != 0).any(), (values != 0).any()
        return enlarged(values, grid, relu, where), score, moves, weighed

    def one(image: jax.Array, objective: Objective) -> tuple[Attribution, jax.Array, jax.Array]:
        each = [at(*layer, where, image, objective) for layer, where in zip(layers, places, strict=True)]
        maps, scores, moves, weighed = zip(*each, strict=True)
        return Attribution(fuse(maps), scores[0]), jnp.stack(moves).any(), jnp.stack(weighed).any()

    size = at_once(*images.shape[1:-1], gradient=False, execution=model.execution)
    return map_in_loop(one, images, objectives, size=size, execution=model.execution)


def map_axes(activation: jax.Array) -> tuple[int, ...]:
    """The axes of the places of an activation `[h w k]`, all but the last."""
    return tuple(range(activation.ndim - 1))


def grad_cam(
    model: Model,
    image: ArrayLike,
    target: Target = None,
    *,
    layer: Layers = None,
    relu: bool = True,
    batch: int = BATCH,
) -> Attribution:
    """An `Attribution` with a map `[h w]`: the regions of the image that raise the target's score.

    A channel's weight is the mean of the score's gradient over the layer's map. The weighted sum of the channels is cut
    at zero and enlarged bilinearly to the image's size. It is not normalised.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each.
        layer: the layer whose maps are weighed; None: the last convolution between the image and the target, or the
            last tokens that an attention reads. The maps of several layers are each divided by their largest magnitude,
            and averaged.
        relu: keep the positive part only, as all CAMs do; False also shows what speaks against the target.
        batch: images computed at a time.

    Raises:
        InputError: an unknown layer or class, a layer without maps `[h w k]` or without a connection to the image or
            to the target, an image of another shape or outside [0, 1].

    Source: Selvaraju et al. 2017, Grad-CAM, equations 1 and 2.
    """
    return cam(model, image, target, weigh=weigh_grad_cam, layer=layer, relu=relu, batch=batch)


def weigh_grad_cam(activation: jax.Array, gradient: jax.Array) -> jax.Array:
    weights = gradient.mean(map_axes(gradient))  # eq. 1
    return (activation * weights).sum(-1)  # eq. 2


def grad_cam_plus_plus(
    model: Model,
    image: ArrayLike,
    target: Target = None,
    *,
    layer: Layers = None,
    relu: bool = True,
    batch: int = BATCH,
) -> Attribution:
    """An `Attribution` with a map `[h w]`: the regions that raise the score, also of several objects of one class.

    Grad-CAM with positive gradients only, each pixel weighted by its own share α, so that a small object counts as much
    as a large one.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each.
        layer: the layer whose maps are weighed; None: the last convolution between the image and the target, or the
            last tokens that an attention reads. The maps of several layers are each divided by their largest magnitude,
            and averaged.
        relu: keep the positive part only, as all CAMs do; False also shows what speaks against the target.
        batch: images computed at a time.

    Raises:
        InputError: an unknown layer or class, a layer without maps `[h w k]` or without a connection to the image or
            to the target, an image of another shape or outside [0, 1].

    Source: Chattopadhay et al. 2018, Grad-CAM++, equations 10 and 19, of exp(score).
    """
    return cam(model, image, target, weigh=weigh_grad_cam_plus_plus, layer=layer, relu=relu, batch=batch)


def weigh_grad_cam_plus_plus(activation: jax.Array, gradient: jax.Array) -> jax.Array:
    below = 2 * gradient**2 + activation.sum(map_axes(activation)) * gradient**3
    share = jnp.where(below != 0, gradient**2 / jnp.where(below != 0, below, 1), 0)  # α, eq. 19
    weights = (share * jax.nn.relu(gradient)).sum(map_axes(gradient))  # eq. 10
    return (activation * weights).sum(-1)


def hires_cam(
    model: Model,
    image: ArrayLike,
    target: Target = None,
    *,
    layer: Layers = None,
    relu: bool = True,
    batch: int = BATCH,
) -> Attribution:
    """An `Attribution` with a map `[h w]`: the regions that raise the score, without averaging gradients.

    Grad-CAM in which each pixel of each channel has its own gradient: the map shows exactly what the layer passes on to
    the score.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each.
        layer: the layer whose maps are weighed; None: the last convolution between the image and the target, or the
            last tokens that an attention reads. The maps of several layers are each divided by their largest magnitude,
            and averaged.
        relu: keep the positive part only, as all CAMs do; False also shows what speaks against the target.
        batch: images computed at a time.

    Raises:
        InputError: an unknown layer or class, a layer without maps `[h w k]` or without a connection to the image or
            to the target, an image of another shape or outside [0, 1].

    Source: Draelos & Carin 2020, HiResCAM, equation 3.
    """
    return cam(model, image, target, weigh=weigh_hires_cam, layer=layer, relu=relu, batch=batch)


def weigh_hires_cam(activation: jax.Array, gradient: jax.Array) -> jax.Array:
    return (activation * gradient).sum(-1)


def layer_cam(
    model: Model,
    image: ArrayLike,
    target: Target = None,
    *,
    layer: Layers = None,
    relu: bool = True,
    batch: int = BATCH,
) -> Attribution:
    """An `Attribution` with a map `[h w]`: the regions that raise the score, sharp at early layers too.

    HiResCAM with the positive gradients only.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each.
        layer: the layer whose maps are weighed; None: the last convolution between the image and the target, or the
            last tokens that an attention reads. The maps of several layers are each divided by their largest magnitude,
            and averaged.
        relu: keep the positive part only, as all CAMs do; False also shows what speaks against the target.
        batch: images computed at a time.

    Raises:
        InputError: an unknown layer or class, a layer without maps `[h w k]` or without a connection to the image or
            to the target, an image of another shape or outside [0, 1].

    Source: Jiang et al. 2021, LayerCAM, equations 4 and 5.
    """
    return cam(model, image, target, weigh=weigh_layer_cam, layer=layer, relu=relu, batch=batch)


def weigh_layer_cam(activation: jax.Array, gradient: jax.Array) -> jax.Array:
    return (activation * jax.nn.relu(gradient)).sum(-1)


def x_grad_cam(
    model: Model,
    image: ArrayLike,
    target: Target = None,
    *,
    layer: Layers = None,
    relu: bool = True,
    batch: int = BATCH,
) -> Attribution:
    """An `Attribution` with a map `[h w]`: the regions that raise the score, gradients weighted by activation.

    Grad-CAM in which each pixel's gradient counts by the pixel's share of its channel's activation.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each.
        layer: the layer whose maps are weighed; None: the last convolution between the image and the target, or the
            last tokens that an attention reads. The maps of several layers are each divided by their largest magnitude,
            and averaged.
        relu: keep the positive part only, as all CAMs do; False also shows what speaks against the target.
        batch: images computed at a time.

    Raises:
        InputError: an unknown layer or class, a layer without maps `[h w k]` or without a connection to the image or
            to the target, an image of another shape or outside [0, 1].

    Source: Fu et al. 2020, XGrad-CAM, equation 8.
    """
    return cam(model, image, target, weigh=weigh_x_grad_cam, layer=layer, relu=relu, batch=batch)


def weigh_x_grad_cam(activation: jax.Array, gradient: jax.Array) -> jax.Array:
    axes = map_axes(activation)
    weights = (gradient * activation).sum(axes) / (activation.sum(axes) + EPSILON)
    return (activation * weights).sum(-1)


def eigen_cam(
    model: Model,
    image: ArrayLike,
    target: Target = None,
    *,
    layer: Layers = None,
    relu: bool = True,
    batch: int = BATCH,
) -> Attribution:
    """An `Attribution` with a map `[h w]`: what the layer mostly sees, whatever the target is.

    The first principal component of the layer's channels. A principal component has no sign; here it points where the
    layer is active.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each.
        layer: the layer whose maps are weighed; None: the last convolution between the image and the target, or the
            last tokens that an attention reads. The maps of several layers are each divided by their largest magnitude,
            and averaged.
        relu: keep the positive part only, as all CAMs do; False also shows what speaks against the target.
        batch: images computed at a time.

    Raises:
        InputError: an unknown layer or class, a layer without maps `[h w k]` or without a connection to the image or
            to the target, an image of another shape or outside [0, 1].

    Source: Muhammad & Yeasin 2020, Eigen-CAM, equation 3, with centred channels.
    """
    return cam(model, image, target, weigh=weigh_eigen_cam, layer=layer, relu=relu, batch=batch)


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
    return (sign * values).reshape(activation.shape[:-1])

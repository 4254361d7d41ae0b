"""Gradients with another backward rule for ReLU. They work for any module: the function that JAX traces is edited."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxviz.attribution.cams import grad_cam
from jaxviz.attribution.explain import BATCH, Array, Attribution, answer, ask
from jaxviz.attribution.gradients import gradient_of
from jaxviz.attribution.layer_maps import Layers
from jaxviz.compiling.jaxprs import CALLS, Rule, bind, nn_function, with_rules
from jaxviz.compiling.jit import jit
from jaxviz.errors import InputError
from jaxviz.model import Model
from jaxviz.objectives import Objective, score
from jaxviz.structure import picture_shape
from jaxviz.targets import Target

__all__ = ["deconvnet", "guided_grad_cam", "guided_gradient"]

NOTHING_BACK = (
    "no gradient comes back through the ReLUs under this rule. The plain `gradient` says whether the score moves at all"
)


def guided_gradient(model: Model, image: ArrayLike, target: Target = None, *, batch: int = BATCH) -> Attribution:
    """An `Attribution` with values `[h w c]`: the gradient that stays positive at active ReLUs; crisp, no explanation.

    At every ReLU the backward pass keeps the gradient only where the input was positive (the ReLU is active) and the
    gradient itself is positive. ReLU6, and Keras' `ReLU` with a maximum or a threshold, count as ReLUs; LeakyReLU,
    swish, GELU … keep their own gradient.

    The pictures are crisp, but hardly an explanation: they change little with the class, or when the network's upper
    layers are made random (Adebayo et al. 2018, Sanity checks for saliency maps).

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each. Classes are explained before their softmax or sigmoid.
        batch: images computed at a time.

    Raises:
        InputError: an unknown class, an image of another shape or outside [0, 1], or a network without a ReLU.

    Source: Springenberg et al. 2014, Striving for simplicity, section 3.4.
    """
    return _with_relu(guided_relu, model, image, target, batch)


def deconvnet(model: Model, image: ArrayLike, target: Target = None, *, batch: int = BATCH) -> Attribution:
    """An `Attribution` with values `[h w c]`: the positive gradient through every ReLU, active or not; no explanation.

    At every ReLU the backward pass keeps the gradient where it is positive, whether or not the ReLU was active. ReLU6,
    and Keras' `ReLU` with a maximum or a threshold, count as ReLUs; LeakyReLU, swish, GELU … keep their own gradient.
    Like `guided_gradient`, it fails the sanity checks of Adebayo et al. 2018.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each. Classes are explained before their softmax or sigmoid.
        batch: images computed at a time.

    Raises:
        InputError: an unknown class, an image of another shape or outside [0, 1], or a network without a ReLU.

    Source: Zeiler & Fergus 2013, Visualizing and understanding convolutional networks, section 2.1.
    """
    return _with_relu(deconvnet_relu, model, image, target, batch)


def guided_grad_cam(
    model: Model, image: ArrayLike, target: Target = None, *, layer: Layers = None, batch: int = BATCH
) -> Attribution:
    """An `Attribution` with values `[h w c]`: `guided_gradient` times `grad_cam`, detail in the regions that count.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each. Classes are explained before their softmax or sigmoid.
        layer: the layer of Grad-CAM; None: the last convolution that the target can depend on, or the last
            tokens that an attention reads. The maps of several layers are each divided by their largest magnitude, and
            averaged.
        batch: images computed at a time.

    Raises:
        InputError: an unknown layer or class, a layer without maps `[h w k]` or one that the target does not depend on,
            an image of another shape or outside [0, 1], or a network without a ReLU.

    Source: Selvaraju et al. 2017, Grad-CAM, section 3.2.
    """
    regions = grad_cam(model, image, target, layer=layer, batch=batch)
    details = guided_gradient(model, image, target, batch=batch)
    shape = details.values.shape
    *_, channels = picture_shape(model, np.shape(image)[np.ndim(image) - len(model.image_shape) :][:-1])
    pixels = details.values.reshape(*regions.values.shape, channels)
    return details._replace(values=(pixels * regions.values[..., None]).reshape(shape))


@jax.custom_vjp
def guided_relu(x: jax.Array) -> jax.Array:
    return jax.nn.relu(x)


guided_relu.defvjp(lambda x: (jax.nn.relu(x), x > 0), lambda active, g: (jnp.where(active, jax.nn.relu(g), 0),))


@jax.custom_vjp
def deconvnet_relu(x: jax.Array) -> jax.Array:
    return jax.nn.relu(x)


deconvnet_relu.defvjp(lambda x: (jax.nn.relu(x), None), lambda _, g: (jax.nn.relu(g),))


Relu = Callable[[jax.Array], jax.Array]


def _with_relu(relu: Relu, model: Model, image: ArrayLike, target: Target, batch: int) -> Attribution:
    def method(images: Array, objectives: Objective) -> tuple[Attribution, np.ndarray]:
        found, _ = _relu_gradients(model, images, objectives, relu=relu)
        return found, np.full(len(images), NOTHING_BACK)

    return answer(ask(model, image, target), method, batch)


@jit(static=("relu",))
def _relu_gradients(model: Model, images: jax.Array, objectives: Objective, *, relu: Relu) -> tuple[Attribution, Array]:
    return gradient_of(replace_relu(score, relu), model, images, objectives)


def replace_relu(function: Callable[..., Any], relu: Relu) -> Callable[..., Any]:
    """`function` with `relu` in place of every `jax.nn.relu`, in any model: the traced function is edited.

    A ReLU6 is a ReLU and then a cut at 6, which keeps its own derivative. A ReLU within hard_sigmoid or hard_silu is
    left alone.

    Raises:
        InputError: when the new function is called, if there is no ReLU in it.
    """

    def replaced(*args: Any) -> Any:
        met = []

        def rule(equation: Any, *inputs: Any) -> list[Any]:
            called = nn_function(equation)
            if called not in ("relu", "relu6"):
                return bind(equation, *inputs, rules=None if called else rules)
            met.append(equation)
            (x,) = inputs
            return [relu(x) if called == "relu" else jnp.where(x < 6, relu(x), jnp.asarray(6, x.dtype))]

        rules: dict[str, Rule] = dict.fromkeys(CALLS, rule)
        result = with_rules(function, rules)(*args)
        if not met:
            raise InputError(
                "guided gradients and deconvnets need a ReLU or ReLU6 before the target; given: no ReLU on the way to "
                "this target (LeakyReLU, swish, GELU … keep their own gradient; a ReLU is a call of jax.nn.relu). Use "
                "gradient"
            )
        return result

    return replaced

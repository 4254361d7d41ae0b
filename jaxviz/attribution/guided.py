"""Gradients with another backward rule for ReLU, in any module: the function that JAX traces is edited."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxviz.attribution.explain import BATCH, Array, Attribution, explain
from jaxviz.attribution.gradients import gradient_of
from jaxviz.compiling.jaxprs import CALLS, Rule, bind, nn_function, with_rules
from jaxviz.compiling.jit import jit
from jaxviz.errors import InputError
from jaxviz.model import Model
from jaxviz.objectives import Objective, score
from jaxviz.targets import Target

__all__ = ["deconvnet", "guided_gradient"]


def guided_gradient(model: Model, image: Any, target: Target = None, *, batch: int = BATCH) -> Attribution:
    """As `gradient`, with a backward pass that keeps only what is positive at every ReLU, there and back.

    ReLU6, and Keras' `ReLU` with a maximum or a threshold, are ReLUs; LeakyReLU, swish, GELU … keep their gradient.

    Crisp pictures, but hardly an explanation: they change little with the class, or when the network's upper layers
    are made random (Adebayo et al. 2018, Sanity checks for saliency maps).

    Raises:
        InputError: as `gradient`; also a network without a ReLU.

    Source: Springenberg et al. 2014, Striving for simplicity, section 3.4.
    """
    return _with_relu(guided_relu, model, image, target, batch)


def deconvnet(model: Model, image: Any, target: Target = None, *, batch: int = BATCH) -> Attribution:
    """As `guided_gradient`, but every ReLU lets all of the positive gradient back, whether or not it was on.

    It fails the same sanity checks (Adebayo et al. 2018).

    Source: Zeiler & Fergus 2013, Visualizing and understanding convolutional networks, section 2.1.
    """
    return _with_relu(deconvnet_relu, model, image, target, batch)


@jax.custom_vjp
def guided_relu(x: jax.Array) -> jax.Array:
    return jax.nn.relu(x)


guided_relu.defvjp(lambda x: (jax.nn.relu(x), x > 0), lambda on, g: (jnp.where(on, jax.nn.relu(g), 0),))


@jax.custom_vjp
def deconvnet_relu(x: jax.Array) -> jax.Array:
    return jax.nn.relu(x)


deconvnet_relu.defvjp(lambda x: (jax.nn.relu(x), None), lambda _, g: (jax.nn.relu(g),))


def _with_relu(relu: Callable, model: Model, image: Any, target: Target, batch: int) -> Attribution:
    def method(model: Model, images: Array, objectives: Objective) -> Any:
        return _relu_gradients(model, images, objectives, relu=relu)

    return explain(method, model, image, target, batch)


@jit(static=("relu",))
def _relu_gradients(
    model: Model, images: jax.Array, objectives: Objective, *, relu: Callable
) -> tuple[Attribution, jax.Array]:
    return gradient_of(replace_relu(score, relu), model, images, objectives)


def replace_relu(function: Callable, relu: Callable) -> Callable:
    """`function` with `relu` in place of every `jax.nn.relu`, in any model: the traced function is what is edited.

    A ReLU6 is a ReLU and a cut at 6, which keeps its own derivative. One within hard_sigmoid or hard_silu stays.

    Raises:
        InputError: when called, if there is none.
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
                "no ReLU on the way to this target: guided gradients and deconvnets are about ReLU and ReLU6, and "
                "leave other functions (LeakyReLU, swish, GELU …) as they are"
            )
        return result

    return replaced

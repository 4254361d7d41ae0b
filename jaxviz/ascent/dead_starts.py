"""Objectives that cannot move at their start, because a ReLU is off everywhere, and two ways to get them going.

    relu="keep"       nothing is done: an image that does not move is reported, and drawn as nothing
    relu="pre"        the objective reads the value before the activation function, where the model has it
    relu="redirect"   in the first 16 steps, a ReLU that lets nothing back lets back what would switch it on

Law: where a gradient comes back by itself, "redirect" is "keep". A layer without a handle `name/pre`, as in a wrapped
Flax module, stays as it is under "pre".
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxviz.compiling.jaxprs import PLAIN_CALLS, bind, body_of, evaluate, nn_function
from jaxviz.compiling.workarounds import Equation
from jaxviz.errors import InputError
from jaxviz.model import Model
from jaxviz.objectives import Channel, Scaled, Sum, Unit
from jaxviz.regions import Neuron, Region, Token

OTHER_WAYS = {  # what else to try where an image did not move
    "keep": 'relu="pre", relu="redirect", or another key= or start= may show something',
    "pre": 'relu="redirect", or another key= or start= may show something',
    "redirect": "another key= or start= may show something",
}
REDIRECTED = 16  # steps, as in Lucid


def check_relu(relu: Any) -> None:
    """Nothing, if it is one of the ways above.

    Raises:
        InputError: it is not.
    """
    if not isinstance(relu, str) or relu not in OTHER_WAYS:
        raise InputError(f"relu is one of {', '.join(OTHER_WAYS)}; given: {relu!r}")


def before_activation(model: Model, objective: Any) -> Any:
    """The objective of the values before their activation function, where it reads single values of a layer.

    `Channel`, `Unit`, `Neuron`, `Token`, `Region` and sums of them change. What compares an activation with another
    one, or measures all of it, and a function of the user's, mean the activation itself and stay as they are.
    """
    if isinstance(objective, Sum):
        return Sum(tuple(before_activation(model, term) for term in objective.terms))
    if type(objective) is Scaled:
        return Scaled(objective.factor, before_activation(model, objective.objective))
    if type(objective) in (Channel, Unit, Neuron, Token, Region) and f"{objective.layer}/pre" in model.handles:
        return objective.replace(layer=f"{objective.layer}/pre")
    return objective


def redirected(function: Callable[..., Any], early: jax.Array) -> Callable[..., Any]:
    """A loss whose ReLUs and ReLU6s, where `early` holds, let back a gradient even if they are off everywhere.

    It sees one image. A ReLU that is called in a loop of the network's own code (`scan`, `remat`) keeps its gradient.
    """

    def rule(equation: Equation, *inputs: Any) -> list[Any]:
        called = nn_function(equation)
        if called in ("relu", "relu6"):
            return [redirected_relu(inputs[0], early, 6.0 if called == "relu6" else jnp.inf)]
        if not called and equation.primitive.name in PLAIN_CALLS:
            body = body_of(equation)
            return evaluate(body.jaxpr, body.consts, inputs, rule)
        return bind(equation, *inputs)

    def other(*args: Any) -> Any:
        jaxpr, out = jax.make_jaxpr(lambda *args: function(*args), return_shape=True)(*args)
        return jax.tree.unflatten(
            jax.tree.structure(out), evaluate(jaxpr.jaxpr, jaxpr.consts, jax.tree.leaves(args), rule)
        )

    return other


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def redirected_relu(x: jax.Array, early: jax.Array, ceiling: float) -> jax.Array:
    """A ReLU of one image that is cut at `ceiling`, with Lucid's redirected gradient of a loss where `early` holds.

    If no gradient at all would come back through it, what would bring a value between 0 and the ceiling comes back. The
    loss descends, so this is a negative gradient below 0, and a positive one above the ceiling.

    Source: Lucid, `misc/redirected_relu_grad.py`.
    """
    return jnp.minimum(jax.nn.relu(x), ceiling)


def _forward(x: jax.Array, early: jax.Array, ceiling: float) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return redirected_relu(x, early, ceiling), (x, early)


def _backward(ceiling: float, kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, None]:
    x, early = kept
    usual = jnp.where((x > 0) & (x < ceiling), gradient, 0)
    inwards = jnp.where(((x <= 0) & (gradient < 0)) | ((x >= ceiling) & (gradient > 0)), gradient, usual)
    return jnp.where(early & ~(usual != 0).any(), inwards, usual), None


redirected_relu.defvjp(_forward, _backward)

"""One step of gradient ascent as pure functions, for loops of your own; `sweep` loops the same ones.

    begin(canvas, optimizer, keys)                    -> State            of b climbers
    loss(model, objective, key, latent)               -> scalar           of one climber
    step(model, objectives, keys, state)              -> State, scores [b]

A climber is one objective with its own latent, its own optimiser memory and its own key. Climbers do not see each
other, except in a group: a step of b climbers is b steps of one. All three functions can be traced, so a loop may be
compiled:

    optimizer, canvas = optax.adam(0.05), jv.Pixels((64, 64))
    objectives = jax.tree.map(lambda *leaves: np.stack(leaves), *jv.channels(model, "conv2", range(8)))
    state = begin(canvas, optimizer, keys, channels=3)

    @jax.jit
    def body(state, at):
        step_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, at)
        return step(model, objectives, step_keys, state, canvas=canvas, optimizer=optimizer)

For speed, `sweep` does two more things: it wraps its loop in `compiling.rewrite.rewrite(loop, model.execution)`, since
XLA:CPU runs convolutions in loops slowly, and it lets the device choose the precision of products.
"""

from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Float

from jaxviz.ascent.canvases.canvas import Canvas
from jaxviz.ascent.dead_starts import redirected
from jaxviz.ascent.transforms.transform import Transform
from jaxviz.compiling.draws import drawn
from jaxviz.compiling.one_channel import narrow
from jaxviz.groups import in_groups
from jaxviz.model import Model
from jaxviz.objectives import Objective


class State(NamedTuple):
    """Where climbers are, and what their optimiser remembers; each leaf has a leading axis, one item a climber."""

    latent: Any  # a pytree of the canvas: for `Pixels` the images themselves
    memory: Any  # a pytree of the optimiser: for Adam its moments


def begin(
    canvas: Canvas,
    optimizer: optax.GradientTransformation,
    keys: jax.Array,
    start: jax.Array | None = None,
    *,
    channels: int | None,
) -> State:
    """The `State` of b climbers before the first step.

    Args:
        keys: `[b]`, of the noise that each climber starts from.
        start: images `[b h w c]` in [0, 1] to start from instead of noise.
        channels: colour channels of an image; None where the image has no axis of channels.
    """
    latent = jax.vmap(canvas.of)(start) if start is not None else drawn(lambda key: canvas.new(key, channels), keys)
    return State(latent, jax.vmap(optimizer.init)(latent))


def loss(
    model: Model, objective: Objective, key: jax.Array, latent: Any, *, canvas: Canvas, transform: Transform | None
) -> jax.Array:
    """Minus the objective's score of the image that one latent stands for, a scalar: optimisers descend.

    Args:
        key: of the transform in this step.
        transform: changes the image before the network sees it; None: the network sees the canvas' image.
    """
    image = canvas(latent)
    image = image if transform is None else transform(key, image)
    return -objective(model(image, objective.layers))


def step(
    model: Model,
    objectives: Objective,
    keys: jax.Array,
    state: State,
    *,
    canvas: Canvas,
    optimizer: optax.GradientTransformation,
    transform: Transform | None = None,
    group: int | None = None,
    redirect: jax.Array | None = None,
) -> tuple[State, Float[jax.Array, " b"]]:
    """The `State` after one step of b climbers, and the scores `[b]` before it.

    Args:
        objectives: objectives that differ in numbers only, stacked: each leaf has a leading axis `[b]`.
        keys: `[b]`, of the transforms in this step; give each step keys of its own.
        group: each so many climbers in a row see each other (`groups.py`), and follow the gradient of the sum of their
            scores; None: each climbs alone.
        redirect: `[b]`, for which climbers ReLUs that are off everywhere let a gradient back (`dead_starts.py`); None:
            for none.
    """

    def of_one(latent: Any, objective: Objective, key: jax.Array) -> jax.Array:
        return loss(model, objective, key, latent, canvas=canvas, transform=transform)

    narrowed = narrow(of_one, model.execution)

    def of_early(latent: Any, objective: Objective, key: jax.Array, early: jax.Array | None) -> jax.Array:
        return (narrowed if early is None else redirected(narrowed, early))(latent, objective, key)

    losses, gradient = in_groups(jax.value_and_grad(of_early), group)(state.latent, objectives, keys, redirect)
    update, memory = jax.vmap(optimizer.update)(gradient, state.memory, state.latent)
    return State(optax.apply_updates(state.latent, update), memory), -losses

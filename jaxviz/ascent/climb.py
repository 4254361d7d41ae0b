"""Gradient ascent: the image that an objective likes best, for one objective or for thousands.

`sweep` of n objectives is n times `ascend`: each has its own key, noise and optimiser state. The steps run as one
compiled loop over a chunk of objectives (`vmap`); chunks and stretches of `STRETCH` steps are driven from Python, so
that memory is one chunk's, progress is visible, Ctrl-C loses nothing that is finished, and a layer compiles once
whatever its channels, keys, step count and step size are.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Float

from jaxviz.ascent import recipes
from jaxviz.ascent.canvases.pixels import Canvas
from jaxviz.checks import whole
from jaxviz.compiling.batches import at_once, chunks, progress
from jaxviz.compiling.jit import jit
from jaxviz.compiling.one_channel import narrow
from jaxviz.compiling.rewrite import rewrite
from jaxviz.errors import InputError
from jaxviz.model import IMAGE, Model, check_values
from jaxviz.objectives import Objective
from jaxviz.results import brief

__all__ = ["Ascent", "Interrupted", "ascend", "sweep"]

STRETCH = 50  # steps in one compiled call: long enough to hide the call, short enough to stop between


class Ascent(NamedTuple):
    """What an ascent found. `image` is in the units of [0, 1] images but unbounded: `show_filters` stretches it."""

    image: Float[np.ndarray, "*n h w c"]
    scores: Float[np.ndarray, "*n steps"]  # the objective before each step

    def __repr__(self) -> str:
        return brief(self)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a sweep. `finished` is the Ascent of the objectives in `positions`, the ones that were done."""

    def __init__(self, finished: Ascent | None, positions: list[int]):
        super().__init__(f"stopped with {len(positions)} objectives finished, see .finished and .positions")
        self.finished, self.positions = finished, positions


class _State(NamedTuple):
    """One climber (or a chunk of them): where it is, and what its optimiser remembers."""

    latent: Any
    memory: Any


def sweep(
    model: Model,
    objectives: Sequence[Any] | Objective,
    *,
    key: jax.Array | None = None,
    canvas: Canvas | None = None,
    transform: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    optimizer: Partial | optax.GradientTransformation | None = None,
    steps: int | None = None,
    start: Any = None,
    batch: int | None = None,
) -> Ascent:
    """An `Ascent` with a leading axis for `objectives`: the image each likes best, and its score before each step.

    Args:
        objectives: any mixture; those that differ in numbers only share a compilation.
        key: of the noise and the transforms: one, folded with each objective's position (default `jax.random.key(0)`),
            or one for each objective, as `jax.random.fold_in(key, position)` has them, to go on after an interruption.
        canvas, optimizer, steps: as in `recipes`, from where the defaults come (`chollet`). An optimiser descends on
            the negative score: `Partial(optax.adam, learning_rate=0.05)`, or any optax transformation.
        transform: `(key, image) -> image` before the network sees it, drawn anew at each step; a pytree or function.
        start: images `[n h w c]` in [0, 1], or one `[h w c]` for all; else noise from the key.
        batch: objectives that climb at a time; default by device. It bounds memory and changes no result.

    Raises:
        InputError: an unknown layer, an index out of range, a canvas too small for the layer, a start of another shape.
        Interrupted: on Ctrl-C, with what was finished.
    """
    defaults = recipes.chollet()
    canvas = canvas or defaults["canvas"]
    optimizer = _as_partial(optimizer or defaults["optimizer"])
    transform = Partial(transform) if callable(transform) and jax.tree.leaves(transform) == [transform] else transform
    steps = whole("steps", defaults["steps"] if steps is None else steps)
    if isinstance(objectives, Objective):
        raise InputError(f"a sweep climbs several objectives, [{objectives!r}]; ascend climbs one")
    objectives = list(objectives)
    execution = replace(model.execution, precision=model.execution.precision or "default")
    model = replace(model, execution=execution)
    _check(model, objectives, canvas)
    keys = _keys(jax.random.key(0) if key is None else key, len(objectives))
    start = None if start is None else _check_start(start, len(objectives), canvas, model.image_shape[2])

    height, width = canvas.size
    batch = at_once(height, width, execution=model.execution) if batch is None else batch
    image = np.empty((len(objectives), height, width, model.image_shape[2]), np.float32)
    scores = np.empty((len(objectives), steps), np.float32)
    finished: list[int] = []
    try:
        with progress(len(objectives) * steps, "step") as bar:
            for positions, stack in _alike(objectives):
                items = (stack, keys[positions], None if start is None else start[positions])
                for (some, their_keys, their_start), which in chunks(items, batch):
                    places, real = positions[which].tolist(), len(which)
                    state = _begin(canvas, optimizer, their_keys, their_start, channels=model.image_shape[2])
                    for first in range(0, steps, STRETCH):
                        count = min(STRETCH, steps - first)
                        state, seen = _climb(model, some, their_keys, state, first, count, canvas, transform, optimizer)
                        scores[places, first : first + count] = np.asarray(seen)[:real, :count]
                        bar.update(real * count)
                    image[places] = np.asarray(_draw(canvas, state.latent))[:real]
                    finished.extend(places)
    except KeyboardInterrupt:
        kept = Ascent(image[finished], scores[finished]) if finished else None
        raise Interrupted(kept, finished) from None
    if lost := np.flatnonzero(~np.isfinite(image).all((1, 2, 3))).tolist():
        warnings.warn(f"the ascents in positions {lost} ended in NaN or infinity: try smaller steps", stacklevel=2)
    return Ascent(image, scores)


def ascend(model: Model, objective: Objective, *, start: Any = None, **settings: Any) -> Ascent:
    """An `Ascent` without a leading axis, for one objective; the settings are `sweep`'s."""
    image, scores = sweep(model, [objective], start=start, **settings)
    return Ascent(image[0], scores[0])


@jit(static=("channels",))
def _begin(canvas: Canvas, optimizer: Partial, keys: jax.Array, start: jax.Array | None, *, channels: int) -> _State:
    latent = jax.vmap(lambda key: canvas.new(key, channels))(keys) if start is None else jax.vmap(canvas.of)(start)
    return _State(latent, jax.vmap(optimizer().init)(latent))


@jit(donate=("state",))
def _climb(
    model: Model,
    objectives: Objective,
    keys: jax.Array,
    state: _State,
    first: jax.Array,
    count: jax.Array,
    canvas: Canvas,
    transform: Callable | None,
    optimizer: Partial,
) -> tuple[_State, jax.Array]:
    """`count` steps (at most STRETCH) of a chunk, from step `first` on, and the scores `[b STRETCH]` before each."""

    def loss(latent: Any, objective: Objective, key: jax.Array) -> jax.Array:
        image = canvas(latent)
        image = image if transform is None else transform(key, image)
        return -objective(model(image, objective.layers))

    loss = narrow(loss, model.execution)

    def step(state: _State, at: jax.Array) -> tuple[_State, jax.Array]:
        step_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, at)
        losses, gradient = jax.vmap(jax.value_and_grad(loss))(state.latent, objectives, step_keys)
        update, memory = jax.vmap(optimizer().update)(gradient, state.memory, state.latent)
        return _State(optax.apply_updates(state.latent, update), memory), -losses

    def body(at: jax.Array, carry: tuple[_State, jax.Array]) -> tuple[_State, jax.Array]:
        state, seen = carry
        state, scores = step(state, first + at)
        return state, seen.at[:, at].set(scores)

    def climb(state: _State) -> tuple[_State, jax.Array]:
        return jax.lax.fori_loop(0, count, body, (state, jnp.zeros((len(keys), STRETCH))))

    return rewrite(climb, model.execution)(state)


@jit()
def _draw(canvas: Canvas, latent: Any) -> jax.Array:
    return jax.vmap(canvas)(latent)


def _alike(objectives: list[Objective]) -> list[tuple[np.ndarray, Objective]]:
    """Objectives that differ in numbers only, stacked, each stack with the positions of its members."""
    groups: dict[Any, list[int]] = {}
    for position, objective in enumerate(objectives):
        groups.setdefault(jax.tree.structure(objective), []).append(position)
    return [
        (np.array(members), jax.tree.map(lambda *leaves: np.stack(leaves), *(objectives[i] for i in members)))
        for members in groups.values()
    ]


def _as_partial(optimizer: Partial | optax.GradientTransformation) -> Partial:
    """An optax transformation as a constructor of itself: a static value, equal to itself under `jit`."""
    return optimizer if isinstance(optimizer, Partial) else Partial(_Constant(optimizer))


class _Constant(NamedTuple):
    value: optax.GradientTransformation

    def __call__(self) -> optax.GradientTransformation:
        return self.value


def _check(model: Model, objectives: list, canvas: Canvas) -> None:
    if not objectives:
        raise InputError("a sweep needs at least one objective, such as jv.channels(model, layer)")
    for objective in objectives:
        if not isinstance(objective, Objective):
            raise InputError(f"a sweep climbs objectives, such as jv.Channel(layer, index); given: {objective!r}")
    names = dict.fromkeys(name for objective in objectives for name in objective.layers if name != IMAGE)
    shapes = model.shapes(canvas.size, [model.check_layer(name) for name in names])
    shapes[IMAGE] = (*canvas.size, model.image_shape[2])
    for objective in objectives:
        objective.check(shapes)


def _keys(key: jax.Array, count: int) -> jax.Array:
    """A key for each objective."""
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)  # one of `jax.random.PRNGKey`
    if key.ndim == 0:
        return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))
    if key.shape != (count,):
        raise InputError(f"a key is one, or one for each of {count} objectives; given: an array of {list(key.shape)}")
    return key


def _check_start(start: Any, count: int, canvas: Canvas, channels: int) -> np.ndarray:
    start = check_values(np.asarray(start))
    shape = (*canvas.size, channels)
    if start.shape not in (shape, (count, *shape)):
        raise InputError(
            f"a start is one image {list(shape)} or one for each of {count} objectives; given: {list(start.shape)}"
        )
    return np.broadcast_to(start, (count, *shape))

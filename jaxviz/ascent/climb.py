"""Gradient ascent: the image that an objective likes best, for one objective or for thousands.

Law: `sweep` of n objectives is n times `ascend`. Each objective has its own key, noise and optimiser memory.

`sweep` checks its arguments, puts objectives that differ in numbers only into one group, cuts each group into chunks
that fit into memory, climbs chunk by chunk, and collects the images. The steps of a chunk run in one compiled loop over
`step.step`; Python calls that loop for STRETCH steps at a time. So memory is that of one chunk, progress is visible,
Ctrl-C loses nothing that is finished, and a layer compiles once for all its channels, keys, step counts and step sizes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Float
from numpy.typing import ArrayLike
from tqdm import tqdm

from jaxviz.ascent import recipes
from jaxviz.ascent.canvases.canvas import Canvas, check_numbers, check_size
from jaxviz.ascent.step import State, begin, step
from jaxviz.ascent.transforms.transform import Transform
from jaxviz.ascent.transforms.transform import check as check_transform
from jaxviz.checks import whole
from jaxviz.compiling.batches import at_once, chunks, fitting, progress
from jaxviz.compiling.jit import jit
from jaxviz.compiling.rewrite import rewrite
from jaxviz.errors import InputError, warn
from jaxviz.model import IMAGE, Model, check_values
from jaxviz.objectives import Objective
from jaxviz.own_objectives import as_objective, check
from jaxviz.results import brief

__all__ = ["Ascent", "Interrupted", "ascend", "sweep"]

STRETCH = 50  # steps in one compiled call: long enough to hide the call, short enough to stop between

Watch = Callable[[list[int], int, np.ndarray], None]  # (positions of the objectives, steps done, images [b h w c])


class Ascent(NamedTuple):
    """The images that an ascent found, and the scores on the way; from `sweep` both have a leading axis n."""

    image: Float[np.ndarray, "..."]  # [h w c]; in the units of [0, 1] images but unbounded: `show_filters` stretches it
    scores: Float[np.ndarray, "*n steps"]  # the objective before each step

    def __repr__(self) -> str:
        return brief(self)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a long run. `finished` is the result for the items in `positions`, those that were done.

    After a sweep, the items are objectives and `finished` is their Ascent; after `top_images`, they are images.
    """

    def __init__(self, finished: Any, positions: list[int], items: str = "objectives"):
        super().__init__(f"stopped with {len(positions)} {items} finished, see .finished and .positions")
        self.finished, self.positions = finished, positions


def sweep(
    model: Model,
    objectives: Sequence[Any] | Objective,
    *,
    key: jax.Array | None = None,
    canvas: Canvas | None = None,
    transform: Transform | None = None,
    optimizer: Partial | optax.GradientTransformation | None = None,
    steps: int | None = None,
    start: ArrayLike | None = None,
    batch: int | None = None,
    watch: Watch | None = None,
    every: int = STRETCH,
) -> Ascent:
    """An `Ascent` with a leading axis for `objectives`: the image that each likes best, and its score before each step.

    Args:
        objectives: any mixture of objectives, and functions `{name: activation} -> score`. Objectives that differ in
            numbers only share a compilation.
        key: of the noise and the transforms. Either one key, which is folded with each objective's position (default
            `jax.random.key(0)`), or one key for each objective, such as `jax.random.fold_in(key, position)`, to go on
            after an interruption.
        canvas: what is changed, and the image that it stands for, such as `Pixels((64, 64))`; for a signal `[t c]`
            `Pixels((180,))`, for a volume three numbers, for an image without channels its whole shape. None: 150 × 150
            for an image `[h w c]`, and for any other the network's own size.
        transform: `(key, image) -> image`, applied before the network sees the image and drawn anew at each step; a
            function, or a pytree that can be called.
        optimizer: it descends on minus the score. `Partial(optax.adam, learning_rate=0.05)`, with which another
            learning rate compiles nothing, or any optax transformation.
        steps: how many steps. The defaults of canvas, optimizer and steps are those of `recipes.chollet()`.
        start: images `[n h w c]` in [0, 1] to start from, or one image `[h w c]` for all; default: noise from the key.
        batch: how many objectives climb at a time; the default depends on the device, and on the memory that
            `Execution(memory=…)` of the model allows. It bounds memory and changes no result.
        watch: a function `(positions, steps done, images [b h w c])`, called for each chunk of objectives at its start,
            after each `every` steps and at its end; it changes no result. `film` collects what it sees.
        every: how many steps lie between two calls of `watch`.

    Raises:
        InputError: an unknown layer, an index out of range, a canvas too small for the layer, a start of another shape,
            or too little memory for one objective.
        Interrupted: on Ctrl-C, with all that was finished.
    """
    if isinstance(objectives, Objective):
        raise InputError(f"a sweep climbs several objectives, [{objectives!r}]; ascend climbs one")
    objectives = list(objectives)
    given = {"canvas": canvas, "optimizer": optimizer, "steps": steps}
    usual = recipes.chollet() if len(model.image_shape) == 3 else recipes.chollet(size=model.image_size())
    settings = usual | {name: value for name, value in given.items() if value is not None}
    canvas, steps = settings["canvas"], whole("steps", settings["steps"])
    shape = _image_shape(model, canvas)
    objectives = checked(model, objectives, shape)
    keys = _keys(jax.random.key(0) if key is None else key, len(objectives))
    starts = None if start is None else _check_start(start, len(objectives), shape)
    check_transform(transform)
    climb: dict[str, Any] = {
        "model": with_fast_products(model),
        "canvas": canvas,
        "transform": _as_pytree(transform),
        "optimizer": _as_constructor(settings["optimizer"]),
    }
    run: Callable[..., tuple] = partial(_run, **climb, steps=steps, every=whole("every", every))
    most = at_once(*shape[:-1], execution=model.execution)
    fit = partial(_at_a_time, **climb, most=most, limit=model.execution.limit)
    at_a_time = fit if batch is None else lambda _: batch
    image = np.empty((len(objectives), *shape), np.float32)
    scores = np.empty((len(objectives), steps), np.float32)
    still = np.empty(len(objectives), bool)
    finished: list[int] = []
    try:
        with progress(len(objectives) * steps, "step") as bar:
            for positions, chunk in _chunks(objectives, keys, starts, at_a_time):
                seen = None if watch is None else partial(watch, positions)
                found = run(chunk, real=len(positions), bar=bar, watch=seen)
                image[positions], scores[positions], still[positions] = found
                finished.extend(positions)
    except KeyboardInterrupt:
        kept = Ascent(image[finished], scores[finished]) if finished else None
        raise Interrupted(kept, finished) from None
    if dead := np.flatnonzero(still).tolist():
        warn(
            f"{len(dead)} of {len(objectives)} objectives do not move, so their images are still the start, such as "
            "noise: every path to them goes through an inactive ReLU (output 0), as in a dead filter, or is saturated, "
            f"or the steps are too small. Another key= or start= may show something; positions: {dead}"
        )
    if lost := np.flatnonzero(~np.isfinite(image).all(tuple(range(1, image.ndim)))).tolist():
        warn(f"the ascents in positions {lost} ended in NaN or infinity: try smaller steps")
    return Ascent(image, scores)


def ascend(model: Model, objective: Objective, *, start: ArrayLike | None = None, **settings: Any) -> Ascent:
    """An `Ascent` without a leading axis: the image that one objective likes best, and its score before each step.

    Args:
        start: an image `[h w c]` in [0, 1] to start from; default: noise from the key.
        settings: `key`, `canvas`, `transform`, `optimizer` and `steps`, which mean the same as for `sweep`.

    Raises:
        InputError: an unknown layer, an index out of range, a canvas too small for the layer, a start of another shape.
        Interrupted: on Ctrl-C.
    """
    image, scores = sweep(model, [objective], start=start, **settings)
    return Ascent(image[0], scores[0])


class _Chunk(NamedTuple):
    """Objectives that climb together, stacked, with what each of them starts from; padded as `chunks` says."""

    objectives: Objective
    keys: jax.Array
    starts: np.ndarray | None


def _chunks(
    objectives: list[Objective],
    keys: jax.Array,
    starts: np.ndarray | None,
    at_a_time: Callable[[_Chunk], int],
) -> Iterator[tuple[list[int], _Chunk]]:
    """Each chunk, with the positions of its objectives; of a padded last chunk, positions of the real ones only.

    `at_a_time` says how many objectives of a group of alike ones climb together.
    """
    for members, stack in _alike(objectives):
        group = _Chunk(stack, keys[members], None if starts is None else starts[members])
        for chunk, which in chunks(group, at_a_time(group)):
            yield members[which].tolist(), chunk


def _alike(objectives: list[Objective]) -> list[tuple[np.ndarray, Objective]]:
    """Objectives that differ in numbers only, stacked, each stack with the positions of its members."""
    groups: dict[Any, list[int]] = {}
    for position, objective in enumerate(objectives):
        leaves, structure = jax.tree.flatten(objective)
        groups.setdefault((structure, tuple(map(np.shape, leaves))), []).append(position)
    return [
        (np.array(members), jax.tree.map(lambda *leaves: np.stack(leaves), *(objectives[i] for i in members)))
        for members in groups.values()
    ]


def _at_a_time(
    group: _Chunk,
    *,
    model: Model,
    canvas: Canvas,
    transform: Transform | None,
    optimizer: Partial,
    most: int,
    limit: int | None,
) -> int:
    """How many objectives of a group, at most `most`, climb together on this device in `limit` bytes of memory."""
    if limit is None:
        return most

    def program(count: int) -> Any:
        several = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape[1:]), leaf.dtype), group)
        some, keys, starts = several
        channels = _channels(model, canvas)
        state = _begin.compiled().eval_shape(canvas, optimizer, keys, starts, channels=channels)
        return _climb.lower(None, model, some, keys, state, 0, 1, canvas, transform, optimizer)

    return fitting(program, limit, min(most, len(group.keys)))


def _channels(model: Model, canvas: Canvas) -> int | None:
    """The channels of an image; None where the canvas' size has all axes of an image."""
    return None if len(canvas.size) == len(model.image_shape) else model.channels


def _run(
    chunk: _Chunk,
    *,
    model: Model,
    canvas: Canvas,
    transform: Transform | None,
    optimizer: Partial,
    steps: int,
    every: int,
    real: int,
    bar: tqdm,
    watch: Callable[[int, np.ndarray], None] | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The images `[real h w c]` and scores `[real steps]` of a chunk after all its steps, and which did not change."""
    some, keys, starts = chunk
    state = _begin(canvas, optimizer, keys, starts, channels=_channels(model, canvas))

    def seen_at(done: int) -> np.ndarray:
        images = np.asarray(_draw(canvas, state.latent))[:real]
        if watch is not None:
            watch(done, images)
        return images

    before = after = seen_at(0)
    scores = np.empty((real, steps), np.float32)
    done = 0
    while done < steps:
        count = min(STRETCH, steps - done, every - done % every)
        state, seen = _climb(model, some, keys, state, done, count, canvas, transform, optimizer)
        scores[:, done : done + count] = np.asarray(seen)[:real, :count]
        done += count
        bar.update(real * count)
        if done == steps or (done % every == 0 and watch is not None):
            after = seen_at(done)
    return after, scores, (after == before).all(tuple(range(1, after.ndim)))


@jit(static=("channels",))
def _begin(
    canvas: Canvas, optimizer: Partial, keys: jax.Array, start: jax.Array | None, *, channels: int | None
) -> State:
    return begin(canvas, optimizer(), keys, start, channels=channels)


@jit(donate=("state",))
def _climb(
    model: Model,
    objectives: Objective,
    keys: jax.Array,
    state: State,
    first: jax.Array,
    count: jax.Array,
    canvas: Canvas,
    transform: Transform | None,
    optimizer: Partial,
) -> tuple[State, jax.Array]:
    """`count` steps (at most STRETCH) of a chunk, from step `first` on, and the scores `[b STRETCH]` before each."""

    def body(at: jax.Array, carry: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
        state, seen = carry
        step_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, first + at)
        state, scores = step(
            model, objectives, step_keys, state, canvas=canvas, optimizer=optimizer(), transform=transform
        )
        return state, seen.at[:, at].set(scores)

    def climb(state: State) -> tuple[State, jax.Array]:
        return jax.lax.fori_loop(0, count, body, (state, jnp.zeros((len(keys), STRETCH))))

    return rewrite(climb, model.execution)(state)


@jit()
def _draw(canvas: Canvas, latent: Any) -> jax.Array:
    return jax.vmap(canvas)(latent)


def with_fast_products(model: Model) -> Model:
    """The model at the device's default precision, unless its user chose one: a step needs a direction, not digits.

    Its memory is not bounded, so that a program serves every bound: `_at_a_time` keeps it.
    """
    precision = model.execution.precision or "default"
    return replace(model, execution=replace(model.execution, precision=precision, memory=None))


def _as_pytree(transform: Transform | None) -> Any:
    """A transform that `jit` takes: plain functions, also those in a chain, become static values."""
    return jax.tree.map(lambda leaf: Partial(leaf) if callable(leaf) else leaf, transform)


def _as_constructor(optimizer: Partial | optax.GradientTransformation) -> Partial:
    """An optax transformation as a constructor of itself: a static value, equal to itself under `jit`."""
    return optimizer if isinstance(optimizer, Partial) else Partial(_Constant(optimizer))


class _Constant(NamedTuple):
    value: optax.GradientTransformation

    def __call__(self) -> optax.GradientTransformation:
        return self.value


def _image_shape(model: Model, canvas: Canvas) -> tuple[int, ...]:
    """The shape of the image of a canvas, as the network takes it.

    Raises:
        InputError: the canvas has another number of axes, or numbers that it cannot be drawn with.
    """
    check_size(canvas)
    rank = len(model.image_shape)
    whole = len(canvas.size) == rank and canvas.size[-1] == model.channels
    if not whole and len(canvas.size) != rank - 1:
        own = model.image_size()
        size = own[:-1] or own
        raise InputError(
            f"this network takes images {list(own)}, so the canvas has a size such as {size}: Pixels({size}), or "
            f"size={size} of a recipe; given: {canvas.size}"
        )
    check_numbers(canvas, None if whole else model.channels)
    return model.image_size(tuple(canvas.size))


def checked(model: Model, objectives: list[Any], shape: tuple[int, ...]) -> list[Objective]:
    """The objectives as pytrees, each of which fits the activations of an image of `shape`.

    Raises:
        InputError: no objectives, something else than objectives, an unknown layer, a canvas too small for one, or an
            index out of range.
    """
    if not objectives:
        raise InputError("a sweep needs at least one objective, such as jv.channels(model, layer)")
    for objective in objectives:
        if not isinstance(objective, Objective) and (isinstance(objective, type) or not callable(objective)):
            raise InputError(f"a sweep climbs objectives, such as jv.Channel(layer, index); given: {objective!r}")
    objectives = [as_objective(model, objective, shape) for objective in objectives]
    names = dict.fromkeys(name for objective in objectives for name in objective.layers if name != IMAGE)
    shapes = model.shapes(shape, [model.check_layer(name) for name in names])
    shapes[IMAGE] = shape
    for objective in objectives:
        check(objective, shapes)
    return objectives


def _keys(key: jax.Array, count: int) -> jax.Array:
    """A key for each objective.

    Raises:
        InputError: keys of another number.
    """
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)  # one of `jax.random.PRNGKey`
    if key.ndim == 0:
        return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))
    if key.shape != (count,):
        raise InputError(f"a key is one, or one for each of {count} objectives; given: an array of {list(key.shape)}")
    return key


def _check_start(start: ArrayLike, count: int, shape: tuple[int, ...]) -> np.ndarray:
    """An image for each objective to start from, `[n h w c]`.

    Raises:
        InputError: another shape, or values outside [0, 1].
    """
    values = check_values(np.asarray(start))
    if values.shape not in (shape, (count, *shape)):
        raise InputError(
            f"a start is one image {list(shape)} or one for each of {count} objectives; given: {list(values.shape)}"
        )
    return np.broadcast_to(values, (count, *shape))

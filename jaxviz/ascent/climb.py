"""Gradient ascent: the image that an objective likes best, for one objective or for thousands.

Law: `sweep` of n objectives is n times `ascend`. Each objective has its own key, noise and optimiser memory. Only where
the caller asks for it (`sweep(group=)`) do several in a row see each other's images.

`sweep` checks its arguments (`arguments.py`), puts objectives that differ in numbers only into one group, and lets each
group climb in as many slots as fit into memory (`slots.py`). So memory is that of a few climbers, progress is visible,
Ctrl-C loses nothing that is finished, and a layer compiles once for all its channels, keys, step counts and step sizes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Float
from numpy.typing import ArrayLike

from jaxviz.ascent import recipes
from jaxviz.ascent.arguments import (
    alike,
    as_constructor,
    as_pytree,
    check_groups,
    check_kinds,
    check_start,
    checked,
    image_channels,
    image_shape,
    keys_of,
    needed_shapes,
    resized,
    seen_shape,
    start_values,
    with_fast_products,
)
from jaxviz.ascent.canvases.canvas import Canvas
from jaxviz.ascent.canvases.pixels import Pixels
from jaxviz.ascent.dead_starts import OTHER_WAYS, before_activation, check_relu
from jaxviz.ascent.slots import STRETCH, Group, How, Watch, at_a_time, climb
from jaxviz.ascent.stop import Stop, check_stop
from jaxviz.ascent.transforms.transform import Transform
from jaxviz.checks import whole
from jaxviz.compiling.batches import at_once, progress
from jaxviz.compiling.draws import picked
from jaxviz.errors import InputError, warn
from jaxviz.model import Model
from jaxviz.objectives import Objective
from jaxviz.results import brief

__all__ = ["Ascent", "Interrupted", "ascend", "sweep"]


@dataclass(frozen=True, repr=False)
class Ascent:
    """The images that an ascent found, and the scores on the way; from `sweep` all have a leading axis n.

    It unpacks to the first two: `images, scores = sweep(…)`.

    Attributes:
        image: `[h w c]`, in the units of [0, 1] images but unbounded: `show_filters` stretches it.
        scores: `[steps]`, the objective before each step; after the last one, its score repeats.
        steps: how many steps were taken: fewer than asked for where `stop` ended the climb.
        moved: whether the image is another than the start: if not, figures draw nothing for it.
    """

    image: Float[np.ndarray, "..."]
    scores: Float[np.ndarray, "*n steps"]
    steps: Any = None
    moved: Any = None

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter((self.image, self.scores))

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
    relu: str | None = None,
    group: int | None = None,
    batch: int | None = None,
    stop: Stop | None = None,
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
            `Pixels((180,))`, for a volume three numbers, for an image without channels its whole shape. None: that of
            `recipes.lucid()`, of the size of `start`; without one, 128 × 128 for an image `[h w c]`, and of the
            network's own size for any other. What else is left out is Lucid's too. Beside a canvas of your own there
            is no transform; and beside `Pixels` there are Chollet's 40 steps along the normalised gradient.
        transform: `(key, image) -> image`, applied before the network sees the image and drawn anew at each step; a
            function, or a pytree that can be called. It may change the size: what the network sees decides which
            layers fit. A layer that needs the network's own size, as after a Flatten, sees the image resized to it.
            `transforms.Chain(())` changes nothing, also beside a canvas whose recipe has a transform.
        optimizer: it descends on minus the score. `Partial(optax.adam, learning_rate=0.05)`, with which another
            learning rate compiles nothing, or any optax transformation.
        steps: how many steps.
        start: images `[n h w c]` in [0, 1] to start from, or one image `[h w c]` for all; default: noise from the key.
        relu: for objectives that a ReLU holds at their start, since it is off everywhere. "keep", Chollet's: they do
            not move. "pre", Lucid's here: channels, units, neurons, tokens and regions are read before the activation
            function, at `layer/pre`, if the model has it; scores are those numbers then. "redirect": in the first 16
            steps, a ReLU or ReLU6 that lets no gradient back lets back what would switch it on; for any model (Lucid).
        group: each so many objectives in a row climb together, for `Diversity`, `Alignment` and what else compares
            images; they differ in numbers only. None: each climbs alone.
        batch: how many objectives climb at a time; the default depends on the device, and on the memory that
            `Execution(memory=…)` of the model allows. It bounds memory and changes no result. A group is not split.
        stop: a rule that ends the climb of an item before `steps`, from its scores so far, such as `Plateau()`. None:
            each item climbs all steps.
        watch: a function `(positions, steps done, images [b h w c])`, called for objectives that climb together at
            their start, after each `every` steps and at their end; it changes no result. `film` collects what it sees.
        every: how many steps lie between two calls of `watch`.

    Raises:
        InputError: an unknown layer, an index out of range, a canvas too small for the layer, a start of another shape,
            or too little memory for one objective.
        Interrupted: on Ctrl-C, with all that was finished.
    """
    given = {"canvas": canvas, "transform": transform, "optimizer": optimizer, "steps": steps, "relu": relu}
    found, relu = sweep_quietly(
        model, objectives, given, key=key, start=start, group=group, batch=batch, stop=stop, watch=watch, every=every
    )
    still = ~found.moved
    if dead := np.flatnonzero(still).tolist():
        warn(
            f"{len(dead)} of {len(still)} objectives do not move, so their images are still the start, such as "
            "noise: every path to them goes through an inactive ReLU (output 0), as in a dead filter, or is saturated, "
            f"or the steps are too small: {OTHER_WAYS[relu]}; positions: {dead}"
        )
    if lost := np.flatnonzero(~finite_images(found)).tolist():
        early = not np.isfinite(found.scores[lost, 0]).any()
        hint = "so is their first score already, as with NaN in a network's weights" if early else "try smaller steps"
        warn(f"the ascents in positions {lost} ended in NaN or infinity: {hint}")
    return found


def finite_images(found: Ascent) -> np.ndarray:
    """Whether the image of each item is finite, `[n]`."""
    return np.isfinite(found.image).all(tuple(range(1, found.image.ndim)))


def sweep_quietly(
    model: Model,
    objectives: Sequence[Any] | Objective,
    given: Mapping[str, Any],
    *,
    key: jax.Array | None = None,
    start: ArrayLike | None = None,
    group: int | None = None,
    batch: int | None = None,
    stop: Stop | None = None,
    watch: Watch | None = None,
    every: int = STRETCH,
    devices: Sequence[jax.Device] | None = None,
    latents: list[Any] | None = None,
) -> tuple[Ascent, str]:
    """What `sweep` returns, and how it treated ReLUs: a sweep without warnings, for whoever counts the dead himself.

    Args:
        given: those of canvas, transform, optimizer, steps and relu that are not None; the others are Lucid's.
        devices: the climbers are spread over them, and `batch` counts those of one device; None: JAX's default device.
        latents: a list that gets (positions, latents [b …]) of objectives that come to their end.

    Raises:
        InputError, Interrupted: as `sweep`.
    """
    if isinstance(objectives, Objective):
        raise InputError(f"a sweep climbs several objectives, [{objectives!r}]; ascend climbs one")
    if watch is not None and not callable(watch):
        raise InputError(f"watch is a function (positions, steps done, images); given: {watch!r}")
    objectives = check_kinds(objectives)
    settings: dict[str, Any] = {"transform": None, "relu": "keep"}
    canvas = given.get("canvas")
    if canvas is None:
        settings |= recipes.lucid_for(model, _size(model, start))
    else:
        settings |= (recipes.chollet() if isinstance(canvas, Pixels) else recipes.lucid()) | {"transform": None}
    settings |= {name: value for name, value in given.items() if value is not None}
    canvas, transform, relu = settings["canvas"], settings["transform"], settings["relu"]
    steps = whole("steps", settings["steps"])
    channels = image_channels(model, canvas)
    shape = image_shape(canvas, channels)
    seen = seen_shape(model, shape, transform)
    group = None if group is None else whole("group", group, 2)
    check_relu(relu)
    if relu == "pre":
        objectives = [before_activation(model, each) for each in objectives]
    needed = needed_shapes(model, objectives, seen, group)
    for size in dict.fromkeys(needed):
        alone = [position for position, each in enumerate(needed) if each == size]
        for position, objective in zip(alone, checked(model, [objectives[i] for i in alone], size, group), strict=True):
            objectives[position] = objective
    if group is not None:
        check_groups(objectives, group)
    keys = keys_of(key, len(objectives))
    starts = None if start is None else check_start(start, len(objectives), shape)
    if stop is not None:
        check_stop(stop)
    optimizer, redirect = as_constructor(settings["optimizer"]), relu == "redirect"
    devices = None if devices is None else tuple(devices)
    how = How(
        with_fast_products(model), canvas, channels, optimizer, stop, group, redirect, devices, latents is not None
    )
    most = at_once(*shape[:-1], execution=model.execution)
    fit = partial(at_a_time, most=most, limit=model.execution.limit)
    every = whole("every", every)
    batch = None if batch is None else whole("batch", batch)
    image = np.empty((len(objectives), *shape), np.float32)
    scores = np.empty((len(objectives), steps), np.float32)
    taken = np.empty(len(objectives), np.int32)
    still = np.empty(len(objectives), bool)
    finished: list[int] = []
    try:
        with progress(len(objectives) * steps, "step") as bar:
            for members, stack in alike(objectives, needed):
                stacked = Group(stack, picked(keys, members), None if starts is None else starts[members])
                fitted = as_pytree(resized(transform, seen, needed[members[0]]))
                together = (fit(stacked, how, fitted) if batch is None else batch) * len(devices or (None,))
                show = _watched(watch, members)
                for found in climb(stacked, how, fitted, steps=steps, batch=together, bar=bar, watch=show, every=every):
                    at = members[found.members]
                    image[at], scores[at], taken[at], still[at] = found[1:5]
                    if latents is not None:
                        latents.append((at, found.latents))
                    finished.extend(at.tolist())
    except KeyboardInterrupt:
        kept = Ascent(image[finished], scores[finished], taken[finished], ~still[finished]) if finished else None
        raise Interrupted(kept, finished) from None
    return Ascent(image, scores, taken, ~still), relu


def ascend(
    model: Model, objective: Objective | Callable[..., Any], *, start: ArrayLike | None = None, **settings: Any
) -> Ascent:
    """An `Ascent` without a leading axis: the image that one objective likes best, and its score before each step.

    Args:
        start: an image `[h w c]` in [0, 1] to start from; default: noise from the key.
        settings: `key`, `canvas`, `transform`, `optimizer`, `steps`, `relu` and `stop`, which mean the same as for
            `sweep`.

    Raises:
        InputError: an unknown layer, an index out of range, a canvas too small for the layer, a start of another shape.
        Interrupted: on Ctrl-C.
    """
    found = sweep(model, [objective], start=start, **settings)
    return Ascent(found.image[0], found.scores[0], found.steps[0], found.moved[0])


def _size(model: Model, start: ArrayLike | None) -> tuple[int, ...] | None:
    """The size of the images or volumes to start from; None: there are none."""
    shape, rank = () if start is None else start_values(start).shape, len(model.image_shape)
    return shape[-rank:-1] if rank > 2 and len(shape) in (rank, rank + 1) else None


def _watched(watch: Watch | None, members: np.ndarray) -> Watch | None:
    """`watch`, called with members of a group; it sees their positions among the objectives."""
    if watch is None:
        return None
    return lambda which, done, images: watch(members[which].tolist(), done, images)

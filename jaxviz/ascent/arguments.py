"""What `sweep` is given, in the one form that its loop uses. What cannot be climbed is refused before it compiles.

Law: every shape that is checked is the shape that the network sees, after the transform.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from numpy.typing import ArrayLike

from jaxviz.ascent.canvases.canvas import Canvas, check_numbers, check_size
from jaxviz.ascent.transforms.shifts import Resize
from jaxviz.ascent.transforms.transform import Chain, Transform
from jaxviz.ascent.transforms.transform import check as check_transform
from jaxviz.compiling.batches import kinds, stacked
from jaxviz.compiling.draws import folded
from jaxviz.compiling.jit import jit
from jaxviz.errors import InputError, first_line
from jaxviz.keys import checked_key
from jaxviz.model import IMAGE, Model, check_values
from jaxviz.objectives import Objective
from jaxviz.own_objectives import as_objective, check

Shape = tuple[int, ...]


def image_channels(model: Model, canvas: Canvas) -> int | None:
    """The channels of an image that a canvas makes for a network; None where its size is already the whole shape.

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
    channels = None if whole else model.channels
    check_numbers(canvas, channels)
    return channels


def image_shape(canvas: Canvas, channels: int | None) -> Shape:
    """The shape of the image of a canvas; nothing is computed."""
    return _drawn.trace(canvas, jax.random.key(0), channels=channels).out_info.shape


# These two are never run: JAX keeps what it has traced for the shapes, so a second sweep traces nothing.


@jit(static=("channels",))
def _drawn(canvas: Canvas, key: jax.Array, *, channels: int | None) -> jax.Array:
    return canvas(canvas.new(key, channels))


@jit()
def _transformed(transform: Transform, key: jax.Array, image: jax.Array) -> Any:
    return transform(key, image)


def seen_shape(model: Model, shape: Shape, transform: Any) -> Shape:
    """The shape of an image of `shape` after a transform, as the network gets it; nothing is computed.

    Raises:
        InputError: the transform has wrong numbers, fails, or returns what is no image of the network's channels.
    """
    check_transform(transform)
    seen = jax.ShapeDtypeStruct(shape, jnp.float32)
    if transform is not None:
        try:
            seen = _transformed.trace(as_pytree(transform), jax.random.key(0), seen).out_info
        except InputError:
            raise
        except Exception as error:  # whatever a user's function raises
            raise InputError(
                f"the transform fails on an image {list(shape)}: {type(error).__name__}: {first_line(error)}"
            ) from error
    rank, channels = len(model.image_shape), model.channels
    given = getattr(seen, "shape", None)
    if given is not None and len(given) == rank and given[-1] == channels and 0 not in given:
        return given
    if given is not None and len(given) == rank and given[-1] == channels + 1:
        raise InputError(
            f"the image has an alpha channel, {list(given)}, and the network takes {channels} channels: a transform "
            f"such as jv.transforms.Collapse() lays it over random backgrounds"
        )
    what = "the transform returns" if transform is not None else "the canvas draws"
    raise InputError(
        f"{what} an image for a network that takes {rank} axes, the last one of length {channels}; given: "
        f"{seen if given is None else list(given)}"
    )


def needed_shapes(model: Model, objectives: Sequence[Any], shape: Shape, group: int | None = None) -> list[Shape]:
    """For each objective `shape`, or the network's own where a layer that it reads can be computed there only.

    A layer after a Flatten is such a layer. An image of another size is then resized for the network (`resized`).
    """
    own = model.image_size()
    if own == shape or None in model.image_shape:
        return [shape] * len(objectives)
    fixed: dict[str, bool] = {}

    def needed(objective: Any) -> Shape:
        names = [model.check_layer(name) for name in as_objective(model, objective, own, group).layers if name != IMAGE]
        for name in names:
            if name not in fixed:
                fixed[name] = model.needs_own_size(name, shape)
        return own if any(fixed[name] for name in names) else shape

    return [needed(objective) for objective in objectives]


def resized(transform: Any, seen: Shape, needed: Shape) -> Any:
    """The transform, followed by a `Resize` where the network needs another shape than it would see."""
    if seen == needed:
        return transform
    resize = Resize(needed[:-1])
    return resize if transform is None else Chain((transform, resize))


def check_kinds(objectives: Any) -> list[Any]:
    """A list of these objectives, or of functions that can become some.

    Raises:
        InputError: no objectives, one that is not in a list, or something else than objectives.
    """
    if not np.iterable(objectives):
        raise InputError(
            f"objectives are a list, such as [{objectives!r}] or jv.channels(model, layer); given: {objectives!r}"
        )
    objectives = list(objectives)
    if not objectives:
        raise InputError("a sweep needs at least one objective, such as jv.channels(model, layer)")
    for objective in objectives:
        if not isinstance(objective, Objective) and (isinstance(objective, type) or not callable(objective)):
            raise InputError(f"a sweep climbs objectives, such as jv.Channel(layer, index); given: {objective!r}")
    return objectives


def checked(model: Model, objectives: list[Any], shape: tuple[int, ...], group: int | None = None) -> list[Objective]:
    """The objectives as pytrees, each of which fits the activations of an image of `shape`.

    Raises:
        InputError: no objectives, something else than objectives, an unknown layer, a canvas too small for one, an
            index out of range, or an objective that needs a group and has none.
    """
    check_kinds(objectives)
    objectives = [as_objective(model, objective, shape, group) for objective in objectives]
    names = dict.fromkeys(name for objective in objectives for name in objective.layers if name != IMAGE)
    structs = model.structs(shape, [IMAGE, *(model.check_layer(name) for name in names)])
    for objective in objectives:
        check(objective, structs, group)
    return objectives


def check_groups(objectives: Sequence[Objective], group: int) -> None:
    """Nothing, if each `group` objectives in a row can climb together.

    Raises:
        InputError: some are left over, or those of a group differ in more than numbers.
    """
    if len(objectives) % group:
        raise InputError(
            f"with group={group}, each {group} objectives in a row climb together, so their number is a multiple of "
            f"{group}; given: {len(objectives)}"
        )
    for first in range(0, len(objectives), group):
        members = range(first, first + group)
        if len(kinds([objectives[each] for each in members])) > 1:
            raise InputError(
                f"the objectives of a group are of one kind and differ in numbers only; given: several kinds in "
                f"positions {first} to {members[-1]}. A term that one of them does not need may have the weight 0"
            )


def alike(objectives: list[Objective], *others: Any) -> list[tuple[np.ndarray, Objective]]:
    """Objectives that differ in numbers only, stacked, each stack with the positions of its members.

    Args:
        others: lists as long as `objectives`; the members of a stack are equal in them, too.
    """
    return [(members, stacked(objectives[each] for each in members)) for members in kinds(objectives, *others)]


def keys_of(key: jax.Array | None, count: int) -> jax.Array:
    """A key for each objective.

    Raises:
        InputError: keys of another number, or no key of JAX.
    """
    key = checked_key(key)
    if key.ndim == 0:
        return folded(key, np.arange(count))
    if key.shape != (count,):
        raise InputError(f"a key is one, or one for each of {count} objectives; given: an array of {list(key.shape)}")
    return key


def start_values(start: ArrayLike) -> np.ndarray:
    """The images to start from, as float32.

    Raises:
        InputError: lists of unequal lengths, or values outside [0, 1].
    """
    try:
        values = np.asarray(start)
    except ValueError:
        raise InputError("images to start from have one size; given: lists of unequal lengths") from None
    return check_values(values)


def check_start(start: ArrayLike, count: int, shape: tuple[int, ...]) -> np.ndarray:
    """An image for each objective to start from, `[n h w c]`.

    Raises:
        InputError: another shape, or values outside [0, 1].
    """
    values = start_values(start)
    if values.shape not in (shape, (count, *shape)):
        raise InputError(
            f"a start is one image {list(shape)} or one for each of {count} objectives; given: {list(values.shape)}"
        )
    return np.broadcast_to(values, (count, *shape))


def with_fast_products(model: Model) -> Model:
    """The model at the device's default precision, unless its user chose one: a step needs a direction, not digits.

    Its memory is not bounded, so that a program serves every bound: `slots.at_a_time` keeps it.
    """
    precision = model.execution.precision or "default"
    return replace(model, execution=replace(model.execution, precision=precision, memory=None))


def as_pytree(transform: Transform | None) -> Any:
    """A transform that `jit` takes: plain functions, also those in a chain, become static values."""
    return jax.tree.map(lambda leaf: Partial(leaf) if callable(leaf) else leaf, transform)


def as_constructor(optimizer: Any) -> Partial:
    """An optax transformation as a constructor of itself: a static value, equal to itself under `jit`.

    Raises:
        InputError: what is no transformation of optax, nor a constructor that makes one.
    """
    made, why = optimizer, ""
    if isinstance(optimizer, Partial):
        try:
            made = optimizer()
        except TypeError as error:
            why = f" ({error})"
    if not callable(getattr(made, "init", None)) or not callable(getattr(made, "update", None)):
        raise InputError(
            "an optimizer is an optax transformation, such as optax.adam(0.05), or Partial(optax.adam, "
            f"learning_rate=0.05); given: {optimizer!r}{why}"
        )
    return optimizer if isinstance(optimizer, Partial) else Partial(_Constant(optimizer))


class _Constant(NamedTuple):
    value: optax.GradientTransformation

    def __call__(self) -> optax.GradientTransformation:
        return self.value

"""Many climbers in few slots: the loop of `sweep`, in bounded memory.

    climb(group, …) -> a Finished for each time that some members of the group come to their end

Law: what becomes of a member depends on its own objective, key and start only, not on the number of slots, its place
among them, or what the others do. Members that climb `together` are the exception: they see each other (`groups.py`),
get slots side by side, begin together, and end together.

A slot holds one climber: its latent, its optimiser's memory, its stopping rule's memory, and the number of its own
steps. The steps run in one compiled loop over `step.step`. The loop returns to Python after `STRETCH` steps (Ctrl-C is
noticed there, and progress is shown), and as soon as a climber is at its end. Its image is then drawn, and the next
member of the group takes its slot. So a member that has ended costs nothing more, as long as others wait; and no length
of a batch but one is compiled.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from tqdm import tqdm

from jaxviz.ascent.canvases.canvas import Canvas
from jaxviz.ascent.dead_starts import REDIRECTED
from jaxviz.ascent.step import State, begin, step
from jaxviz.ascent.stop import Stop
from jaxviz.ascent.transforms.transform import Transform
from jaxviz.checks import whole
from jaxviz.compiling.batches import fitting
from jaxviz.compiling.draws import picked
from jaxviz.compiling.jit import jit
from jaxviz.compiling.rewrite import rewrite
from jaxviz.model import Model
from jaxviz.objectives import Objective

STRETCH = 50  # steps in one compiled call: long enough to hide the call, short enough to stop between

Watch = Callable[[list[int], int, np.ndarray], None]  # (positions of the objectives, steps done, images [b h w c])


class Group(NamedTuple):
    """Objectives that differ in numbers only, stacked, with what each of them starts from."""

    objectives: Objective
    keys: jax.Array
    starts: np.ndarray | None

    def members(self, which: np.ndarray) -> "Group":
        return Group(
            jax.tree.map(lambda leaf: leaf[which], self.objectives),
            picked(self.keys, which),
            None if self.starts is None else self.starts[which],
        )


class Finished(NamedTuple):
    """Members of a group at their end."""

    members: np.ndarray  # their numbers in the group
    images: np.ndarray
    scores: np.ndarray  # [… steps]; after a member's last step, its last score again
    steps: np.ndarray  # how many steps each of them took
    still: np.ndarray  # whether the image is still the first one
    latents: Any  # a pytree of arrays; None where it was not asked for


class How(NamedTuple):
    """What all groups of a sweep share."""

    model: Model
    canvas: Canvas
    channels: int | None  # of an image; None where the canvas' size has all axes of an image
    optimizer: Partial
    stop: Stop | None
    together: int | None = None  # each so many members in a row see each other; None: each is alone
    redirect: bool = False  # whether ReLUs are redirected in the first steps of each member
    devices: tuple[jax.Device, ...] | None = None  # slots are spread over them evenly; None: JAX's default device
    latent: bool = False  # whether latents are asked for


def at_a_time(group: Group, how: How, transform: Transform | None, *, most: int, limit: int | None) -> int:
    """How many members of a group, at most `most`, climb together on this device in `limit` bytes of memory.

    Raises:
        InputError: one member needs more.
    """
    if limit is None:
        return most

    size = how.together or 1

    def program(times: int) -> Any:
        count = times * size
        several = group.members(np.arange(count) % len(group.keys))
        state = _begin.compiled().eval_shape(
            how.canvas, how.optimizer, how.stop, several.keys, several.starts, channels=how.channels
        )
        done, live = np.zeros(count, np.int32), np.ones(count, bool)
        return _climb.lower(
            None,
            how.model,
            several.objectives,
            several.keys,
            state,
            done,
            live,
            1,
            how.canvas,
            transform,
            how.optimizer,
            how.stop,
            together=how.together,
            redirect=how.redirect,
        )

    return size * fitting(program, limit, max(1, min(most, len(group.keys)) // size))


def climb(
    group: Group,
    how: How,
    transform: Transform | None,
    *,
    steps: int,
    batch: int,
    bar: tqdm,
    watch: Watch | None,
    every: int,
) -> Iterator[Finished]:
    """The members of a group, as they come to their end.

    Args:
        batch: the number of slots, at most; they are so many that all are in use for about as long.
        watch: see `sweep`; its positions are numbers of members here.

    Raises:
        InputError: the batch is below 1.
    """
    model, canvas, channels, optimizer, stop, together, redirect, devices, latent = how
    count, size = len(group.keys), together or 1
    rows, rows_at_once = count // size, max(1, whole("batch", batch) // size)
    even = size * len(devices or (None,))
    slots = even * -(-size * -(-rows // -(-rows // rows_at_once)) // even)
    model = spread(model, devices, each=False)
    member = np.minimum(np.arange(slots), count - 1)  # which member of the group is in each slot; some stay empty
    live = np.zeros(slots, bool)
    done = np.zeros(slots, np.int32)  # steps of the member in each slot
    scores = np.empty((slots, steps), np.float32)
    first: Any = None  # the first image of each slot's member
    state: Any = None
    waiting = 0

    def show(which: np.ndarray, images: np.ndarray) -> None:
        for at in np.unique(done[which]) if watch is not None else ():
            seen = np.flatnonzero(which & (done == at))
            watch(member[seen].tolist(), int(at), images[seen])  # type: ignore[misc]

    while True:
        free = np.flatnonzero(~live)[: count - waiting]
        if len(free):
            member[free], done[free], live[free] = np.arange(waiting, waiting + len(free)), 0, True
            waiting += len(free)
            chunk = spread(group.members(member), devices)
            new = _begin(canvas, optimizer, stop, chunk.keys, chunk.starts, channels=channels)
            fresh = np.isin(np.arange(slots), free)
            state = spread(new if state is None or fresh.all() else _mixed(fresh, new, state), devices)
            images = np.asarray(_draw(canvas, state[0].latent))
            first = images if first is None else np.where(_along(fresh, images), images, first)
            show(fresh, images)
        if not live.any():
            return

        most = min(STRETCH, steps - int(done[live].max()))
        if watch is not None:
            most = min(most, every - int((done[live] % every).max()))
        state, seen, taken = _climb(
            *(model, chunk.objectives, chunk.keys, state, *spread((done, live), devices)),
            *(most, canvas, transform, optimizer, stop),
            together=together,
            redirect=redirect,
        )
        taken, seen = int(taken), np.asarray(seen)
        for slot in np.flatnonzero(live):
            scores[slot, done[slot] : done[slot] + taken] = seen[slot, :taken]
        done[live] += taken
        bar.update(taken * int(live.sum()))

        ended = live & ((done == steps) | np.asarray(state[2]))
        looked_at = ended | (live & (done % every == 0)) if watch is not None else ended
        if not looked_at.any():
            continue
        images = np.asarray(_draw(canvas, state[0].latent))
        show(looked_at, images)
        if ended.any():
            which = np.flatnonzero(ended)
            for slot in which:
                scores[slot, done[slot] :] = scores[slot, done[slot] - 1]
            bar.update(int((steps - done[which]).sum()))
            still = (images == first)[which].all(tuple(range(1, images.ndim)))
            latents = jax.tree.map(lambda leaf, at=which: np.asarray(leaf)[at], state[0].latent) if latent else None
            yield Finished(member[which], images[which], scores[which], done[which], still, latents)
            live &= ~ended


def spread(tree: Any, devices: Sequence[jax.Device] | None, *, each: bool = True) -> Any:
    """A pytree on several devices: each leaf `[slots …]` in equal parts, or, with `each=False`, whole on each device.

    What is there already is not copied. Slots need nothing of each other, so the devices do not communicate.
    """
    if devices is None:
        return tree
    mesh = jax.sharding.Mesh(np.array(devices), ("slot",))
    axes = jax.sharding.PartitionSpec("slot") if each else jax.sharding.PartitionSpec()
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, axes))


def _along(which: np.ndarray, images: np.ndarray) -> np.ndarray:
    return which.reshape(-1, *(1,) * (images.ndim - 1))


Slots = tuple[State, Any, jax.Array]  # the climbers, what their stopping rules remember, and which rules have ended


@jit(static=("channels",))
def _begin(
    canvas: Canvas,
    optimizer: Partial,
    stop: Stop | None,
    keys: jax.Array,
    start: jax.Array | None,
    *,
    channels: int | None,
) -> Slots:
    memory = None if stop is None else jax.vmap(lambda key: stop.new())(keys)
    return begin(canvas, optimizer(), keys, start, channels=channels), memory, jnp.zeros(len(keys), bool)


@jit()
def _mixed(fresh: jax.Array, new: Slots, old: Slots) -> Slots:
    """The new climbers in the slots that are `fresh`, and the old ones in the others."""
    choose = jax.vmap(lambda which, *leaves: jax.tree.map(lambda a, b: jnp.where(which, a, b), *leaves))
    return choose(fresh, new, old)


@jit(static=("together", "redirect"), donate=("state",))
def _climb(
    model: Model,
    objectives: Objective,
    keys: jax.Array,
    state: Slots,
    done: jax.Array,
    live: jax.Array,
    most: jax.Array,
    canvas: Canvas,
    transform: Transform | None,
    optimizer: Partial,
    stop: Stop | None,
    *,
    together: int | None = None,
    redirect: bool = False,
) -> tuple[Slots, jax.Array, jax.Array]:
    """Up to `most` steps (at most STRETCH) of all slots, the scores `[b STRETCH]` before each, and how many were taken.

    It ends earlier where the rule of a slot that is `live` says so. The others climb on, and nobody looks at them.
    """

    def body(carry: tuple[jax.Array, Slots, jax.Array]) -> tuple[jax.Array, Slots, jax.Array]:
        at, (state, memory, ended), seen = carry
        step_keys = jax.vmap(jax.random.fold_in)(keys, done + at)
        how: dict[str, Any] = {"canvas": canvas, "optimizer": optimizer(), "transform": transform, "group": together}
        early = done + at < REDIRECTED if redirect else None
        state, scores = step(model, objectives, step_keys, state, redirect=early, **how)
        if stop is not None:
            # The rule of those that climb together looks at their mean score, so that it ends them together.
            judged = scores if together is None else jnp.repeat(scores.reshape(-1, together).mean(1), together)
            memory, ended = jax.vmap(stop)(memory, judged)
        return at + 1, (state, memory, ended), seen.at[:, at].set(scores)

    def go_on(carry: tuple[jax.Array, Slots, jax.Array]) -> jax.Array:
        at, (_, _, ended), _ = carry
        # Without a rule, no slot asks for another one: slots that are spread over devices then communicate nothing.
        return at < most if stop is None else (at < most) & ~(ended & live).any()

    def loop(state: Slots) -> tuple[jax.Array, Slots, jax.Array]:
        return jax.lax.while_loop(go_on, body, (jnp.int32(0), state, jnp.zeros((len(keys), STRETCH))))

    taken, state, seen = rewrite(loop, model.execution)(state)
    return state, seen, taken


@jit()
def _draw(canvas: Canvas, latent: Any) -> jax.Array:
    return jax.vmap(canvas)(latent)

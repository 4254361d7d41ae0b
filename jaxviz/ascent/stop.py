"""When an ascent is done: a rule that looks at the scores as they come, and ends the climb of one item.

    Stop  memory, score ─► memory, whether to end after this step

Law: a rule knows no later score. It runs for each item by itself within the compiled loop, so an item ends at the same
step whatever climbs beside it.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import struct

from jaxviz.checks import numbers, whole
from jaxviz.errors import InputError

__all__ = ["Plateau"]


@runtime_checkable
class Stop(Protocol):
    """A pytree; both methods are traced, and see one item."""

    def new(self) -> Any:
        """What the rule remembers before the first step, a pytree of arrays."""

    def __call__(self, memory: Any, score: jax.Array) -> tuple[Any, jax.Array]:
        """What it remembers after a step whose score is known, and whether the climb ends with this step."""


class Windows(NamedTuple):
    """What `Plateau` remembers of one item."""

    steps: jax.Array  # so far
    total: jax.Array  # of the scores of the window that is not complete
    first: jax.Array  # the mean score of the first window
    last: jax.Array  # that of the last complete one


@struct.dataclass
class Plateau:
    """A climb ends when its mean score rises no longer.

    The steps are cut into windows. After each window but the first, the climb ends if the mean score of the window is
    above that of the window before by no more than `gain` times its distance from that of the first window, that is,
    times all that was gained since. A transform that is drawn anew at each step makes single scores noisy; means of
    windows are less so. Scores times a positive number, or plus a number, end at the same step. The score of a step is
    known before the step; the climb ends after it.

    The defaults were chosen on VGG16's `block4_conv3` with `recipes.lucid`, by the held score of 16 channels, which
    after 100 steps rises no more: they end after 160 to 224 of 256 steps. A gain of 0.15 ends after 128 to 192.

    Attributes:
        window: the number of steps in a window.
        gain: the least part of the whole rise that one window must add.
    """

    window: Any = 32
    gain: Any = 0.1

    def new(self) -> Windows:
        return Windows(jnp.int32(0), jnp.float32(0), jnp.float32(0), jnp.float32(0))

    def __call__(self, memory: Windows, score: jax.Array) -> tuple[Windows, jax.Array]:
        steps, total = memory.steps + 1, memory.total + score
        mean, full, opening = total / self.window, steps % self.window == 0, steps <= self.window
        first = jnp.where(opening, mean, memory.first)
        end = full & ~opening & (mean - memory.last <= self.gain * (mean - first))
        last = jnp.where(full, mean, memory.last)
        return Windows(steps, jnp.where(full, 0.0, total), first, last), end

    def check(self) -> None:
        """Nothing, if the numbers can be meant.

        Raises:
            InputError: a window below 1, or a gain that is not from 0 to 1.
        """
        whole("Plateau's window", self.window)
        gain = numbers(self.gain)
        if gain.ndim or not 0 <= gain <= 1:
            raise InputError(f"Plateau's gain is a part of the whole rise, from 0 to 1; given: {self.gain!r}")


def check_stop(stop: Any) -> None:
    """Nothing, if this is a rule.

    Raises:
        InputError: something else, or what its own `check` refuses.
    """
    if not isinstance(stop, Stop) or isinstance(stop, type):
        raise InputError(f"stop is a rule such as jv.Plateau(); given: {stop!r}")
    getattr(stop, "check", lambda: None)()

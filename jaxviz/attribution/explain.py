"""The frame around every attribution: check the image, find the target, go through the batch, explain a blank map.

    question = ask(model, image, target)     the images [n h w c] and their objectives [n], checked
    answer(question, method, batch)          the attributions by a method for batches
    answer_each(question, one)               the attributions by a method for one image at a time

A *method* is a function `(images [b h w c], objectives [b]) -> (Attribution [b], reasons [b])`. A *reason* is a
sentence: why the map of that image is all zero, if it is. The method chooses it, because the method knows the cause.
The user sees it, as a `BlankMap` warning, only where the map is all zero.

The batch axis: a single image becomes a batch of one in `ask`, and its result loses that axis again in `answer`.
Between the two, everything has a batch axis, and `map_in_loop` runs the formula, which is written for one image.

A new attribution is one public function `(model, image, target=None, *, options with defaults) -> Attribution`:

1. Write it in a module of this folder: `ask`, resolve everything that depends on the options and the target (layers,
   say), then `answer` or `answer_each`. The docstring's first line says what the map shows: it is the caption in the
   demo.
2. Add its name to the module's `__all__`. A new module also needs its line in `jaxviz/__init__.py`.
3. Write one test, of a closed form: for a linear network f(x) = w · x most methods have one.

The command line, the demo and `jv` find it by its signature.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from jaxviz.compiling.batches import at_once, map_in_chunks, map_in_loop
from jaxviz.compiling.draws import picked
from jaxviz.compiling.jit import jit
from jaxviz.errors import InputError, JaxvizWarning, warn
from jaxviz.keys import checked_key
from jaxviz.model import Model, compute
from jaxviz.objectives import Highest, Objective, score
from jaxviz.results import brief
from jaxviz.targets import Target, resolve

__all__ = ["Attribution", "BlankMap"]

BATCH = 32  # images in one compiled call
Array = np.ndarray | jax.Array  # numpy in results, JAX inside


class Attribution(NamedTuple):
    """What an attribution returns.

    Attributes:
        values: the map, signed and in the score's own units: `[h w]` of regions or `[h w c]` of pixels, at the image's
            size; with a leading axis n for a batch. Of a signal: `[t]` or `[t c]`; of a volume: `[d h w]` or
            `[d h w c]`.
        score: the number that the map explains; `[n]` for a batch.
    """

    values: Float[Array, "..."]
    score: Float[Array, "*n"]

    def __repr__(self) -> str:
        return brief(self)


class BlankMap(JaxvizWarning):
    """A map is all zero; the message says why, and what to try."""


STILL = (
    "the score does not move. Either every path to it goes through an inactive ReLU (output 0), or the target is a "
    "saturated probability (explain the value before it, …/pre). Another layer or another target may show something"
)


class Question(NamedTuple):
    """What is to be explained: `n` images, and the objective of each."""

    model: Model
    images: np.ndarray  # [n h w c]
    objectives: Objective  # a stack of n
    single: bool  # the image was given without a batch axis, and so is the answer


Result = TypeVar("Result")


def ask(model: Model, image: ArrayLike, target: Target) -> Question:
    """The checked images and objectives of what a caller wants to have explained.

    Raises:
        InputError: an image or a target that does not fit the model.
    """
    images = model.check_images(image)
    single = images.ndim == len(model.image_shape)
    stack = images[None] if single else images
    return Question(model, stack, resolve(model, target, len(stack), stack.shape[1:]), single)


def answer(question: Question, method: Callable[[Any, Any], tuple[Result, np.ndarray]], batch: int) -> Result:
    """The attributions of all images by `method`, which takes `batch` of them at a time.

    Raises:
        InputError: a score or a map that is NaN or infinite.
    """
    items = question.images, question.objectives
    found, reasons = map_in_chunks(lambda some: method(*some), items, batch)
    return _checked(question, found, reasons)


def answer_each(question: Question, one: Callable[[Any, Any, int], tuple[Result, str]]) -> Result:
    """The attributions of all images by `one`, which takes an image, its objective and its position in the batch.

    The objective `Highest` is settled at the image itself: the masked or noisy copies that such a method makes of the
    image must not choose another class.

    Raises:
        InputError: a score or a map that is NaN or infinite.
    """

    def method(some: tuple[Array, Objective, np.ndarray]) -> Any:
        image, objective, position = jax.tree.map(lambda leaf: leaf[0], some)
        found = one(image, decide(question.model, image, objective), int(position))
        return jax.tree.map(lambda leaf: np.asarray(leaf)[None], found)

    items = question.images, question.objectives, np.arange(len(question.images))
    return _checked(question, *map_in_chunks(method, items, 1))


def decide(model: Model, image: Array, objective: Objective) -> Objective:
    """The objective; the class that the network decides for at this image where the objective is the highest one."""
    if not isinstance(objective, Highest):
        return objective
    return objective.decided(compute(model, image, names=objective.layers))


def keys_of_images(key: jax.Array | None, count: int) -> list[jax.Array]:
    """The key of each of `count` images, for a method that draws noise or masks.

    Raises:
        InputError: keys of another number, or no key of JAX.
    """
    key = checked_key(key)
    if key.shape not in ((), (count,)):
        raise InputError(f"a key is one for all images, or one for each of {count}; given: {list(key.shape)} keys")
    return [picked(key, position) if key.ndim else key for position in range(count)]


def key_of_draw(key: jax.Array, number: jax.Array | int) -> jax.Array:
    """The key of one draw: `key` is that of the image, `number` counts its draws. Call it in a compiled function.

    This is the only rule for random numbers in attributions: one key means the same draws for every image, so a batch
    gives what single calls give, and maps differ by the images alone. One key for each image gives each its own draws.
    """
    return jax.random.fold_in(jax.random.fold_in(key, 0), number)


def reasons_by(moves: Bool[Array, " b"], otherwise: str) -> np.ndarray:
    """A reason for each image: `STILL` where the score does not move, `otherwise` where it does."""
    return np.where(np.asarray(moves), otherwise, STILL)


@jit()
def score_images(model: Model, images: jax.Array, objective: Objective) -> jax.Array:
    """The scores `[b]` of several images by one objective."""
    size = at_once(*images.shape[1:-1], gradient=False, execution=model.execution)
    return map_in_loop(lambda image: score(model, image, objective), images, size=size, execution=model.execution)


def _checked(question: Question, found: Any, reasons: np.ndarray) -> Any:
    """`found` as it is returned: all of it is finite, and the user has been told about maps that are all zero."""

    def whose(positions: np.ndarray) -> str:
        return "" if question.single else f" of image {', '.join(map(str, positions))}"

    axes = tuple(range(1, found.values.ndim))
    broken = np.flatnonzero(~np.isfinite(found.values).all(axes) | ~np.isfinite(found.score))
    if broken.size:
        raise InputError(
            f"the score or the map{whose(broken)} is NaN or infinite: numbers in the network's weights or in the "
            "target are NaN or infinite already, or they overflow"
        )
    blank = (found.values == 0).all(axes)
    for reason in dict.fromkeys(reasons[blank].tolist()):
        warn(f"the map{whose(np.flatnonzero(blank & (reasons == reason)))} is all zero: {reason}", BlankMap)
    return jax.tree.map(lambda leaf: leaf[0], found) if question.single else found

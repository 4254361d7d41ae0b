"""Published settings as values: `sweep(model, objectives, **recipes.chollet())`.

    recipe(*, size, steps, …) -> the arguments of `sweep`, a dictionary

Law: the numbers of a recipe are leaves of its optimiser and its canvas, so that another step size compiles nothing. An
optimiser is therefore a `Partial`: an optax constructor with its numbers.

Checklist for a new recipe (this file and one test; the command line derives its choices, defaults and help from here):

1. Write a function with keyword-only arguments, of which `size` and `steps` are two and each has its source's default.
   Check the arguments in it. Its docstring names the source (author, year, section or address).
2. Put `@styled(…)` above it: the size, border, crop and contrast with which the source shows its filters. It is then
   `RECIPES[name]`, and a choice of `jaxviz filters --recipe`.
3. Test in `tests/jaxviz/test_climb.py`. `test_three_steps_raise_the_score` finds the recipe in `RECIPES` by itself; add
   one test of its numbers against the source's own.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Float, UInt8
from numpy.typing import ArrayLike

from jaxviz.ascent.canvases.canvas import Canvas
from jaxviz.ascent.canvases.pixels import Pixels
from jaxviz.checks import height_width, lengths, near
from jaxviz.errors import InputError
from jaxviz.rendering import rgb

Recipe = dict[str, Any]  # arguments of `sweep` by name
F = TypeVar("F", bound=Callable[..., Recipe])


@dataclass(frozen=True, kw_only=True)
class Style:
    """A recipe as its source uses it for a picture of many filters.

    Attributes:
        recipe: the function, which returns arguments of `sweep`.
        size: the side of an image in pixels, which may be smaller than the recipe's default for a single image.
        border: the pixels at each side of a layer that the objective leaves out.
        crop: the pixels that are cut off each side of the finished image.
        std: the contrast of the picture, as for `rgb.stretch`.
        raw: the source feeds 0–255 pixels without preprocessing, also to a network that was trained with it.
    """

    recipe: Callable[..., Recipe]
    size: int
    border: int = 0
    crop: int = 0
    std: float = 0.1
    raw: bool = False

    @property
    def defaults(self) -> dict[str, Any]:
        """The recipe's arguments with their defaults, `size` being that of a picture of many filters."""
        arguments = inspect.signature(self.recipe).parameters.values()
        return {each.name: each.default for each in arguments} | {"size": self.size}

    def settings(self, **given: Any) -> Recipe:
        """The arguments of `sweep`, with `defaults` for all that is not given.

        Raises:
            InputError: an argument that the recipe does not have, one that it refuses, or a size that `crop` uses up.
        """
        name, defaults = self.recipe.__name__, self.defaults
        for unknown in given.keys() - defaults.keys():
            hint = near(unknown, defaults)
            raise InputError(f"the recipe {name} has no {unknown}: {hint}it has {', '.join(defaults)}")
        chosen = defaults | given
        if min(_size(chosen["size"])) <= 2 * self.crop:
            raise InputError(
                f"{name} cuts {self.crop} pixels off each side, so size is more than {2 * self.crop}; "
                f"given: {chosen['size']}"
            )
        return self.recipe(**chosen)

    def picture(self, image: Float[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "height width 3"]:
        """An image of an ascent as the source shows it: cropped, and with its contrast set."""
        inner = slice(self.crop, -self.crop or None)
        return rgb.stretch(image[inner, inner], self.std)


RECIPES: dict[str, Style] = {}  # all that are below, by name


def styled(**fields: Any) -> Callable[[F], F]:
    """A decorator that adds a recipe to `RECIPES`, with the other fields of its `Style`, and leaves it as it is."""

    def add(recipe: F) -> F:
        RECIPES[recipe.__name__] = Style(recipe=recipe, **fields)
        return recipe

    return add


@styled(size=64, std=0.1, raw=True)
def chollet(
    *, size: int | tuple[int, ...] = 150, steps: int = 40, step: float | int = 1.0, start: ArrayLike | None = None
) -> Recipe:
    """The book's ascent, as arguments of `sweep`: from grey noise, along `gradient / (rms + 1e-5)`.

    The book climbs 40 steps of length 1.0, the article that follows it 1,000 of 0.1. It feeds raw pixels without
    preprocessing: load the network with `inputs="raw255"` for its numbers.

    Args:
        size: of the image, in pixels; 150 for one filter, 64 in the book's grids. For a signal `(t,)`, for a volume
            `(d, h, w)`.
        steps: how many steps.
        step: the length of a step, in 0–255 units.
        start: images `[n h w c]` in [0, 1]; else noise from the key.

    Raises:
        InputError: a size below 1, or a step that is not above 0.

    Source: Chollet 2017, Deep Learning with Python, 5.4.
    """
    # The book divides by the gradient in 0–255 units; ours is in [0, 1], 255 times as large.
    optimizer = Partial(_normalized, _length(step) / 255, 255 * 1e-5, _rms)
    return _recipe(Pixels(_size(size)), optimizer, steps, start)


@styled(size=180, border=2, crop=25, std=0.15)
def keras_io(
    *, size: int | tuple[int, ...] = 180, steps: int = 30, step: float | int = 10.0, start: ArrayLike | None = None
) -> Recipe:
    """keras.io's ascent, as arguments of `sweep`: from faint noise about mid-grey, along the gradient at unit L2 norm.

    Its objective leaves out a border of two: `channels(model, layer, border=2)`. The picture is cropped by 25 pixels
    a side and stretched to a standard deviation of 0.15.

    Args:
        size: of the image, in pixels.
        steps: how many steps.
        step: the length of a step, in the units of its network, ResNet50V2, which takes [-1, 1].
        start: images `[n h w c]` in [0, 1]; else noise from the key.

    Raises:
        InputError: a size below 1, or a step that is not above 0.

    Source: keras.io, "Visualizing what convnets learn", F. Chollet 2020.
    """
    # Its noise is (U - 0.5) / 4 in [-1, 1], which is 0.5 ± 0.0625 in [0, 1]; a step is half as long there.
    canvas = Pixels(_size(size), 0.5 - 0.0625, 0.5 + 0.0625)
    return _recipe(canvas, Partial(_normalized, _length(step) / 2, 1e-12, _norm), steps, start)


def _size(size: int | tuple[int, ...]) -> tuple[int, ...]:
    """The size of a canvas: of an image, or of as many axes as there are numbers."""
    return lengths("size", size, len(size)) if np.iterable(size) and len(size) else height_width("size", size)


def _recipe(canvas: Canvas, optimizer: Partial, steps: int, start: ArrayLike | None) -> Recipe:
    return {"canvas": canvas, "optimizer": optimizer, "steps": steps, "start": start}


def _length(step: float | int) -> float | int:
    if not 0 < step < math.inf:
        raise InputError(f"step is the length of a step, more than 0; given: {step}")
    return step


def _normalized(step: Any, epsilon: Any, norm: Callable[[jax.Array], jax.Array]) -> optax.GradientTransformation:
    """Descent along `gradient / (norm(gradient) + epsilon)`, `step` long."""
    return optax.stateless(lambda gradient, _: jax.tree.map(lambda g: -step * g / (norm(g) + epsilon), gradient))


_rms = Partial(lambda gradient: jnp.sqrt(jnp.mean(gradient**2)))
_norm = Partial(lambda gradient: jnp.sqrt(jnp.sum(gradient**2)))

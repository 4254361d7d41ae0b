"""Published settings as values: `sweep(model, objectives, **recipes.lucid())`.

    recipe(*, size, steps, …) -> the arguments of `sweep`, a dictionary

A recipe is a canvas, a transform, an optimiser and a number of steps; and, where its source has them, a start, how
ReLUs are treated and when to stop. Another setting in place of one of them is `recipes.lucid() | {"steps": 64}`.

Law: the numbers of a recipe are leaves of its canvas, transform and optimiser, so that another step size compiles
nothing. An optimiser is therefore a `Partial`: an optax constructor with its numbers.

Checklist for a new recipe (one function in a file of this folder, and one test; the command line derives its choices,
defaults and help from here):

1. Write a function with keyword-only arguments, of which `size`, `steps` and `start` are three and the first two have
   their source's defaults. Check the arguments in it. Its docstring names the source (author, year, section or
   address), and says what differs from it.
2. Put `@styled(…)` above it: the size, border, crop and contrast with which the source shows its filters. It is then
   `RECIPES[name]`, and a choice of `jaxviz filters --recipe`. In a new file, add one line to `__init__.py`.
3. Test in `tests/jaxviz/test_recipes.py`. `test_a_recipe_raises_the_score` finds the recipe in `RECIPES` by itself; add
   one test of its numbers against the source's own.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, UInt8

from jaxviz.checks import finite, height_width, lengths, near
from jaxviz.errors import InputError
from jaxviz.model import Model
from jaxviz.objectives import Objective, channels
from jaxviz.rendering import rgb
from weights_convert import INPUTS

Recipe = dict[str, Any]  # arguments of `sweep` by name
F = TypeVar("F", bound=Callable[..., Recipe])


@dataclass(frozen=True, kw_only=True)
class Style:
    """A recipe as its source uses it for a picture of many filters.

    Attributes:
        recipe: the function, which returns arguments of `sweep`.
        size: the side of an image in pixels, which may be smaller than the recipe's default for a single image.
        usual: other arguments for a picture of many filters, instead of the recipe's defaults.
        border: the positions at each side of a layer that the objective leaves out.
        crop: the pixels that are cut off each side of the finished picture.
        std: the contrast of the picture, as for `rgb.stretch`: one of `rgb.CONTRASTS`, or a number.
        penalty: what the source subtracts from each objective, itself an objective.
        fed: {preprocessing of a network: what the source feeds such a network with instead}, names of
            `weights_convert.INPUTS`; the book feeds VGG16 with pixels of 0–255 as they are.
    """

    recipe: Callable[..., Recipe]
    size: int
    usual: Mapping[str, Any] = field(default_factory=dict)
    border: int = 0
    crop: int = 0
    std: float | str = "none"
    penalty: Objective | None = None
    fed: Mapping[str, str] = field(default_factory=dict)

    @property
    def defaults(self) -> dict[str, Any]:
        """The recipe's arguments with their defaults, those of a picture of many filters."""
        arguments = inspect.signature(self.recipe).parameters.values()
        return {each.name: each.default for each in arguments} | {"size": self.size, **self.usual}

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
        if min(canvas_size(chosen["size"])) <= 2 * self.crop:
            raise InputError(
                f"{name} cuts {self.crop} pixels off each side, so size is more than {2 * self.crop}; "
                f"given: {chosen['size']}"
            )
        return self.recipe(**chosen)

    def objectives(self, model: Model, layer: str, indices: Iterable[int] | None = None) -> list[Objective]:
        """The objectives of the channels `indices` (None: all) of a layer, with the source's border and penalty.

        Raises:
            InputError: as `channels`.
        """
        return [self.penalized(each) for each in channels(model, layer, indices, border=self.border)]

    def penalized(self, objective: Objective) -> Objective:
        """Any objective, less the source's penalty."""
        return objective if self.penalty is None else objective - self.penalty

    def feed(self, model: Model) -> Model:
        """The model, fed as the source feeds such a network."""
        name = self.fed.get(model.inputs.name)
        return replace(model, inputs=INPUTS[name]) if name else model

    def picture(self, image: Float[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "height width 3"]:
        """An image of an ascent as the source shows it: its contrast is set, and then it is cropped."""
        inner = slice(self.crop, -self.crop or None)
        return rgb.stretch(image, self.std)[inner, inner]

    def pictures(self, found: Any) -> UInt8[np.ndarray, "n height width 3"]:
        """The images of an Ascent of several as `picture` shows each; `rgb.nothing` for those that did not move."""
        pictures = np.stack([self.picture(image) for image in found.image])
        if found.moved is not None:
            pictures[~found.moved] = rgb.nothing(*pictures.shape[1:3])
        return pictures


RECIPES: dict[str, Style] = {}  # all recipes, by name


def styled(**fields: Any) -> Callable[[F], F]:
    """A decorator that adds a recipe to `RECIPES`, with the other fields of its `Style`, and leaves it as it is."""

    def add(recipe: F) -> F:
        RECIPES[recipe.__name__] = Style(recipe=recipe, **fields)
        return recipe

    return add


def canvas_size(size: int | tuple[int, ...]) -> tuple[int, ...]:
    """The size of a canvas: of an image, or of as many axes as there are numbers.

    Raises:
        InputError: a size below 1, or no whole number.
    """
    return lengths("size", size, len(size)) if np.iterable(size) and len(size) else height_width("size", size)


def length(step: float | int) -> float | int:
    """The length of a step, in the units of the recipe.

    Raises:
        InputError: a step that is not above 0.
    """
    if not finite("step", step) > 0:
        raise InputError(f"step is the length of a step, more than 0; given: {step}")
    return step

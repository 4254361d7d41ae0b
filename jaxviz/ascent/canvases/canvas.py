"""The type of a canvas: what gradient ascent changes (the latent), and the image that it stands for.

    Canvas  latent ─► image [h w c]

Law: a canvas draws the image that it was given, `canvas(canvas.of(image)) == image`, up to rounding, for each image
that it can draw. A canvas that ends in a sigmoid draws images in (0, 1), see `colors.py`; one that cannot be inverted
says so in an InputError of `of`.

Checklist for a new canvas (one source file here, one test file; `pixels.py` is the shortest example):

1. Write `jaxviz/ascent/canvases/<name>.py` with one `flax.struct.dataclass`. Sizes and names are static
   (`struct.field(pytree_node=False)`), since they decide what is compiled; ranges, rates, matrices and other numbers
   are leaves, so that another number compiles nothing new. With an array among the leaves, write `eq=False`.
2. Give it `size`, `new`, `of` and `__call__` as below. All but `size` are traced and see one image, a `jax.Array`, of
   as many axes as `size` has, and one more for channels if there are any; `sweep` adds the batch axis with `jax.vmap`.
   The latent may be any pytree of float arrays. For colours and the sigmoid, use `colors.to_image` and `colors.to_raw`.
3. Do not check arguments in the constructor: JAX rebuilds the class with placeholders. Check them in a method
   `check(channels)`, which `sweep` calls in Python before it compiles. It sees the size already checked.
4. Write the docstring: the range of the image, how it starts, and the source (author, year).
5. Test in `tests/jaxviz/test_<name>.py`: the law above, its formula against NumPy, and each sentence of `check`. Add
   an example to `CANVASES` in `tests/jaxviz/test_canvases.py`: three steps of `sweep` raise the score, the same key
   gives the same image, another number compiles nothing, and signals and volumes are drawn, too.
6. To make it `jaxviz.<Name>`, list it in the `__all__` of its file and add one line to `jaxviz/__init__.py`.
"""

from typing import Any, Protocol, runtime_checkable

import jax

from jaxviz.checks import lengths
from jaxviz.errors import InputError


@runtime_checkable
class Canvas(Protocol):
    """A pytree: sizes are static, ranges are leaves."""

    @property
    def size(self) -> tuple[int, ...]:
        """Height and width of the image in pixels; of a signal its length, of a volume three numbers."""

    def new(self, key: jax.Array, channels: int | None) -> Any:
        """A latent to start from, drawn with `key`; its image has so many colour channels, and None no axis of them."""

    def of(self, image: jax.Array) -> Any:
        """The latent of an image `[h w c]` in [0, 1]."""

    def __call__(self, latent: Any) -> jax.Array:
        """The image `[h w c]` that a latent stands for."""


@runtime_checkable
class Checked(Protocol):
    """A canvas that checks its own numbers."""

    def check(self, channels: int | None) -> None:
        """Nothing, or an InputError if an image of so many channels (None: without an axis of them) has no canvas."""


def check_size(canvas: Any) -> None:
    """Nothing, if this is a canvas that has a size.

    Raises:
        InputError: something else, or a size that is no tuple of whole numbers, 1 or more.
    """
    if not isinstance(canvas, Canvas) or isinstance(canvas, type):
        raise InputError(f"a canvas is an object such as jv.Pixels((128, 128)); given: {canvas!r}")
    if not isinstance(canvas.size, tuple) or not canvas.size:
        raise InputError(f"the size of a canvas is a tuple, such as (128, 128); given: {canvas.size!r}")
    lengths("size", canvas.size, len(canvas.size))


def check_numbers(canvas: Canvas, channels: int | None) -> None:
    """Nothing, if the canvas can be drawn with so many channels, or does not check its numbers.

    Raises:
        InputError: what the canvas' own `check` refuses.
    """
    if isinstance(canvas, Checked):
        canvas.check(channels)

"""The type of a canvas: what gradient ascent changes (the latent), and the image that it stands for.

    Canvas  latent ─► image [h w c]

Law: a canvas draws the image that it was given, `canvas(canvas.of(image)) == image`, up to rounding, for each image
that it can draw (a canvas that ends in a sigmoid draws images inside (0, 1)).

Checklist for a new canvas (one source file here, one test file; `pixels.py` is the shortest example):

1. Write `jaxviz/ascent/canvases/<name>.py` with one `flax.struct.dataclass`. Sizes are static
   (`struct.field(pytree_node=False)`), since they decide the shapes that are compiled; ranges, rates and other numbers
   are leaves, so that another number compiles nothing new. Do not check arguments in the class: JAX rebuilds it with
   placeholders. Check them in the recipe or function that makes the canvas.
2. Give it `size`, `new`, `of` and `__call__` as below. All but `size` are traced and see one image, a `jax.Array`;
   `sweep` adds the batch axis with `jax.vmap`. The latent may be any pytree of float arrays.
3. Write the docstring: the range of the image that `new` gives, and the source (author, year).
4. Test in `tests/jaxviz/test_<name>.py`: the law above; three steps of `sweep` raise the score; the same key gives the
   same image; another number compiles nothing.
5. To make it `jaxviz.<Name>`, list it in the `__all__` of its file and add one line to `jaxviz/__init__.py`.
"""

from typing import Any, Protocol, runtime_checkable

import jax


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

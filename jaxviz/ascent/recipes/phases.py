"""MaCo's ascent: the magnitudes of the spectrum are those of photographs, and only its phases climb, seen in crops."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.tree_util import Partial
from numpy.typing import ArrayLike

from jaxviz.ascent import transforms
from jaxviz.ascent.canvases.colors import XPLIQUE
from jaxviz.ascent.canvases.maco import MaCo
from jaxviz.ascent.recipes.style import Recipe, canvas_size, styled
from jaxviz.ascent.transforms.affine import resample
from jaxviz.ascent.transforms.transform import check_drawn, draw, places
from jaxviz.checks import whole
from jaxviz.errors import InputError

SEEN = 224  # pixels: the image that ImageNet's networks take, and so the size of a crop


@styled(size=256, usual={"crops": 4})
def maco(
    *, size: int | tuple[int, ...] = 512, steps: int = 256, crops: int = 32, start: ArrayLike | None = None
) -> Recipe:
    """xplique's MaCo, as arguments of `sweep`: phases climb by Nadam with rate 1, seen in noisy square crops.

    The side of a crop is a part of the image, 0.05 to 0.5, with a deviation of 0.05; its centre has a deviation of 0.15
    about that of the image; beyond the image there is mid-grey. A crop is enlarged, or reduced, to 224 pixels (to the
    size of the image, if that is smaller), and gets normal noise of deviation 0.04 and even noise of up to 0.02, in the
    units of [0, 1] images. In xplique the mean side falls from 0.5 to 0.05 during the ascent; here it is drawn. Its
    Nadam has a schedule of momentum, optax's has none. Channels are climbed before their ReLU.

    Args:
        size: of the image, height and width in pixels.
        steps: how many steps of the phases.
        crops: how many crops each step averages; each takes one of the steps of `sweep`, so there are `steps × crops`.
        start: images `[n h w c]` in [0, 1], whose phases the ascent starts from; else random ones from the key.

    Raises:
        InputError: a size or a number of crops below 1.

    Source: Fel et al. 2023, MAgnitude Constrained Optimization; xplique 2.0, features_visualizations/maco.py.
    """
    sides = canvas_size(size)
    if len(sides) != 2:
        raise InputError(f"size is a whole number of pixels, 1 or more, or (height, width); given: {size}")
    crops = whole("crops", crops)
    chain = (Box(seen=min(SEEN, *sides)), transforms.Noise(0.04), Grain(0.02))
    return {
        "canvas": MaCo(sides, colors=XPLIQUE),
        "transform": transforms.Chain(chain),
        "optimizer": Partial(_Averaged(crops), learning_rate=1.0),
        "steps": whole("steps", steps) * crops,
        "start": start,
        "relu": "pre",
    }


@struct.dataclass
class Box:
    """A square part of the image at a random place, at another size; beyond the image there is `fill`.

    Attributes:
        side: the mean side as a part of the image's, drawn.
        deviation: of the side, which is at least `least` and at most 1.
        spread: the deviation of the centre, as a part of the image.
        seen: the side of the result in pixels.

    Source: xplique 2.0, features_visualizations/maco.py, which calls `tf.image.crop_and_resize`.
    """

    side: Any = (0.05, 0.5)
    deviation: Any = 0.05
    least: Any = 0.05
    spread: Any = 0.15
    fill: Any = 0.5
    seen: int = struct.field(pytree_node=False, default=SEEN)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        for_side, for_deviation, for_place = jax.random.split(key, 3)
        side = draw(for_side, self.side) + self.deviation * jax.random.normal(for_deviation)
        side = jnp.clip(side, self.least, 1.0)
        centre = 0.5 + self.spread * jax.random.normal(for_place, (2,))
        along = (centre[:, None] + side * jnp.linspace(-0.5, 0.5, self.seen)) * (
            jnp.array(places(image, "Box", axes=2))[:, None] - 1
        )
        y, x = jnp.meshgrid(*along, indexing="ij")
        return resample(image, y, x, self.fill)

    def check(self) -> None:
        check_drawn("Box's side", self.side, above=0)


@struct.dataclass
class Grain:
    """The image with even noise of up to `most` on each value."""

    most: Any

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        return image + jax.random.uniform(key, image.shape, minval=-self.most, maxval=self.most)


class _Averaged(NamedTuple):
    """Nadam by the mean of several gradients, as a constructor that is equal to another of as many."""

    gradients: int

    def __call__(self, learning_rate: Any) -> optax.GradientTransformation:
        nadam = optax.nadam(learning_rate)
        return nadam if self.gradients == 1 else optax.MultiSteps(nadam, self.gradients).gradient_transformation()

"""Ascents in Fourier space under random transforms: pictures of deep layers.

Plain ascent finds a pattern of high frequencies that excites a deep channel, and that a shift by a pixel destroys. Here
the image climbs by its Fourier coefficients, low frequencies first, in colours as correlated as those of photographs;
and at each step it is shifted, scaled and turned a little, anew for each image.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.tree_util import Partial
from numpy.typing import ArrayLike

from jaxviz.ascent import transforms
from jaxviz.ascent.canvases.colors import XPLIQUE
from jaxviz.ascent.canvases.fourier import Fourier
from jaxviz.ascent.recipes.style import Recipe, canvas_size, styled
from jaxviz.ascent.transforms.transform import Transform
from jaxviz.errors import InputError
from jaxviz.model import Model
from jaxviz.rendering.ranks import LEADS

FLAT = 1e-6  # a range below it is rounding: an image of one value has no range to divide by
ADAM = 0.05  # the learning rate in Lucid, `render_vis`, and in xplique, `optimize`


@styled(size=128)
def lucid(*, size: int | tuple[int, ...] = 128, steps: int = 256, start: ArrayLike | None = None) -> Recipe:
    """Lucid's ascent with its transforms as one, as arguments of `sweep`: in Fourier space, robust, in natural colours.

    The canvas, its colours and Adam with a learning rate of 0.05 are Lucid's. The transform is one resample: a shift by
    up to 8 pixels, a scale of 0.9 to 1.1, and a turn by up to 10 degrees, which a fifth of the draws leave out; beyond
    the image there is mid-grey. Lucid pads by 12 pixels, crops, scales, turns and crops again, with a resample for the
    scale and one for the turn (`recipes.lucid_chain`); and it takes 512 steps. Channels are climbed before their ReLU,
    where Lucid redirects the gradient of a ReLU that is off everywhere.

    Args:
        size: of the image, in pixels. The shift is at most an eighth of the shorter side. For a signal `(t,)` and for a
            volume `(d, h, w)`, the transform is the shift alone.
        steps: how many steps.
        start: images `[n h w c]` in [0, 1]; else noise from the key.

    Raises:
        InputError: a size below 1.

    Source: Olah, Mordvintsev & Schubert 2017, Feature Visualization, Distill; lucid, optvis/render.py.
    """
    sides = canvas_size(size)
    return _recipe(Fourier(sides), _moved(sides), steps, start) | {"relu": "pre"}


def lucid_for(model: Model, size: tuple[int, ...] | None = None) -> Recipe:
    """Lucid's recipe for the images of a network, for a canvas of `size`.

    None: 128 × 128 pixels for an image `[h w c]`, and the network's own size for any other. An image without channels,
    `[h w]` or `[pixels]`, climbs without a transform, which would take its last axis for channels. A signal `[t c]` has
    at most 16 of them; what has more is taken for an image `[h w]`.
    """
    shape = model.image_size()
    if not has_channels(model) or (size is not None and len(size) == len(shape)):  # or the size is the whole shape
        return lucid(size=size or shape) | {"transform": None}
    return lucid(size=size or (128 if len(shape) == 3 else shape[:-1]))


def has_channels(model: Model) -> bool:
    """Whether the last axis of a network's images is one of channels, by the rule of `lucid_for`."""
    shape = model.image_shape
    return len(shape) > 2 or (len(shape) == 2 and model.channels <= LEADS)


@styled(size=128)
def lucid_chain(*, size: int | tuple[int, ...] = 128, steps: int = 512, start: ArrayLike | None = None) -> Recipe:
    """Lucid's ascent, as arguments of `sweep`, with its `standard_transforms` one after another.

    They pad by 12 pixels of mid-grey, crop by 8, scale by one of 0.90, 0.92, … 1.10, turn by one of -10, -9, … 10
    degrees (0 six times as likely as any other), and crop by 4. Lucid fills with black beyond a turned image, here it
    is mid-grey; and its scaled images have another size, while here the window keeps its size. Lucid counts 513 steps.

    Args:
        size: of the image, height and width in pixels.
        steps: how many steps.
        start: images `[n h w c]` in [0, 1]; else noise from the key.

    Raises:
        InputError: a size below 1.

    Source: lucid, optvis/render.py and optvis/transform.py, `standard_transforms`.
    """
    scales = transforms.OneOf([1 + (i - 5) / 50 for i in range(11)])
    angles = transforms.OneOf([*range(-10, 11), *5 * [0]])
    chain = (
        transforms.Pad(12),
        transforms.Jitter(8),
        transforms.Affine(scale=scales),
        transforms.Affine(degrees=angles),
        transforms.Jitter(4),
    )
    return _recipe(Fourier(canvas_size(size)), transforms.Chain(chain), steps, start) | {"relu": "redirect"}


@styled(size=128)
def xplique(*, size: int | tuple[int, ...] = 512, steps: int = 256, start: ArrayLike | None = None) -> Recipe:
    """xplique's ascent, as arguments of `sweep`: Fourier coefficients with a decay of 0.85, in small blurred crops.

    Each image is stretched to reach from 0 to 1. With u = size / 16, of the shorter side, the transforms add a black
    frame of 4 u, crop by 2 u, 2 u, 4 u, 4 u and 4 u, scale by 0.92 to 0.96, blur by a deviation of 1 to 1.1 pixels,
    crop by u twice, and mirror half of the images. A scaled image of xplique has another size each time; here it is a
    window of 0.92 of the size before. At the edge, xplique's blur darkens, while here the pixels repeat. Channels are
    climbed before their ReLU.

    Args:
        size: of the image, height and width in pixels, 16 or more.
        steps: how many steps.
        start: images `[n h w c]` in [0, 1]; else noise from the key.

    Raises:
        InputError: a size below 16.

    Source: xplique 2.0, features_visualizations/optim.py and transformations.py.
    """
    sides = canvas_size(size)
    if len(sides) != 2 or min(sides) < 16:
        raise InputError(f"size is a height and a width of whole numbers, 16 or more; given: {size}")
    unit = min(sides) // 16
    height, width = (int(0.92 * (side - 8 * unit)) for side in sides)
    chain = (
        transforms.Pad(4 * unit, 0.0),
        *(transforms.Jitter(by * unit) for by in (2, 2, 4, 4, 4)),
        transforms.Affine(scale=(0.92, 0.96), size=(height, width)),
        transforms.Blur((1.0, 1.1), 10),
        transforms.Jitter(unit),
        transforms.Jitter(unit),
        transforms.Flip(),
    )
    canvas = Spread(Fourier(sides, decay=0.85, colors=XPLIQUE))
    return _recipe(canvas, transforms.Chain(chain), steps, start) | {"relu": "pre"}


@struct.dataclass
class Spread:
    """The image of another canvas, stretched so that its least value is 0 and its greatest 1; one of one value is 0.

    Source: xplique, features_visualizations/preconditioning.py, `to_valid_rgb`.
    """

    canvas: Any

    @property
    def size(self) -> tuple[int, ...]:
        return self.canvas.size

    def new(self, key: jax.Array, channels: int | None) -> Any:
        """A latent of the other canvas."""
        return self.canvas.new(key, channels)

    def of(self, image: jax.Array) -> Any:
        """The latent of an image, which is found again if it reaches from 0 to 1."""
        return self.canvas.of(image)

    def __call__(self, latent: Any) -> jax.Array:
        """The image, from 0 to 1."""
        image = self.canvas(latent)
        above = image - image.min()
        return above / jnp.maximum(above.max(), FLAT)

    def check(self, channels: int | None) -> None:
        self.canvas.check(channels)


def _moved(sides: tuple[int, ...]) -> Transform:
    """Lucid's transforms as one resample; of a signal or a volume, the shift in a frame of mid-grey."""
    shift = min(8, min(sides) // 8)  # Lucid's, for images of 128 pixels
    if len(sides) == 2:
        return transforms.Affine(jitter=float(shift), scale=(0.9, 1.1), degrees=10.0, upright=0.2, fill=0.5)
    return transforms.Chain((transforms.Pad(shift), transforms.Jitter(2 * shift)))


def _recipe(canvas: Any, transform: Transform, steps: int, start: ArrayLike | None) -> Recipe:
    optimizer = Partial(optax.adam, learning_rate=ADAM)
    return {"canvas": canvas, "transform": transform, "optimizer": optimizer, "steps": steps, "start": start}

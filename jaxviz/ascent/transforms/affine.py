"""Affine: an image moved, scaled, turned and sheared, in one resample.

Law: each pixel is the linear interpolation, along both axes, of the image at one place, `inverse · (pixel - centre -
shift) + centre`; a place beyond the image has the value of `fill`.

One resample blurs once, where a chain of them blurs each time. A bilinear resample reads four pixels for each pixel.
All four are taken from a list of pixels by one number, the upper left one's, and fixed distances from it. Each channel
is such a list, with its pixels side by side in memory: the backward pass, which adds numbers at the places that were
read, is then 2.7 times as fast on a CPU as with the channels side by side.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxviz.ascent.transforms.transform import check_drawn, check_fill, check_probability, draw, draw_about_0, places
from jaxviz.checks import height_width


@struct.dataclass
class Affine:
    """An image `[h w c]`, scaled, turned and sheared about its centre and then moved, in one bilinear resample.

    The defaults change nothing.

    Attributes:
        jitter: the shift along each axis in pixels, drawn about 0; not a whole number.
        scale: the magnification, drawn; 2 shows the inner half of the image.
        degrees: the angle, drawn about 0; counter-clockwise.
        shear: the angle by which vertical lines lean, in degrees, drawn about 0.
        upright: the probability that the image is not turned, whatever `degrees` is.
        fill: what is seen beyond the image: a number, a colour `[c]`, or None, which repeats the pixels at the edge.
        size: the height and width of the result, a window about the centre that is not scaled; None: as the image.

    Source: the transforms of Lucid (Olah, Mordvintsev & Schubert 2017, Feature Visualization), as one resample.
    """

    jitter: Any = 0.0
    scale: Any = 1.0
    degrees: Any = 0.0
    shear: Any = 0.0
    upright: Any = 0.0
    fill: Any = 0.5
    size: int | tuple[int, int] | None = struct.field(pytree_node=False, default=None)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        height, width = places(image, "Affine", axes=2)
        for_y, for_x, for_scale, for_angle, for_upright, for_shear = jax.random.split(key, 6)
        angle = jnp.deg2rad(draw_about_0(for_angle, self.degrees))
        angle = jnp.where(jax.random.uniform(for_upright) < self.upright, 0.0, angle)
        lean = jnp.tan(jnp.deg2rad(draw_about_0(for_shear, self.shear)))
        scale = draw(for_scale, self.scale)
        # The image is sheared (x += lean · y), turned and scaled; a pixel is found by the inverse, in reverse order.
        cos, sin = jnp.cos(angle) / scale, jnp.sin(angle) / scale
        rows, columns = (height, width) if self.size is None else height_width("size", self.size)
        y = (jnp.arange(rows) - (rows - 1) / 2 - draw_about_0(for_y, self.jitter))[:, None]
        x = (jnp.arange(columns) - (columns - 1) / 2 - draw_about_0(for_x, self.jitter))[None, :]
        from_y = cos * y + sin * x
        from_x = (cos - lean * sin) * x - (sin + lean * cos) * y
        return resample(image, from_y + (height - 1) / 2, from_x + (width - 1) / 2, self.fill)

    def check(self) -> None:
        check_drawn("Affine's jitter", self.jitter)
        check_drawn("Affine's scale", self.scale, above=0)
        check_drawn("Affine's degrees", self.degrees)
        check_drawn("Affine's shear", self.shear)
        check_probability("Affine's upright", self.upright)
        check_fill("Affine's fill", self.fill)
        if self.size is not None:
            height_width("Affine's size", self.size)


def resample(image: jax.Array, y: jax.Array, x: jax.Array, fill: Any) -> jax.Array:
    """The values `[rows columns c]` of an image `[h w c]` at places `y` and `x`, each `[rows columns]`, in pixels.

    Values between pixels are interpolated linearly along both axes; beyond the image they are `fill`, a number or a
    colour `[c]`, or, with None, those of the nearest pixel.
    """
    height, width, channels = image.shape
    beyond = 0 if fill is None else 1  # how far outside a place may lie: a frame of one pixel holds the value there
    fill = jnp.zeros(()) if fill is None else jnp.asarray(fill, image.dtype)
    fill = jnp.broadcast_to(fill, (channels,))[:, None]
    planes = jnp.moveaxis(image, -1, 0) - fill[:, None]
    framed = jnp.pad(planes, ((0, 0), (1, 1), (1, 1))).reshape(channels, -1)

    def split(places: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
        """The number of the pixel before each place, in the frame, and how far the place lies from it, 0 to 1."""
        places = jnp.clip(places, -beyond, length - 1 + beyond) + 1
        before = jnp.clip(jnp.floor(places), 0, length)
        return before, (places - before).ravel()

    (top, down), (left, right) = split(y, height), split(x, width)
    corner = (top * (width + 2) + left).astype(jnp.int32).ravel()

    def taken(distance: int) -> jax.Array:
        return framed.at[:, corner + distance].get(mode="promise_in_bounds")

    above = taken(0) * (1 - right) + taken(1) * right
    below = taken(width + 2) * (1 - right) + taken(width + 3) * right
    resampled = above * (1 - down) + below * down + fill
    return jnp.moveaxis(resampled.reshape(channels, *y.shape), 0, -1)

"""Objectives of how an image looks, most of which are subtracted from another: `jv.Channel(…) - 0.1 * jv.L2()`.

    TotalVariation, L1, L2, Blur: {name: activation} -> score, which is 0 or more

They read `"image"`, the image that the network sees, after a transform, in [0, 1] images' units; any other layer may
stand in its place. All but `Blur` are means over the numbers of the image, so that one weight suits all sizes;
`total=True` gives the sums. Law: each is the formula of its source, up to the scale that its docstring states.

    Lucid                                             here
    total_variation(), L1(constant=c), L2(constant=c) TotalVariation(total=True), L1(origin=c, total=True), L2(…)
    blur_input_each_step()                            Blur()
    tf-keras-vis, of pixels 0–255
    TotalVariation2D(w), Norm(w, p=1), Norm(w, p=2)   255 * w * TotalVariation(), 255 * w * L1(), 255 * w * L2()
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from jaxviz.checks import numbers
from jaxviz.errors import InputError
from jaxviz.model import IMAGE
from jaxviz.objectives import Objective

__all__ = ["L1", "L2", "Blur", "TotalVariation"]


@struct.dataclass
class TotalVariation(Objective):
    """The absolute differences of neighbours along each axis but the last, over the count of all numbers.

    Attributes:
        layer: the image, or a layer with maps `[h w c]`, `[t c]`, `[d h w c]`.
        total: the sum, not divided by the count.

    Source: Rudin, Osher & Fatemi 1992; the anisotropic form of `tf.image.total_variation`.
    """

    layer: str = struct.field(pytree_node=False, default=IMAGE)
    total: bool = struct.field(pytree_node=False, default=False)

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        values = jnp.asarray(activations[self.layer])
        found = sum((jnp.abs(jnp.diff(values, axis=axis)).sum() for axis in range(values.ndim - 1)), jnp.zeros(()))
        return found if self.total else found / values.size

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        _check_maps("a total variation", self.layer, shapes[self.layer])


@struct.dataclass
class L1(Objective):
    """The mean distance of all numbers from `origin`.

    Attributes:
        layer: the image, or a layer.
        origin: a number, such as 0.5, which is mid-grey, or an array of the shape of the layer.
        total: the sum, not the mean.
    """

    layer: str = struct.field(pytree_node=False, default=IMAGE)
    origin: Any = 0.0
    total: bool = struct.field(pytree_node=False, default=False)

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        distances = jnp.abs(activations[self.layer] - jnp.asarray(self.origin))
        return distances.sum() if self.total else distances.mean()

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        _check_origin(self.layer, shapes[self.layer], self.origin)


@struct.dataclass
class L2(Objective):
    """The root of the mean square distance of all numbers from `origin`.

    Attributes:
        layer: the image, or a layer.
        origin: a number, such as 0.5, which is mid-grey, or an array of the shape of the layer, such as a photograph
            that the image should stay near to.
        total: the root of the sum, not of the mean.
    """

    layer: str = struct.field(pytree_node=False, default=IMAGE)
    origin: Any = 0.0
    total: bool = struct.field(pytree_node=False, default=False)

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        squares = (activations[self.layer] - jnp.asarray(self.origin)) ** 2
        square = squares.sum() if self.total else squares.mean()
        return jnp.sqrt(jnp.maximum(square, jnp.finfo(square.dtype).tiny))  # at the origin the gradient is 0, not NaN

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        _check_origin(self.layer, shapes[self.layer], self.origin)


@struct.dataclass
class Blur(Objective):
    """Half the squared distance of an image from its blurred self, whose gradient is `image - blurred`.

    So a step of plain gradient ascent with rate 1 on `-k * Blur()` is `image ← (1 - k) image + k blurred`: the image is
    blurred a little at each step. The blurred image is the mean over 3 places along each axis but the last, in which
    the place itself has twice the weight of the others.

    Source: Nguyen et al. 2015, Deep neural networks are easily fooled; Lucid's `blur_input_each_step`.
    """

    layer: str = struct.field(pytree_node=False, default=IMAGE)

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        values = jnp.asarray(activations[self.layer])
        return 0.5 * ((values - _blurred(lax.stop_gradient(values))) ** 2).sum()

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        _check_maps("a blur", self.layer, shapes[self.layer])


def _blurred(values: jax.Array) -> jax.Array:
    """The weighted mean of the neighbours that exist: at an edge there are fewer."""
    window = (*[3] * (values.ndim - 1), 1)

    def weigh(x: jax.Array) -> jax.Array:
        return x + lax.reduce_window(x, jnp.zeros((), x.dtype), lax.add, window, [1] * x.ndim, "SAME")

    return weigh(values) / weigh(jnp.ones_like(values))


def _check_maps(word: str, layer: str, shape: tuple[int, ...]) -> None:
    if len(shape) < 2:
        raise InputError(f"{word} is of an image or a layer with maps, such as [h w c]; given: {layer}, {list(shape)}")


def _check_origin(layer: str, shape: tuple[int, ...], origin: Any) -> None:
    values = numbers(origin)
    if values.shape not in ((), shape):
        raise InputError(
            f"an origin in {layer} is a number or an array {list(shape)}, as the network sees it; given: "
            f"{list(values.shape)}"
        )
    if not np.isfinite(values).all():
        raise InputError(f"an origin in {layer} has finite numbers; given: {origin!r}")

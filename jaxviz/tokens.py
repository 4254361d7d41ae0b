"""Tokens as a map: how the rows of a layer `[tokens c]` lie in the image.

    tokens_of(model, network, count) -> Tokens, the place of such a layer; None if it is not known
    token_maps(model, activations)   -> the same activations, tokens as maps `[h w c]`

Law: the tokens in front of the map, for the class and as registers, are set aside; the others are the patches of the
image, row by row. How many rows and columns there are is that of the last layer whose positions are seen in the traced
network, before attention mixes them. `model.tokens` says it where it is not found there. Nothing is found if such a
layer has them in another order, such as column by column.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import struct

from jaxviz.checks import whole
from jaxviz.compiling.positions import in_order
from jaxviz.errors import InputError
from jaxviz.model import Model
from jaxviz.structure import Structure, structure

__all__ = ["token_maps"]

MOST = 16  # tokens in front of the map: one for the class, and registers, of which networks have 4 or 8
WAY = "model.replace(tokens=(rows, columns, number of tokens in front of them)) says how they lie"


@struct.dataclass
class Tokens:
    """The place in the image of a layer `[tokens c]`, or of numbers `[tokens c]` for them; see `geometry.Place`.

    Attributes:
        grid: (rows, columns) of the map.
        front: the number of tokens in front of it.
        size: of the image.
    """

    grid: tuple[int, ...] = struct.field(pytree_node=False)
    front: int = struct.field(pytree_node=False)
    size: tuple[int, ...] = struct.field(pytree_node=False)
    shown: float = struct.field(pytree_node=False, default=1.0)

    def turned(self, activation: jax.Array) -> jax.Array:
        """The tokens of the map as `[h w c]`."""
        return activation[self.front :].reshape(*self.grid, -1)

    def enlarge(self, maps: jax.Array) -> jax.Array:
        """Maps `[h w …]` at the image's size."""
        return jax.image.resize(maps, (*self.size, *maps.shape[len(self.size) :]), "bilinear")


def tokens_of(model: Model, network: Structure, count: int) -> Tokens | None:
    """How `count` tokens lie in an image of the size that `network` is for; None if that is not known."""
    size = network.picture[:-1]
    if len(size) != 2:
        return None
    if model.tokens is not None:
        rows, columns, front = _checked(model.tokens)
        return Tokens((rows, columns), front, size) if rows * columns + front == count else None
    found = None
    for name, shape in network.shapes.items():  # in execution order
        sights = network.sights[name]
        if sights is None:
            continue
        grid = _grid(sights, shape)
        if 0 <= count - math.prod(shape[:-1]) <= MOST and _in_another_order(sights, shape):
            found = None
        elif grid and 0 <= count - grid[0] * grid[1] <= MOST:
            found = Tokens(grid, count - grid[0] * grid[1], size)
    return found


def _checked(tokens: Any) -> tuple[int, int, int]:
    if not isinstance(tokens, tuple) or len(tokens) != 3:
        raise InputError(f"tokens are (rows, columns, number of tokens in front of them); given: {tokens!r}")
    rows, columns = (whole("a number of rows or columns of tokens", each) for each in tokens[:2])
    return rows, columns, whole("the number of tokens in front of the map", tokens[2], least=0)


def _grid(sights: Any, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The rows and columns of a layer `[h w c]`, or `[h·w c]`, whose positions are known."""
    if any(sight.lost is not None or len(sight.positions) != 1 for sight in sights):
        return None
    high, wide = (sight.positions[0] for sight in sights)
    rows, columns = len(high.low), len(wide.low)
    in_order = all(each.step > 0 and np.allclose(np.diff(each.low), float(each.step)) for each in (high, wide))
    if not in_order or wide.inner != 1:
        return None
    if len(shape) == 3 and (high.axis, wide.axis, high.inner) == (1, 2, 1) and shape[:2] == (rows, columns):
        return rows, columns
    row_by_row = (high.axis, wide.axis, high.inner) == (1, 1, columns) and shape[0] == rows * columns
    return (rows, columns) if len(shape) == 2 and row_by_row else None


def _in_another_order(sights: Any, shape: tuple[int, ...]) -> bool:
    """Whether a layer `[h w c]` or `[tokens c]` is known not to have its positions row by row."""
    own = [sight.positions[0] if len(sight.positions) == 1 else None for sight in sights]
    high, wide = (each if each and each.step else None for each in own)  # a step of 0: it is not known
    if any(each and (each.step < 0 or not in_order(each)) for each in (high, wide)):
        return True
    if high and wide:
        return (high.axis, -high.inner) > (wide.axis, -wide.inner)
    # Behind a token for the class, only the outer axis of the map has positions.
    return len(shape) == 2 and wide is not None and wide.along(shape[0]) is not None


def token_maps(model: Model, activations: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Activations of which those `[tokens c]` are maps `[h w c]`, which figures draw; the others stay as they are.

        jv.show_activations(jv.token_maps(model, jv.activations(model, image, ["block_3", "block_11"])))

    The tokens in front of the map, for the class and as registers, are left out.

    Args:
        activations: {handle: array}, of one image or a batch, as `jv.activations` returns them.

    Raises:
        InputError: an unknown handle, or tokens of which it is not known how they lie in the image.
    """
    shapes = model.shapes(names=[model.check_layer(name) for name in activations])
    network, maps = structure(model, model.handles, model.image_size()[:-1]), {}
    for name, array in activations.items():
        values = np.asarray(array)
        if len(shapes[name]) == 2 and len(network.picture) == 3:
            place = tokens_of(model, network, values.shape[-2])
            if place is None:
                raise InputError(f"how the {values.shape[-2]} tokens of {name} lie in the image is not known: {WAY}")
            values = values[..., place.front :, :].reshape(*values.shape[:-2], *place.grid, values.shape[-1])
        maps[name] = values
    return maps

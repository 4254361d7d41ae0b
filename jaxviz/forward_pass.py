"""The activations and the output of a network for images."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from jaxviz.compiling.batches import map_in_chunks
from jaxviz.errors import InputError
from jaxviz.model import IMAGE, Model, compute

__all__ = ["activations", "predict"]


def activations(
    model: Model, image: ArrayLike, layers: Iterable[str] | str | None = None, *, batch: int = 32
) -> dict[str, np.ndarray]:
    """A dictionary from layer name to activation, `[h w c]` or `[units]`, in the order of `layers`.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        layers: one or several handles: layer names, `name/pre` for the value before a fused activation function, or
            `"image"`; `blocks[:]/conv` is this layer of each block of a scan. None: all layers.
        batch: images computed at a time.

    Raises:
        InputError: an unknown layer, an image of another shape, or values outside [0, 1].
    """
    layers = model.layers if layers is None else layers
    wanted = [layers] if isinstance(layers, str) or not np.iterable(layers) else list(layers)
    if not wanted:
        raise InputError("activations need at least one layer: give names, or None for all; given: []")
    names = tuple(each for name in wanted for each in ((name,) if name == IMAGE else model.check_layers([name])))
    images = model.check_images(image)
    if images.ndim == len(model.image_shape):
        found = compute(model, images, names=names)
    else:
        found = map_in_chunks(lambda some: compute(model, some, names=names), images, batch)
    return {name: np.asarray(found[name]) for name in names}  # JAX sorts the keys of a dictionary


def predict(model: Model, image: ArrayLike, *, batch: int = 32) -> np.ndarray:
    """The output of the network, `[units]` for an image, `[n units]` for a batch.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`.
        batch: images computed at a time.

    Raises:
        InputError: an image of another shape, or values outside [0, 1].
    """
    return activations(model, image, model.output, batch=batch)[model.output]

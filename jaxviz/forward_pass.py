"""What every layer makes of an image."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from jaxviz.compiling.batches import map_in_chunks
from jaxviz.errors import InputError
from jaxviz.model import IMAGE, Model, compute

__all__ = ["activations", "predict"]


def activations(
    model: Model, image: Any, layers: Iterable[str] | str | None = None, *, batch: int = 32
) -> dict[str, np.ndarray]:
    """A dictionary of layer name → activation, `[h w c]` or `[units]`, in the order asked for (None: all layers).

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        layers: handles: layer names, `name/pre` for the value before a fused activation function, or `"image"`.
        batch: images computed at a time.

    Raises:
        InputError: an unknown layer, an image of another shape, or values outside [0, 1].
    """
    layers = model.layers if layers is None else layers
    wanted = [layers] if isinstance(layers, str) or not np.iterable(layers) else list(layers)
    if not wanted:
        raise InputError("no layers to show: give names, or None for all")
    names = tuple(name if name == IMAGE else model.check_layer(name) for name in wanted)
    images = model.check_images(image)
    if images.ndim == 3:
        found = compute(model, images, names=names)
    else:
        found = map_in_chunks(lambda some: compute(model, some, names=names), images, batch)
    return {name: np.asarray(found[name]) for name in names}  # JAX sorts the keys of a dictionary


def predict(model: Model, image: Any, *, batch: int = 32) -> np.ndarray:
    """The network's output, `[units]` for an image, `[n units]` for a batch. Raises as `activations` does."""
    return activations(model, image, model.output, batch=batch)[model.output]

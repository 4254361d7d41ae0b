"""How a network was fed: a map from RGB images in [0, 1] to the numbers that its first layer was trained on."""

from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float


@dataclass(frozen=True)
class Inputs:
    """The affine map `(scale · image - mean) / std`. If the network was trained on BGR, channels are reversed first.

    `mean` and `std` have one number for all channels, or one for each channel, in the order that the network takes.
    `note` says why this map was chosen, if the file does not record it; two maps that differ in it alone are equal.
    """

    name: str
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    reverse: bool = False
    note: str = field(default="", compare=False)

    def __call__(self, images: Float[Array | np.ndarray, "*batch c"]) -> Float[Array, "*batch c"]:
        """`images` [... c] in [0, 1], in the network's units.

        Raises:
            ValueError: the map has a number for each channel, and the images have another number of channels.
        """
        channels = max(len(self.mean), len(self.std))
        if channels > 1 and images.shape[-1] != channels:
            raise ValueError(
                f"inputs={self.name!r} is for images of {channels} channels; given: {images.shape[-1]} channels; "
                'for such images use inputs="unit", "raw255" or "tf"'
            )
        scaled = self.scale * jnp.asarray(images)
        ordered = scaled[..., ::-1] if self.reverse else scaled
        return (ordered - jnp.asarray(self.mean, ordered.dtype)) / jnp.asarray(self.std, ordered.dtype)


# The modes of Keras' `preprocess_input` (applications/imagenet_utils.py), for images in [0, 1] instead of [0, 255].
UNIT = Inputs(name="unit")
RAW255 = Inputs(name="raw255", scale=255.0)
CAFFE = Inputs(name="caffe", scale=255.0, mean=(103.939, 116.779, 123.68), reverse=True)
TORCH = Inputs(name="torch", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
TF = Inputs(name="tf", scale=2.0, mean=(1.0,))

INPUTS = {inputs.name: inputs for inputs in (UNIT, RAW255, CAFFE, TORCH, TF)}

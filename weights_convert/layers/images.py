"""Layers that rescale, resize or crop images, and augmentations, which have an effect during training only."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from . import options as o
from .kind import CHANNELS_LAST, Config, Kind
from .options import Option

# `bicubic` is not supported: TensorFlow rounds its weights to 1/1024, and Keras' other backends do not.
METHODS = ("bilinear", "lanczos3", "lanczos5")


def resize(x: Array, height: int, width: int, interpolation: str, antialias: bool = False) -> Array:
    """Images [n height width c], resampled from `x` [n h w c] as Keras' backends do it."""
    if interpolation == "nearest":
        return x[:, _nearest(x.shape[1], height)][:, :, _nearest(x.shape[2], width)]
    return jax.image.resize(x, (x.shape[0], height, width, x.shape[3]), interpolation, antialias=antialias)


def _nearest(n: int, m: int) -> np.ndarray:
    """For each of m output pixels, the one of n input pixels that its centre lies in.

    In float32, because TensorFlow decides in float32 to which side a centre on a border belongs.
    """
    centres = (np.arange(m, dtype=np.float32) + np.float32(0.5)) * (np.float32(n) / np.float32(m))
    return np.minimum(np.floor(centres).astype(int), n - 1)


def resize_as(config: Config, x: Array) -> Array:
    """`resize` with the options of Keras' operation Resize."""
    height, width = config["size"]
    if config["crop_to_aspect_ratio"]:
        x = _to_aspect_ratio(x, height, width)
    if config["pad_to_aspect_ratio"]:
        x = _padded(x, height, width, config["fill_value"])
    return resize(x, height, width, config["interpolation"], config["antialias"])


def _resizing(config: Config, x: Array) -> Array:
    return resize_as({**config, "size": (config["height"], config["width"])}, x)


def _to_aspect_ratio(x: Array, height: int, width: int) -> Array:
    """The largest part in the middle of the images that has the aspect ratio of height × width."""
    _, h, w, _ = x.shape
    rows, columns = max(min(h, w * height // width), 1), max(min(w, h * width // height), 1)
    top, left = (h - rows) // 2, (w - columns) // 2
    return x[:, top : top + rows, left : left + columns]


def _padded(x: Array, height: int, width: int, fill: float) -> Array:
    """The images, padded with `fill` on two sides to the aspect ratio of height × width."""
    _, h, w, _ = x.shape
    rows, columns = (max(h, w * height // width) - h) // 2, (max(w, h * width // height) - w) // 2
    return jnp.pad(x, ((0, 0), (rows, rows), (columns, columns), (0, 0)), constant_values=fill)


def _center_crop(config: Config, x: Array) -> Array:
    height, width = config["height"], config["width"]
    _, h, w, _ = x.shape
    if h < height or w < width:  # too small to be cropped: Keras enlarges the part that has the right aspect ratio
        return resize(_to_aspect_ratio(x, height, width), height, width, "bilinear")
    top, left = (h - height) // 2, (w - width) // 2
    return x[:, top : top + height, left : left + width]


def _rescaling(config: Config, x: Array) -> Array:
    return x * jnp.asarray(config["scale"], x.dtype) + jnp.asarray(config["offset"], x.dtype)


SIZE = {"height": Option(o.size), "width": Option(o.size), "data_format": CHANNELS_LAST}

# {kind: the keys of its config that matter during training}. RandomCrop leaves an image as it is since Keras 3.8; what
# it does in older versions is in `config/versions.py`.
AUGMENTATIONS = {
    "AugMix": "value_range num_chains chain_depth factor alpha all_ops interpolation",
    "RandAugment": "value_range num_ops factor interpolation",
    "RandomBrightness": "factor value_range",
    "RandomColorDegeneration": "factor value_range",
    "RandomColorJitter": "value_range brightness_factor contrast_factor saturation_factor hue_factor",
    "RandomContrast": "factor value_range",
    "RandomElasticTransform": "factor scale interpolation fill_mode fill_value value_range",
    "RandomCrop": "height width",
    "RandomErasing": "factor scale fill_value value_range",
    "RandomFlip": "mode",
    "RandomGaussianBlur": "factor kernel_size sigma value_range",
    "RandomGrayscale": "factor",
    "RandomHeight": "factor interpolation",
    "RandomHue": "factor value_range",
    "RandomInvert": "factor value_range",
    "RandomPerspective": "factor scale interpolation fill_value",
    "RandomPosterization": "factor value_range",
    "RandomRotation": "factor fill_mode interpolation fill_value",
    "RandomSaturation": "factor value_range",
    "RandomSharpness": "factor value_range",
    "RandomShear": "x_factor y_factor interpolation fill_mode fill_value",
    "RandomTranslation": "height_factor width_factor fill_mode interpolation fill_value",
    "RandomWidth": "factor interpolation",
    "RandomZoom": "height_factor width_factor fill_mode interpolation fill_value",
    "Solarization": "addition_factor threshold_factor value_range",
}
KERAS_2_ONLY = ("RandomHeight", "RandomWidth")

KINDS = {
    "Rescaling": Kind(
        {"scale": Option(o.numbers), "offset": Option(o.numbers, 0.0)},
        _rescaling,
        elementwise=True,
        prepares="values",
    ),
    "Resizing": Kind(
        {
            **SIZE,
            "interpolation": Option(o.one_of("nearest", *METHODS), "bilinear"),
            "crop_to_aspect_ratio": Option(o.flag, False),
            "pad_to_aspect_ratio": Option(o.flag, False),
            "fill_mode": Option(o.one_of("constant"), "constant"),
            "fill_value": Option(o.number, 0.0),
            "antialias": Option(o.flag, False),
        },
        _resizing,
        prepares="size",
    ),
    "CenterCrop": Kind(SIZE, _center_crop, prepares="size"),
    **{
        name: Kind(
            {},
            harmless=frozenset({"seed", "rng_type", "data_format"}),
            training=dict.fromkeys(keys.split()),
            package=None if name in KERAS_2_ONLY else "keras.layers",
        )
        for name, keys in AUGMENTATIONS.items()
    },
}

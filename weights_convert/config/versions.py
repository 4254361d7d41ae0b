"""The config of a layer from Keras 1 or 2 → the names of Keras 3. Unknown keys stay, and `layers.node` refuses them."""

import re
from collections.abc import Mapping
from typing import Any

from ..errors import UnsupportedLayer
from ..layers import KINDS

RENAMED = {
    "Convolution2D": "Conv2D",
    "Custom>CustomScaleLayer": "CustomScaleLayer",  # of the application InceptionResNetV2, as Keras 2 registers it
    "Addons>GroupNormalization": "GroupNormalization",  # of TensorFlow Addons: it computes the same
}

KEYS = {
    "nb_filter": "filters",
    "output_dim": "units",
    "border_mode": "padding",
    "subsample": "strides",
    "dim_ordering": "data_format",
    "bias": "use_bias",
    "init": "kernel_initializer",
    "W_regularizer": "kernel_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
    "gamma_init": "gamma_initializer",
    "beta_init": "beta_initializer",
    "p": "rate",
}

DATA_FORMATS = {"tf": "channels_last", "th": "channels_first"}


def modern(kind: str, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """(kind, config) of a layer as Keras 3 would write them. The options of an own class are its own: they stay."""
    row = KINDS.get(RENAMED.get(kind, kind))
    if row is None:
        return kind, {**config}
    options = row.options  # a key that means something to the layer today is no old name
    today = {key if key in options else KEYS.get(key, key): value for key, value in config.items()}
    if "nb_row" in today and "nb_col" in today:
        today["kernel_size"] = [today.pop("nb_row"), today.pop("nb_col")]
    if today.get("data_format") in DATA_FORMATS:
        today["data_format"] = DATA_FORMATS[today["data_format"]]
    if kind == "LeakyReLU" and "alpha" in today:
        today["negative_slope"] = today.pop("alpha")
    if kind == "BatchNormalization" and today.get("mode") == 0:
        del today["mode"]  # Keras 1: 0 is normalisation per feature, the only one there is today
    if kind in ("Conv2D", "Convolution2D", "Dense"):
        today.pop("input_dim", None)  # it repeats the number of features of the layer before
    return RENAMED.get(kind, kind), today


QUANTIZED = re.compile("Dense|Conv.*")  # the layers whose quantised kernels are read, if they are int8

RANDOM_CROP = (
    "RandomCrop: at inference, Keras {} cuts out a part that is not in the middle; load the model in Keras 3.8 or "
    "newer and save it again (there the layer leaves an image as it is), or give what it computes: custom={{...}}"
)


def of_version(keras: int, kind: str, config: Mapping[str, Any], version: str = "") -> tuple[str, Mapping[str, Any]]:
    """(kind, config) of a layer that this version of Keras wrote, with names that have only one meaning.

    Args:
        keras: the major version.
        kind: of the layer.
        config: of the layer.
        version: such as "3.8.0"; "" if the file does not say it, or is not from Keras.

    Raises:
        UnsupportedLayer: that version computes something at inference that is not supported.
    """
    if keras < 3 and config.get("activation") == "hard_sigmoid":
        config = {**config, "activation": "hard_sigmoid_of_keras_2"}  # its slope differs from that of Keras 3
    if (mode := _quantized(config)) is not None:
        if mode != "int8" or not QUANTIZED.fullmatch(kind):
            raise UnsupportedLayer(
                [
                    f"{config.get('name')}: {kind} quantised to {mode}; supported are Dense and convolutions in int8, "
                    "or a file that was saved before `model.quantize`"
                ]
            )
        config = {key: value for key, value in config.items() if key != "quantization_config"}
    if kind == "RandomCrop":
        minor = re.match(r"3\.(\d+)", version)
        if keras < 3 or (minor and int(minor[1]) < 6):  # it resizes the largest part that has the shape of the crop
            unused = ("seed", "rng_type")
            sizes = {key: value for key, value in config.items() if key not in unused}
            return "Resizing", {**sizes, "crop_to_aspect_ratio": True}
        if minor and int(minor[1]) < 8:
            raise UnsupportedLayer([f"{config.get('name')}: {RANDOM_CROP.format(version)}"])
    return kind, config


def _quantized(config: Mapping[str, Any]) -> str | None:
    """How Keras 3 has quantised a layer, such as "int8"; None if it has not."""
    policy = config.get("dtype")
    settings = policy.get("config") if isinstance(policy, dict) else None
    return str(settings["mode"]) if isinstance(settings, dict) and "mode" in settings else None

"""Layers that leave their input as it is, once training is over."""

from .kind import Kind

# What each does during training is all that its options say.
TRAINING = {
    "Identity": "",
    "Dropout": "rate noise_shape",
    "SpatialDropout1D": "rate noise_shape",
    "SpatialDropout2D": "rate noise_shape data_format",
    "SpatialDropout3D": "rate noise_shape data_format",
    "AlphaDropout": "rate noise_shape",
    "GaussianDropout": "rate",
    "GaussianNoise": "stddev",
    "ActivityRegularization": "l1 l2",
    "StochasticDepth": "drop_path_rate",  # of the applications ConvNeXt
}

KINDS = {
    name: Kind({}, harmless=frozenset({"seed", "rng_type"}), training=frozenset(keys.split()))
    for name, keys in TRAINING.items()
}

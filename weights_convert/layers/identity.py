"""Layers that have an effect during training only: at inference they return their input."""

from .kind import Kind


def _training(package: str = "keras.layers", **keys: float | None) -> Kind:
    return Kind({}, harmless=frozenset({"seed", "rng_type"}), training=keys, package=package)


KINDS = {
    "Identity": _training(),
    "Dropout": _training(rate=0.0, noise_shape=None),
    "SpatialDropout1D": _training(rate=0.0, noise_shape=None),
    "SpatialDropout2D": _training(rate=0.0, noise_shape=None, data_format=None),
    "SpatialDropout3D": _training(rate=0.0, noise_shape=None, data_format=None),
    "AlphaDropout": _training(rate=0.0, noise_shape=None),
    "GaussianDropout": _training(rate=0.0),
    "GaussianNoise": _training(stddev=0.0),
    "ActivityRegularization": _training(l1=None, l2=None),
    # The class of Keras' application ConvNeXt, and those of the same name in Keras' examples.
    "StochasticDepth": _training("keras.src.applications.convnext", drop_path_rate=0.0, drop_prob=None),
}

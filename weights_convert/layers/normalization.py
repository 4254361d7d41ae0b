"""Layers that normalise, by statistics of the training set or of the image itself, and layers that scale."""

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array, lax

from . import options as o
from .kind import Config, Kind, Shape, Weighted, along, length, ones, training, zeros
from .options import Option

Weights = dict[str, Any]


def _batch(config: Config, shape: Shape, rngs: nnx.Rngs) -> nnx.Module:
    return nnx.BatchNorm(
        length(shape, config["axis"]),
        use_running_average=True,
        axis=config["axis"],
        epsilon=config["epsilon"],
        use_bias=config["center"],
        use_scale=config["scale"],
        rngs=rngs,
    )


def _layer(config: Config, shape: Shape, rngs: nnx.Rngs) -> nnx.Module:
    lengths = [length(shape, axis) for axis in sorted(config["axis"])]
    return Weighted(
        _run_layer,
        config,
        gamma=ones(*lengths, wanted=config["scale"]),
        beta=zeros(*lengths, wanted=config["center"]),
    )


def _run_layer(config: Config, weights: Weights, x: Array) -> Array:
    axes = tuple(sorted(config["axis"]))
    return _affine(_standardized(x, axes, config["epsilon"]), weights, axes)


def _group(config: Config, shape: Shape, rngs: nnx.Rngs) -> nnx.Module:
    n, groups = length(shape, config["axis"]), config["groups"]
    if groups != -1 and n % groups:
        raise ValueError(f"{n} features cannot be divided into {groups} groups")
    return Weighted(_run_group, config, gamma=ones(n, wanted=config["scale"]), beta=zeros(n, wanted=config["center"]))


def _run_group(config: Config, weights: Weights, x: Array) -> Array:
    axis = config["axis"] % x.ndim
    groups = x.shape[axis] if config["groups"] == -1 else config["groups"]  # -1: each feature for itself
    grouped = x.reshape(*x.shape[:axis], groups, -1, *x.shape[axis + 1 :])
    others = tuple(each for each in range(1, grouped.ndim) if each != axis)
    return _affine(_standardized(grouped, others, config["epsilon"]).reshape(x.shape), weights, (axis,))


def _contributed(config: Config, shape: Shape, rngs: nnx.Rngs) -> nnx.Module:
    """InstanceNormalization of keras-contrib: without an axis, one gamma and one beta for all features of an image."""
    n = 1 if config["axis"] is None else length(shape, config["axis"])
    return Weighted(
        _run_contributed, config, gamma=ones(n, wanted=config["scale"]), beta=zeros(n, wanted=config["center"])
    )


def _run_contributed(config: Config, weights: Weights, x: Array) -> Array:
    kept = () if config["axis"] is None else (config["axis"] % x.ndim,)
    others = tuple(axis for axis in range(1, x.ndim) if axis not in kept)
    deviation = x.std(others, keepdims=True) + config["epsilon"]  # not the square root of variance + epsilon
    return _affine((x - x.mean(others, keepdims=True)) / deviation, weights, kept or (x.ndim - 1,))


def _standardized(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    """x with mean 0 and variance 1 along `axes`."""
    return (x - x.mean(axes, keepdims=True)) * lax.rsqrt(x.var(axes, keepdims=True) + epsilon)


def _affine(x: Array, weights: Weights, axes: tuple[int, ...]) -> Array:
    if weights["gamma"] is not None:
        x = x * along(weights["gamma"], axes, x.ndim)
    return x if weights["beta"] is None else x + along(weights["beta"], axes, x.ndim)


def _root_mean_square(config: Config, shape: Shape, rngs: nnx.Rngs) -> nnx.Module:
    return Weighted(_run_rms, config, scale=ones(*(length(shape, axis) for axis in sorted(config["axis"]))))


def _run_rms(config: Config, weights: Weights, x: Array) -> Array:
    axes = tuple(sorted(config["axis"]))
    square = jnp.square(x).mean(axes, keepdims=True)
    return x * lax.rsqrt(square + config["epsilon"]) * weights["scale"]  # Keras takes trailing axes only


def _unit(config: Config, x: Array) -> Array:
    # As Keras' ops.normalize, whose epsilon bounds the squared norm.
    return x * lax.rsqrt(jnp.maximum(jnp.square(x).sum(config["axis"], keepdims=True), 1e-12))


def _training_set(config: Config, shape: Shape, rngs: nnx.Rngs) -> nnx.Module:
    """The module of a Normalization: its mean and variance are options, or else weights, which `adapt` set in Keras."""
    adapted = config["mean"] is None
    lengths = [length(shape, axis) for axis in _kept(config, len(shape))] if adapted else []
    return Weighted(
        _run_training_set,
        config,
        mean=nnx.BatchStat(jnp.zeros(lengths)) if adapted else None,
        variance=nnx.BatchStat(jnp.ones(lengths)) if adapted else None,
        count=nnx.BatchStat(jnp.zeros(())) if adapted else None,  # the number of images that `adapt` has seen
    )


def _run_training_set(config: Config, weights: Weights, x: Array) -> Array:
    kept = _kept(config, x.ndim)
    mean, variance = (
        jnp.asarray(config[name], x.dtype) if weights[name] is None else weights[name] for name in ("mean", "variance")
    )
    # A mean that is an option may have fewer axes than are kept; it then has the last of them.
    mean, variance = (along(each, kept[len(kept) - each.ndim :], x.ndim) for each in (mean, variance))
    deviation = jnp.maximum(jnp.sqrt(variance), 1e-7)  # keras.config.epsilon()
    return x * deviation + mean if config["invert"] else (x - mean) / deviation


def _kept(config: Config, rank: int) -> tuple[int, ...]:
    """The axes along which the statistics differ, in order."""
    return tuple(sorted(axis % rank for axis in config["axis"]))


def _layer_scale(config: Config, shape: Shape, rngs: nnx.Rngs) -> nnx.Module:
    return Weighted(_run_layer_scale, config, gamma=ones(config["projection_dim"]))


def _run_layer_scale(config: Config, weights: Weights, x: Array) -> Array:
    return x * weights["gamma"]


AFFINE = {"center": Option(o.flag, True), "scale": Option(o.flag, True)}
BOTH = {"gamma": "gamma", "beta": "beta"}
LAST = Option(o.axes, -1)

# The keys that say how batch normalisation updates its moving statistics during training.
STATISTICS = training("moving_mean", "moving_variance") | {"synchronized", "fused"}
RENORM = {"renorm_clipping", "renorm_momentum"}

_kind = partial(Kind, harmless=training("gamma", "beta"))

KINDS = {
    "BatchNormalization": _kind(
        {"axis": Option(o.axis, -1), "epsilon": Option(o.number, 1e-3), "renorm": Option(o.off, False)} | AFFINE,
        module=_batch,
        weights={"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"},
        harmless=training("gamma", "beta") | STATISTICS | RENORM,
        training={"momentum": None},
        elementwise=True,
        prepares="values",
    ),
    "LayerNormalization": _kind(
        {"axis": LAST, "epsilon": Option(o.number, 1e-3), "rms_scaling": Option(o.off, False)} | AFFINE,
        module=_layer,
        weights=BOTH,
    ),
    "GroupNormalization": _kind(
        {"groups": Option(o.groups, 32), "axis": Option(o.axis, -1), "epsilon": Option(o.number, 1e-3)} | AFFINE,
        module=_group,
        weights=BOTH,
    ),
    "Addons>InstanceNormalization": _kind(  # of TensorFlow Addons, whose GroupNormalization is that of Keras
        {"groups": Option(o.groups, -1), "axis": Option(o.axis, -1), "epsilon": Option(o.number, 1e-3)} | AFFINE,
        module=_group,
        weights=BOTH,
        package=None,
    ),
    # Of keras-contrib. Many classes have this name; that one writes all of these options.
    "InstanceNormalization": _kind(
        {
            "axis": Option(o.optional(o.integer)),
            "epsilon": Option(o.number),
            "center": Option(o.flag),
            "scale": Option(o.flag),
        },
        module=_contributed,
        weights=BOTH,
        package=None,
    ),
    "RMSNormalization": Kind(
        {"axis": LAST, "epsilon": Option(o.number, 1e-6)}, module=_root_mean_square, weights={"scale": "scale"}
    ),
    "UnitNormalization": Kind({"axis": LAST}, _unit),
    "Normalization": Kind(
        {
            "axis": Option(lambda value: () if value is None else o.axes(value), -1),
            "mean": Option(o.optional(o.numbers), None),
            "variance": Option(o.optional(o.numbers), None),
            "invert": Option(o.flag, False),
        },
        module=_training_set,
        weights={"mean": "mean", "variance": "variance", "count": "count"},
        elementwise=True,
        prepares="values",
    ),
    "LayerScale": Kind(
        {"projection_dim": Option(o.size)},
        module=_layer_scale,
        weights={"gamma": "gamma"},
        training={"init_values": 0.0},
        elementwise=True,
        package="keras.src.applications.convnext",
    ),
}

"""Interventions: values that change the activation of a layer on the way through a network, and a model with them.

    Intervention            activation of `layer` -> activation of the same shape
    edited(model, …)        the model in which they act: a Model, so every question of jaxviz can be asked of it

    ablate(model, layer)            the layer, or units of it, replaced by a number
    patch(model, layer, other)      replaced by what another image makes of it
    steer(model, layer, direction)  moved along a direction

`jaxviz.paths` adds `through`, which gives a layer what an intervention before it would give it.

Law: an intervention is an edit as a value. Its numbers are leaves and its layer is static, so other units, another
image or another direction compile nothing. Several interventions at one layer act in the order in which they were
given; at different layers, in the order of the network. Those that name all of a layer make the rest of the network
forget what was before it: patched with another image, a layer gives that image's output exactly.

An intervention of your own is a subclass of `Intervention` with `@struct.dataclass`, a field `layer`, and `__call__`.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from numpy.typing import ArrayLike

from jaxviz.checks import finite, numbers
from jaxviz.errors import InputError
from jaxviz.model import Model, activation_of
from jaxviz.objectives import check_index

__all__ = ["Addition", "Intervention", "Replacement", "ablate", "edited", "patch", "steer"]

# These two are `Any` because the functions refuse everything else in a sentence of their own.
Units = Any  # a whole number, of Python or NumPy; several of them; or None
Given = Any  # an `Intervention`


class Intervention:
    """A function of the activation of `layer`, a field. Subclasses define `__call__`."""

    layer: str

    def __call__(self, activation: jax.Array) -> jax.Array:
        """What takes the place of an activation `[n …]` of n images; it has the same shape."""
        raise NotImplementedError


@struct.dataclass
class Replacement(Intervention):
    """Another value in place of the activation, where a mask is True.

    Attributes:
        layer: of any shape.
        value: a number, one number for each channel `[c]`, or an activation of one image.
        where: True and False, in one of the same shapes.
    """

    layer: str = struct.field(pytree_node=False)
    value: Any
    where: Any = True

    def __call__(self, activation: jax.Array) -> jax.Array:
        _check_fit(self.layer, "a value", self.value, activation)
        _check_fit(self.layer, "a mask", self.where, activation)
        return jnp.where(self.where, self.value, activation)


@struct.dataclass
class Addition(Intervention):
    """A value that is added to the activation.

    Attributes:
        layer: of any shape.
        value: a number, one number for each channel `[c]`, or one for each number of the activation of one image.
    """

    layer: str = struct.field(pytree_node=False)
    value: Any

    def __call__(self, activation: jax.Array) -> jax.Array:
        _check_fit(self.layer, "a value", self.value, activation)
        return activation + self.value


def _check_fit(layer: str, what: str, value: Any, activation: jax.Array) -> None:
    shape = activation.shape[1:]
    if np.shape(value) not in ((), shape[-1:], shape):
        raise InputError(
            f"{what} for {layer} is a number, [{shape[-1] if shape else 1}], or {list(shape)} as the layer is for this "
            f"image; given: {list(np.shape(value))}. What is made from one image fits images of the same size only"
        )


def edited(model: Model, *interventions: Given) -> Model:
    """The model in which interventions act in every call; the model itself is not changed.

        without = jv.edited(model, jv.ablate(model, "conv3", [4, 7]))
        jv.predict(without, image)
        jv.grad_cam(without, image, "zebra")

    A model that was edited before keeps its interventions, and the new ones act after them.

    Raises:
        InputError: what is no intervention, an unknown layer, or values that do not fit the layer.
    """
    for each in interventions:
        if not isinstance(each, Intervention):
            raise InputError(
                f"an intervention is a value that jv.ablate, jv.patch, jv.steer or jv.through returns; given: {each!r}"
            )
        model.check_layer(each.layer)
    changed = replace(model, interventions=(*model.interventions, *interventions))
    if None not in model.image_shape:
        for layer in dict.fromkeys(each.layer for each in interventions):
            changed.shapes(names=[layer])  # each intervention sees the shape of its layer
    return changed


def ablate(
    model: Model, layer: str, units: Units = None, *, places: ArrayLike | None = None, by: ArrayLike | float | int = 0.0
) -> Replacement:
    """The intervention that replaces a layer, or some units of it, by a number: 0, or a mean.

        jv.ablate(model, "conv3", 5)                                the map of channel 5 is 0
        jv.ablate(model, "conv3", 5, by=maps.mean((0, 1, 2)))       … is the channel's mean over many images
        jv.ablate(model, "block_4", places=tokens)                  all channels of some tokens

    0 is often a value that the layer never takes together with the others. The mean over images, of
    `maps = jv.activations(model, images, "conv3")["conv3"]`, only takes away what the unit says about the image.

    Args:
        layer: a handle of any shape, `name/pre` too.
        units: the number of a channel, or several: indices along the last axis. None: all of them.
        places: a mask of True and False over the other axes, such as `[h w]` of a layer `[h w c]`, or `[tokens]`. None:
            all of them.
        by: a number, one for each channel `[c]`, or an activation of the layer for one image.

    Raises:
        InputError: an unknown layer, a unit out of range, or a mask or a value that does not fit the layer.

    Source: Morcos et al. 2018, On the importance of single directions for generalization (0, and the mean).
    """
    shape = _shape(model, layer)
    return Replacement(layer, _values("by", layer, by, shape), _mask(model, layer, units, places, shape))


def patch(
    model: Model, layer: str, image: ArrayLike, units: Units = None, *, places: ArrayLike | None = None
) -> Replacement:
    """The intervention that replaces a layer, or a part of it, by its activation for another image.

    Activation patching asks where a network keeps what tells two images apart: in which layer, units and places does
    the activation of the one turn the answer for the other? Patch from an image of a zebra into the run on a horse, and
    see what makes it a zebra; or from a sharp image into the run on its noisy copy, and see what restores the answer
    (causal tracing).

        zebra = [jv.patch(model, layer, zebra_image) for layer in model.layers]
        jv.effects(model, horse_image, zebra, "zebra")

    Args:
        layer: a handle of any shape, `name/pre` too.
        image: one image in [0, 1], of the size of those that the intervention is for.
        units: the number of a channel, or several: indices along the last axis. None: all of them.
        places: a mask of True and False over the other axes, such as `[h w]` of a layer `[h w c]`, or `[tokens]`. None:
            all of them.

    Raises:
        InputError: an unknown layer, a unit out of range, a mask that does not fit the layer, several images, or an
            image of another shape or outside [0, 1].

    Source: Vig et al. 2020, Investigating gender bias in language models using causal mediation analysis; Meng et al.
    2022, Locating and editing factual associations in GPT (causal tracing).
    """
    value = activation_of(model, layer, image)
    return Replacement(layer, value, _mask(model, layer, units, places, value.shape))


def steer(
    model: Model,
    layer: str,
    direction: ArrayLike | float | int,
    strength: float | int = 1.0,
    *,
    units: Units = None,
    places: ArrayLike | None = None,
) -> Addition:
    """The intervention that adds `strength × direction` to the activation of a layer.

        more = maps_of_stripes.mean((0, 1, 2)) - maps_of_others.mean((0, 1, 2))
        [jv.steer(model, "mixed4d", more, strength) for strength in (-1, 0, 1, 2)]

    Args:
        layer: a handle of any shape, `name/pre` too.
        direction: `[c]`, the same at all places, or one number for each number of the layer. Its length counts.
        strength: a number; 0 changes nothing, and -1 is the opposite of 1.
        units: the channels that are moved: a number, or several, of indices along the last axis. None: all of them.
        places: a mask of True and False over the other axes, such as `[h w]` of a layer `[h w c]`, or `[tokens]`. None:
            all of them.

    Raises:
        InputError: an unknown layer, a direction of another length, a strength that is not finite, a unit out of range,
            or a mask that does not fit the layer.

    Source: Turner et al. 2023, Steering language models with activation engineering (activation addition).
    """
    shape = _shape(model, layer)
    values = _values("a direction", layer, direction, shape)
    if not values.ndim:
        raise InputError(
            f"a direction in {layer}, {list(shape)}, is [{shape[-1]}] or {list(shape)}; given: {direction!r}"
        )
    where = _mask(model, layer, units, places, shape)
    return Addition(layer, np.float32(finite("strength", strength)) * values * where)


def _shape(model: Model, layer: str) -> tuple[int, ...]:
    return model.shapes(names=[model.check_layer(layer)])[layer]


def _values(name: str, layer: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    found = numbers(value).astype(np.float32)
    if found.ndim > 1 and found.ndim == len(shape):
        shape = (*found.shape[:-1], shape[-1])  # its places are checked when it meets them: an image may have any size
    if found.shape not in ((), shape[-1:], shape):
        raise InputError(
            f"{name} for {layer}, {list(shape)}, is [{shape[-1]}], one number for each channel, or {list(shape)}; "
            f"given: {list(found.shape)}"
        )
    if not np.isfinite(found).all():
        raise InputError(f"{name} for {layer} has finite numbers only; given: {value!r}")
    return found


def _mask(model: Model, layer: str, units: Units, places: ArrayLike | None, shape: tuple[int, ...]) -> np.ndarray:
    """True where units and places meet: `[c]`, or the shape of the layer where places are given."""
    channels, where = shape[-1] if shape else 1, np.ones(shape[-1:], bool)
    if units is not None:
        chosen = list(units) if np.iterable(units) else [units]
        if not chosen:
            raise InputError(f"units of {layer} are one or more numbers, or None for all; given: {units!r}")
        for unit in chosen:
            check_index(layer, "unit", unit, channels)
        where = np.isin(np.arange(channels), np.asarray(chosen, int))
    if places is None:
        return where
    mask = np.asarray(places)
    fits = mask.ndim == len(shape) - 1 if None in model.image_shape else mask.shape == shape[:-1]
    if mask.dtype != bool or not mask.ndim or not fits:
        raise InputError(
            f"places in {layer}, {list(shape)}, are a mask {list(shape[:-1])} of True and False; given: "
            f"{mask.dtype}{list(mask.shape)}"
        )
    return mask[..., None] & where

"""Path patching: what an intervention does by way of one later layer.

    through(model, image, intervention, receiver) -> an intervention at the receiver

Law: it is two patches, one made within the other. Its effect, and those through the other layers that the receiver's
reader reads, add up to the whole effect of the intervention where the network is linear from there on.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from jaxviz.errors import InputError
from jaxviz.interventions import Given, Replacement, Units, edited, patch
from jaxviz.model import Model
from jaxviz.structure import structure

__all__ = ["through"]


def through(
    model: Model,
    image: ArrayLike,
    intervention: Given,
    receiver: str,
    frozen: str | Iterable[str] = (),
    *,
    units: Units = None,
    places: ArrayLike | None = None,
) -> Replacement:
    """The intervention that gives a later layer the value that another intervention gives it, and does nothing else.

        path = jv.through(model, image, jv.patch(model, "block1_add", other), "block3_conv", frozen=["block2_conv"])
        jv.effects(model, image, [path], target)

    This is path patching. The run on `image` is repeated with `intervention`, while the layers `frozen` keep the values
    that they have without it; what `receiver` has then is patched into the run on `image`. So the result counts the
    paths from the intervention to the receiver that go through none of the frozen layers, and from there all paths on.

    Args:
        image: the image that the result is for.
        intervention: at a layer before the receiver, such as a `patch` from another image.
        receiver: the handle that gets the value.
        frozen: handles between the two that keep the value that they have without the intervention: all that the path
            shall not go through. With none, all ways to the receiver count: the indirect effect of mediation analysis.
        units, places: the part of the receiver that gets the value, as in `patch`.

    Raises:
        InputError: an unknown layer, a receiver that does not depend on the intervention's layer, or an image of
            another shape or outside [0, 1].

    Source: Goldowsky-Dill et al. 2023, Localizing model behavior with path patching; Vig et al. 2020 (natural indirect
    effect).
    """
    edited(model, intervention)
    sender, last = intervention.layer, model.handles.index(model.check_layer(receiver))
    sizes = np.shape(model.check_images(image))[-len(model.image_shape) : -1]
    before = model.handles[: last + 1]
    if sender not in before or receiver not in structure(model, before, sizes).after(sender):
        raise InputError(f"the receiver of a path, {receiver}, must depend on the layer of the intervention, {sender}")
    names = [frozen] if isinstance(frozen, str) else frozen
    keep = [patch(model, name, image) for name in names]
    return patch(edited(model, intervention, *keep), receiver, image, units, places=places)

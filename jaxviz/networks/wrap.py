"""Any Flax module, or function, as a `Model`: nothing about it is edited, and its layers are found by running it."""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.errors import FlaxError

from jaxviz.checks import whole
from jaxviz.errors import InputError
from jaxviz.model import Layer, Model, find_inputs
from jaxviz.networks.forwards import FunctionForward, LinenForward, NnxForward
from weights_convert import Inputs

__all__ = ["wrap"]


def wrap(
    module: Any,
    variables: Any = None,
    image_shape: tuple[int, int, int] | None = None,
    inputs: str | Inputs = "unit",
) -> Model:
    """A Model of any nnx or linen module that is called with one image batch; the module is not edited.

    It runs as in evaluation: an nnx module's copy by `eval()`, and where calls have an argument `train`, `training`,
    `is_training`, `deterministic` or `use_running_average`, by that.

    Args:
        module: an `nnx.Module`; a linen `nn.Module` with its `variables`; or a function
            `(variables, images [n h w c]) -> array or {name: array}`.
        image_shape: `(h, w, c)` of one image.
        inputs: what the network was fed with: "unit" ([0, 1]), "raw255", "caffe", "torch", "tf".

    Raises:
        InputError: a linen module without variables, an nnx module with them, no image shape, an unknown `inputs`, or a
            module that does not turn a batch of such images into an array with as many items.
    """
    if not np.iterable(image_shape) or len(tuple(image_shape)) != 3:
        raise InputError(f"wrap needs the shape of one image, such as image_shape=(32, 32, 3); given: {image_shape}")
    height, width, channels = (whole("each number of image_shape", number) for number in image_shape)
    image_shape = height, width, channels
    forward: NnxForward | LinenForward | FunctionForward
    params: Any
    if isinstance(module, nnx.Module):
        if variables is not None:
            raise InputError("an nnx module holds its own weights, without variables: wrap(module, image_shape=…)")
        copy = nnx.merge(*nnx.split(module))  # the user's module keeps its training mode
        copy.eval()
        graphdef, params = nnx.split(copy)
        forward, owned = NnxForward(graphdef), nnx.to_pure_dict(nnx.state(copy, nnx.Param))
    elif isinstance(module, nn.Module):
        if not isinstance(variables, Mapping):
            raise InputError("a linen module keeps its weights outside: wrap(module, variables, image_shape=…)")
        forward, params, owned = LinenForward(module), variables, variables.get("params", {})
    elif callable(module) and not isinstance(module, type):
        forward, params, owned = FunctionForward(module), variables, {}
    else:
        given = f"the class {module.__name__} itself" if isinstance(module, type) else type(module).__name__
        raise InputError(f"wrap takes an nnx or linen module or a function; given: {given}")
    try:
        kinds = forward.kinds(params, jax.ShapeDtypeStruct((1, *image_shape), jnp.float32))
    except InputError:
        raise
    except (ValueError, TypeError, FlaxError) as error:  # its cause stays attached: the module may be at fault
        raise InputError(f"it does not run on a batch of one image, {[1, *image_shape]}: {error}") from error
    table = tuple(Layer(name, kind, _count(owned, name)) for name, kind in kinds.items())
    return Model(
        params, forward, find_inputs(inputs, image_shape[2]), image_shape, table, tuple(kinds), (table[-1].name,)
    )


def _count(owned: Mapping, name: str) -> int:
    """Parameters that the module at path `name` holds itself: the arrays of its own dictionary, not its submodules'."""
    for part in name.split("#")[0].split("/"):
        key = int(part) if part.isdigit() and int(part) in owned else part
        owned = owned.get(key, {}) if isinstance(owned, Mapping) else {}
    own = owned.values() if isinstance(owned, Mapping) else ()
    return sum(math.prod(value.shape) for value in own if hasattr(value, "shape"))

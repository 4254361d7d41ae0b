"""Any Flax module or plain function as a `Model`.

    wrap(module, …) -> Model

Law: the same weights as a Keras file, as an nnx module and as a linen module give equal activations under equal names.
The module is not changed. Its layers are found by a forward pass on shapes alone, in which nothing is computed.
"""

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
from jaxviz.compiling.workarounds import parameters
from jaxviz.errors import InputError
from jaxviz.model import Forward, Layer, Model, find_inputs
from jaxviz.networks.forwards import FunctionForward, LinenForward, NnxForward, check_mode, in_evaluation, switched
from jaxviz.structure import convolutions
from weights_convert import Inputs

__all__ = ["wrap"]


def wrap(
    module: Any,
    variables: Any = None,
    image_shape: tuple[int, ...] | None = None,
    inputs: str | Inputs = "unit",
) -> Model:
    """A Model of any nnx or linen module, or of a function, that takes one batch of images. The module is not changed.

    The network runs in evaluation mode. A copy of an nnx module is switched by `eval()`. An argument of the call, or an
    attribute that is True or False, is set as well if it has the name of such a switch: `train`, `training`,
    `deterministic`, `inference`, `is_eval` and so on (`jaxviz.networks.forwards.EVALUATION`).

    Args:
        module: an `nnx.Module`; a linen `nn.Module` with its `variables`; or a function
            `(variables, images [n h w c]) -> array or {name: array}`.
        variables: what linen's `init` returned, or the first argument of the function; None for an nnx module, which
            holds its own.
        image_shape: of one image as the module takes it: `(h, w, c)`; `(t, c)` of a signal; `(d, h, w, c)` of a volume;
            `(h, w)` or `(pixels,)` of an image without channels.
        inputs: the preprocessing that the network was trained with: "unit" (images in [0, 1]), "raw255" (0–255 pixels),
            or Keras' "caffe", "torch" or "tf".

    Raises:
        InputError: a linen module without variables, an nnx module with variables, no image shape, an unknown `inputs`,
            a module that takes images `[n c h w]`, that a word such as mode="train" switches, or that does not turn a
            batch of n images into an array `[n …]`.
    """
    if not np.iterable(image_shape) or not 1 <= len(tuple(image_shape)) <= 4:
        raise InputError(
            "wrap needs the shape of one image, such as image_shape=(32, 32, 3), or (180, 2) of a signal; "
            f"given: {image_shape}"
        )
    image_shape = tuple(whole("each number of image_shape", number) for number in image_shape)
    if isinstance(module, nnx.Module | nn.Module):
        check_mode(module)
    forward: NnxForward | LinenForward | FunctionForward
    params: Any
    if isinstance(module, nnx.Module):
        if variables is not None:
            raise InputError("an nnx module holds its own weights, so leave variables out: wrap(module, image_shape=…)")
        copy = nnx.merge(*nnx.split(module))  # the user's module keeps its training mode
        in_evaluation(copy)
        graphdef, params = nnx.split(copy)
        forward, owned = NnxForward(graphdef), nnx.to_pure_dict(nnx.state(copy, nnx.Param))
    elif isinstance(module, nn.Module):
        if not isinstance(variables, Mapping):
            given = type(variables).__name__
            raise InputError(
                "a linen module keeps its weights outside, so pass them: wrap(module, variables, image_shape=…); "
                f"given: variables of type {given}"
            )
        forward, params, owned = LinenForward(switched(module)), variables, variables.get("params", {})
    elif callable(module) and not isinstance(module, type):
        forward, params, owned = FunctionForward(module), variables, {}
    else:
        given = f"the class {module.__name__} itself" if isinstance(module, type) else type(module).__name__
        raise InputError(f"wrap takes an nnx or linen module or a function; given: {given}")
    try:
        kinds = forward.kinds(params, jax.ShapeDtypeStruct((1, *image_shape), jnp.float32))
    except InputError:
        raise
    except (ValueError, TypeError, FlaxError) as error:  # the cause stays attached: the module may be at fault
        raise InputError(f"the module does not run on a batch of one image, {[1, *image_shape]}: {error}") from error
    _check_layout(forward, params, image_shape)
    table = tuple(Layer(name, kind, _count(owned, name)) for name, kind in kinds.items())
    return Model(
        params=params,
        forward=forward,
        inputs=find_inputs(inputs, image_shape[-1]),
        image_shape=image_shape,
        table=table,
        handles=tuple(kinds),
        outputs=(table[-1].name,),
    )


def _check_layout(forward: Forward, params: Any, image_shape: tuple[int, ...]) -> None:
    """Whether the module takes `image_shape` for (height, width, channels), too.

    Raises:
        InputError: its first convolution takes the first number for the channels.
    """
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    program = jax.make_jaxpr(lambda p, x: forward(p, x, None, {}))(params, images)
    _, first = next(convolutions(program.jaxpr), (None, None))
    if first is None or first.invars[0].aval.shape != images.shape or image_shape[0] == image_shape[-1]:
        return
    if parameters(first)["dimension_numbers"].lhs_spec[1] == 1:
        channels, *places = image_shape
        raise InputError(
            f"image_shape is (height, width, channels), and this module takes its images as [n c h w]; given: "
            f"{image_shape}. Give image_shape={(*places, channels)}, and wrap a module that calls this one with "
            "images.transpose(0, 3, 1, 2)"
        )


def _count(owned: Mapping[Any, Any], name: str) -> int:
    """The number of parameters that the module at path `name` holds itself, without those of its submodules."""
    for part in name.split("#")[0].split("/"):
        key = int(part) if part.isdigit() and int(part) in owned else part
        owned = owned.get(key, {}) if isinstance(owned, Mapping) else {}
    own = owned.values() if isinstance(owned, Mapping) else ()
    return sum(math.prod(value.shape) for value in own if hasattr(value, "shape"))

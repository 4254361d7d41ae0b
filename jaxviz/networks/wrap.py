"""Any Flax module or plain function as a `Model`.

    wrap(module, …) -> Model

Law: the same weights as a Keras file, as an nnx module and as a linen module give equal activations under equal names.
The module is not changed. Its layers are found by a forward pass on shapes alone, in which nothing is computed.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxviz.checks import whole
from jaxviz.compiling.flow import channel_axes, scanned
from jaxviz.compiling.marks import Mark
from jaxviz.compiling.workarounds import ClosedJaxpr, parameters
from jaxviz.errors import InputError
from jaxviz.model import Hidden, Layer, Model, find_inputs
from jaxviz.networks.calls import check_arguments, check_mode, in_evaluation, switched
from jaxviz.networks.checkpoints import restored
from jaxviz.networks.forwards import Bound, FunctionForward, LinenForward, NnxForward
from jaxviz.networks.outputs import path_of
from jaxviz.structure import convolutions
from weights_convert import Inputs

__all__ = ["wrap"]


def wrap(
    module: Any,
    variables: Any = None,
    image_shape: tuple[int, ...] | None = None,
    inputs: str | Inputs = "unit",
    output: Any = None,
    *,
    channels_first: bool = False,
    **bound: Any,
) -> Model:
    """A Model of any nnx or linen module, or of a function, that takes one batch of images. The module is not changed.

    The network runs in evaluation mode. A copy of an nnx module is switched by `eval()`. An argument of the call, or an
    attribute that is True or False, is set as well if it has the name of such a switch: `train`, `training`,
    `deterministic`, `inference`, `is_eval` and so on (`jaxviz.networks.calls.EVALUATION`).

    Layers are named by their paths, also inside `jit`, `remat` and `scan`. A `scan` over three blocks has the layers
    `blocks[0]/conv`, `blocks[1]/conv` and `blocks[2]/conv`. Layers inside `vmap`, `cond` and `while` cannot be read.

    Args:
        module: an `nnx.Module`; a linen `nn.Module` with its `variables`; or a function
            `(variables, images [n h w c]) -> array or {name: array}`.
        variables: what linen's `init` returned, or the first argument of the function; None for an nnx module, which
            holds its own. Of any module, it may be the path of a file or folder with its parameters: of Orbax, of
            safetensors, or flax's msgpack. The module may be abstract then, `nnx.eval_shape(lambda: Net(nnx.Rngs(0)))`.
            A function gets a tree of dictionaries.
        image_shape: of one image: `(h, w, c)`, also if the module takes images `[n c h w]`; `(t, c)` of a signal;
            `(d, h, w, c)` of a volume; `(h, w)` or `(pixels,)` of an image without channels.
        inputs: the preprocessing that the network was trained with: "unit" (images in [0, 1]), "raw255" (0–255 pixels),
            or Keras' "caffe", "torch" or "tf".
        output: which array is the output, if the module returns several in a tuple, list, dictionary, NamedTuple or
            dataclass: the number, key or name of a part, or the path to a part of a part, such as `("heads", 0)`.
        channels_first: whether the module takes images `[n c h w]`. Images and activations are `[n h w c]` for you.
        bound: further arguments of the module's call, the same in every call: `rngs=nnx.Rngs(0)`, a mask, a second
            input. Arrays have the shape that fits a batch of one image. For a linen module, `rngs=`, `mutable=` and
            `method=` of `apply` as well.

    Raises:
        InputError: a linen module without variables, an nnx module with variables, no image shape, an unknown `inputs`,
            an argument that the call lacks or does not know, or a module that takes images `[n c h w]` without
            `channels_first`, that a word such as mode="train" switches, that fails (its own error is the cause), or
            that does not turn a batch of n images into an array `[n …]`; a file that cannot be read, or with other
            parameters than the module has, which are all listed.
    """
    if not np.iterable(image_shape) or not 1 <= len(tuple(image_shape)) <= 4:
        raise InputError(
            "wrap needs the shape of one image, such as image_shape=(32, 32, 3), or (180, 2) of a signal; "
            f"given: {image_shape}"
        )
    image_shape = tuple(whole("each number of image_shape", number) for number in image_shape)
    if isinstance(module, nnx.Module | nn.Module):
        check_mode(module, bound)
    source = ""
    if isinstance(variables, str | PathLike):
        source = Path(variables).name
        module, variables = restored(module, variables, image_shape, channels_first, bound)
    forward: NnxForward | LinenForward | FunctionForward
    params: Any
    settings: dict[str, Any] = {
        "output": path_of(output),
        "bound": Bound(*nnx.split(bound)) if bound else None,
        "channels_first": channels_first,
    }
    if isinstance(module, nnx.Module):
        if variables is not None:
            raise InputError("an nnx module holds its own weights, so leave variables out: wrap(module, image_shape=…)")
        copy = nnx.merge(*nnx.split(module))  # the user's module keeps its training mode
        in_evaluation(copy)
        graphdef, params = nnx.split(copy)
        forward = NnxForward(graphdef, **settings)
    elif isinstance(module, nn.Module):
        if not isinstance(variables, Mapping):
            given = type(variables).__name__
            raise InputError(
                "a linen module keeps its weights outside, so pass them: wrap(module, variables, image_shape=…); "
                f"given: variables of type {given}"
            )
        forward, params = LinenForward(switched(module), **settings), variables
    elif callable(module) and not isinstance(module, type):
        forward, params = FunctionForward(module, **settings), variables
    else:
        given = f"the class {module.__name__} itself" if isinstance(module, type) else type(module).__name__
        raise InputError(f"wrap takes an nnx or linen module or a function; given: {given}")
    check_arguments(module, bound)
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    with jax.default_matmul_precision("highest"):  # as a Model runs it, so that JAX can keep this trace
        found, program = forward.marks(params, images), forward.program(params, images)
    name, shape = found[-1].name, list(found[-1].shape)
    if shape[:1] != [1]:
        raise InputError(f"{name} is {shape} for a batch of one image; it must be [n …] for n images")
    if not channels_first:
        _check_layout(program, image_shape)
    else:
        found, moved = _channels_last(found, channel_axes(program, len(image_shape)))
        forward = replace(forward, moved=moved)
    owned = _sizes(module, params, program)
    layers = [Layer(each.name, each.kind, _count(owned, each.name)) for each in found]
    table = tuple(layer for layer, each in zip(layers, found, strict=True) if not each.hidden)
    return Model(
        params=params,
        forward=forward,
        inputs=find_inputs(inputs, image_shape[-1]),
        image_shape=image_shape,
        table=table,
        handles=tuple(layer.name for layer in table),
        outputs=(table[-1].name,),
        source=source,
        hidden=tuple(
            Hidden(layer, _reason(each.hidden)) for layer, each in zip(layers, found, strict=True) if each.hidden
        ),
    )


def _check_layout(program: ClosedJaxpr, image_shape: tuple[int, ...]) -> None:
    """Whether the module takes `image_shape` for (height, width, channels), too.

    Raises:
        InputError: its first convolution takes the first number for the channels.
    """
    _, first = next(convolutions(program.jaxpr), (None, None))
    if first is None or first.invars[0].aval.shape != (1, *image_shape) or image_shape[0] == image_shape[-1]:
        return
    if parameters(first)["dimension_numbers"].lhs_spec[1] == 1:
        channels, *places = image_shape
        raise InputError(
            f"image_shape is (height, width, channels), and this module takes its images as [n c h w]; given: "
            f"{image_shape}. Give image_shape={(*places, channels)} and channels_first=True"
        )


UNKNOWN_AXIS = "unknown axis"


def _reason(hidden: str) -> str:
    if hidden == UNKNOWN_AXIS:
        return "after the operations before it, it is not known which of its axes has the channels"
    return f"it runs inside {hidden}"


def _channels_last(found: list[Mark], axes: Mapping[str, set[Any]]) -> tuple[list[Mark], frozenset[str]]:
    """The marks of a module that takes images `[n c h w]`, and the names of those that are `[n c …]` themselves.

    A map whose channels are not known to be first or last is hidden: shown as `[h w c]`, it would be another map.
    """
    marks, moved = [], set()
    for each in found:
        path, last = re.sub(r"\[\d+\]|#\d+$", "", each.name), len(each.shape) - 1
        where = axes.get(path, set())
        if last >= 2 and where == {1}:
            moved.add(each.name)
        elif last >= 3 and where != {last} and not each.hidden:
            each = each._replace(hidden=UNKNOWN_AXIS)
        marks.append(each)
    return marks, frozenset(moved)


def _sizes(module: Any, params: Any, program: ClosedJaxpr) -> Mapping[Any, Any]:
    """{path: number of parameters} as nested dictionaries; of one iteration, where a scan takes them apart."""
    leaves, structure = jax.tree.flatten(params)
    ways = scanned(program)
    sizes = [math.prod(np.shape(leaf)) // parts for leaf, parts in zip(leaves, ways, strict=False)]
    counts = jax.tree.unflatten(structure, sizes)
    if isinstance(module, nnx.Module):
        return nnx.to_pure_dict(nnx.filter_state(counts, nnx.Param))
    return nn.meta.unbox(counts.get("params", {})) if isinstance(module, nn.Module) else {}


def _count(owned: Any, name: str) -> int:
    """The number of parameters that the module at path `name` holds itself, without those of its submodules."""
    for part in re.sub(r"\[\d+\]", "", name).split("#")[0].split("/"):
        key = int(part) if part.isdigit() and int(part) in owned else part
        owned = owned.get(key, {}) if isinstance(owned, Mapping) else {}
    own = owned.values() if isinstance(owned, Mapping) else ()
    return sum(size for size in own if isinstance(size, int))

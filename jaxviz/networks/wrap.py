"""Any module of Flax, Equinox or Haiku, or any function, as a `Model`.

    wrap(module, …) -> Model

Law: the same weights as a Keras file, as a module of any library and as a function give equal activations.
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
from jaxviz.compiling.marks import Mark, marks
from jaxviz.compiling.workarounds import ClosedJaxpr, parameters
from jaxviz.errors import InputError
from jaxviz.model import Hidden, Layer, Model, find_inputs
from jaxviz.networks.calls import APPLY, called, check_arguments, check_mode, evaluation, in_evaluation, switched
from jaxviz.networks.checkpoints import restored
from jaxviz.networks.equinox import is_equinox, of_equinox
from jaxviz.networks.forwards import Axes, Bound, LinenForward, NnxForward, Tapped
from jaxviz.networks.haiku import is_haiku, of_haiku
from jaxviz.networks.outputs import path_of
from jaxviz.networks.traced import Network, TracedForward, of_function
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
    channels_first: bool | None = None,
    **bound: Any,
) -> Model:
    """A Model of any module of Flax, Equinox or Haiku, or of any function. The module is not changed.

    The network runs in evaluation mode. A copy of an nnx module is switched by `eval()`, and one of an Equinox module
    by `eqx.nn.inference_mode`. An argument of the call, or an attribute that is True or False, is set as well if it has
    the name of such a switch: `train`, `training`, `deterministic`, `inference`, `is_training` and so on
    (`jaxviz.networks.calls.EVALUATION`). A plain function is called as it is.

    The layers of a Flax module are its submodules. Those of all other networks are found in what they compute: layers
    with parameters, which have the path of the module that holds these, such as `layers/0/conv1`; and activation
    functions, pools, softmaxes, sums of two paths and concatenations, which are named after the layer that they follow,
    such as `layers/0/conv1/relu`, or by a `jax.named_scope` of their own. Layers inside `jit`, `remat` and `scan` are
    layers like others. A `scan` over three blocks has the layers `blocks[0]/conv`, `blocks[1]/conv` and
    `blocks[2]/conv`. Layers inside `cond` and `while`, and those of Flax modules inside `vmap`, cannot be read.

    Args:
        module: an `nnx.Module`; a linen `nn.Module`; a callable `eqx.Module` that takes one image; what `hk.transform`
            or `hk.transform_with_state` returned; or a function `(variables, images [n h w c])`, which returns an array
            or {name: array}. Each named array is a layer, and the last one is the output, unless `output` says another.
            Under `jax.jit`, which sorts the names, `output` must say it.
        variables: what linen's or Haiku's `init` returned; the `eqx.nn.State` of an Equinox module, if it has one; the
            first argument of a function; None for an nnx module, which holds its own. For all but Equinox modules with
            state, it may be the path of a file or folder with the parameters: of Orbax, of safetensors, of flax's
            msgpack, or of `eqx.tree_serialise_leaves` for an Equinox module. An nnx module may be abstract then,
            `nnx.eval_shape(lambda: Net(nnx.Rngs(0)))`. A function gets a tree of dictionaries.
        image_shape: of one image: `(h, w, c)`, also if the module takes images `[n c h w]`; `(t, c)` of a signal;
            `(d, h, w, c)` of a volume; `(h, w)` or `(pixels,)` of an image without channels.
        inputs: the preprocessing that the network was trained with: "unit" (images in [0, 1]), "raw255" (0–255 pixels),
            or Keras' "caffe", "torch" or "tf".
        output: which array is the output, if the module returns several in a tuple, list, dictionary, NamedTuple or
            dataclass: the number, key or name of a part, or the path to a part of a part, such as `("heads", 0)`.
        channels_first: whether the module takes images `[n c h w]`. Images and activations are `[n h w c]` for you.
            None: only an Equinox module does, if an image has more than two axes.
        bound: further arguments of the module's call, the same in every call: `rngs=nnx.Rngs(0)`, a mask, a second
            input. Arrays have the shape that fits a batch of one image, or one image for an Equinox module. For a linen
            module, `rngs=`, `mutable=` and `method=` of `apply` as well; for a Haiku function, its `rng=`.

    Raises:
        InputError: variables that are missing or that the module does not take, no image shape, an unknown `inputs`,
            an argument that the call lacks or does not know, or a module that takes images `[n c h w]` without
            `channels_first`, that a word such as mode="train" switches, that fails (its own error is the cause), or
            that does not turn a batch of n images into an array `[n …]`; a file that cannot be read, or with other
            parameters than the module has, which are all listed (of a file of Equinox, the first).
    """
    if not np.iterable(image_shape) or not 1 <= len(tuple(image_shape)) <= 4:
        raise InputError(
            "wrap needs the shape of one image, such as image_shape=(32, 32, 3), or (180, 2) of a signal; "
            f"given: {image_shape}"
        )
    image_shape = tuple(whole("each number of image_shape", number) for number in image_shape)
    if isinstance(module, nnx.Module | nn.Module) or is_equinox(module):
        check_mode(module, bound)
    if channels_first is None:
        channels_first = is_equinox(module) and len(image_shape) > 2
    source = ""
    if isinstance(variables, str | PathLike):
        source = Path(variables).name
        module, variables = restored(module, variables, image_shape, channels_first, bound)
    settings: dict[str, Any] = {
        "output": path_of(output),
        "bound": Bound(*nnx.split(bound)) if bound else None,
        "channels_first": channels_first,
    }
    forward: Tapped
    network: Network | None = None
    if isinstance(module, nnx.Module):
        forward, params = _nnx(module, variables, bound, settings)
    elif isinstance(module, nn.Module):
        forward, params = _linen(module, variables, bound, settings)
    else:
        network = _network(module, variables)
        check_arguments(network.called, bound, network.first, network.given)
        params = network.params
        forward = TracedForward(network.function, network.paths, network.kinds, network.ordered, **settings)
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    with jax.default_matmul_precision("highest"):  # as a Model runs it, so that JAX can keep this trace
        found, program = forward.marks(params, images), forward.program(params, images)
    name, shape = found[-1].name, list(found[-1].shape)
    if shape[:1] != [1]:
        raise InputError(f"{name} is {shape} for a batch of one image; it must be [n …] for n images")
    if not channels_first:
        _check_layout(program, image_shape)
    batch = _batch_axes(forward, params, images, found) if network else {}
    axes = channel_axes(program, len(image_shape)) if channels_first else None
    found, moved = _moved(found, batch, axes)
    if found[-1].hidden:  # another layer would be taken for the output
        raise InputError(
            f"{name} cannot be read: {_reason(found[-1].hidden)}. A network turns n images into an array [n …], whose "
            "channels are last, or first where it takes them first"
        )
    forward = replace(forward, moved=moved)
    sizes = _sizes(params, program)
    if network:
        leaves = {each.name: {*each.leaves} - network.state for each in found}
        # Those of a layer that is called again count once; another layer may have the same name.
        first = (leaves.get(each.name.split("#")[0], set()) if "#" in each.name else set() for each in found)
        counts = [sum(sizes[n] for n in leaves[each.name] - own) for each, own in zip(found, first, strict=True)]
    else:
        owned = _owned(module, params, sizes)
        counts = [0 if "#" in each.name else _count(owned, each.name) for each in found]  # of the first call
    layers = [Layer(each.name, each.kind, count) for each, count in zip(found, counts, strict=True)]
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


def _nnx(module: nnx.Module, variables: Any, bound: Mapping[str, Any], settings: Any) -> tuple[NnxForward, Any]:
    if variables is not None:
        raise InputError("an nnx module holds its own weights, so leave variables out: wrap(module, image_shape=…)")
    copy = nnx.merge(*nnx.split(module))  # the user's module keeps its training mode
    in_evaluation(copy)
    check_arguments(called(module), bound, 1, evaluation(module))
    graphdef, params = nnx.split(copy)
    return NnxForward(graphdef, **settings), params


def _linen(module: nn.Module, variables: Any, bound: Mapping[str, Any], settings: Any) -> tuple[LinenForward, Any]:
    if not isinstance(variables, Mapping):
        given = type(variables).__name__
        raise InputError(
            "a linen module keeps its weights outside, so pass them: wrap(module, variables, image_shape=…); "
            f"given: variables of type {given}"
        )
    method = bound.get("method", "__call__")
    check_arguments(called(module, method), bound, 1, {*APPLY, *evaluation(module, method)})
    return LinenForward(switched(module), **settings), variables


def _network(module: Any, variables: Any) -> Network:
    if is_haiku(module):
        return of_haiku(module, variables)
    if isinstance(module, type) or not callable(module):
        given = f"the class {module.__name__} itself" if isinstance(module, type) else type(module).__name__
        raise InputError(f"wrap takes a module of Flax, Equinox or Haiku, or a function; given: {given}")
    return of_equinox(module, variables) if is_equinox(module) else of_function(module, variables)


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


UNKNOWN_AXIS, UNKNOWN_IMAGES = "unknown axis", "unknown images"


def _reason(hidden: str) -> str:
    if hidden == UNKNOWN_AXIS:
        return "after the operations before it, it is not known which of its axes has the channels"
    if hidden == UNKNOWN_IMAGES:
        return "none of its axes is that of the images: it depends on none, or they are joined with other numbers"
    return f"it runs inside {hidden}"


def _moved(
    found: list[Mark], batch: Mapping[str, int | None], axes: Mapping[str, set[Any]] | None
) -> tuple[list[Mark], dict[str, Axes]]:
    """The marks of a module, and the axes of images and channels of those that are not `[n … c]`.

    A map whose channels are not known to be first or last is hidden: shown as `[h w c]`, it would be another map.

    Args:
        batch: {name: the axis of the images, or None if there is none}; 0 for other names.
        axes: of the channels, of a module that takes images `[n c h w]`.
    """
    shown: list[Mark] = []
    moved: dict[str, Axes] = {}
    for each in found:
        path, last = re.sub(r"\[\d+\]|#\d+$", "", each.name), len(each.shape) - 1
        images = batch.get(each.name, 0)
        where = {last} if axes is None else axes.get(path, set())
        known = len(where) == 1 and None not in where
        if images is None:
            each = each._replace(hidden=each.hidden or UNKNOWN_IMAGES)
        elif last >= 2 and known and where != {last}:
            moved[each.name] = (images, int(*where))
        elif last >= 3 and where != {last} and not each.hidden and each.kind != "softmax":  # of attention
            each = each._replace(hidden=UNKNOWN_AXIS)
        elif images:
            moved[each.name] = (images,)
        shown.append(each)
    return shown, moved


def _batch_axes(forward: Tapped, params: Any, images: Any, found: list[Mark]) -> dict[str, int | None]:
    """{name: the axis of the images} of the layers found in a program: the axis that is longer for two images.

    It is not the first one where `vmap` puts it elsewhere. There is none where it is joined with another, and none of a
    layer that is another one for two images.
    """
    two = forward.program(params, jax.ShapeDtypeStruct((2, *images.shape[1:]), images.dtype))
    if not two.out_avals:
        return {}
    other = {each.name: each for each in marks(two)}

    def axis(one: Mark) -> int | None:
        same = other.get(one.name)
        if same is None or same.kind != one.kind or len(same.shape) != len(one.shape):
            return None
        grown = [at for at, lengths in enumerate(zip(one.shape, same.shape, strict=True)) if lengths == (1, 2)]
        return grown[0] if grown else None

    return {each.name: axis(each) for each in found}


def _sizes(params: Any, program: ClosedJaxpr) -> list[int]:
    """The number of parameters of each leaf; of one iteration, where a scan takes them apart."""
    return [
        math.prod(np.shape(leaf)) // parts
        for leaf, parts in zip(jax.tree.leaves(params), scanned(program), strict=False)
    ]


def _owned(module: Any, params: Any, sizes: list[int]) -> Any:
    """{path: number of parameters} of a Flax module, as nested dictionaries."""
    counts = jax.tree.unflatten(jax.tree.structure(params), sizes)
    if isinstance(module, nnx.Module):
        return nnx.to_pure_dict(nnx.filter_state(counts, nnx.Param))
    return nn.meta.unbox(counts.get("params", {}))


def _count(owned: Any, name: str) -> int:
    """The number of parameters that the module at path `name` holds itself, without those of its submodules."""
    for part in re.sub(r"\[\d+\]", "", name).split("#")[0].split("/"):
        key = int(part) if part.isdigit() and int(part) in owned else part
        owned = owned.get(key, {}) if isinstance(owned, Mapping) else {}
    own = owned.values() if isinstance(owned, Mapping) else ()
    return sum(size for size in own if isinstance(size, int))

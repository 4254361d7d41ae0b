"""Weights between layers that are not neighbours: what a filter reads from an earlier layer, through all between them.

    expanded_weights(model, layer, index, source) -> [h w channels], the linear kernel from the source to the filter

Law: of a network without nonlinear operations between the two layers, it is the composed kernel: the filter is the sum
of weight × activation over the window, plus a constant.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxviz.compiling.jaxprs import CALLS, Rule, bind, nn_function, with_rules
from jaxviz.compiling.jit import jit
from jaxviz.compiling.workarounds import Literal, UnknownEquationError, parameters
from jaxviz.errors import InputError
from jaxviz.filters.responses import check_filters
from jaxviz.geometry import Window, windows
from jaxviz.model import IMAGE, Model, check_real
from jaxviz.objectives import check_index
from jaxviz.structure import structure

__all__ = ["expanded_weights"]

# Functions of jax.nn that are a ReLU, or one with a smooth or a leaking foot: on the linear path, each is the identity.
RECTIFIERS = frozenset(
    ("relu", "relu6", "leaky_relu", "elu", "celu", "selu", "silu", "hard_silu", "mish", "softplus", "squareplus")
)
ACTIVE = 3.0  # a value at which a ReLU is active, and a ReLU6 is not cut off
SAME = 1e-4  # relative: the weights at two images are equal to rounding, or the path is not linear


def expanded_weights(
    model: Model, layer: str, index: int, source: str | None = None, *, size: int | tuple[int, ...] | None = None
) -> np.ndarray:
    """The weights `[h w channels]` with which a filter reads an earlier layer, along the linear path between the two.

    On the linear path, a ReLU is the identity, also one with a leak or a cut, and ELU, SiLU and Mish of `jax.nn`; and a
    max-pool averages its window. Then the filter is a linear function of the window of the source layer that it sees,
    and these are its weights, as in a single convolution. They are computed for the position in the middle of `layer`.
    For units, and other layers that mix all positions, the window is the whole source layer.

    Args:
        layer: a handle of the model; its last axis are the filters.
        index: the number of the filter.
        source: an earlier layer, or "image"; None: the last convolution before `layer` on which it depends, or "image".
            If the path from there is not linear, as through a gate, it is the last layer before `layer`.
        size: of the image, for a network that takes any size; None: its own size, or 224.

    Raises:
        InputError: an unknown layer, an index out of range, a source that the layer does not depend on, or a path that
            is not linear even so, as through a gate, a GELU, a softmax or a layer normalisation; weights that are NaN
            or infinite.

    Source: Voss et al. 2021, Visualizing weights (expanded weights); Olah et al. 2020, Zoom In, for their use.
    """
    return read(model, layer, index, source, size)[1]


def read(
    model: Model, layer: str, index: int, source: str | None, size: int | tuple[int, ...] | None = None
) -> tuple[str, np.ndarray]:
    """The source, and the `expanded_weights` with which a filter reads it.

    Raises:
        InputError: as `expanded_weights`.
    """
    check_filters(model, layer)
    shape = model.image_size(size)
    layers = model.shapes(shape, [layer])
    check_index(layer, "filter", index, layers[layer][-1])
    position = (*(length // 2 for length in layers[layer][:-1]), index)
    images = np.stack([np.full(shape, 0.5), np.random.default_rng(0).random(shape)]).astype(np.float32)
    sources = _sources(model, layer, shape) if source is None else [_check_source(model, layer, source, shape)]
    for source in sources:
        check_real(model.structs(shape, [source]))
        one, other = np.asarray(_slopes(model, images, position, layer=layer, source=source))
        if not np.isfinite(one).all():
            raise InputError(
                f"the weights from {source} to filter {index} of {layer} are NaN or infinite: numbers in the network's "
                "weights are NaN or infinite already, or they overflow"
            )
        if np.abs(one - other).max() <= SAME * np.abs(one).max():
            return source, one[_part(windows(model, layer, shape), windows(model, source, shape), position, one)]
    raise InputError(
        f"the path from {source} to {layer} is not linear, even with the identity for each ReLU and an average for "
        "each max-pool: there is a gate, a GELU, a softmax, a normalisation or another nonlinear function on it. Take "
        "a source that is nearer"
    )


def _sources(model: Model, layer: str, shape: tuple[int, ...]) -> list[str]:
    """The last convolution and the last layer of all on which a layer depends; "image" where there is none."""
    network = structure(model, model.handles[: model.handles.index(layer) + 1], shape[:-1])
    own = layer.removesuffix("/pre")
    before = [name for name in network.shapes if name.removesuffix("/pre") != own and layer in network.after(name)]
    convolutions = [name for name in before if name in network.convolutions]
    return list(dict.fromkeys(each[-1] if each else IMAGE for each in (convolutions, before)))


def _check_source(model: Model, layer: str, source: str, shape: tuple[int, ...]) -> str:
    """The source, if the layer depends on it.

    Raises:
        InputError: an unknown layer, or one on which the layer does not depend.
    """
    if source == IMAGE:
        return source
    first, last = model.handles.index(model.check_layer(source)), model.handles.index(layer)
    network = structure(model, model.handles[: last + 1], shape[:-1]) if first < last else None
    if network is None or layer not in network.after(source):
        nearest = _sources(model, layer, shape)[0]
        raise InputError(f"{layer} does not depend on {source}: take a layer before it, such as {nearest}")
    return source


@jit(static=("layer", "source"))
def _slopes(model: Model, images: jax.Array, place: Any, *, layer: str, source: str) -> jax.Array:
    """The gradient of one number of `layer` with respect to `source` on the linear path, for each of several images."""

    def number(images: jax.Array, moved: jax.Array) -> jax.Array:
        edits = {} if source == IMAGE else {source: lambda activation: activation + moved}
        found = model(images + moved if source == IMAGE else images, [layer], edits)[layer]
        return found[(slice(None), *place)].sum()

    shape = images.shape if source == IMAGE else jax.eval_shape(lambda: model(images, [source]))[source].shape
    return jax.grad(with_rules(number, _RULES), 1)(images, jnp.zeros(shape))


def _part(
    fields: tuple[Window, ...], sources: tuple[Window, ...], position: tuple[int, ...], weights: np.ndarray
) -> tuple[slice, ...]:
    """The part of a source layer that a filter sees: the positions whose windows lie in the filter's own.

    Where windows do not say it, since a gate has seen the whole image, it is the part with weights. A filter without
    positions, a unit, sees all.
    """
    part = [slice(None)] * weights.ndim
    if len(position) == 1:
        return tuple(part)
    settled = {weights.ndim - 1}  # the channels
    for field, each in zip(fields, sources, strict=True):
        if field.along is not None and each.along is not None and each.along not in settled:
            first, last = field.first[position[field.along]], field.last[position[field.along]]
            part[each.along] = _from_first_to_last((each.first >= first) & (each.last <= last))
            settled.add(each.along)
    for axis in set(range(weights.ndim)) - settled:
        lines = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)
        part[axis] = _from_first_to_last((lines != 0).any(1))
    return tuple(part)


def _from_first_to_last(chosen: np.ndarray) -> slice:
    (places,) = np.nonzero(chosen)
    return slice(places[0], places[-1] + 1) if places.size else slice(None)


def _call(equation: Any, *inputs: Any) -> list[Any]:
    """A function of `jax.nn` that rectifies is the identity; any other call runs by the rules."""
    if nn_function(equation) in RECTIFIERS:
        return [inputs[0]]
    return bind(equation, *inputs, rules=_RULES)


def _maximum(equation: Any, *inputs: Any) -> list[Any]:
    """`maximum(x, 0)` is a ReLU, so it is the identity; as is `minimum(x, 6)`."""
    known = [isinstance(atom, Literal) for atom in equation.invars]
    if sum(known) != 1:
        raise UnknownEquationError("of two values, neither of which is a number")
    return [inputs[known.index(False)]]


def _compared(equation: Any, *inputs: Any) -> list[Any]:
    """`where(x > 0, x, slope * x)` is a leaky ReLU: what is compared with a number counts as active."""
    known = [isinstance(atom, Literal) for atom in equation.invars]
    if sum(known) != 1 or not jnp.issubdtype(inputs[known.index(False)].dtype, jnp.floating):
        raise UnknownEquationError("of two values, neither of which is a number")
    each = zip(inputs, known, strict=True)
    return bind(equation, *(value if is_known else jnp.full_like(value, ACTIVE) for value, is_known in each))


def _max_pool(equation: Any, x: jax.Array) -> list[Any]:
    """The average over each window; where a window reaches into the padding, over the pixels that are inside."""
    params = parameters(equation)
    window = {name: params[name] for name in ("window_dimensions", "window_strides", "padding")}
    dilations = {name: params[name] for name in ("base_dilation", "window_dilation")}
    zero = np.zeros((), x.dtype)  # not a traced zero, with which JAX would not see that this is a sum

    def total(values: jax.Array) -> jax.Array:
        return lax.reduce_window(values, zero, lax.add, *window.values(), *dilations.values())

    # Along other axes, all windows have the same number of pixels, and XLA would count each of them while it compiles.
    pooled = (length if size > 1 else 1 for length, size in zip(x.shape, params["window_dimensions"], strict=True))
    return [total(x) / total(jnp.ones(tuple(pooled), x.dtype))]


def _largest(equation: Any, x: jax.Array) -> list[Any]:
    """The average over the axes of a global max-pool."""
    return [x.mean(tuple(parameters(equation)["axes"]))]


_RULES: dict[str, Rule] = dict.fromkeys(CALLS, _call) | {
    "max": _maximum,
    "min": _maximum,
    **dict.fromkeys(("gt", "ge", "lt", "le"), _compared),
    "reduce_window_max": _max_pool,
    "reduce_max": _largest,
}

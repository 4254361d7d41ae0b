"""A function of an image that has changed in one window, computed only where a layer sees the window.

    within(function, image, changed, corner, size) == function(changed), up to rounding, where `changed` differs from
                                                      `image` only in the window of `size` at `corner`

A pixel of a convolution depends on a few pixels of its input, its receptive field. As long as the part of a layer that
sees the window is small, only this part is computed. The rest is taken from the activations of `image`; they are the
same for every window, so a loop over windows computes them once, before it. As soon as most of a layer sees the window,
or an operation mixes pixels in another way, the layer is put together and the rest of the function runs as it is. The
traced function is what is edited, so no model needs to know about it. The geometry is in `patch`.

A new rule goes into `_RULES`, by the name of its primitive.

Source: Nakandala, Kumar & Papakonstantinou 2019, Incremental and approximate inference for faster occlusion-based deep
CNN explanations ("Krypton"), section 4.1. Only the exact part of it is used; nothing here is approximate.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxviz.compiling.jaxprs import CALLS, ELEMENTWISE, bind, body_of, evaluate
from jaxviz.compiling.patch import Box, Field, Patch, Span, Window, Windows, box_of
from jaxviz.compiling.workarounds import Equation, UnknownEquationError, parameters

MOST = 0.7  # where a larger share of a layer has changed, computing all of it is cheaper than copying the rest


def within(
    function: Callable[[jax.Array], Any], image: jax.Array, changed: jax.Array, corner: jax.Array, size: tuple[int, int]
) -> Any:
    """`function(changed)`, where `changed` is `image` except for a window.

    Args:
        function: of an image `[h w c]`; traceable by JAX.
        image, changed: `[h w c]`.
        corner: the window's first row and column `[2]` (y, x), traced. The image may cut the window off at its
            lower and right edges.
        size: the window's height and width.
    """
    jaxpr, out = jax.make_jaxpr(function, return_shape=True)(image)
    height, width = (Window(start=corner[axis], size=size[axis], length=image.shape[axis]) for axis in (0, 1))
    windows = (height, width)
    fields = (Field(), Field())
    values = _cut(changed, box_of(image.shape, (0, 1), fields, windows))
    patch = Patch(base=image, values=values, axes=(0, 1), fields=fields, windows=windows)
    outputs = evaluate(jaxpr.jaxpr, jaxpr.consts, [_unless_most(patch)], _equation)
    return jax.tree.unflatten(jax.tree.structure(out), [_whole(value) for value in outputs])


def _equation(equation: Equation, *inputs: Any) -> list[Any]:
    """The outputs of an equation, some of whose inputs may be patches; arrays and patches."""
    if not any(isinstance(value, Patch) for value in inputs):
        return bind(equation, *inputs)
    rule = _RULES.get(equation.primitive.name)
    with contextlib.suppress(UnknownEquationError):
        if equation.primitive.name in CALLS:
            body = body_of(equation)
            return evaluate(body.jaxpr, body.consts, inputs, _equation)
        patch = rule(equation, *inputs) if rule is not None else None
        if patch is not None:
            return [_unless_most(patch)]
    return bind(equation, *map(_whole, inputs))


def _whole(value: Any) -> Any:
    return value.whole() if isinstance(value, Patch) else value


def _unless_most(patch: Patch) -> Any:
    return patch if patch.values.size < MOST * patch.base.size else patch.whole()


def _cut(array: jax.Array, box: Box) -> jax.Array:
    return lax.dynamic_slice(array, [span.start for span in box], [span.size for span in box])


# A rule takes an equation and its inputs, at least one of which is a Patch. It returns the Patch of the output, or None
# if the output has to be computed as a whole.


def _base(value: Any) -> Any:
    return value.base if isinstance(value, Patch) else value


def _aligned(inputs: Sequence[Any]) -> tuple[list[Patch], list[Any]] | None:
    """The patches among the inputs, widened to the same fields, and all inputs with these patches in place.

    None: the patches are of layers of different strides or axes.
    """
    patches = [value for value in inputs if isinstance(value, Patch)]
    if len({(patch.axes, *(field.step for field in patch.fields)) for patch in patches}) > 1:
        return None
    fields = patches[0].fields
    for each in patches[1:]:
        fields = (fields[0].union(each.fields[0]), fields[1].union(each.fields[1]))
    aligned = [value.widened(fields) if isinstance(value, Patch) else value for value in inputs]
    return [value for value in aligned if isinstance(value, Patch)], aligned


def _part(value: Any, like: Patch) -> Any:
    """The part of an input that lies in the box of a patch of the same shape."""
    if isinstance(value, Patch):
        return value.values
    if jnp.ndim(value) != like.base.ndim:  # a number
        return value
    return _cut(value, box_of(value.shape, like.axes, like.fields, like.windows))


def _elementwise(equation: Equation, *inputs: Any) -> Patch | None:
    found = _aligned(inputs)
    if found is None:
        return None
    (patch, *_), aligned = found
    (base,) = bind(equation, *map(_base, inputs))
    (values,) = bind(equation, *(_part(value, patch) for value in aligned))
    return replace(patch, base=base, values=values)


def _concatenate(equation: Equation, *inputs: Any) -> Patch | None:
    found = _aligned(inputs)
    if found is None or parameters(equation)["dimension"] in found[0][0].axes:
        return None
    return _elementwise(equation, *inputs)


class Slide(NamedTuple):
    """How a convolution or pool slides along one axis."""

    size: int
    stride: int
    padding: tuple[int, int]


def _sliding(
    equation: Equation, patch: Patch, others: Sequence[Any], axes: Sequence[int], fill: Any, slides: Sequence[Slide]
) -> Patch | None:
    """The output of a convolution, pool or padding of a patch; `axes` are height and width of the output."""
    if any(min(slide.padding) < 0 for slide in slides):
        return None
    (base,) = bind(equation, patch.base, *others)
    pairs = zip(patch.fields, slides, strict=True)
    height, width = (field.then(slide.size, slide.stride, slide.padding[0]) for field, slide in pairs)
    out_axes, fields = (axes[0], axes[1]), (height, width)
    pads = [(0, 0)] * patch.base.ndim
    for axis, slide in zip(patch.axes, slides, strict=True):
        pads[axis] = slide.padding

    def reads(windows: Windows) -> Box:
        """The box of the input that the part of the output reads; without padding, so that it may start below 0."""
        written = box_of(base.shape, out_axes, fields, windows)
        box = [Span(0, length) for length in patch.base.shape]
        for axis, out, slide in zip(patch.axes, out_axes, slides, strict=True):
            start, size = written[out]
            box[axis] = Span(start * slide.stride - slide.padding[0], (size - 1) * slide.stride + slide.size)
        return box

    values = patch.region(reads, pads, fill)
    if equation.primitive.name != "pad":
        padding = ((0, 0),) * len(parameters(equation)["padding"])  # the region is padded already
        values = equation.primitive.bind(values, *others, **{**parameters(equation), "padding": padding})
    return Patch(base=base, values=values, axes=out_axes, fields=fields, windows=patch.windows)


def _convolution(equation: Equation, images: Any, kernel: Any) -> Patch | None:
    params = parameters(equation)
    layout = params["dimension_numbers"]
    if not isinstance(images, Patch) or isinstance(kernel, Patch) or tuple(layout.lhs_spec[2:]) != images.axes:
        return None
    if {*params["lhs_dilation"]} != {1} or params["batch_group_count"] != 1:
        return None
    gaps, strides = params["rhs_dilation"], params["window_strides"]
    sizes = [(kernel.shape[axis] - 1) * gap + 1 for axis, gap in zip(layout.rhs_spec[2:], gaps, strict=True)]
    slides = [
        Slide(size=size, stride=stride, padding=padding)
        for size, stride, padding in zip(sizes, strides, params["padding"], strict=True)
    ]
    return _sliding(equation, images, [kernel], layout.out_spec[2:], 0, slides)


def _pool(fill: float) -> Callable[..., Patch | None]:
    """The rule of a pool whose padding has the value `fill`."""

    def rule(equation: Equation, patch: Patch) -> Patch | None:
        params = parameters(equation)
        along = list(zip(params["window_dimensions"], params["window_strides"], params["padding"], strict=True))
        if any(along[axis] != (1, 1, (0, 0)) for axis in range(patch.base.ndim) if axis not in patch.axes):
            return None
        if {*params["base_dilation"], *params["window_dilation"]} != {1}:
            return None
        return _sliding(equation, patch, [], patch.axes, fill, [Slide(*along[axis]) for axis in patch.axes])

    return rule


def _pad(equation: Equation, patch: Any, fill: Any) -> Patch | None:
    config = parameters(equation)["padding_config"]
    if not isinstance(patch, Patch) or any(interior for _, _, interior in config):
        return None
    if any(config[axis][:2] != (0, 0) for axis in range(patch.base.ndim) if axis not in patch.axes):
        return None
    slides = [
        Slide(size=1, stride=1, padding=(int(low), int(high))) for low, high, _ in (config[axis] for axis in patch.axes)
    ]
    return _sliding(equation, patch, [fill], patch.axes, fill, slides)


def _broadcast(equation: Equation, patch: Patch) -> Patch | None:
    places, shape = parameters(equation)["broadcast_dimensions"], parameters(equation)["shape"]
    if any(shape[places[axis]] != patch.base.shape[axis] for axis in patch.axes):
        return None
    axes = (places[patch.axes[0]], places[patch.axes[1]])
    small = [patch.values.shape[patch.axes[axes.index(i)]] if i in axes else length for i, length in enumerate(shape)]
    (base,) = bind(equation, patch.base)
    return replace(patch, base=base, values=lax.broadcast_in_dim(patch.values, small, places), axes=axes)


def _squeeze(equation: Equation, patch: Patch) -> Patch | None:
    gone = parameters(equation)["dimensions"]
    if set(gone) & set(patch.axes):
        return None
    axes = tuple(axis - sum(each < axis for each in gone) for axis in patch.axes)
    (base,) = bind(equation, patch.base)
    return replace(patch, base=base, values=lax.squeeze(patch.values, gone), axes=(axes[0], axes[1]))


def _reshape(equation: Equation, patch: Patch) -> Patch | None:
    """A reshape that only puts axes of length 1 in front of all others."""
    shape, extra = parameters(equation)["new_sizes"], len(parameters(equation)["new_sizes"]) - patch.base.ndim
    if extra < 0 or tuple(shape) != (1,) * extra + patch.base.shape:
        return None
    (base,) = bind(equation, patch.base)
    values = patch.values.reshape((1,) * extra + patch.values.shape)
    return replace(patch, base=base, values=values, axes=(patch.axes[0] + extra, patch.axes[1] + extra))


def _transpose(equation: Equation, patch: Patch) -> Patch | None:
    order = parameters(equation)["permutation"]
    axes = (order.index(patch.axes[0]), order.index(patch.axes[1]))
    (base,) = bind(equation, patch.base)
    return replace(patch, base=base, values=lax.transpose(patch.values, order), axes=axes)


def _reverse(equation: Equation, patch: Patch) -> Patch | None:
    if set(parameters(equation)["dimensions"]) & set(patch.axes):
        return None
    return _elementwise(equation, patch)


_RULES: dict[str, Callable[..., Patch | None]] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": _convolution,
    "pad": _pad,
    "reduce_window_max": _pool(-np.inf),
    "reduce_window_sum": _pool(0.0),
    "reshape": _reshape,
    "rev": _reverse,
    "squeeze": _squeeze,
    "transpose": _transpose,
}

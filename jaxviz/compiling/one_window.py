"""A function of an image in which one window has changed, computed only where the window is seen.

    within(function, image, changed, corner, size) == function(changed),  where `changed` differs from `image` only
                                                                          in the window of `size` at `corner`

A pixel of a convolution depends on a few pixels of its input, its receptive field. While that keeps the part of a layer
that sees the window small, only that part is computed and the rest is taken from the activations of `image`, which are
the same for every window and so leave a loop over windows. Where most of a layer sees the window, or where an operation
mixes pixels otherwise, the layer is put together and the rest of the function runs as it is. Works on the traced
function: no model needs to know.

Source: Nakandala, Kumar & Papakonstantinou 2019, Incremental and approximate inference for faster occlusion-based deep
CNN explanations ("Krypton"), section 4.1. Exact: nothing here is approximate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxviz.compiling.jaxprs import CALLS, ELEMENTWISE, bind, body_of, evaluate
from jaxviz.compiling.workarounds import Equation, parameters

MOST = 0.7  # the share of a layer from which on a part of it is not worth the copying


class Field(NamedTuple):
    """The receptive field along one axis: output o sees the inputs from o · step - before, `length` of them."""

    step: int = 1
    length: int = 1
    before: int = 0

    def then(self, window: int, stride: int, padding: int) -> "Field":
        """The field of a window over this one's outputs."""
        return Field(self.step * stride, self.length + (window - 1) * self.step, self.before + padding * self.step)

    def union(self, other: "Field") -> "Field":
        """The field of something that reads both."""
        before = max(self.before, other.before)
        after = max(self.length - self.before, other.length - other.before)
        return Field(self.step, before + after, before)


class Window(NamedTuple):
    """What changed along one axis of an image of `length` pixels: `size` of them from `start`, a traced number."""

    start: Any
    size: int
    length: int

    def anywhere(self) -> "Window":
        """All windows of this size at once."""
        return self._replace(start=np.arange(self.length))

    def seen(self, field: Field, length: int) -> tuple[Any, int]:
        """The first of the outputs, `length` in all, that see the window, and how many they are, at most."""
        count = min((self.size + field.length - 2) // field.step + 1, length)
        first = -((field.length - 1 - field.before - self.start) // field.step)  # rounded up
        return first.clip(0, length - count), count


@dataclass(frozen=True)
class Patch:
    """An activation that is `base` but for a part: `values`, in the box where `fields` see the windows."""

    base: jax.Array
    values: jax.Array
    axes: tuple[int, int]  # height and width
    fields: tuple[Field, Field]
    windows: tuple[Window, Window]

    def box(self, fields: tuple[Field, Field]) -> tuple[list[Any], list[int]]:
        """Where `fields` of this size see the window: starts and sizes along all axes."""
        return _box(self.base.shape, self.axes, fields, self.windows)

    def anywhere(self) -> "Patch":
        """The same of all windows at once: for their boxes."""
        return replace(self, windows=(self.windows[0].anywhere(), self.windows[1].anywhere()))

    def whole(self) -> jax.Array:
        """All of the activation."""
        return lax.dynamic_update_slice(self.base, self.values.astype(self.base.dtype), self.box(self.fields)[0])

    def widened(self, fields: tuple[Field, Field]) -> "Patch":
        """The same, with more of `base` among the values."""
        if fields == self.fields:
            return self
        return replace(self, values=self.region(lambda patch: patch.box(fields)), fields=fields)

    def region(self, box: "Box", pads: Sequence[tuple[int, int]] = (), fill: Any = 0) -> jax.Array:
        """The part in a box whose starts count from the first pixel, before any `pads` of `fill`."""
        pads = pads or [(0, 0)] * self.base.ndim
        fill = jnp.asarray(fill, self.base.dtype)
        (starts, sizes), (mine, lengths) = box(self), self.box(self.fields)
        padded = lax.pad(self.base, fill, [(low, high, 0) for low, high in pads])
        region = lax.dynamic_slice(padded, [at + low for at, (low, _) in zip(starts, pads, strict=True)], sizes)
        # Values that nothing in the box sees may stick out of it: there is room around it for the most that ever does.
        theirs, ours = box(self.anywhere())[0], self.anywhere().box(self.fields)[0]
        lows = [int(max(0, np.max(there - own))) for own, there in zip(ours, theirs, strict=True)]
        ends = zip(ours, lengths, theirs, sizes, strict=True)
        highs = [int(max(0, np.max(own + length - there - size))) for own, length, there, size in ends]
        room = lax.pad(region, fill, [(low, high, 0) for low, high in zip(lows, highs, strict=True)])
        places = [own - start + low for own, start, low in zip(mine, starts, lows, strict=True)]
        room = lax.dynamic_update_slice(room, self.values.astype(room.dtype), places)
        return lax.slice(room, lows, [low + size for low, size in zip(lows, sizes, strict=True)])


Box = Callable[[Patch], tuple[list[Any], list[int]]]
"""Starts and sizes along all axes, of the window of a patch or of all windows at once."""


def within(
    function: Callable[[jax.Array], Any], image: jax.Array, changed: jax.Array, corner: Any, size: tuple[int, int]
) -> Any:
    """`function(changed)` for images `[h w c]`; `corner` (y, x) may lie so that the window is cut at the far edges."""
    jaxpr, out = jax.make_jaxpr(function, return_shape=True)(image)
    windows = (Window(corner[0], size[0], image.shape[0]), Window(corner[1], size[1], image.shape[1]))
    fields = (Field(), Field())
    starts, sizes = _box(image.shape, (0, 1), fields, windows)
    patch = Patch(image, lax.dynamic_slice(changed, starts, sizes), (0, 1), fields, windows)
    values = evaluate(jaxpr.jaxpr, jaxpr.consts, [_unless_most(patch)], _equation)
    return jax.tree.unflatten(jax.tree.structure(out), [_whole(value) for value in values])


def _equation(equation: Equation, *inputs: Any) -> list[Any]:
    if not any(isinstance(value, Patch) for value in inputs):
        return bind(equation, *inputs)
    if equation.primitive.name in CALLS:
        body = body_of(equation)
        return evaluate(body.jaxpr, body.consts, inputs, _equation)
    rule = _RULES.get(equation.primitive.name)
    patch = rule(equation, *inputs) if rule is not None else None
    if patch is None:
        return bind(equation, *map(_whole, inputs))
    return [_unless_most(patch)]


def _whole(value: Any) -> Any:
    return value.whole() if isinstance(value, Patch) else value


def _unless_most(patch: Patch) -> Any:
    return patch if patch.values.size < MOST * patch.base.size else patch.whole()


def _box(
    shape: Sequence[int], axes: tuple[int, int], fields: Sequence[Field], windows: Sequence[Window]
) -> tuple[list[Any], list[int]]:
    starts, sizes = [0] * len(shape), list(shape)
    for axis, field, window in zip(axes, fields, windows, strict=True):
        starts[axis], sizes[axis] = window.seen(field, shape[axis])
    return starts, sizes


# A rule returns the Patch of an equation's output, or None where it has none.


def _base(value: Any) -> Any:
    return value.base if isinstance(value, Patch) else value


def _aligned(inputs: Sequence[Any]) -> tuple[list[Patch], list[Any]] | None:
    """The patches among the inputs widened to one field, and all inputs with them in place."""
    patches = [value for value in inputs if isinstance(value, Patch)]
    if len({(patch.axes, *(field.step for field in patch.fields)) for patch in patches}) > 1:
        return None
    fields = patches[0].fields
    for each in patches[1:]:
        fields = (fields[0].union(each.fields[0]), fields[1].union(each.fields[1]))
    aligned = [value.widened(fields) if isinstance(value, Patch) else value for value in inputs]
    return [value for value in aligned if isinstance(value, Patch)], aligned


def _part(value: Any, like: Patch) -> Any:
    """What of an input lies in the box of a patch of the same size."""
    if isinstance(value, Patch):
        return value.values
    if jnp.ndim(value) != like.base.ndim:  # a number
        return value
    starts, sizes = _box(value.shape, like.axes, like.fields, like.windows)
    return lax.dynamic_slice(value, starts, sizes)


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
    """How a window goes along one axis."""

    size: int
    stride: int
    padding: tuple[int, int]


def _sliding(
    equation: Equation, patch: Patch, others: Sequence[Any], axes: Sequence[int], fill: Any, slides: Sequence[Slide]
) -> Patch | None:
    """A window over the patch, along the axes of its output."""
    if any(min(slide.padding) < 0 for slide in slides):
        return None
    (base,) = bind(equation, patch.base, *others)
    pairs = zip(patch.fields, slides, strict=True)
    height, width = (field.then(slide.size, slide.stride, slide.padding[0]) for field, slide in pairs)
    seen = Patch(base, base, (axes[0], axes[1]), (height, width), patch.windows)
    pads = [(0, 0)] * patch.base.ndim
    for axis, slide in zip(patch.axes, slides, strict=True):
        pads[axis] = slide.padding

    def reads(patch: Patch) -> tuple[list[Any], list[int]]:
        """The box of the inputs of what is seen."""
        starts, sizes = replace(seen, windows=patch.windows).box(seen.fields)
        firsts, lengths = [0] * patch.base.ndim, list(patch.base.shape)
        for axis, out, slide in zip(patch.axes, axes, slides, strict=True):
            firsts[axis] = starts[out] * slide.stride - slide.padding[0]
            lengths[axis] = (sizes[out] - 1) * slide.stride + slide.size
        return firsts, lengths

    region = patch.region(reads, pads, fill)
    if equation.primitive.name == "pad":
        return replace(seen, values=region)
    padding = ((0, 0),) * len(parameters(equation)["padding"])  # the region has it already
    values = equation.primitive.bind(region, *others, **{**parameters(equation), "padding": padding})
    return replace(seen, values=values)


def _convolution(equation: Equation, images: Any, kernel: Any) -> Patch | None:
    params = parameters(equation)
    layout = params["dimension_numbers"]
    if not isinstance(images, Patch) or isinstance(kernel, Patch) or tuple(layout.lhs_spec[2:]) != images.axes:
        return None
    if {*params["lhs_dilation"]} != {1} or params["batch_group_count"] != 1:
        return None
    gaps, strides = params["rhs_dilation"], params["window_strides"]
    sizes = [(kernel.shape[axis] - 1) * gap + 1 for axis, gap in zip(layout.rhs_spec[2:], gaps, strict=True)]
    slides = [Slide(*each) for each in zip(sizes, strides, params["padding"], strict=True)]
    return _sliding(equation, images, [kernel], layout.out_spec[2:], 0, slides)


def _pool(fill: float) -> Callable[..., Patch | None]:
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
    slides = [Slide(1, 1, (int(low), int(high))) for low, high, _ in (config[axis] for axis in patch.axes)]
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
    """Where it only puts axes of length 1 in front of all others."""
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

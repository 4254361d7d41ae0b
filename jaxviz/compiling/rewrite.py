"""`rewrite`: a pass over a traced function that replaces the operations which a platform computes slowly.

    rewrite(f) == f, up to rounding

XLA:CPU transposes convolutions to the layout of its fast kernel only in the entry computation of a program. Inside a
loop body, where gradient ascent spends its time, it computes the backward convolution of every NHWC model element by
element, which is 5 to 6 times slower. Everywhere, it computes convolutions in groups (depthwise ones, for example)
element by element, pools one number at a time, and the backward pass of a max-pool in one serial loop. In a gradient,
it copies each kernel, also of a dense layer, which takes longer than the multiplications where there are few pixels or
rows, and it multiplies the zeros that a stride puts between the pixels. It takes an image with fewer pixels than the
kernel for the kernel. `benchmarks/convolutions.py` measures each rule on the convolutions of popular networks.

On a GPU, XLA's backward pass of a max-pool keeps five int32 indices for each output, and adds each gradient at its
place by an atomic operation: with comparisons instead, an ascent step of VGG16 moves 1.8 times fewer bytes. On a TPU,
XLA computes it together with the convolutions around it, and comparisons would take longer. But it adds numbers at
places one after the other, as in the gradient of a resample (`benchmarks/results/accelerators.md`).

The pass replaces them after differentiation, in any model, so the code of models stays plain. With
`Execution(rewrite=False)`, the function stays as it is.

Each rule below takes one equation of the traced function and its inputs, and returns its outputs (see `jaxprs`).
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxviz.compiling import grouped, pools, products, scatters, taps, winograd
from jaxviz.compiling.execution import AS_USUAL, Execution, platform_of
from jaxviz.compiling.jaxprs import CALLS, Rule, bind, body_of, hoist, run, with_rules
from jaxviz.compiling.workarounds import Equation, closed, parameters, scan_split

# Winograd's convolution is faster than XLA:CPU's inside loops, because its kernels are transformed once, before the
# loop. Outside of loops it saves 0.2 s for an image of VGG16 and costs seconds of compilation. With fewer pixels,
# reading the transformed kernels costs more memory traffic than the multiplications that are saved; with fewer
# channels, reading and writing the transformed images does.
CHANNELS, PIXELS = 64, 128
STEPS = 8  # a loop of fewer steps (or images, for Winograd) does not earn back what is done before it
# A copy of the kernel takes longer than the products of all taps where the images have at most 2 pixels for each of its
# input channels: for one image of VGG16's last six layers, and of ResNet50's last two stages, 1.1 to 2.4 times as long.
SMALL = 2
PRODUCTS = 16  # times the memory of its output, which the products of a dilated convolution may take
LONG = 8  # a pool over more pixels along an axis stays as it is: each is one more operation to compile
FEW = 4  # a convolution with at most this many output channels (a gradient of an image) is computed tap by tap


def rewrite(function: Callable, execution: Execution = AS_USUAL) -> Callable:
    """`function` with the same values, without the operations that its platform computes slowly.

    The result cannot be differentiated again: rewrite the gradient, not the function that is differentiated.
    """

    @functools.wraps(function)
    def rewritten(*args: Any) -> Any:
        rules = _rules(execution, 1)
        return with_rules(function, rules)(*args) if rules else function(*args)

    return rewritten


class Choice(NamedTuple):
    """The algorithm that one operation of a rewritten function got."""

    where: str  # JAX's name stack: it contains the layer, and "transpose(" in the backward pass
    operation: str
    shapes: tuple[tuple[int, ...], ...]
    algorithm: str
    reason: str


# A context variable, not an argument: between `jv.plan`, which asks for the choices, and the rules, which make them,
# lie JAX's tracing and the user's model, through which no argument can be passed. It is also right for threads: each
# sees its own list.
_choices: ContextVar[list[Choice] | None] = ContextVar("choices", default=None)


@contextmanager
def choices() -> Iterator[list[Choice]]:
    """A list to which `rewrite` adds a `Choice` for each operation of the functions that are traced in this context."""
    found: list[Choice] = []
    token = _choices.set(found)
    try:
        yield found
    finally:
        _choices.reset(token)


def _note(equation: Equation, inputs: Sequence[jax.Array], algorithm: str, reason: str) -> None:
    if (found := _choices.get()) is not None:
        shapes = tuple(tuple(value.shape) for value in inputs)
        found.append(Choice(str(equation.source_info.name_stack), equation.primitive.name, shapes, algorithm, reason))


def _is_empty(equation: Equation) -> bool:
    """Whether nothing comes out, as where an image is smaller than a window."""
    output: Any = equation.outvars[0].aval
    return 0 in output.shape


def _inline(rules: Mapping[str, Rule], equation: Equation, *inputs: Any) -> list[Any]:
    """The body of a call, also of a function with a custom derivative: differentiation is over, only values count."""
    body = body_of(equation)
    return run(body.jaxpr, body.consts, inputs, rules)


def _convolution(
    execution: Execution, steps: int, equation: Equation, images: jax.Array, kernel: jax.Array
) -> list[Any]:
    """The convolution between transposes to [n spatial c] and [spatial i o], the only fast layout of XLA:CPU."""
    if _is_empty(equation):
        return bind(equation, images, kernel)
    params = parameters(equation)
    layout = params["dimension_numbers"]
    spatial = range(2, images.ndim)
    channels_last = (0, *spatial, 1)  # from jax's (batch, feature, spatial…) order
    canonical = lax.ConvDimensionNumbers(
        lhs_spec=(0, images.ndim - 1, *range(1, images.ndim - 1)),
        rhs_spec=(images.ndim - 1, images.ndim - 2, *range(images.ndim - 2)),
        out_spec=(0, images.ndim - 1, *range(1, images.ndim - 1)),
    )
    images = lax.transpose(images, [layout.lhs_spec[axis] for axis in channels_last])
    out_axis, in_axis, *taps_axes = layout.rhs_spec
    swapped = lax.transpose(kernel, (*taps_axes, out_axis, in_axis))
    kernel = lax.transpose(kernel, (*taps_axes, in_axis, out_axis))
    params["dimension_numbers"] = canonical
    turned = layout.rhs_spec == (2, 3, 0, 1)  # the kernel of a gradient
    algorithm, reason = _fastest(images, kernel, params, steps, turned, execution)
    _note(equation, (images, kernel), algorithm, reason)
    if algorithm == "direct":
        images, params["padding"] = _wide(images, kernel, params)
        output = lax.conv_general_dilated_p.bind(images, kernel, **params)
    elif algorithm == "taps":
        channels, pixels = kernel.shape[2], math.prod(images.shape[:3])
        few = products.are_few(pixels, (math.prod(kernel.shape) // channels, channels))
        output = taps.convolution(images, swapped, params, kernel_first=few)
    elif algorithm == "grouped":
        output = grouped.convolution(images, kernel, params)
    else:
        points = winograd.transform(kernel, winograd.TILES[algorithm])
        output = winograd.convolution(images, points, params["padding"], params["precision"])
    position = {axis: place for place, axis in enumerate(layout.out_spec[axis] for axis in channels_last)}
    return [lax.transpose(output, [position[axis] for axis in range(output.ndim)])]


def _wide(images: jax.Array, kernel: jax.Array, params: dict[str, Any]) -> tuple[jax.Array, Any]:
    """The images with their padding, and the padding that is left, where they have fewer pixels than the kernel.

    XLA would take such images for the kernel, and the kernel for the images; for 2 × 2 pixels and 3 × 3 taps of 512
    channels, this takes 90 times as long. It does so after it has moved all padding into the convolution, which the
    barrier prevents.
    """
    if math.prod(images.shape[1:-1]) >= math.prod(kernel.shape[:-2]) or {*params["lhs_dilation"]} != {1}:
        return images, params["padding"]
    sides = [(0, 0, 0), *((*pad, 0) for pad in params["padding"]), (0, 0, 0)]
    padded = lax.pad(images, jnp.zeros((), images.dtype), sides)
    return lax.optimization_barrier(padded), ((0, 0),) * len(params["padding"])


def _fastest(
    images: jax.Array, kernel: jax.Array, params: dict[str, Any], steps: int, turned: bool, execution: Execution
) -> tuple[str, str]:
    """The algorithm of a convolution in the fast layout, and the reason.

    It is "direct", "taps", "grouped" or one of Winograd's tiles.

    `steps` says how often it runs in its loops; `STEPS` stands for any number from there on. `turned` says whether the
    kernel lies in memory with its channel axes swapped: a direct convolution copies it, in a loop once before it.
    """
    single = images.dtype == kernel.dtype == jnp.float32 and params["preferred_element_type"] in (None, jnp.float32)
    groups, kept = params["feature_group_count"], params["preferred_element_type"] in (None, images.dtype)
    if groups > 1 and params["batch_group_count"] == 1 and images.dtype == kernel.dtype and kept:
        return "grouped", f"{groups} groups"
    if images.ndim != 4 or not single or not taps.is_plain(params):
        return "direct", "not a plain float32 convolution of two axes"
    few, many = sorted(kernel.shape[2:])
    if kernel.shape[3] == few <= FEW and many >= 8 * FEW:
        return "taps", f"{many} channels to {few}"
    if (dilation := math.prod(params["lhs_dilation"])) > 1:
        if math.prod(kernel.shape[:2]) > PRODUCTS * dilation:
            return "direct", "a long kernel: its products with all pixels would take too much memory"
        return "taps", "the gradient of a stride: most taps would meet zeros"
    if turned and kernel.shape[:2] == (1, 1):
        return "taps", "a product, which needs no copy of the kernel"
    if turned and steps < STEPS and (pixels := math.prod(images.shape[:3])) <= SMALL * kernel.shape[2]:
        return "taps", f"{pixels} pixels: a copy of a kernel of {kernel.shape[2]} channels would take longer"
    if kernel.shape[:2] != (3, 3) or {*params["window_strides"], *params["rhs_dilation"]} != {1}:
        return "direct", "not 3 × 3 of stride 1"
    if execution.winograd is None:
        return "direct", "Winograd is switched off"
    if steps == 1 or steps * len(images) < STEPS:
        return "direct", f"not in a loop of {STEPS} images: Winograd costs more to compile than it saves"
    if few < CHANNELS:
        return "direct", f"fewer than {CHANNELS} channels"
    height, width = (n + sum(pad) - 2 for n, pad in zip(images.shape[1:3], params["padding"], strict=True))
    pixels = len(images) * height * width
    if pixels < PIXELS:
        return "direct", f"{pixels} pixels, fewer than {PIXELS}"
    return execution.winograd, "3 × 3, stride 1"


def _product(equation: Equation, rows: jax.Array, kernel: jax.Array) -> list[Any]:
    """A product with the kernel on its left-hand side, if that is faster."""
    if not products.is_turned(equation):
        return bind(equation, rows, kernel)
    _note(equation, (rows, kernel), "kernel first", "few rows: a copy of the kernel would take longer")
    params = parameters(equation)
    (axis,), _ = params.pop("dimension_numbers")[0]
    return [products.kernel_first(rows, kernel, axis, **params)]


def _while(execution: Execution, steps: int, equation: Equation, *inputs: Any) -> list[Any]:
    """The loop with a rewritten body; what is the same in every step is computed once, before the loop."""
    rules = _rules(execution, STEPS)
    params = parameters(equation)
    test, body = closed(params["cond_jaxpr"]), closed(params["body_jaxpr"])
    split = params["cond_nconsts"]
    first = split + params["body_nconsts"]
    step = hoist(body, inputs[split:first], rules, _rules(execution, steps))
    return lax.while_loop(
        lambda state: run(test.jaxpr, test.consts, [*inputs[:split], *state], rules)[0],
        lambda state: step(*state),
        list(inputs[first:]),
    )


def _scan(execution: Execution, steps: int, equation: Equation, *inputs: Any) -> list[Any]:
    """The scan with a rewritten body; what is the same in every step is computed once, before the scan."""
    params = parameters(equation)
    first, carried = scan_split(equation)
    rules = _rules(execution, min(steps * params["length"], STEPS))
    step = hoist(closed(params["jaxpr"]), inputs[:first], rules, _rules(execution, steps))

    def body(state: list[Any], item: list[Any]) -> tuple[list[Any], list[Any]]:
        outputs = step(*state, *item)
        return outputs[:carried], outputs[carried:]

    settings = {name: params[name] for name in ("length", "reverse", "unroll")}
    state, items = lax.scan(body, list(inputs[first : first + carried]), list(inputs[first + carried :]), **settings)
    return [*state, *items]


def _max_pool_backward(equation: Equation, cotangent: jax.Array, operand: jax.Array) -> list[Any]:
    """The gradient of a max-pool, by comparisons."""
    params = parameters(equation)
    if params["select_prim"] is not lax.ge_p:
        _note(equation, (operand,), "select and scatter", "not a maximum")
        return bind(equation, cotangent, operand)
    settings = {name: params[name] for name in ("window_dimensions", "window_strides", "padding")}
    if max(settings["window_dimensions"]) > LONG or 0 in cotangent.shape:
        _note(equation, (operand,), "select and scatter", f"more than {LONG} pixels, or none, along an axis")
        return bind(equation, cotangent, operand)
    _note(equation, (operand,), "mask", "a max-pool")
    return [pools.max_backward(operand, cotangent, **settings)]


def _pool(combine: Callable, fill: float, equation: Equation, operand: jax.Array) -> list[Any]:
    """A pool of an average or a maximum, by slices."""
    names = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
    settings = {name: parameters(equation)[name] for name in names}
    half = operand.dtype not in (jnp.float32, jnp.float64)  # XLA adds numbers of half precision in float32
    if half or max(settings["window_dimensions"]) > LONG or _is_empty(equation):
        return bind(equation, operand)
    return [pools.forward(operand, combine, fill, **settings)]


def _scatter_add(equation: Equation, operand: jax.Array, places: jax.Array, updates: jax.Array) -> list[Any]:
    """A sum of numbers at places, as in the gradient of a resample, by a matrix product."""
    if not scatters.is_of_columns(equation):
        return bind(equation, operand, places, updates)
    _note(equation, (operand, updates), "product", "many numbers, added at places of a small array")
    return [scatters.add(operand, places[..., 0], updates)]


@functools.cache
def _rules(execution: Execution, steps: int) -> dict[str, Rule]:
    platform = platform_of(execution)
    if not execution.rewrite:
        return {}
    if platform == "tpu":
        return {"scatter-add": _scatter_add}
    masks: dict[str, Rule] = {"select_and_scatter_add": _max_pool_backward}
    if platform == "gpu":
        return masks
    rules = masks | {
        "conv_general_dilated": functools.partial(_convolution, execution, steps),
        "dot_general": _product,
        "reduce_window_max": functools.partial(_pool, lax.max, -jnp.inf),
        "reduce_window_sum": functools.partial(_pool, lax.add, 0.0),
        "while": functools.partial(_while, execution, steps),
        "scan": functools.partial(_scan, execution, steps),
    }
    rules |= dict.fromkeys(CALLS, functools.partial(_inline, rules))
    return rules

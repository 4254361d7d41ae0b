"""Speed on the CPU: one pass over a traced function, and a `jit` with the options that keep it right.

XLA:CPU brings convolutions to its fast layout only in the entry computation. Inside a loop body, where gradient ascent
lives, it runs the backward convolution of every NHWC model through an element-by-element kernel (5 to 6 times slower),
and the backward max-pool is one serial loop anywhere. `rewrite` replaces both, in any model, after differentiation;
the model's code stays plain. GPU and TPU compilers do this themselves: there the function is left alone.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxviz.compiling import few_channels, interrupts, winograd, workarounds
from jaxviz.compiling.execution import Execution
from jaxviz.compiling.jaxprs import CALLS, Rule, bind, body_of, hoist, run, with_rules
from jaxviz.compiling.workarounds import Equation, closed, parameters, scan_split

# Where Winograd's convolution is faster than XLA:CPU's: in loops, before which its kernels are transformed once.
# Outside of them it saves 0.2 s for an image of VGG16, and costs seconds to compile. With fewer pixels, the points of a
# kernel are more memory to read than what they save; with fewer channels, those of the images.
CHANNELS, PIXELS = 64, 128
ON_CPU = 128 * 128  # pixels at a time: a CPU is busy with one image, and its caches are small
FEW = 4  # output channels, at most, that are computed tap by tap: the gradient with respect to an image
AS_USUAL = Execution()
STEPS = 8  # a loop of fewer steps does not earn back what Winograd's convolution costs to compile


class Jit:
    """`jax.jit` of a function with the compiler options of the device, which is looked up at the first call only."""

    def __init__(self, function: Callable, static: tuple[str, ...], donate: tuple[str, ...]):
        functools.update_wrapper(self, function)
        self.function, self.static, self.donate = function, static, donate
        self._jitted: Any = None

    def compiled(self) -> Any:
        """The jitted function itself."""
        if self._jitted is None:
            options = workarounds.compiler_options() if jax.default_backend() == "cpu" else None
            self._jitted = jax.jit(
                workarounds.tell_classes_apart(self.function),
                static_argnames=(*self.static, "classes"),
                donate_argnames=self.donate,
                compiler_options=options,
            )
        return self._jitted

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with interrupts.held():
            return self.compiled()(*args, **kwargs, classes=workarounds.classes_of(args, kwargs))


def jit(*, static: tuple[str, ...] = (), donate: tuple[str, ...] = ()) -> Callable[[Callable], Jit]:
    """A decorator; `static` and `donate` name arguments of the function."""
    return lambda function: Jit(function, static, donate)


def rewrite(function: Callable, execution: Execution = AS_USUAL) -> Callable:
    """`function` with the same values and no operation that XLA:CPU runs on a slow path. Not differentiable again."""
    fast = with_rules(function, _rules(execution, looped=False))

    @functools.wraps(function)
    def rewritten(*args: Any) -> Any:
        return fast(*args) if execution.rewrite and jax.default_backend() == "cpu" else function(*args)

    return rewritten


def at_once(height: int, width: int) -> int:
    """How many images of this size the device is fastest with, forward and back."""
    if jax.default_backend() == "cpu":
        return max(1, ON_CPU // (height * width))
    return 32


def over(function: Callable, *items: Any, size: int, execution: Execution = AS_USUAL) -> Any:
    """`function` of each of `items [n …]`, `size` at a time, in a loop where there are more."""
    count = len(jax.tree.leaves(items)[0])
    if count <= size:
        return rewrite(jax.vmap(function), execution)(*items)
    size = size if count % size == 0 else 1  # a rest would be compiled a second time
    each = None if size == 1 else size  # a batch of one would be a batch still, with a scatter for every update
    return rewrite(lambda *items: lax.map(lambda item: function(*item), items, batch_size=each), execution)(*items)


class Choice(NamedTuple):
    """How one operation of a rewritten function runs, and why."""

    where: str  # JAX's name stack: the layer, and whether it is the way back
    operation: str
    shapes: tuple[tuple[int, ...], ...]
    algorithm: str
    reason: str


_choices: ContextVar[list[Choice] | None] = ContextVar("choices", default=None)


@contextmanager
def choices() -> Iterator[list[Choice]]:
    """Within it, what `rewrite` does to the functions that are traced is written down."""
    found: list[Choice] = []
    token = _choices.set(found)
    try:
        yield found
    finally:
        _choices.reset(token)


def _note(equation: Equation, inputs: Sequence[jax.Array], algorithm: str, reason: str) -> None:
    found = _choices.get()
    if found is not None:
        shapes = tuple(tuple(value.shape) for value in inputs)
        found.append(Choice(str(equation.source_info.name_stack), equation.primitive.name, shapes, algorithm, reason))


def _inline(rules: Mapping[str, Rule], equation: Equation, *inputs: Any) -> list[Any]:
    """The body of a call; that of a custom derivative, too: after differentiation its rule has done its work."""
    body = body_of(equation)
    return run(body.jaxpr, body.consts, inputs, rules)


def _convolution(
    execution: Execution, looped: bool, equation: Equation, images: jax.Array, kernel: jax.Array
) -> list[Any]:
    """The same convolution between transposes to [n spatial c], [spatial i o], XLA:CPU's one fast layout."""
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
    raw, (out_axis, in_axis, *taps_axes) = kernel, layout.rhs_spec
    kernel = lax.transpose(raw, (*taps_axes, in_axis, out_axis))
    params["dimension_numbers"] = canonical
    algorithm, reason = _fastest(images, kernel, params, looped, execution)
    _note(equation, (images, kernel), algorithm, reason)
    if algorithm == "direct":
        output = lax.conv_general_dilated_p.bind(images, kernel, **params)
    elif algorithm == "taps":
        output = few_channels.convolution(images, kernel, params)
    else:
        tile = winograd.TILES[algorithm]
        if in_axis < out_axis:
            points = winograd.transform(kernel, tile)
        else:
            points = winograd.transform_transposed(lax.transpose(raw, (*taps_axes, out_axis, in_axis)), tile)
        output = winograd.convolution(images, points, params["padding"], params["precision"])
    position = {axis: place for place, axis in enumerate(layout.out_spec[axis] for axis in channels_last)}
    return [lax.transpose(output, [position[axis] for axis in range(output.ndim)])]


def _fastest(
    images: jax.Array, kernel: jax.Array, params: dict[str, Any], looped: bool, execution: Execution
) -> tuple[str, str]:
    """The algorithm for a convolution in the fast layout, "direct", "taps" or one of Winograd's tiles, and why."""
    single = images.dtype == kernel.dtype == jnp.float32 and params["preferred_element_type"] in (None, jnp.float32)
    if images.ndim != 4 or not single or not few_channels.is_plain(params):
        return "direct", "not a plain float32 convolution of two axes"
    few, many = sorted(kernel.shape[2:])
    if kernel.shape[3] == few <= FEW and many >= 8 * FEW:
        return "taps", f"{many} channels to {few}"
    if kernel.shape[:2] != (3, 3) or {*params["window_strides"], *params["rhs_dilation"]} != {1}:
        return "direct", "not 3 × 3 of stride 1"
    if execution.winograd is None:
        return "direct", "Winograd is switched off"
    if not looped:
        return "direct", "outside of a loop Winograd costs more to compile than it saves"
    if few < CHANNELS:
        return "direct", f"fewer than {CHANNELS} channels"
    height, width = (n + sum(pad) - 2 for n, pad in zip(images.shape[1:3], params["padding"], strict=True))
    pixels = len(images) * height * width
    if pixels < PIXELS:
        return "direct", f"{pixels} pixels, fewer than {PIXELS}"
    return execution.winograd, "3 × 3, stride 1"


def _while(execution: Execution, looped: bool, equation: Equation, *inputs: Any) -> list[Any]:
    """The loop with a rewritten body, less what is the same in every step: that is computed before it."""
    rules = _rules(execution, looped=True)
    params = parameters(equation)
    test, body = closed(params["cond_jaxpr"]), closed(params["body_jaxpr"])
    split = params["cond_nconsts"]
    first = split + params["body_nconsts"]
    step = hoist(body, inputs[split:first], rules, _rules(execution, looped=looped))
    return lax.while_loop(
        lambda state: run(test.jaxpr, test.consts, [*inputs[:split], *state], rules)[0],
        lambda state: step(*state),
        list(inputs[first:]),
    )


def _scan(execution: Execution, looped: bool, equation: Equation, *inputs: Any) -> list[Any]:
    """As `_while`."""
    params = parameters(equation)
    first, carried = scan_split(equation)
    rules = _rules(execution, looped=looped or params["length"] >= STEPS)
    step = hoist(closed(params["jaxpr"]), inputs[:first], rules, _rules(execution, looped=looped))

    def body(state: list[Any], item: list[Any]) -> tuple[list[Any], list[Any]]:
        outputs = step(*state, *item)
        return outputs[:carried], outputs[carried:]

    settings = {name: params[name] for name in ("length", "reverse", "unroll")}
    state, items = lax.scan(body, list(inputs[first : first + carried]), list(inputs[first + carried :]), **settings)
    return [*state, *items]


def _max_pool_backward(equation: Equation, cotangent: jax.Array, operand: jax.Array) -> list[Any]:
    """Where windows do not overlap: each window's cotangent to the first of its maxima, as select-and-scatter does."""
    params = parameters(equation)
    window, strides = params["window_dimensions"], params["window_strides"]
    padding, select = params["padding"], params["select_prim"]
    if tuple(window) != tuple(strides) or select is not lax.ge_p:
        _note(equation, (operand,), "select and scatter", "windows that overlap")
        return bind(equation, cotangent, operand)
    _note(equation, (operand,), "mask", "windows that do not overlap")

    # Bring the operand to whole windows: the padding that the pool saw, and a rest that no window covers cut or added.
    whole = [count * size for count, size in zip(cotangent.shape, window, strict=True)]
    fit = [(low, size - low - n, 0) for (low, _), size, n in zip(padding, whole, operand.shape, strict=True)]
    padded = lax.pad(operand, jnp.array(-jnp.inf, operand.dtype), fit)

    def corner(values: jax.Array, offset: tuple[int, ...]) -> jax.Array:
        return lax.slice(values, offset, values.shape, strides)

    offsets = list(itertools.product(*map(range, window)))
    corners = [corner(padded, offset) for offset in offsets]
    largest = functools.reduce(jnp.maximum, corners)
    free = jnp.ones(largest.shape, bool)
    parts = []
    for values in corners:
        first = free & (values == largest)
        free &= ~first
        parts.append(jnp.where(first, cotangent, 0))
    # Back between each other, one axis after the other: XLA writes a concatenation in one pass, faster than a sum of
    # arrays with gaps.
    for axis in reversed(range(len(window))):
        size = window[axis]
        stacks = (jnp.stack(parts[first : first + size], axis + 1) for first in range(0, len(parts), size))
        parts = [stack.reshape(*stack.shape[:axis], -1, *stack.shape[axis + 2 :]) for stack in stacks]
    (gradient,) = parts
    return [lax.pad(gradient, jnp.zeros((), cotangent.dtype), [(-low, -high, 0) for low, high, _ in fit])]


@functools.cache
def _rules(execution: Execution, *, looped: bool) -> dict[str, Rule]:
    rules: dict[str, Rule] = {
        "conv_general_dilated": functools.partial(_convolution, execution, looped),
        "select_and_scatter_add": _max_pool_backward,
        "while": functools.partial(_while, execution, looped),
        "scan": functools.partial(_scan, execution, looped),
    }
    rules |= dict.fromkeys(CALLS, functools.partial(_inline, rules))
    return rules

"""Speed on the CPU: one pass over a traced function, and a `jit` with the options that keep it right.

XLA:CPU brings convolutions to its fast layout only in the entry computation. Inside a loop body, where gradient ascent
lives, it runs the backward convolution of every NHWC model through an element-by-element kernel (5 to 6 times slower),
and the backward max-pool is one serial loop anywhere. `rewrite` replaces both, in any model, after differentiation;
the model's code stays plain. GPU and TPU compilers do this themselves: there the function is left alone.
"""

import collections
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import JaxprEqn

from jaxviz.jaxprs import bind, run, with_rules

# YNNPACK, on by default in jaxlib 0.10.2, can return wrong numbers (jax#39103) and drops NaN in a maximum.
_CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": ""}

# Images at a time in gradient ascent: a CPU is busy with one or two and its caches are small, an accelerator is not.
BATCH = collections.defaultdict(lambda: 32, cpu=2)


class Jit:
    """`jax.jit` of a function with the compiler options of the device, which is looked up at the first call only."""

    def __init__(self, function: Callable, static: tuple[str, ...], donate: tuple[str, ...]):
        functools.update_wrapper(self, function)
        self.function, self.static, self.donate = function, static, donate
        self._jitted: Any = None

    def compiled(self) -> Any:
        """The jitted function itself."""
        if self._jitted is None:
            options = _CPU_OPTIONS if jax.default_backend() == "cpu" else None
            self._jitted = jax.jit(
                self.function, static_argnames=self.static, donate_argnames=self.donate, compiler_options=options
            )
        return self._jitted

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.compiled()(*args, **kwargs)


def jit(*, static: tuple[str, ...] = (), donate: tuple[str, ...] = ()) -> Callable[[Callable], Jit]:
    """A decorator; `static` and `donate` name arguments of the function."""
    return lambda function: Jit(function, static, donate)


def rewrite(function: Callable) -> Callable:
    """`function` with the same values and no operation that XLA:CPU runs on a slow path. Not differentiable again."""
    fast = with_rules(function, _RULES)

    @functools.wraps(function)
    def rewritten(*args: Any) -> Any:
        return fast(*args) if jax.default_backend() == "cpu" else function(*args)

    return rewritten


def _inline(equation: JaxprEqn, *inputs: Any) -> list[Any]:
    """The body of a custom-derivative call: after differentiation its rule has done its work."""
    body = equation.params.get("call_jaxpr") or equation.params["fun_jaxpr"]
    return run(body.jaxpr, body.consts, inputs, _RULES)


def _convolution(equation: JaxprEqn, images: jax.Array, kernel: jax.Array) -> list[Any]:
    """The same convolution between transposes to [n spatial c], [spatial i o], XLA:CPU's one fast layout."""
    params = dict(equation.params)
    layout = params["dimension_numbers"]
    spatial = range(2, images.ndim)
    channels_last = (0, *spatial, 1)  # from jax's (batch, feature, spatial…) order
    canonical = lax.ConvDimensionNumbers(
        lhs_spec=(0, images.ndim - 1, *range(1, images.ndim - 1)),
        rhs_spec=(images.ndim - 1, images.ndim - 2, *range(images.ndim - 2)),
        out_spec=(0, images.ndim - 1, *range(1, images.ndim - 1)),
    )
    if layout == canonical:
        return bind(equation, images, kernel)
    images = lax.transpose(images, [layout.lhs_spec[axis] for axis in channels_last])
    kernel = lax.transpose(kernel, [layout.rhs_spec[axis] for axis in (*spatial, 1, 0)])
    params["dimension_numbers"] = canonical
    output = equation.primitive.bind(images, kernel, **params)
    position = {axis: place for place, axis in enumerate(layout.out_spec[axis] for axis in channels_last)}
    return [lax.transpose(output, [position[axis] for axis in range(output.ndim)])]


def _max_pool_backward(equation: JaxprEqn, cotangent: jax.Array, operand: jax.Array) -> list[Any]:
    """Where windows do not overlap: each window's cotangent to the first of its maxima, as select-and-scatter does."""
    window, strides = equation.params["window_dimensions"], equation.params["window_strides"]
    padding, select = equation.params["padding"], equation.params["select_prim"]
    if tuple(window) != tuple(strides) or select is not lax.ge_p:
        return bind(equation, cotangent, operand)

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
    gradient = jnp.zeros(whole, cotangent.dtype)
    for offset, values in zip(offsets, corners, strict=True):
        first = free & (values == largest)
        free &= ~first
        # Interior padding puts the corner back at its stride; XLA fuses the sum of the four into one pass.
        place = [(at, size - at - 1, size - 1) for at, size in zip(offset, window, strict=True)]
        gradient += lax.pad(jnp.where(first, cotangent, 0), jnp.zeros((), cotangent.dtype), place)
    return [lax.pad(gradient, jnp.zeros((), cotangent.dtype), [(-low, -high, 0) for low, high, _ in fit])]


_RULES: dict[str, Callable] = {
    "conv_general_dilated": _convolution,
    "select_and_scatter_add": _max_pool_backward,
    "custom_jvp_call": _inline,
    "custom_vjp_call": _inline,
    "custom_vjp_call_jaxpr": _inline,
}

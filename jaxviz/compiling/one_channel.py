"""One channel at the price of one: a score that reads a single channel of a layer computes only that channel.

    narrow(f) == f, forward and back, for any f that slices one index off a last axis

Written plainly, `convolution(x, kernel)[..., i]` computes all channels and drops all but one, and its gradient spreads
one channel over zeros and convolves them all again. `narrow` walks up from the slice to the convolution, through
whatever acts on each channel by itself (bias, activation function, pooling …), and slices the kernel instead. It works
on the traced function before differentiation, so that no model needs to know.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxviz.compiling import few_channels
from jaxviz.compiling.jaxprs import ELEMENTWISE, bind, evaluate, nn_function
from jaxviz.compiling.workarounds import Equation, parameters

_INLINED = frozenset(("jit", "pjit", "closed_call"))


class _Call:
    """An equation that is evaluated when one of its outputs is asked for, and once."""

    def __init__(self, equation: Equation, inputs: Sequence[Any]):
        self.equation, self.inputs = equation, inputs

    @functools.cached_property
    def outputs(self) -> list[Any]:
        if self.equation.primitive.name == "dynamic_slice" and self._takes_one_channel:
            return [_channel(self.inputs[0], _value(self.inputs[-1]))]
        return bind(self.equation, *map(_value, self.inputs))

    @property
    def _takes_one_channel(self) -> bool:
        shape, sizes = self.inputs[0].shape, parameters(self.equation)["slice_sizes"]
        return shape[:-1] == tuple(sizes[:-1]) and sizes[-1] == 1 < shape[-1]


class _Output:
    """A value not computed yet: the n-th output of a call."""

    def __init__(self, call: _Call, position: int):
        self.call, self.position = call, position
        aval: Any = call.equation.outvars[position].aval
        self.shape = aval.shape


def narrow(function: Callable) -> Callable:
    """`function` with the same values and gradients, in which a slice of one channel is taken as early as possible."""

    @functools.wraps(function)
    def narrowed(*args: Any) -> Any:
        if jax.default_backend() != "cpu":
            return function(*args)
        jaxpr, out = jax.make_jaxpr(function, return_shape=True)(*args)
        outputs = evaluate(jaxpr.jaxpr, jaxpr.consts, jax.tree.leaves(args), _later)
        return jax.tree.unflatten(jax.tree.structure(out), map(_value, outputs))

    return narrowed


def _later(equation: Equation, *inputs: Any) -> list[Any]:
    """The outputs of an equation, not computed yet; plain calls are inlined."""
    if equation.primitive.name in _INLINED:
        body = parameters(equation)["jaxpr"]
        return evaluate(body.jaxpr, body.consts, inputs, _later)
    call = _Call(equation, inputs)
    return [_Output(call, position) for position in range(len(equation.outvars))]


def _value(node: Any) -> Any:
    return node.call.outputs[node.position] if isinstance(node, _Output) else node


def _channel(node: Any, index: Any) -> Any:
    """`node[..., index : index + 1]`, computed without the other channels where the operation allows it."""
    if isinstance(node, _Output) and "outputs" not in vars(node.call):  # all channels are there already: slice them
        call, shape = node.call, node.shape
        name, params, inputs = call.equation.primitive.name, parameters(call.equation), call.inputs

        def same(operand: Any) -> Any:  # an operand that varies along the last axis is sliced, any other broadcasts
            varies = jnp.shape(operand)[-1:] == shape[-1:]
            return _channel(operand, index) if varies else _value(operand)

        if name in ELEMENTWISE:
            return call.equation.primitive.bind(*map(same, inputs), **params)
        if nn_function(call.equation) == "relu":
            return jax.nn.relu(_channel(inputs[0], index))
        if name == "broadcast_in_dim":
            last = params["broadcast_dimensions"][-1:] == (len(shape) - 1,)
            operand = same(inputs[0]) if last else _value(inputs[0])
            return lax.broadcast_in_dim(operand, (*shape[:-1], 1), params["broadcast_dimensions"])
        if name == "reshape" and inputs[0].shape[-1:] == shape[-1:]:
            return _channel(inputs[0], index).reshape((*shape[:-1], 1))
        if name == "squeeze" and len(inputs[0].shape) - 1 not in params["dimensions"]:
            return lax.squeeze(_channel(inputs[0], index), params["dimensions"])
        if name == "reduce_window_max" and params["window_dimensions"][-1] == 1 and params["padding"][-1] == (0, 0):
            return call.equation.primitive.bind(_channel(inputs[0], index), **params)
        if name == "conv_general_dilated" and few_channels.is_plain(params):
            # Under `vmap` each item has its own kernel, which as a convolution would be a slow grouped one.
            return few_channels.convolution(_value(inputs[0]), _channel(inputs[1], index), params)
    return lax.dynamic_slice_in_dim(_value(node), index, 1, axis=-1)

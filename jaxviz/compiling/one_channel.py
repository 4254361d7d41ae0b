"""A score that reads one channel of a layer computes only that channel.

    narrow(f) == f, forward and backward, up to rounding, for any f that slices one index off a last axis

Written plainly, `convolution(x, kernel)[..., i]` computes all channels and drops all but one; its gradient fills the
other channels with zeros and convolves them all again. `narrow` starts at the slice and goes back to the convolution,
through operations that act on each channel by itself (bias, activation function, pooling …), and slices the kernel
instead. It works on the traced function before differentiation, so no model needs to know about it.

A new rule goes into `_RULES`, by the name of its primitive.
"""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxviz.compiling import taps
from jaxviz.compiling.execution import AS_USUAL, Execution
from jaxviz.compiling.jaxprs import CALLS, ELEMENTWISE, PLAIN_CALLS, bind, body_of, evaluate, nn_function
from jaxviz.compiling.workarounds import Equation, UnknownEquationError, parameters


class _Call:
    """An equation that is computed once, when one of its outputs is first needed."""

    def __init__(self, equation: Equation, inputs: Sequence[Any]):
        self.equation, self.inputs = equation, inputs

    @functools.cached_property
    def outputs(self) -> list[Any]:
        if self._takes_one_channel:
            return [_channel(self.inputs[0], _value(self.inputs[-1]))]
        return bind(self.equation, *map(_value, self.inputs))

    @property
    def computed(self) -> bool:
        return "outputs" in vars(self)

    @property
    def awaited(self) -> list["_Output"]:
        """The inputs that must be computed first; a slice of one channel asks for its operand itself."""
        inputs = self.inputs[1:] if self._takes_one_channel else self.inputs
        return [each for each in inputs if isinstance(each, _Output) and not each.call.computed]

    @functools.cached_property
    def _takes_one_channel(self) -> bool:
        if self.equation.primitive.name != "dynamic_slice":
            return False
        shape, sizes = self.inputs[0].shape, parameters(self.equation)["slice_sizes"]
        return shape[:-1] == tuple(sizes[:-1]) and sizes[-1] == 1 < shape[-1]


class _Output:
    """A value that is not computed yet: output number `position` of a call."""

    def __init__(self, call: _Call, position: int):
        self.call, self.position = call, position
        aval: Any = call.equation.outvars[position].aval
        self.shape = aval.shape


def narrow(function: Callable, execution: Execution = AS_USUAL) -> Callable:
    """`function` with the same values and gradients; a slice of one channel is taken as early as possible.

    It gains on every platform: on a TPU, the gradient of the slice would be a serial loop over the items of a batch.
    With `Execution(rewrite=False)`, the function stays as it is.
    """

    @functools.wraps(function)
    def narrowed(*args: Any) -> Any:
        if not execution.rewrite:
            return function(*args)
        jaxpr, out = jax.make_jaxpr(function, return_shape=True)(*args)
        outputs = evaluate(jaxpr.jaxpr, jaxpr.consts, jax.tree.leaves(args), _later)
        return jax.tree.unflatten(jax.tree.structure(out), map(_value, outputs))

    return narrowed


def _later(equation: Equation, *inputs: Any) -> list[Any]:
    """The outputs of an equation, not computed yet. The bodies of plain calls are inlined."""
    if equation.primitive.name in PLAIN_CALLS:
        with contextlib.suppress(UnknownEquationError):
            body = body_of(equation)
            return evaluate(body.jaxpr, body.consts, inputs, _later)
    call = _Call(equation, inputs)
    return [_Output(call, position) for position in range(len(equation.outvars))]


def _value(node: Any) -> Any:
    """The value itself, computed now if it is not computed yet.

    What it needs is computed before it, from a list: as calls within calls, a deep network would be too many of them.
    """
    if not isinstance(node, _Output):
        return node
    calls = [node.call]
    while calls:
        if awaited := [] if calls[-1].computed else calls[-1].awaited:
            calls += [each.call for each in awaited]
        else:
            calls.pop().outputs  # noqa: B018  (it is computed and kept)
    return node.call.outputs[node.position]


def _channel(node: Any, index: Any) -> Any:
    """`node[..., index : index + 1]`, computed without the other channels where a rule allows it."""
    if isinstance(node, _Output) and not node.call.computed:
        rule = _RULES.get(node.call.equation.primitive.name)
        with contextlib.suppress(UnknownEquationError):
            found = rule(node.call.equation, index, node.shape, *node.call.inputs) if rule is not None else None
            if found is not None:
                return found
    return lax.dynamic_slice_in_dim(_value(node), index, 1, axis=-1)


# A rule takes an equation, the index of the channel, the shape of the equation's output, and its inputs. It returns
# that channel of the output, or None if it needs the other channels.


def _operand(operand: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """The part of an operand that one channel of an output needs; all of it, if it does not vary with the channel."""
    return _channel(operand, index) if jnp.shape(operand)[-1:] == shape[-1:] else _value(operand)


def _elementwise(equation: Equation, index: Any, shape: tuple[int, ...], *inputs: Any) -> Any:
    (output,) = bind(equation, *(_operand(each, index, shape) for each in inputs))
    return output


def _relu(equation: Equation, index: Any, shape: tuple[int, ...], *inputs: Any) -> Any:
    """A call of `jax.nn.relu`; any other function with its own derivative keeps it, and is computed whole."""
    return jax.nn.relu(_channel(inputs[0], index)) if nn_function(equation) == "relu" else None


def _broadcast(equation: Equation, index: Any, shape: tuple[int, ...], operand: Any, *lengths: Any) -> Any:
    places = parameters(equation)["broadcast_dimensions"]
    has_channels = places[-1:] == (len(shape) - 1,)
    part = _operand(operand, index, shape) if has_channels else _value(operand)
    return lax.broadcast_in_dim(part, (*shape[:-1], 1), places)


def _reshape(equation: Equation, index: Any, shape: tuple[int, ...], operand: Any, *lengths: Any) -> Any:
    """A reshape that leaves the channels as they are."""
    if operand.shape[-1:] != shape[-1:]:
        return None
    return _channel(operand, index).reshape((*shape[:-1], 1))


def _squeeze(equation: Equation, index: Any, shape: tuple[int, ...], operand: Any) -> Any:
    gone = parameters(equation)["dimensions"]
    return None if len(operand.shape) - 1 in gone else lax.squeeze(_channel(operand, index), gone)


def _max_pool(equation: Equation, index: Any, shape: tuple[int, ...], operand: Any) -> Any:
    params = parameters(equation)
    if params["window_dimensions"][-1] != 1 or params["padding"][-1] != (0, 0):
        return None
    (output,) = bind(equation, _channel(operand, index))
    return output


def _convolution(equation: Equation, index: Any, shape: tuple[int, ...], images: Any, kernel: Any) -> Any:
    """One output channel as a matrix product.

    Under `vmap` each item has its own kernel; as a convolution this would be a grouped one, which is slow.
    """
    params = parameters(equation)
    if not taps.is_plain(params):
        return None
    return taps.convolution(_value(images), _channel(kernel, index).swapaxes(2, 3), params)


_RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(CALLS, _relu),
    "broadcast_in_dim": _broadcast,
    "conv_general_dilated": _convolution,
    "reduce_window_max": _max_pool,
    "reshape": _reshape,
    "squeeze": _squeeze,
}

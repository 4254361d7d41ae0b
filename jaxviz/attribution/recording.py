"""A traced program that runs once forwards, for relevance propagation.

    record(program, inputs) -> (all signals in the order in which they are computed, the outputs)

Law: the values are those of the program. An operation without a rule is recorded as it is, under its own name: it is an
error only if relevance comes to it. The bodies of `jit`, `remat` and functions with a derivative of their own are
recorded like any others, and so are those of a `scan`, step by step.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import lax

from jaxviz.attribution.lrp_rules import (
    ADDING,
    AVERAGE,
    CONVOLUTION,
    DENSE,
    MOVE,
    PRODUCT,
    SOFTMAX,
    SUM,
    Affine,
)
from jaxviz.attribution.signals import (
    Fixed,
    Operation,
    Signal,
    Value,
    activation,
    affine,
    carries,
    constants,
    fixed,
    free_axes,
    function_of,
    known,
    never_negative,
    on_kernel,
)
from jaxviz.compiling.jaxprs import CALLS, ELEMENTWISE, bind, body_of, evaluate, name_stack, nn_function, unrolled
from jaxviz.compiling.marks import LONGEST, MARK
from jaxviz.compiling.workarounds import REMAT, closed, parameters


def record(program: Any, inputs: Sequence[Value], *, gates: bool = True) -> tuple[list[Signal], list[Value]]:
    """All signals of a closed jaxpr, the inputs first, in the order in which they are computed, and its outputs.

    Args:
        gates: whether a softmax makes a gate.
    """
    recorder = _Recorder(gates, weights=not any(isinstance(each, Fixed) for each in inputs))
    outputs = recorder.run(program, inputs, "")
    return [*(each for each in inputs if isinstance(each, Signal)), *recorder.signals], outputs


@dataclass
class _Recorder:
    gates: bool
    weights: bool  # whether the arrays that the program holds are the weights: it takes no others
    signals: list[Signal] = field(default_factory=list)

    def run(self, body: Any, inputs: Sequence[Value], scope: str) -> list[Any]:
        def rule(equation: Any, *values: Any) -> list[Any]:
            place = name_stack(scope, equation)
            return self.equation(equation, [known(value) for value in values], place)

        program = closed(body)
        held = [fixed(value, weight=self.weights) for value in program.consts]
        outputs = evaluate(program.jaxpr, held, inputs, rule)
        return [known(value) for value in outputs]

    def equation(self, equation: Any, inputs: list[Value], place: str) -> list[Value]:
        name = equation.primitive.name
        if not any(isinstance(each, Signal) for each in inputs):
            return constants(equation, inputs)
        if nn_function(equation).strip("_") in MIXING:
            return self.each(equation, inputs, SOFTMAX, place)
        if name in CALLS or name == REMAT:
            return self.run(body_of(equation), inputs, place)
        if name == "scan" and parameters(equation)["length"] <= LONGEST:
            return self.scan(equation, inputs, place)
        if name in _ONE_BY_ONE:
            return [self.elementwise(equation, inputs, place)]
        if name in ("dot_general", "conv_general_dilated"):
            return [self.multiplied(equation, inputs, place)]
        return self.each(equation, inputs, _KINDS.get(name, name), place)

    def add(self, signal: Signal) -> Signal:
        self.signals.append(signal)
        return signal

    def made(self, function: Callable[..., Any], inputs: Sequence[Value], kind: str, place: str) -> Value:
        """The value of a function of `inputs`, none of which is a weight that a rule would look at."""
        value = function(*(each.value for each in inputs))
        signals = [each for each in inputs if isinstance(each, Signal)]
        if not carries(kind, value, signals):
            return fixed(value)

        def of_signals(*values: Any) -> Any:
            given = iter(values)
            return function(*(next(given) if isinstance(each, Signal) else each.value for each in inputs))

        shift = None
        if kind in (MOVE, *ADDING) and any(each.shift is not None for each in signals):
            # A max-pooling chooses by the whole values, and passes on the shift of its winners.
            shifts = [each.value - each.varying for each in signals]
            shift = jax.jvp(of_signals, [each.value for each in signals], shifts)[1]
        limit = max(each.limit for each in signals) if kind == MOVE else math.inf
        if kind == SOFTMAX and self.gates:
            limit = 1.0
        layer = Affine(lambda _, x: of_signals(*(x if isinstance(x, tuple) else (x,))))
        return self.add(
            Signal(
                value,
                Operation(kind, place, tuple(signals), layer),
                shift=shift,
                unsigned=kind in (MOVE, *ADDING) and all(map(never_negative, inputs)),
                limit=limit,
                exponent=signals[0].exponent if kind in (MOVE, AVERAGE) and len(signals) == 1 else None,
            )
        )

    def each(self, equation: Any, inputs: Sequence[Value], kind: str, place: str) -> list[Value]:
        """All outputs of an equation, each as an operation of its own."""

        def output(at: int) -> Callable[..., Any]:
            return lambda *values: bind(equation, *values)[at]

        return [self.made(output(at), inputs, kind, place) for at in range(len(equation.outvars))]

    def scan(self, equation: Any, inputs: Sequence[Value], place: str) -> list[Value]:
        """A loop over layers, unrolled."""

        def run(body: Any, values: Sequence[Value], at: int) -> list[Value]:
            return self.run(body, values, place)

        def item(value: Value, at: int) -> Value:
            if isinstance(value, Fixed):
                return fixed(value.value[at], weight=value.weight)
            return self.made(lambda whole: lax.index_in_dim(whole, at, keepdims=False), [value], MOVE, place)

        def stacked(rows: Sequence[Value]) -> Value:
            if any(isinstance(row, Signal) for row in rows):
                return self.made(lambda *values: jnp.stack(values), rows, MOVE, place)
            return fixed(jnp.stack([row.value for row in rows]))

        return unrolled(equation, inputs, run, item, stacked)

    def elementwise(self, equation: Any, inputs: Sequence[Value], place: str) -> Value:
        name = equation.primitive.name
        (value,) = bind(equation, *(each.value for each in inputs))
        signals = [each for each in inputs if isinstance(each, Signal)]
        if not carries(name, value, signals):
            return fixed(value)
        if not all(jnp.issubdtype(each.value.dtype, jnp.floating) for each in signals):
            return self.each(equation, inputs, f"{name} of {signals[0].value.dtype}", place)[0]
        before = next((one for one in signals[0].history if all(one in each.history for each in signals[1:])), None)
        if before is not None and value.shape == before.value.shape:
            if name == "log" and signals[0].exponent is not None:
                return self.each(equation, inputs, SOFTMAX, place)[0]
            if len(signals) > 1 or (scaling := affine(name, inputs)) is None:
                return self.add(activation(name, inputs, value, before))
            return self.affine(signals[0], value, *scaling)
        first, *others = inputs
        if name == "div" and isinstance(first, Signal):
            if first.exponent is not None and isinstance(others[0], Signal):
                return self.softmax(first, others[0], value, place)
            return self.scaled(first, value, 1 / others[0].value, place)
        if name == "mul" and len(signals) == 2 and signals[0].gate != signals[1].gate:
            signal, gate = sorted(signals, key=lambda each: each.gate)
            return self.scaled(signal, value, gate.value, place)
        kind = {"add": SUM, "add_any": SUM, "sub": SUM, "mul": PRODUCT, "max": MOVE, "min": MOVE, "select_n": MOVE}
        return self.each(equation, inputs, kind.get(name, name), place)[0]

    def scaled(self, signal: Signal, value: Any, scale: Any, place: str) -> Value:
        """`signal · scale`, where the scale depends on the image, but counts as a constant."""
        if value.shape != signal.value.shape:  # the signal is one number for many
            return self.made(jnp.multiply, [signal, fixed(scale)], AVERAGE, place)
        return self.add(Signal(value, before=signal, shift=None if signal.shift is None else signal.shift * scale))

    def affine(self, signal: Signal, value: Any, scale: Fixed, offset: Fixed) -> Signal:
        """`signal · scale + offset`, where both are constants: merged into the weights right before it, or apart."""
        operation, kernel_scale = signal.operation, on_kernel(signal.operation, scale)
        if operation is not None and kernel_scale is not None:
            layer = operation.layer
            bias = layer.bias * scale.value + offset.value
            layer = layer._replace(kernel=layer.kernel * kernel_scale, bias=bias)
            return self.add(Signal(value, operation._replace(layer=layer), before=signal))
        shift = None if signal.shift is None else signal.shift * scale.value
        if offset.weight:  # a number in the program is preprocessing, and no bias
            shift = offset.value if shift is None else shift + offset.value
        factor, plus = scale.number, offset.number
        keeps, limit = False, math.inf
        if factor is not None and plus is not None and factor > 0 and plus >= 0:
            keeps, limit = True, signal.limit * factor + plus
        if signal.limit == 0:  # constant whatever it is scaled by
            limit = 0.0
        return self.add(
            Signal(
                value,
                before=signal,
                shift=shift,
                unsigned=signal.unsigned and keeps,
                limit=limit,
                level=(signal.level or signal) if scale.number == 1 and not offset.weight else None,
                exponent=signal.exponent if plus == 0 else None,
            )
        )

    def softmax(self, above: Signal, below: Signal, value: Any, place: str) -> Signal:
        """The quotient of an exponential and a sum of it, as a function of the exponent."""
        total, exponent = function_of(below, above), above.exponent
        assert exponent is not None

        def quotient(_: Any, x: Any) -> Any:
            exponential = above.value * jnp.exp(x - exponent.value)
            return exponential / (below.value if total is None else total(exponential))

        operation = Operation(SOFTMAX, place, (exponent,), Affine(quotient))
        return self.add(Signal(value, operation, unsigned=True, limit=1.0 if self.gates else math.inf))

    def multiplied(self, equation: Any, inputs: Sequence[Value], place: str) -> Value:
        signals = [each for each in inputs if isinstance(each, Signal)]
        if len(signals) == 2:
            if signals[0].gate == signals[1].gate:
                return self.each(equation, inputs, PRODUCT, place)[0]
            return self.each(equation, [fixed(x.value) if x.gate else x for x in signals], AVERAGE, place)[0]
        at = 1 if isinstance(inputs[0], Signal) else 0  # the place of the weights
        signal, weights = signals[0], cast(Fixed, inputs[at])
        convolves = equation.primitive.name == "conv_general_dilated"
        if not weights.weight or (convolves and at == 0):
            return self.each(equation, inputs, MOVE, place)[0]

        def apply(kernel: Any, x: Any) -> Any:
            return bind(equation, *((x, kernel) if at else (kernel, x)))[0]

        bias: Any = 0.0
        if signal.shift is not None:
            bias = apply(weights.value, signal.value - signal.varying)
        layer = Affine(apply, weights.value, bias, signal.unsigned)
        kind = CONVOLUTION if convolves else DENSE
        operation = Operation(kind, place, (signal,), layer, (at, *free_axes(equation, at)))
        return self.add(Signal(bind(equation, *(each.value for each in inputs))[0], operation))


MIXING = ("softmax", "log_softmax", "logsumexp")
"""The functions of `jax.nn` that are one operation. All others are known by what they do."""

_ONE_BY_ONE = ELEMENTWISE | {
    "add_any", MARK, "ceil", "cos", "erfc", "exp2", "floor", "reduce_precision", "round", "sin", "stop_gradient"
}  # fmt: skip

# fmt: off
_KINDS = {
    **dict.fromkeys(("reduce_sum", "reduce_window_sum", "cumsum"), AVERAGE),
    **dict.fromkeys((
        "broadcast_in_dim", "concatenate", "cummax", "device_put", "dynamic_slice", "dynamic_update_slice",
        "expand_dims", "gather", "optimization_barrier", "pad", "reduce_max", "reduce_min", "reduce_window_max",
        "reduce_window_min", "reshape", "reshard", "rev", "scatter", "sharding_constraint", "slice", "sort", "split",
        "squeeze", "stack", "tile", "top_k", "transpose", "unstack",
    ), MOVE),
}
# fmt: on

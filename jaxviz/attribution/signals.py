"""A network as relevance propagation sees it: each value of its traced program that depends on the image is a `Signal`.

A signal knows the signals that it was computed from, and by what kind of operation. The operations of JAX are many; the
kinds are few:

    convolution, dense    a product with the network's weights
    average               a sum over places or features, or weighted by values that count as constants
    sum                   a sum of several signals
    product               a product of several signals
    move                  numbers that are selected, moved or resampled, such as a max-pooling or a concatenation
    softmax               it mixes all of its inputs
    (none)                an element-wise function of one signal: an activation function, a scale, a shift

Two things decide what counts as a constant. A divisor does, and so does a *gate*: a factor that a sigmoid, a softmax or
the root of a variance has made (Ali et al. 2022). So the signal takes all of a gated product (Arras et al. 2017), an
attention passes relevance to its values, and a normalisation to what it normalises.

Law: the values are those of the program. A scale or shift right after a convolution or dense layer, such as a batch
normalisation, is merged into it. Elsewhere a scale changes no share, and a shift is kept apart, as a part of the bias
of the next layer.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxviz.attribution.lrp_rules import Affine
from jaxviz.compiling.jaxprs import ELEMENTWISE, bind
from jaxviz.compiling.marks import MARK
from jaxviz.compiling.workarounds import parameters


class Fixed(NamedTuple):
    """A value that does not depend on the image.

    Attributes:
        varies: the axes along which it is not known to be constant.
        weight: whether it depends on the network's weights.
        number: its value, if it is a number in the program.
    """

    value: Any
    varies: frozenset[int]
    weight: bool = False
    number: float | None = None


def fixed(value: Any, *, weight: bool = False) -> Fixed:
    """A value that may vary along each axis that is longer than 1."""
    shape = getattr(value, "shape", ())
    return Fixed(value, frozenset(axis for axis, length in enumerate(shape) if length != 1), weight)


class Operation(NamedTuple):
    """How a signal was computed.

    Attributes:
        kind: the kind, or the name of the primitive, if there is no rule for it.
        place: where it is, on JAX's name stack.
        inputs: the signals that it takes.
        layer: the operation as rules see it.
        weighing: the place of the weights: (their operand, their free axes, the axes of the output that are these).
    """

    kind: str
    place: str
    inputs: tuple["Signal", ...]
    layer: Affine
    weighing: tuple[int, tuple[int, ...], tuple[int, ...]] | None = None


@dataclass(frozen=True, eq=False)
class Signal:
    """A value that depends on the image.

    Attributes:
        operation: how it was computed; None: it is the image, or an element-wise function of the signal `before`.
        before: the signal that it is an element-wise function of, if there is one.
        shift: its constant part, which no pixel has a share in; None: it has none.
        unsigned: whether it is never negative.
        limit: a value that it never exceeds, if a function of the network sees to that. One of up to 1 makes a gate; 0
            says that the value counts as a constant in any case.
        level: the signal that it equals but for a constant that is not the network's, such as the maximum that a
            softmax subtracts.
        exponent: the signal whose exponentials it selects, moves or sums.
    """

    value: Any
    operation: Operation | None = None
    before: "Signal | None" = None
    shift: Any = None
    unsigned: bool = False
    limit: float = math.inf
    level: "Signal | None" = None
    exponent: "Signal | None" = None

    @property
    def gate(self) -> bool:
        return self.limit < 1.001  # a hard sigmoid is rounded

    @property
    def varying(self) -> Any:
        """The value without its constant part."""
        return self.value if self.shift is None else self.value - self.shift

    @property
    def sources(self) -> tuple["Signal", ...]:
        """The signals that its relevance goes to."""
        if self.operation is not None:
            return self.operation.inputs
        return () if self.before is None else (self.before,)

    @property
    def history(self) -> list["Signal"]:
        """The signal itself, and those that it is an element-wise function of, last to first."""
        found, before = [self], self.before
        while before is not None:
            found.append(before)
            before = before.before
        return found


Value = Signal | Fixed


def known(value: Any) -> Value:
    """A literal of the program as a `Fixed` with its number."""
    if isinstance(value, Signal | Fixed):
        return value
    known = fixed(value)
    return known if jnp.ndim(value) or jnp.iscomplexobj(value) else known._replace(number=float(value))


def carries(name: str, value: Any, signals: Sequence["Signal"]) -> bool:
    """Whether what an operation makes of signals is a signal. A comparison or an index is none.

    Complex numbers are, and so are the bits of a number. No rule reads either of them.
    """
    if name == "stop_gradient" or value.dtype == bool:
        return False
    encoded = name == "bitcast_convert_type" or not all(jnp.issubdtype(x.value.dtype, jnp.inexact) for x in signals)
    return encoded or jnp.issubdtype(value.dtype, jnp.inexact)


def constants(equation: Any, inputs: Sequence[Any]) -> list[Value]:
    values, weight = bind(equation, *(each.value for each in inputs)), any(each.weight for each in inputs)
    found: list[Any] = [fixed(value, weight=weight) for value in values]
    name = equation.primitive.name
    if name == "broadcast_in_dim":
        axes = parameters(equation)["broadcast_dimensions"]
        varies = frozenset(axes[axis] for axis in inputs[0].varies)
        return [found[0]._replace(varies=varies, number=inputs[0].number)]
    if name in ELEMENTWISE:
        return [found[0]._replace(varies=frozenset().union(*(each.varies for each in inputs)))]
    return found


def never_negative(value: Value) -> bool:
    if isinstance(value, Signal):
        return value.unsigned
    return value.number is not None and value.number >= 0


def affine(name: str, inputs: Sequence[Any]) -> tuple[Fixed, Fixed] | None:
    """(scale, offset) of an element-wise function that is affine in its only signal; None for any other function."""
    at = next(at for at, each in enumerate(inputs) if isinstance(each, Signal))
    if name in ("convert_element_type", "copy", "reduce_precision", MARK):
        return _ONE, _ZERO
    if name == "neg":
        return _MINUS, _ZERO
    if name not in ("add", "add_any", "sub", "mul", "div") or (name == "div" and at == 1):
        return None
    other = inputs[1 - at]
    if name in ("mul", "div"):
        return (_inverse(other) if name == "div" else other), _ZERO
    if name == "sub":
        return (_ONE, _negated(other)) if at == 0 else (_MINUS, other)
    return _ONE, other


def _negated(value: Fixed) -> Fixed:
    return value._replace(value=-value.value, number=None if value.number is None else -value.number)


def _inverse(value: Fixed) -> Fixed:
    return value._replace(value=1 / value.value, number=1 / value.number if value.number else None)


_ZERO, _ONE, _MINUS = (Fixed(number, frozenset(), False, number) for number in (0.0, 1.0, -1.0))


def activation(name: str, inputs: Sequence[Value], value: Any, before: Signal) -> Signal:
    """An element-wise function of `before` that is not affine."""
    numbers = [each.number for each in inputs if isinstance(each, Fixed) and each.number is not None]
    never = [never_negative(each) for each in inputs]
    unsigned = (
        name in ("abs", "exp", "logistic", "rsqrt", "sqrt", "square")
        or (name == "max" and any(never))
        or (name in ("add", "add_any", "clamp", "div", "min", "mul", "select_n") and all(never))
    )
    limit = math.inf
    if name in ("exp", "rsqrt", "sqrt"):
        limit = 0.0
    elif name == "logistic":
        limit = 1.0
    elif name in ("min", "clamp") and unsigned and numbers:
        limit = max(numbers)
    signal = next(each for each in inputs if isinstance(each, Signal))
    exponent = (signal.level or signal) if name == "exp" else None
    return Signal(value, before=before, unsigned=unsigned, limit=limit, exponent=exponent)


def function_of(signal: Signal, of: Signal) -> Callable[[Any], Any] | None:
    """The signal as a function of the signal `of`; None, if it depends on others."""
    if signal is of:
        return lambda x: x
    if signal.operation is None or len(signal.operation.inputs) != 1:
        return None
    inner, layer = function_of(signal.operation.inputs[0], of), signal.operation.layer
    return None if inner is None else lambda x: layer.apply(layer.kernel, inner(x))


def free_axes(equation: Any, at: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of the weights, operand `at`, that are axes of the output; and these axes of the output."""
    params = parameters(equation)
    if equation.primitive.name == "conv_general_dilated":
        layout = params["dimension_numbers"]
        return ((layout.rhs_spec[0],), (layout.out_spec[1],)) if params["batch_group_count"] == 1 else ((), ())
    summed, batch = params["dimension_numbers"]
    ranks = [each.aval.ndim for each in equation.invars]
    free = [tuple(axis for axis in range(ranks[i]) if axis not in (*summed[i], *batch[i])) for i in (0, 1)]
    start = len(batch[0]) + (len(free[0]) if at else 0)
    return free[at], tuple(range(start, start + len(free[at])))


def on_kernel(operation: Operation | None, scale: Fixed) -> Any:
    """A scale of an operation's output as a factor of its weights; None, if it is none."""
    if operation is None or operation.weighing is None:
        return None
    _, axes, outputs = operation.weighing
    if jnp.ndim(scale.value) == 0:
        return scale.value
    if not scale.varies.issubset(outputs):
        return None
    kernel = operation.layer.kernel
    row = scale.value[tuple(slice(None) if axis in outputs else 0 for axis in range(jnp.ndim(scale.value)))]
    return row.reshape([length if axis in axes else 1 for axis, length in enumerate(kernel.shape)])

"""The activation functions that Keras has names for, as Keras 3 defines them.

At a kink of a ReLU the gradient is TensorFlow's: 0 at 0, where the inactive units are, and 0 where relu6 cuts off.
To add an activation function, add its row to `ACTIVATIONS`; nothing else lists the names.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array


def rectify(x: Array, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0) -> Array:
    """ReLU with all options of Keras: linear above `threshold`, cut off at `max_value`, `negative_slope` below it."""
    if negative_slope == 0 and threshold >= 0:
        y = jax.nn.relu(x)  # the plain ReLU, which the gradient rules recognise
        y = jnp.where(x > threshold, y, 0.0) if threshold else y
    else:
        y = jnp.where(x > threshold, x, negative_slope * (x - threshold))
    return y if max_value is None else jnp.where(y >= max_value, max_value, y)


def _linear(x: Array) -> Array:
    return x


def _relu6(x: Array) -> Array:
    return rectify(x, max_value=6.0)


def _leaky_relu(x: Array) -> Array:
    return rectify(x, negative_slope=0.2)  # the default of the activation function; that of the layer LeakyReLU is 0.3


def gelu(x: Array, approximate: bool = False) -> Array:
    """GELU; where it is not approximated, it is computed by erf, as TensorFlow and PyTorch do.

    `jax.nn.gelu` is computed by erfc, which keeps more digits of results near 0 but takes twice as long on a CPU.
    """
    return jax.nn.gelu(x) if approximate else 0.5 * x * (1 + jax.lax.erf(x * math.sqrt(0.5)))


def _glu(x: Array) -> Array:
    value, gate = jnp.split(x, 2, -1)
    return value * jax.nn.sigmoid(gate)


def _hard_sigmoid_of_keras_2(x: Array) -> Array:
    return jnp.clip(0.2 * x + 0.5, 0.0, 1.0)


def _hard_shrink(x: Array) -> Array:
    return jnp.where(jnp.abs(x) > 0.5, x, 0.0)


def _soft_shrink(x: Array) -> Array:
    return jnp.sign(x) * jnp.maximum(jnp.abs(x) - 0.5, 0.0)


def _tanh_shrink(x: Array) -> Array:
    return x - jnp.tanh(x)


def _sparsemax(x: Array) -> Array:
    """Keras' sparsemax, which equals that of Martins & Astudillo 2016 only if one number is far above the others.

    The threshold tau comes from the sum of all cumulative sums in the support; in the paper, from the last one alone.
    (Seen in Keras 3.15.)
    """
    z = jnp.flip(jnp.sort(x, -1), -1)
    sums, k = jnp.cumsum(z, -1), jnp.arange(1, x.shape[-1] + 1)
    support = k * z > sums - 1
    tau = (jnp.where(support, sums, 0.0).sum(-1, keepdims=True) - 1) / support.sum(-1, keepdims=True)
    return jnp.maximum(x - tau, 0.0)


@dataclass(frozen=True)
class Activation:
    """An activation function, called with an array [n ... units], and what the rest of the code asks about it.

    Attributes:
        function: what it computes.
        mixes: each number of the result depends on all units, so no number can be explained through it alone.
        probabilities: it turns the scores of classes into probabilities, or into their logarithms.
        never_negative: no number of the result is below 0.
        keras_3: Keras 3 has a function of this name. The others occur only in files that Keras 2 wrote.
        own: the name in the file of a function that the caller gave; "" of a function in `ACTIVATIONS`.
    """

    function: Callable[[Array], Array]
    mixes: bool = False
    probabilities: bool = False
    never_negative: bool = False
    keras_3: bool = True
    own: str = ""

    def __call__(self, x: Array) -> Array:
        """The activation for `x`."""
        return self.function(x)


_sigmoid = partial(Activation, probabilities=True, never_negative=True)
_softmax = partial(Activation, mixes=True, probabilities=True, never_negative=True)
_log_softmax = partial(Activation, mixes=True, probabilities=True)

SOFTMAX = _softmax(jax.nn.softmax)

ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(_linear),
    "relu": Activation(jax.nn.relu, never_negative=True),
    "relu6": Activation(_relu6, never_negative=True),
    "leaky_relu": Activation(_leaky_relu),
    "elu": Activation(jax.nn.elu),
    "selu": Activation(jax.nn.selu),
    "celu": Activation(jax.nn.celu),
    "gelu": Activation(gelu),
    "glu": Activation(_glu),
    "silu": Activation(jax.nn.silu),
    "swish": Activation(jax.nn.silu),
    "mish": Activation(jax.nn.mish),
    "softplus": Activation(jax.nn.softplus, never_negative=True),
    "softsign": Activation(jax.nn.soft_sign),
    "exponential": Activation(jnp.exp, never_negative=True),
    "sigmoid": _sigmoid(jax.nn.sigmoid),
    "log_sigmoid": Activation(jax.nn.log_sigmoid),
    "hard_sigmoid": _sigmoid(jax.nn.hard_sigmoid),
    "hard_sigmoid_of_keras_2": _sigmoid(_hard_sigmoid_of_keras_2, keras_3=False),
    "hard_silu": Activation(jax.nn.hard_silu),
    "hard_swish": Activation(jax.nn.hard_silu),
    "tanh": Activation(jnp.tanh),
    "hard_tanh": Activation(jax.nn.hard_tanh),
    "tanh_shrink": Activation(_tanh_shrink),
    "hard_shrink": Activation(_hard_shrink),
    "soft_shrink": Activation(_soft_shrink),
    "squareplus": Activation(jax.nn.squareplus, never_negative=True),
    "sparse_plus": Activation(jax.nn.sparse_plus, never_negative=True),
    "sparse_sigmoid": _sigmoid(jax.nn.sparse_sigmoid),
    "softmax": SOFTMAX,
    "softmax_v2": _softmax(jax.nn.softmax, keras_3=False),  # Keras 2's name for tf.nn.softmax
    "log_softmax": _log_softmax(jax.nn.log_softmax),
    "log_softmax_v2": _log_softmax(jax.nn.log_softmax, keras_3=False),
    "sparsemax": _softmax(_sparsemax),
}

MIXING = tuple(name for name, each in ACTIVATIONS.items() if each.mixes)
"""The names of the activation functions that mix all units, such as softmax."""

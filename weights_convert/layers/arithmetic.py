"""Operations that compute with numbers at the same place: arithmetic, comparisons, functions of one number.

A comparison gives 1.0 or 0.0 here, so that every activation is an array of float32; Keras has True or False there.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from . import options as o
from .kind import Config
from .operands import binary, elementwise, of_operands, operation, spelled
from .options import Option


def _clip(config: Config, x: Array) -> Array:
    return jnp.clip(x, config["x_min"], config["x_max"])


def _cast(config: Config, x: Array) -> Array:
    if config["dtype"] == "bool":
        return (x != 0).astype(x.dtype)
    return jnp.trunc(x) if config["dtype"].startswith("int") else x


def _round(config: Config, x: Array) -> Array:
    return jnp.round(x, config["decimals"])


def _where(condition: Array, x: Array, y: Array) -> Array:
    return jnp.where(condition != 0, x, y)


def _full_like(config: Config, x: Array) -> Array:
    return jnp.full_like(x, config["fill_value"])


def _like(function: Callable[[Array], Array]) -> Callable[..., Array]:
    return lambda config, x: function(x)


def _no_nan(x: Array, y: Array) -> Array:
    return jnp.where(y == 0, 0.0, x / jnp.where(y == 0, 1.0, y))


# Conversions to other types change numbers in ways that depend on the processor.
TYPES = ("float32", "float16", "bfloat16", "float64", "int32", "int64", "bool")
TYPE = Option(o.optional(o.word), None)

KINDS = {
    # two operands
    "ops.Add": binary(
        jnp.add,
        "__operators__.add",
        "math.add",
        "compat.v1.add",
        prepares="values",
        others={"nn.bias_add": spelled("value bias", data_format="NHWC")},
    ),
    "ops.Subtract": binary(jnp.subtract, "math.subtract", prepares="values"),
    "ops.Multiply": binary(
        jnp.multiply,
        "math.multiply",
        prepares="values",
        others={"math.scalar_mul": spelled("scalar x"), "compat.v1.math.scalar_mul": spelled("scalar x")},
    ),
    "ops.TrueDivide": binary(jnp.divide, "math.truediv", "math.divide", "realdiv", "compat.v1.div", prepares="values"),
    "ops.Divide": binary(jnp.divide, prepares="values"),
    "ops.DivideNoNan": binary(_no_nan, "math.divide_no_nan"),
    "ops.FloorDivide": binary(jnp.floor_divide, "math.floordiv", "compat.v1.floor_div"),
    "ops.Mod": binary(jnp.mod, "math.floormod"),
    "ops.Power": binary(jnp.power, "math.pow", prepares="values"),
    "ops.Maximum": binary(jnp.maximum, "math.maximum", prepares="values"),
    "ops.Minimum": binary(jnp.minimum, "math.minimum", prepares="values"),
    "ops.SquaredDifference": binary(lambda x, y: jnp.square(x - y), "math.squared_difference", keras_3=False),
    "ops.Logaddexp": binary(jnp.logaddexp),
    "ops.Arctan2": binary(jnp.arctan2, others={"math.atan2": spelled("y x")}),
    "ops.Greater": binary(jnp.greater, "math.greater"),
    "ops.GreaterEqual": binary(jnp.greater_equal, "math.greater_equal"),
    "ops.Less": binary(jnp.less, "math.less"),
    "ops.LessEqual": binary(jnp.less_equal, "math.less_equal"),
    "ops.Equal": binary(jnp.equal, "math.equal"),
    "ops.NotEqual": binary(jnp.not_equal, "math.not_equal"),
    "ops.LogicalAnd": binary(lambda x, y: (x != 0) & (y != 0), "math.logical_and"),
    "ops.LogicalOr": binary(lambda x, y: (x != 0) | (y != 0), "math.logical_or"),
    "ops.LogicalXor": binary(lambda x, y: (x != 0) ^ (y != 0)),
    # more operands
    "ops.Where": operation(
        "numpy",
        partial(of_operands, _where),
        operands=("condition", "x1", "x2"),
        tensorflow={"where": "condition x y", "compat.v1.where_v2": "condition x y"},
    ),
    # one operand
    "ops.Absolute": elementwise(jnp.abs, "math.abs"),
    "ops.Negative": operation(
        "numpy",
        _like(jnp.negative),
        prepares="values",
        tensorflow={"math.negative": "x"},
    ),
    "ops.Sign": elementwise(jnp.sign, "math.sign"),
    "ops.Square": elementwise(jnp.square, "math.square"),
    "ops.Sqrt": elementwise(jnp.sqrt, "math.sqrt"),
    "ops.Rsqrt": elementwise(lax.rsqrt, "math.rsqrt", module="math"),
    "ops.Reciprocal": elementwise(jnp.reciprocal, "math.reciprocal"),
    "ops.Exp": elementwise(jnp.exp, "math.exp"),
    "ops.Exp2": elementwise(jnp.exp2),
    "ops.Expm1": elementwise(jnp.expm1, "math.expm1"),
    "ops.Log": elementwise(jnp.log, "math.log"),
    "ops.Log1p": elementwise(jnp.log1p, "math.log1p"),
    "ops.Log2": elementwise(jnp.log2),
    "ops.Log10": elementwise(jnp.log10),
    "ops.Sin": elementwise(jnp.sin, "math.sin"),
    "ops.Cos": elementwise(jnp.cos, "math.cos"),
    "ops.Tan": elementwise(jnp.tan, "math.tan"),
    "ops.Arctan": elementwise(jnp.arctan, "math.atan"),
    "ops.Sinh": elementwise(jnp.sinh, "math.sinh"),
    "ops.Cosh": elementwise(jnp.cosh, "math.cosh"),
    "ops.Erf": elementwise(jax.scipy.special.erf, "math.erf", module="math"),
    "ops.Floor": elementwise(jnp.floor, "math.floor"),
    "ops.Ceil": elementwise(jnp.ceil, "math.ceil"),
    "ops.Round": operation(
        "numpy",
        _round,
        {"decimals": Option(o.integer, 0)},
        elementwise=True,
        prepares="values",
        tensorflow={"math.round": "x"},
    ),
    "ops.LogicalNot": elementwise(lambda x: x == 0, "math.logical_not"),
    "ops.Clip": operation(
        "numpy",
        _clip,
        {"x_min": Option(o.optional(o.number), None), "x_max": Option(o.optional(o.number), None)},
        elementwise=True,
        prepares="values",
        tensorflow={"clip_by_value": "t clip_value_min clip_value_max"},
    ),
    "ops.Cast": operation(
        "core",
        _cast,
        {"dtype": Option(o.one_of(*TYPES))},
        elementwise=True,
        prepares="values",
        tensorflow={"cast": "x dtype"},
    ),
    "ops.ConvertToTensor": operation(
        "core",
        options={"dtype": Option(o.optional(o.one_of("float32")), None)},
        tensorflow={"identity": "input", "convert_to_tensor": "value dtype"},
    ),
    "ops.StopGradient": operation(
        "core",
        _like(lax.stop_gradient),
        elementwise=True,
        tensorflow={"stop_gradient": "input"},
    ),
    "ops.ZerosLike": operation(
        "numpy", _like(jnp.zeros_like), {"dtype": TYPE}, tensorflow={"zeros_like": "input dtype"}
    ),
    "ops.OnesLike": operation("numpy", _like(jnp.ones_like), {"dtype": TYPE}, tensorflow={"ones_like": "input dtype"}),
    "ops.FullLike": operation(
        "numpy", _full_like, {"dtype": TYPE, "fill_value": Option(o.number)}, called=("fill_value",)
    ),
}

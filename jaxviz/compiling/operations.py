"""What an operation of a traced program is, as a part of a layer.

Law: the answers depend on the operation and the functions that it calls, not on where it stands.
"""

import re
from typing import Any

from jaxviz.compiling.jaxprs import CALLS, bodies, body_of, nn_function
from jaxviz.compiling.marks import OPEN
from jaxviz.compiling.workarounds import ClosedJaxpr, function_name, parameters

PRODUCTS = {"conv_general_dilated": "Conv", "dot_general": "Linear"}
"""The operations that multiply values by parameters and sum, and the kinds of their layers."""

LAYOUT = ("squeeze", "transpose", "reshape")


def is_open(equation: Any) -> bool:
    """Whether layers of a program may lie in the body of an equation; not in `shard_map`, whose parts have devices."""
    primitive = equation.primitive.name
    return (
        (primitive in OPEN or primitive in ("cond", "while")) and bool(bodies(equation)) and not closed_name(equation)
    )


def closed_name(equation: Any) -> str:
    """The name of a function that is one layer: of `jax.nn`, or with a derivative of its own, without a product."""
    if equation.primitive.name not in CALLS or any(map(_multiplies, bodies(equation))):
        return ""
    name = nn_function(equation) or (equation.primitive.name.startswith("custom") and function_name(body_of(equation)))
    return str(name or "").strip("_<>")


def scope_of(scope: str, equation: Any) -> str:
    """The scope of an equation. Transforms are left out, and so are classes, which Equinox puts there."""
    own = re.sub(r"\w+\(|\)", "", str(equation.source_info.name_stack))
    return "/".join(part for part in (*scope.split("/"), *own.split("/")) if part and "." not in part)


def of_class(stack: str) -> bool:
    """Whether a name stack ends in a class, as inside the layers of Equinox, which add and drop axes of their own."""
    return "." in stack.split("/")[-1]


def _multiplies(body: ClosedJaxpr) -> bool:
    equations = body.jaxpr.eqns
    return any(each.primitive.name in PRODUCTS or any(map(_multiplies, bodies(each))) for each in equations)


def has_zero(equation: Any) -> bool:
    literals = (getattr(each, "val", None) for each in equation.invars)
    return any(each is not None and not getattr(each, "shape", ()) and each == 0 for each in literals)


def moves_axes(equation: Any) -> bool:
    """Whether an operation only moves axes, or leaves out or adds axes of length 1 after the first.

    The first axis is mostly that of the images. Without it, a layer of one image would have another shape than one of
    two: `jnp.matmul` leaves it out if its length is 1.
    """
    primitive, before, after = equation.primitive.name, equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    if primitive not in LAYOUT or (primitive == "reshape" and before[:1] != after[:1]):
        return False
    if primitive == "squeeze" and 0 in parameters(equation)["dimensions"]:
        return False
    return sorted(n for n in before if n != 1) == sorted(n for n in after if n != 1)

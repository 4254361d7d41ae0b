"""Where the versions of JAX differ, 0.10 to 0.12, and where one of them has a fault: the only file that knows.

Everything that jaxviz takes from inside JAX comes through here: the parts of a traced function (a *jaxpr*), the
parameters of its equations, and the faults that have to be worked around. Each entry says what is different, since
which version, which test would fail without it, and when it can go.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr as ClosedJaxpr
from jax.extend.core import Jaxpr as Jaxpr
from jax.extend.core import JaxprEqn as Equation
from jax.extend.core import Literal as Literal
from jax.extend.core import Var as Var


class UnknownEquationError(KeyError):
    """An equation lacks a parameter that a rule reads: it is from a version of JAX that the rule does not know."""

    def __str__(self) -> str:
        return str(self.args[0])


class _Parameters(dict[str, Any]):
    def __init__(self, equation: Equation):
        super().__init__(equation.params)
        self.primitive = equation.primitive.name

    def __missing__(self, name: str) -> Any:
        raise UnknownEquationError(
            f"the primitive {self.primitive} of JAX {jax.__version__} has no parameter {name!r}, only "
            f"{', '.join(sorted(self))}: jaxviz knows JAX 0.10 to 0.12"
        )


def parameters(equation: Equation) -> dict[str, Any]:
    """The parameters of an equation; reading one that is missing raises `UnknownEquationError`.

    The names of parameters are no public interface of JAX: those of `scan` changed in 0.11. The interpreter
    (`jaxprs.run`) catches the error and runs the equation as it is. Tested by `test_workarounds.py`; stays for good.
    """
    return _Parameters(equation)


def scan_split(equation: Equation) -> tuple[int, int]:
    """How many inputs of a `scan` are constants, and how many are carried.

    JAX 0.10 counts them in `num_consts` and `num_carry`; since 0.11 the flattened tuple `ft_in` has three parts,
    constants, carried and scanned. Tested by `test_workarounds.py` and by every attribution that loops. Can go with
    JAX 0.10, that is with Python 3.11.
    """
    params = parameters(equation)
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    constants, carried, _ = params["ft_in"].unpack()
    return len(constants), len(carried)


def closed(body: ClosedJaxpr | Jaxpr) -> ClosedJaxpr:
    """A function that an equation carries, with its constants.

    In JAX 0.10 some equations carry a ClosedJaxpr, and some, such as `remat`, a Jaxpr without constants; since 0.11 the
    two are one class. Tested by `test_jaxprs.py`. Can go with JAX 0.10.
    """
    return body if isinstance(body, ClosedJaxpr) else ClosedJaxpr(body, ())


def like(equation: Equation, body: Any, other: ClosedJaxpr) -> Any:
    """`other` in the form in which `equation` carried `body`, or `body` itself where that has no place for constants.

    See `closed`. `remat` refuses constants in every version. Tested by `test_jaxprs.py`. The first half can go with
    JAX 0.10, the second half stays.
    """
    if other.consts and equation.primitive.name in ("remat", "remat2", "checkpoint"):
        return body
    return other if isinstance(body, ClosedJaxpr) else other.jaxpr


def bind(equation: Equation, inputs: Sequence[Any], params: dict[str, Any]) -> list[Any]:
    """The outputs of an equation run again, with other inputs and parameters.

    Before JAX 0.10.1, `get_bind_params` returns a pair of functions and parameters; since then the parameters alone.
    Tested by `test_jaxprs.py`. Can go when JAX 0.10.1 is the oldest supported version.
    """
    found = equation.primitive.get_bind_params(params)
    functions, params = found if isinstance(found, tuple) else ((), found)
    output = equation.primitive.bind(*functions, *inputs, **params)
    return list(output) if equation.primitive.multiple_results else [output]


def tell_classes_apart(function: Callable) -> Callable:
    """`function` with one more keyword argument, `classes`, for `jax.jit` to treat as static: see `classes_of`."""

    def other(*args: Any, classes: int = 0, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    functools.update_wrapper(other, function)
    signature = inspect.signature(function)
    added = inspect.Parameter("classes", inspect.Parameter.KEYWORD_ONLY, default=0)
    other.__signature__ = signature.replace(parameters=[*signature.parameters.values(), added])  # type: ignore[attr-defined]
    return other


def classes_of(args: tuple, kwargs: dict[str, Any]) -> int:
    """A number that differs between arguments of different classes.

    To jaxlib (0.10 to 0.12) the tree structures of two registered dataclasses with the same fields are equal, whatever
    their classes; only their hashes differ. `jit` therefore took one objective for another when the two hashes fell
    into one slot of its cache, about once in 100 pairs of classes. Tested by `test_jit.py`. Can go when
    `jax.tree.structure(A(1)) != jax.tree.structure(B(1))` for two such classes.
    """
    return hash(jax.tree.structure((args, kwargs)))


_WITHOUT_YNNPACK = {"xla_cpu_experimental_ynn_fusion_type": ""}


@functools.cache
def compiler_options() -> dict[str, str] | None:
    """The options that keep XLA:CPU from using YNNPACK, if the installed version computes wrong numbers with it.

    On by default since jaxlib 0.10.2, YNNPACK loses NaN in a maximum, so that a broken network looks healthy, and
    returns wrong sums on some machines (jax#39103; 1065369600 for 1024³). The two programs are tried here, once for
    each process, in 0.1 s. Tested by `test_jit.py`. Can go when no supported jaxlib fails them.
    """
    lost = not np.isnan(jax.jit(lambda x: jnp.max(x))(np.full((64, 64), np.nan, np.float32)))
    norms = jax.jit(lambda matrix: jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2))(matrix))
    wrong = lost or bool((norms(np.ones((1024, 1024), np.float32)) != 1024.0**3).any())
    return _WITHOUT_YNNPACK if wrong else None

"""Differences between JAX 0.10, 0.11 and 0.12, and faults of JAX: the only file that knows about them.

Everything that jaxviz reads inside JAX comes from here: the parts of a traced function (a *jaxpr*), the parameters of
its equations, and workarounds for faults. No other file imports `jax.extend` or `jax._src`, or reads
`equation.params`. Each entry says what is different and since which version, which test fails without it, and when it
can be deleted. The tests are in `tests/jaxviz/test_workarounds.py`.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import ClosedJaxpr as ClosedJaxpr
from jax.extend.core import Jaxpr as Jaxpr
from jax.extend.core import JaxprEqn as Equation
from jax.extend.core import Literal as Literal
from jax.extend.core import Primitive as Primitive
from jax.extend.core import Var as Var


class UnknownEquationError(KeyError):
    """An equation lacks a parameter that a rule reads, because the rule does not know this version of JAX."""

    def __str__(self) -> str:
        return str(self.args[0])


class _Parameters(dict[str, Any]):
    def __init__(self, equation: Equation):
        super().__init__(equation.params)
        self.primitive = equation.primitive.name

    def __missing__(self, name: str) -> Any:
        raise UnknownEquationError(
            f"a rule needs the parameter {name!r} of the primitive {self.primitive}, and jaxviz knows JAX 0.10 to "
            f"0.12; given: {', '.join(sorted(self)) or 'no parameters'}, in JAX {jax.__version__}"
        )


def parameters(equation: Equation) -> dict[str, Any]:
    """The parameters of an equation, as a new dictionary; reading one that is missing raises `UnknownEquationError`.

    The parameters of primitives are not public in JAX; those of `scan` changed in 0.11. The interpreters (`jaxprs.run`,
    `one_channel`, `one_window`) catch the error and run the equation as it is. Test:
    `test_an_equation_with_unknown_parameters_runs_as_it_is`. It stays for good.
    """
    return _Parameters(equation)


REMAT = "remat2"
"""The name of the primitive of `jax.checkpoint` in JAX 0.10 to 0.12. Test: `test_bodies_with_constants`."""


def scan_split(equation: Equation) -> tuple[int, int]:
    """The number of constants and the number of carried values among the inputs of a `scan`.

    In JAX 0.10 they are the parameters `num_consts` and `num_carry`. Since 0.11 the parameter `ft_in` is a flattened
    tuple of three parts: constants, carried values and scanned values. Test: `test_the_inputs_of_a_scan`. The first
    case can be deleted with support for JAX 0.10, that is, for Python 3.11.
    """
    params = parameters(equation)
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    constants, carried, _ = params["ft_in"].unpack()
    return len(constants), len(carried)


def closed(body: ClosedJaxpr | Jaxpr) -> ClosedJaxpr:
    """A function that is a parameter of an equation, together with its constants.

    In JAX 0.10 most equations have a ClosedJaxpr, but `remat2` has a Jaxpr, which has no constants. Since 0.11 the two
    are one class. Test: `test_bodies_with_constants`. It can be deleted with support for JAX 0.10.
    """
    return body if isinstance(body, ClosedJaxpr) else ClosedJaxpr(body, ())


def like(equation: Equation, body: Any, other: ClosedJaxpr) -> Any:
    """`other`, as the parameter of `equation` that takes the place of `body`; `body` itself, where that is impossible.

    `remat2` refuses constants in every version of JAX, so its body is left as it is if rewriting has made constants.
    Everything else is as for `closed`. Test: `test_bodies_with_constants`. The last line can be simplified with support
    for JAX 0.10 gone; the rest stays.
    """
    if other.consts and equation.primitive.name == REMAT:
        return body
    return other if isinstance(body, ClosedJaxpr) else other.jaxpr


def bind(equation: Equation, inputs: Sequence[Any], params: dict[str, Any]) -> list[Any]:
    """The outputs of an equation that runs again with other inputs and parameters.

    It keeps the context in which it was traced, with the metadata of `computed_once` or of a user. JAX's own function
    for this, `eval_jaxpr`, keeps it too, but takes no other parameters. Before JAX 0.10.1, `get_bind_params` returns
    functions and parameters; since then, parameters alone. Tests: `test_an_equation_runs_again` and
    `test_an_equation_keeps_its_metadata`. It can be simplified when JAX 0.10.1 is the oldest supported version.
    """
    found = equation.primitive.get_bind_params(params)
    functions, params = found if isinstance(found, tuple) else ((), found)
    with equation.ctx.manager:
        output = equation.primitive.bind(*functions, *inputs, **params)
    return list(output) if equation.primitive.multiple_results else [output]


def nn_name(body: ClosedJaxpr) -> str:
    """The name of the function of `jax.nn` that was traced to `body`, such as "relu"; "" for any other function.

    Where a function was defined is not public in JAX. Test: `test_functions_of_jax_nn_are_recognised`. It stays for
    good.
    """
    function, _, file = body.jaxpr.debug_info.func_src_info.partition(" at ")
    return function if "jax/_src/nn/" in file.replace("\\", "/") else ""


def function_name(body: ClosedJaxpr) -> str:
    """The name of the Python function that was traced to `body`. It is as little public as where it was defined."""
    return body.jaxpr.debug_info.func_src_info.partition(" at ")[0]


def tell_classes_apart(function: Callable) -> Callable:
    """`function` with one more keyword argument, `classes`, which `jax.jit` treats as static: see `classes_of`."""

    def other(*args: Any, classes: int = 0, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    functools.update_wrapper(other, function)
    signature = inspect.signature(function)
    added = inspect.Parameter("classes", inspect.Parameter.KEYWORD_ONLY, default=0)
    other.__signature__ = signature.replace(parameters=[*signature.parameters.values(), added])  # type: ignore[attr-defined]
    return other


def classes_of(args: tuple, kwargs: dict[str, Any]) -> int:
    """A number that is different for arguments of different classes.

    In jaxlib 0.10 to 0.12, the tree structures of two registered dataclasses with the same fields are equal, whatever
    their classes; only their hashes differ. So `jit` took one objective for another when the two hashes fell into the
    same slot of its cache, which happened for about one in 100 pairs of classes. Test:
    `test_classes_with_the_same_fields_have_programs_of_their_own`. It can be deleted when
    `jax.tree.structure(A(1)) != jax.tree.structure(B(1))` for two such classes.
    """
    return hash(jax.tree.structure((args, kwargs)))


def computed_once(function: Callable) -> Callable:
    """`function`, whose result XLA:CPU computes once, also where several operations read it.

    XLA:CPU merges operations with each operation that reads them, and so computes them again for each reader, also
    across an `optimization_barrier`: all 49 taps of a 7 × 7 depthwise convolution three times, where a LayerNorm reads
    the result. It does not merge a call that it is told not to inline. `jax.experimental.xla_metadata`, which tells it,
    is not stable. Test: `test_what_several_operations_read_is_computed_once`. It can be deleted when that test passes
    without it.
    """
    called = jax.jit(function)

    @functools.wraps(function)
    def once(*args: Any) -> Any:
        with set_xla_metadata(inlineable="false"):
            return called(*args)

    return once


_WITHOUT_YNNPACK = {"xla_cpu_experimental_ynn_fusion_type": ""}


@functools.cache
def compiler_options() -> dict[str, str] | None:
    """The options that switch YNNPACK off in XLA:CPU; None, if the installed version has no wrong numbers with it.

    YNNPACK is on by default since jaxlib 0.10.2. It loses NaN in a maximum, so that a broken network looks healthy, and
    returns wrong sums on some machines (jax#39103; 1065369600 instead of 1024³). Two small programs are tried once for
    each process, in 0.1 s. Test: `test_a_compiled_function_has_no_wrong_sums_and_keeps_nan`. It can be deleted when
    every supported jaxlib computes both programs right.
    """
    lost = not np.isnan(jax.jit(lambda x: jnp.max(x))(np.full((64, 64), np.nan, np.float32)))
    norms = jax.jit(lambda matrix: jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2))(matrix))
    wrong = lost or bool((norms(np.ones((1024, 1024), np.float32)) != 1024.0**3).any())
    return _WITHOUT_YNNPACK if wrong else None


REFUSALS = {
    "callbacks do not support JVP": (
        "the network calls Python, by jax.pure_callback or io_callback, and JAX has no gradient through such a call: "
        "give it one with jax.custom_vjp, or ask what needs no gradient, such as activations, occlusion or score_cam"
    ),
    "Reverse-mode differentiation does not work": (
        "the network has a loop that decides while it runs how often it repeats, lax.while_loop or a fori_loop with "
        "computed bounds, and JAX has no gradient through it: use lax.scan or a fori_loop with fixed bounds, or ask "
        "what needs no gradient, such as activations, occlusion or score_cam"
    ),
    "incompatible devices": (
        "one program runs on one set of devices, and parts of the network are on different ones: put all of its "
        "parameters on one device, jax.device_put(variables, device), or shard them over one mesh"
    ),
}
"""Parts of what JAX says when it refuses to trace or run a program, and sentences that say what can be done.

The errors are ValueErrors without a class of their own in JAX 0.10 to 0.12. Tests: `test_a_gradient_through_python`,
`test_a_gradient_through_a_loop_of_any_length` and `test_devices.py`. It stays for good.
"""

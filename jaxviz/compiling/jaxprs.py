"""Traced functions run again with other rules: the one interpreter behind every rewriting of a model.

A *rule* takes an equation and its inputs and returns its outputs. An equation without a rule runs as it is, with the
functions that it carries (the bodies of jit, scan, while, cond, remat) under the same rules.
"""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxviz.compiling import workarounds
from jaxviz.compiling.workarounds import ClosedJaxpr, Equation, Jaxpr, Literal, UnknownEquationError, Var, parameters

Rule = Callable[..., list[Any]]


def with_rules(function: Callable, rules: Mapping[str, Rule]) -> Callable:
    """`function` with the equations of the named primitives run by `rules`."""

    @functools.wraps(function)
    def other(*args: Any) -> Any:
        # A new function for each trace: JAX keeps the trace of one that it knows, and takes it for arguments of another
        # class with the same fields, see `workarounds.classes_of`.
        jaxpr, out = jax.make_jaxpr(lambda *args: function(*args), return_shape=True)(*args)
        values = run(jaxpr.jaxpr, jaxpr.consts, jax.tree.leaves(args), rules)
        return jax.tree.unflatten(jax.tree.structure(out), values)

    return other


class Program(NamedTuple):
    """The parts of a jaxpr that running it needs; a Jaxpr of JAX has them under the same names."""

    constvars: Sequence[Any]
    invars: Sequence[Any]
    eqns: Sequence[Equation]
    outvars: Sequence[Any]


def run(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], rules: Mapping[str, Rule]) -> list[Any]:
    """The outputs of a jaxpr, or a `Program`, by `rules`."""
    return evaluate(jaxpr, consts, args, functools.partial(_by_rules, rules))


def _by_rules(rules: Mapping[str, Rule], equation: Equation, *inputs: Any) -> list[Any]:
    """The outputs of one equation; one that its rule does not understand runs as it is."""
    rule = rules.get(equation.primitive.name)
    if rule is not None:
        with contextlib.suppress(UnknownEquationError):
            return rule(equation, *inputs)
    return bind(equation, *inputs, rules=rules)


def evaluate(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], rule: Rule) -> list[Any]:
    """The outputs of a jaxpr whose every equation is run by `rule`, on values of whatever kind it makes."""
    environment: dict[Var, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else environment[atom]

    for equation in jaxpr.eqns:
        outputs = rule(equation, *map(read, equation.invars))
        environment.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def hoist(
    body: ClosedJaxpr, fixed: Sequence[Any], rules: Mapping[str, Rule], outside: Mapping[str, Rule]
) -> Callable[..., list[Any]]:
    """A loop's body by `rules`, as a function of what changes; its first inputs are `fixed`.

    What depends on them alone is computed here, once: the equations of the body by the rules for `outside` of the loop,
    and then what `rules` have made of the others, such as a kernel's transform.
    """
    changing = body.in_avals[len(fixed) :]
    rest, known = _split(body, fixed, outside)
    ruled = jax.make_jaxpr(lambda *args: run(rest, known, args, rules))(*changing)
    rest, known = _split(ruled, [], {})
    return lambda *args: run(rest, known, args, {})


def _split(body: ClosedJaxpr, fixed: Sequence[Any], rules: Mapping[str, Rule]) -> tuple[Program, list[Any]]:
    """What of a body depends on more than its first inputs, `fixed`, and the constants that it needs from the others.

    A broadcast, and arithmetic on broadcasts alone, is done in every step: fused with what reads it, that is cheaper
    than to read it from memory.
    """
    jaxpr = body.jaxpr
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, body.consts, strict=True))
    known |= dict(zip(jaxpr.invars, fixed, strict=False))
    spread: set[Any] = set()  # what is known and cheap to make again
    late = []
    for equation in jaxpr.eqns:
        inputs = [atom for atom in equation.invars if isinstance(atom, Var)]
        early = all(atom in known for atom in inputs)
        cheap = early and (equation.primitive.name in _SPREADING or spread.issuperset(inputs))
        if early:
            values = [known[atom] if isinstance(atom, Var) else atom.val for atom in equation.invars]
            outputs = _by_rules(rules, equation, *values)
            known.update(zip(equation.outvars, outputs, strict=True))
        if cheap:
            spread.update(equation.outvars)
        if cheap or not early:
            late.append(equation)
    kept = {variable: value for variable, value in known.items() if variable not in spread}
    rest = Program(list(kept), jaxpr.invars[len(fixed) :], late, jaxpr.outvars)
    return rest, list(kept.values())


_SPREADING = ("broadcast_in_dim", "iota")


def bind(equation: Equation, *inputs: Any, rules: Mapping[str, Rule] | None = None) -> list[Any]:
    """The equation itself; with `rules`, also inside the functions that it carries."""
    params = equation.params
    if rules:
        params = {name: _inner(equation, value, rules) for name, value in params.items()}
    scope = str(equation.source_info.name_stack)  # the layer
    with jax.named_scope(scope) if scope else contextlib.nullcontext():
        return workarounds.bind(equation, inputs, params)


def _inner(equation: Equation, value: Any, rules: Mapping[str, Rule]) -> Any:
    """A parameter of an equation: the functions in it are traced again by `rules`."""
    if isinstance(value, tuple):
        parts = tuple(_inner(equation, part, rules) for part in value)
        return value if all(new is old for new, old in zip(parts, value, strict=True)) else parts
    if not isinstance(value, ClosedJaxpr | Jaxpr):
        return value
    body = workarounds.closed(value)
    other = jax.make_jaxpr(lambda *args: run(body.jaxpr, body.consts, args, rules))(*body.in_avals)
    return workarounds.like(equation, value, other)


CALLS = frozenset(("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"))
"""Primitives that only call a function; a custom derivative is one, too, once its rule has done its work."""

# fmt: off
ELEMENTWISE = frozenset((
    "abs", "add", "and", "clamp", "convert_element_type", "copy", "div", "eq", "erf", "exp", "expm1", "ge", "gt",
    "integer_pow", "le", "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "not", "or", "pow",
    "rsqrt", "select_n", "sign", "sqrt", "square", "sub", "tanh",
))
"""Primitives that act on each number by itself."""
# fmt: on


def body_of(call: Equation) -> ClosedJaxpr:
    """The function that one of `CALLS` calls."""
    params = parameters(call)
    body = params.get("jaxpr") or params.get("call_jaxpr") or params["fun_jaxpr"]
    return workarounds.closed(body)


def nn_function(equation: Equation) -> str:
    """The name of the function of `jax.nn` that this calls: "relu" for that of jax, flax and Keras files. Else ""."""
    if equation.primitive.name not in CALLS:
        return ""
    origin = body_of(equation).jaxpr.debug_info.func_src_info
    return origin.partition(" at ")[0] if "jax/_src/nn/" in origin.replace("\\", "/") else ""


def depends(function: Callable, argument: Any) -> bool:
    """Whether any output of `function` is computed from its `argument`. Nothing is computed."""
    jaxpr = jax.make_jaxpr(function)(argument).jaxpr
    reached = set(jaxpr.invars)
    for equation in jaxpr.eqns:
        if any(isinstance(atom, Var) and atom in reached for atom in equation.invars):
            reached.update(equation.outvars)
    return any(isinstance(atom, Var) and atom in reached for atom in jaxpr.outvars)

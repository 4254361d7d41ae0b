"""Traced functions that run again with other rules: the interpreter behind every rewriting of a model.

    with_rules(f, {}) == f

JAX traces a function to a *jaxpr*, a list of equations; each applies a *primitive* (an operation of JAX) to inputs. A
*rule* takes an equation and its inputs and returns its outputs. An equation without a rule runs as it is, and the
functions among its parameters (the bodies of jit, scan, while, cond and remat) run by the same rules. So does an
equation whose rule raises `UnknownEquationError`.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxviz.compiling import workarounds
from jaxviz.compiling.workarounds import ClosedJaxpr, Equation, Jaxpr, Literal, UnknownEquationError, Var, parameters

Rule = Callable[..., list[Any]]


def with_rules(function: Callable, rules: Mapping[str, Rule]) -> Callable:
    """`function`, in which `rules` run the equations of the primitives that they are named after."""

    @functools.wraps(function)
    def other(*args: Any) -> Any:
        # Each trace has a new function. JAX would reuse the trace of a function that it knows, also for arguments of
        # another class with the same fields: see `workarounds.classes_of`.
        jaxpr, out = jax.make_jaxpr(lambda *args: function(*args), return_shape=True)(*args)
        values = run(jaxpr.jaxpr, jaxpr.consts, jax.tree.leaves(args), rules)
        return jax.tree.unflatten(jax.tree.structure(out), values)

    return other


class Program(NamedTuple):
    """The parts of a jaxpr that are needed to run it; a Jaxpr of JAX has the same names."""

    constvars: Sequence[Any]
    invars: Sequence[Any]
    eqns: Sequence[Equation]
    outvars: Sequence[Any]


def run(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], rules: Mapping[str, Rule]) -> list[Any]:
    """The outputs of a jaxpr or a `Program` that runs by `rules`."""
    return evaluate(jaxpr, consts, args, functools.partial(_by_rules, rules))


def _by_rules(rules: Mapping[str, Rule], equation: Equation, *inputs: Any) -> list[Any]:
    """The outputs of one equation; it runs as it is if its rule does not know its parameters."""
    rule = rules.get(equation.primitive.name)
    if rule is not None:
        with contextlib.suppress(UnknownEquationError):
            return rule(equation, *inputs)
    return bind(equation, *inputs, rules=rules)


def evaluate(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], rule: Rule) -> list[Any]:
    """The outputs of a jaxpr in which `rule` runs every equation; its values may be of any type that `rule` returns."""
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
    """The body of a loop, run by `rules`, as a function of the inputs that change from step to step.

    The first inputs of the body, `fixed`, are the same in every step. Everything that depends on them alone is computed
    here, once: first equations of the body itself, by the rules for code `outside` of the loop; then equations that
    `rules` have made, such as the transform of a kernel.
    """
    changing = body.in_avals[len(fixed) :]
    rest, known = _split(body, fixed, outside)
    ruled = jax.make_jaxpr(lambda *args: run(rest, known, args, rules))(*changing)
    rest, known = _split(ruled, [], {})
    return lambda *args: run(rest, known, args, {})


def _split(body: ClosedJaxpr, fixed: Sequence[Any], rules: Mapping[str, Rule]) -> tuple[Program, list[Any]]:
    """The equations of a body that depend on more than its first inputs, `fixed`, and the values that they need.

    Some values stay in the body, although they could be computed before the loop, because XLA fuses them with the
    operation that reads them: broadcasts and arithmetic on broadcasts alone, which are cheaper to compute again than to
    read from memory, and small slices. Each slice outside would be a function of its own to compile.
    """
    jaxpr = body.jaxpr
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, body.consts, strict=True))
    values |= dict(zip(jaxpr.invars, fixed, strict=False))
    known = set(values)  # variables that do not change from step to step
    spread: set[Any] = set()  # those that are made of broadcasts
    again: set[Any] = set()  # those that are made again in each step
    early, late = [], []
    for equation in jaxpr.eqns:
        inputs = _read(equation)
        if not known.issuperset(inputs):
            late.append(equation)
            continue
        early.append(equation)
        known.update(equation.outvars)
        if equation.primitive.name in _SPREADING or spread.issuperset(inputs):
            spread.update(equation.outvars)
        if equation.outvars and (spread.issuperset(equation.outvars) or _is_small_view(equation)):
            again.update(equation.outvars)
            late.append(equation)
    outputs = [atom for atom in jaxpr.outvars if isinstance(atom, Var)]
    needed = {*outputs, *(atom for equation in late for atom in _read(equation))} - again
    for equation in _leading_to(needed, early):
        inputs = [values[atom] if isinstance(atom, Var) else atom.val for atom in equation.invars]
        values.update(zip(equation.outvars, _by_rules(rules, equation, *inputs), strict=True))
    kept = {variable: value for variable, value in values.items() if variable in needed}
    rest = Program(list(kept), jaxpr.invars[len(fixed) :], late, jaxpr.outvars)
    return rest, list(kept.values())


def _leading_to(wanted: Iterable[Any], equations: Sequence[Equation]) -> list[Equation]:
    """Those of the equations that the wanted variables depend on, and those that have an effect, such as printing."""
    wanted, found = set(wanted), []
    for equation in reversed(equations):
        if equation.effects or wanted.intersection(equation.outvars):
            found.append(equation)
            wanted.update(_read(equation))
    return found[::-1]


def _read(equation: Equation) -> list[Any]:
    """The variables that an equation reads."""
    return [atom for atom in equation.invars if isinstance(atom, Var)]


_SPREADING = ("broadcast_in_dim", "iota")
_VIEWS = ("slice", "squeeze", "reshape", "rev")
_SMALL = 2**13  # numbers; a larger slice, such as the matrix of a product, would be copied in each step


def _is_small_view(equation: Equation) -> bool:
    """Whether an equation picks a few numbers, which an operation can as well read where they are."""
    outputs: list[Any] = equation.outvars
    return equation.primitive.name in _VIEWS and max(each.aval.size for each in outputs) <= _SMALL


def bind(
    equation: Equation, *inputs: Any, rules: Mapping[str, Rule] | None = None, scope: str | None = None
) -> list[Any]:
    """The outputs of the equation itself; with `rules`, the functions among its parameters run by them.

    `scope` is the place on JAX's name stack, where it is another than the equation's own.
    """
    params = parameters(equation)
    if rules:
        params = {name: _inner(equation, value, rules) for name, value in params.items()}
    scope = str(equation.source_info.name_stack) if scope is None else scope  # the layer
    with jax.named_scope(scope) if scope else contextlib.nullcontext():
        return workarounds.bind(equation, inputs, params)


def _inner(equation: Equation, value: Any, rules: Mapping[str, Rule]) -> Any:
    """A parameter of an equation; functions in it are traced again by `rules`."""
    if isinstance(value, tuple):
        parts = tuple(_inner(equation, part, rules) for part in value)
        return value if all(new is old for new, old in zip(parts, value, strict=True)) else parts
    if not isinstance(value, ClosedJaxpr | Jaxpr):
        return value
    body = workarounds.closed(value)
    if not _any(body, rules):  # traced again, a function of `jax.nn` would not be known as one
        return value
    other = jax.make_jaxpr(lambda *args: run(body.jaxpr, body.consts, args, rules))(*body.in_avals)
    return workarounds.like(equation, value, other)


def _any(body: ClosedJaxpr, rules: Mapping[str, Rule]) -> bool:
    """Whether any equation of a body, or of the bodies in it, has a rule."""
    equations = body.jaxpr.eqns
    return any(each.primitive.name in rules or any(_any(inner, rules) for inner in bodies(each)) for each in equations)


def bodies(equation: Equation) -> list[ClosedJaxpr]:
    """The functions among the parameters of an equation."""
    values = parameters(equation).values()
    parts = (part for value in values for part in (value if isinstance(value, tuple) else (value,)))
    return [workarounds.closed(part) for part in parts if isinstance(part, ClosedJaxpr | Jaxpr)]


def iterations(scan: Equation) -> range:
    """The iterations of a scan in the order in which they run."""
    params = parameters(scan)
    found = range(params["length"])
    return found[::-1] if params["reverse"] else found


def unrolled(
    scan: Equation,
    inputs: Sequence[Any],
    run: Callable[[ClosedJaxpr, Sequence[Any], int], list[Any]],
    item: Callable[[Any, int], Any],
    stack: Callable[[Sequence[Any]], Any],
) -> list[Any]:
    """The outputs of a scan whose body is run once for each iteration.

    Args:
        run: the outputs of the body for its inputs, in the iteration of this number.
        item: the part of an input `[length …]` that an iteration of this number reads.
        stack: one output `[length …]` of the outputs of all iterations.
    """
    body, (first, carried) = workarounds.closed(parameters(scan)["jaxpr"]), workarounds.scan_split(scan)
    fixed, state, items = inputs[:first], list(inputs[first : first + carried]), inputs[first + carried :]
    results = {}
    for at in iterations(scan):
        outputs = run(body, [*fixed, *state, *(item(each, at) for each in items)], at)
        state, results[at] = outputs[:carried], outputs[carried:]
    return [*state, *map(stack, zip(*(results[at] for at in sorted(results)), strict=True))]


def name_stack(scope: str, equation: Equation) -> str:
    """The name stack of an equation in a body that runs in `scope`, such as "block/conv": where a layer is found."""
    return "/".join(filter(None, (scope, str(equation.source_info.name_stack))))


def operations(body: ClosedJaxpr) -> int:
    """The number of equations of a traced function; one with functions in it counts as their equations."""
    return sum(sum(map(operations, bodies(each))) or 1 for each in body.jaxpr.eqns)


PLAIN_CALLS = frozenset(("jit", "closed_call", "eval_jaxpr"))
"""Primitives that do nothing but call a function; `closed_call` is JAX 0.10's, `eval_jaxpr` its successor."""

CALLS = PLAIN_CALLS | {"custom_jvp_call", "custom_vjp_call"}
"""Primitives that call a function. After differentiation, a custom derivative has no effect any more."""

# fmt: off
ELEMENTWISE = frozenset((
    "abs", "add", "and", "clamp", "convert_element_type", "copy", "div", "eq", "erf", "exp", "expm1", "ge", "gt",
    "integer_pow", "le", "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "not", "or", "pow",
    "rsqrt", "select_n", "sign", "sqrt", "square", "sub", "tanh",
))
"""Primitives whose output has one number for each number of the input, which depends on no other."""
# fmt: on


def body_of(call: Equation) -> ClosedJaxpr:
    """The function that an equation of one of `CALLS` calls."""
    params = parameters(call)
    return workarounds.closed(params["jaxpr"] if "jaxpr" in params else params["call_jaxpr"])


def nn_function(equation: Equation) -> str:
    """The name of the function of `jax.nn` that an equation calls, or "".

    It is "relu" for the ReLU of JAX and Flax and of networks from Keras files, which all call `jax.nn.relu`.
    """
    return workarounds.nn_name(body_of(equation)) if equation.primitive.name in CALLS else ""

"""Marks: the names that values carry in a traced program, and the interpreter that reads or replaces marked values.

    mark(value, path, kind) == value
    read(program, args, see, wanted)      the program runs; each marked value becomes `see(name, value)`

A mark is an operation of its own that changes nothing. It survives where Python cannot look: in the bodies of `jit`,
`remat` and `scan`, and in a body that JAX traced once and kept. So a layer has its name wherever it runs.

The name of a mark is its path. The k-th call is `path#k`. In a `scan` over layers the iteration follows the path that
all its marks share, `blocks[2]/conv`. The bodies of `jit` and `remat` that hold a wanted name are inlined, and a `scan`
is unrolled; without a wanted name they stay as they are. The values of `cond`, `while` and `vmap` cannot be read: they
do not exist in every run, or belong to many runs at once.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.interpreters import ad, batching, mlir

from jaxviz.compiling.jaxprs import CALLS, PLAIN_CALLS, Rule, bind, bodies, evaluate, iterations, name_stack, unrolled
from jaxviz.compiling.workarounds import REMAT, ClosedJaxpr, Jaxpr, Primitive, closed, parameters
from jaxviz.errors import InputError

See = Callable[[str, jax.Array], jax.Array]


class Mark(NamedTuple):
    """A mark as the program shows it.

    Attributes:
        name: its path, with iterations and the number of the call.
        kind: the class of the module whose output is marked.
        shape: of its value.
        hidden: the operation whose body it is in, if its value cannot be read there; or else "".
        leaves: the numbers of the inputs of the program that are the parameters of a layer found in the program.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    hidden: str
    leaves: tuple[int, ...] = ()


MARK = "jaxviz_mark"
_mark = Primitive(MARK)
_mark.def_impl(lambda value, **_: value)
_mark.def_abstract_eval(lambda value, **_: value)
mlir.register_lowering(_mark, lambda _, value, **__: [value])
# A derivative passes unmarked, and so does a batch of values: it is not the value of one run.
ad.primitive_jvps[_mark] = lambda values, tangents, **params: (_mark.bind(*values, **params), *tangents)
batching.primitive_batchers[_mark] = lambda values, axes, **params: (
    _mark.bind(*values, **{**params, "mapped": True}),
    *axes,
)


def mark(value: jax.Array, path: str, kind: str | None, leaves: tuple[int, ...] = ()) -> jax.Array:
    """`value`, marked as the output at `path` of a module of the class `kind`; None: a place that has no name."""
    return _mark.bind(value, path=path, kind=kind, leaves=leaves, mapped=False)


def marks(program: ClosedJaxpr | Jaxpr) -> list[Mark]:
    """The marks of a program in the order in which they are reached."""
    return _numbered(_marks(program, (), ""), Counter())


def read(
    program: ClosedJaxpr, args: Sequence[Any], see: See, wanted: Collection[str] | None, edited: Collection[str] = ()
) -> None:
    """Run a program, and show each marked value of `wanted` names (None: all) to `see`, which returns its replacement.

    Marks of other names are shown, too, unless they are in a body without a wanted name. `edited` are the names whose
    values `see` changes.

    Raises:
        InputError: an edited value in a function with a derivative of its own, which does not know the edit.
    """
    _Reader(see, wanted, edited).run(program, args, "", ())


OPEN = {*CALLS, REMAT, "scan"}
"""Primitives whose bodies run once for each call, or a known number of times."""

LONGEST = 100  # iterations of a scan; one over more is a loop over time, not over the blocks of a network

# A place in a scan: the number of the iteration follows each of the paths.
Place = tuple[tuple[str, ...], int]


class _Reader:
    def __init__(self, see: See, wanted: Collection[str] | None, edited: Collection[str]):
        self.see, self.wanted, self.edited = see, wanted, edited
        self.calls: Counter[str] = Counter()

    def run(self, body: Any, args: Sequence[Any], scope: str, places: tuple[Place, ...]) -> list[Any]:
        def rule(equation: Any, *inputs: Any) -> list[Any]:
            return self.equation(scope, places, equation, *inputs)

        body = closed(body)
        return evaluate(body.jaxpr, body.consts, args, rule)

    def equation(self, scope: str, places: tuple[Place, ...], equation: Any, *inputs: Any) -> list[Any]:
        params, primitive = parameters(equation), equation.primitive.name
        if primitive == MARK:
            if params["kind"] is None or params["mapped"]:
                return list(inputs)
            (found,) = _numbered(_marks_of(equation, places, ""), self.calls)
            return [self.see(found.name, *inputs)]
        scope = name_stack(scope, equation)
        shown = _placed(scope, places)
        if not any(map(_has_marks, bodies(equation))):
            return bind(equation, *inputs, scope=shown)
        inside = list(_marks_of(equation, places, ""))
        calls = self.calls.copy()
        names = {each.name for each in _numbered(inside, calls) if not each.hidden}
        if primitive in PLAIN_CALLS or (names and (self.wanted is None or not names.isdisjoint(self.wanted))):
            if primitive == "scan":
                return self.unrolled(equation, inputs, scope, places)
            (body,) = (each for each in bodies(equation) if _has_marks(each))
            outputs = self.run(body, inputs, scope, places)
            if primitive not in CALLS or primitive in PLAIN_CALLS:
                return outputs
            # A function with a derivative of its own is read in a run beside its call, which keeps the derivative.
            if not names.isdisjoint(self.edited):
                raise InputError(
                    f"{', '.join(sorted(names.intersection(self.edited)))} can be read, not edited or explained by a "
                    "CAM: it is in a function with a derivative of its own (custom_jvp or custom_vjp), and that "
                    "derivative knows no edit. Take a layer before or after that function"
                )
        self.calls = calls
        return bind(equation, *inputs, rules=_UNMARKED, scope=shown)

    def unrolled(self, equation: Any, inputs: Sequence[Any], scope: str, places: tuple[Place, ...]) -> list[Any]:
        paths = _scanned(equation)

        def run(body: ClosedJaxpr, args: Sequence[Any], at: int) -> list[Any]:
            return self.run(body, args, scope, (*places, (paths, at)))

        return unrolled(equation, inputs, run, partial(lax.index_in_dim, keepdims=False), jax.numpy.stack)


def _marks(body: Any, places: tuple[Place, ...], hidden: str) -> Iterator[Mark]:
    for equation in closed(body).jaxpr.eqns:
        yield from _marks_of(equation, places, hidden)


def _marks_of(equation: Any, places: tuple[Place, ...], hidden: str) -> Iterator[Mark]:
    """The marks that an equation is or holds; their names have no number yet."""
    params, primitive = parameters(equation), equation.primitive.name
    if primitive == MARK:
        if params["kind"] is not None:
            shape = tuple(equation.outvars[0].aval.shape)
            hidden = hidden or ("vmap" if params["mapped"] else "")
            yield Mark(_placed(params["path"], places), params["kind"], shape, hidden, params["leaves"])
        return
    hidden = hidden or ("" if primitive in OPEN else primitive)
    if primitive == "scan" and params["length"] > LONGEST:
        hidden = hidden or f"a scan of {params['length']} steps"
    for body in filter(_has_marks, bodies(equation)):
        if primitive == "scan" and not hidden:
            paths = _scanned(equation)
            for at in iterations(equation):
                yield from _marks(body, (*places, (paths, at)), hidden)
        else:
            yield from _marks(body, places, hidden)


def _numbered(found: Iterator[Mark] | Sequence[Mark], calls: Counter[str]) -> list[Mark]:
    """The marks with the number of their call, which `calls` counts."""
    numbered = []
    for each in found:
        calls[each.name] += 1
        again = calls[each.name]
        numbered.append(each if again == 1 else each._replace(name=f"{each.name}#{again}"))
    return numbered


def _scanned(scan: Any) -> tuple[str, ...]:
    """The paths of a scan that the number of the iteration follows: the path of the block, or of each of its layers."""
    paths = list(_paths(parameters(scan)["jaxpr"]))
    shared: list[str] = []
    for level in zip(*(path.split("/") for path in paths), strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return ("/".join(shared),) if shared else tuple({path.split("/")[0]: None for path in paths})


def _paths(body: Any) -> Iterator[str]:
    for equation in closed(body).jaxpr.eqns:
        if equation.primitive.name == MARK:
            yield parameters(equation)["path"]
        for inner in bodies(equation):
            yield from _paths(inner)


def _placed(text: str, places: tuple[Place, ...]) -> str:
    """A path, or a place on JAX's name stack, with the numbers of iterations: "blocks/conv" → "blocks[2]/conv"."""
    for paths, at in reversed(places):
        either = "|".join(map(re.escape, paths))
        text = re.sub(rf"(?<![^/])({either})(?![^/\[])", rf"\1[{at}]", text)
    return text


def _has_marks(body: Any) -> bool:
    return next(_paths(body), None) is not None


_UNMARKED: dict[str, Rule] = {MARK: lambda _, value: [value]}

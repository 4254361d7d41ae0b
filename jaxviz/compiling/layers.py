"""The layers of a network, found in its traced program by what its operations do.

    layers(program, paths) -> [Layer]

Law: the same network has the same layers under the same names, whatever library it is written in, and whatever `jit`,
`remat` or `scan` its operations run in.

Each value of the program is followed without computing it: it comes from parameters alone, from constants alone, or it
depends on the images and belongs to the layer that made it last. An operation that reads a parameter and such a value
is a part of a layer. The layer is named by the path of the module that holds the parameter, and goes on to the last
operation that reads a parameter of that module, so a convolution has its bias added. Other operations are layers as
well if they are activation functions, pools, means, softmaxes, sums of two paths or concatenations. They stand behind
the layer that they follow, `conv1/relu`, or in the `jax.named_scope` in which they and not that layer run.
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jaxviz.compiling.jaxprs import ELEMENTWISE, bodies, evaluate
from jaxviz.compiling.operations import LAYOUT, PRODUCTS, closed_name, has_zero, is_open, moves_axes, of_class, scope_of
from jaxviz.compiling.workarounds import ClosedJaxpr, closed, parameters, scan_split

Path = tuple[str, ...]
Place = tuple[int, ...]
"""The position of an equation: its number in the program; in a body, after the place of the equation that holds it."""


@dataclass
class Layer:
    """A layer of a program.

    Attributes:
        kind: "Conv", "Linear", "Norm" …, or the name of a function, such as "relu".
        follows: the number of the layer whose output it reads; -1 for the images.
        scope: the `jax.named_scope` that it runs in.
        stack: JAX's name stack, with transforms and classes.
        shape: of its output.
        leaves: the numbers of the inputs of the program that are its parameters.
        places: of its operations; the last one makes its output.
        name: its path.
    """

    kind: str
    follows: int
    scope: str
    stack: str
    shape: tuple[int, ...]
    leaves: tuple[int, ...] = ()
    places: list[Place] = field(default_factory=list)
    name: str = ""
    dropped: bool = False  # it turned out to be a part of another layer


class Weights(NamedTuple):
    """A value that is computed from parameters alone; none, if it comes from an array that the function holds."""

    leaves: tuple[int, ...]


class Flow(NamedTuple):
    """A value that depends on the images.

    Attributes:
        layer: the number of the last layer before it; -1: the images.
        end: whether it is the output of that layer itself.
        summed: "mean" or "avg_pool", if it is a sum that becomes this when it is divided by a number.
    """

    layer: int
    end: bool = False
    summed: str = ""


def layers(program: ClosedJaxpr, paths: Sequence[Path | None]) -> list[Layer]:
    """The layers of a program in execution order.

    Args:
        paths: of the parameters, one for each input of the program; None for the images.
    """
    finder = _Finder(paths)
    inputs = [Flow(-1) if path is None else Weights((number,)) for number, path in enumerate(paths)]
    finder.shape = next(aval.shape for aval, path in zip(program.in_avals, paths, strict=True) if path is None)
    finder.run(program, inputs, (), "")
    found = [layer for layer in finder.layers if not layer.dropped]
    _name(found, finder)
    return found


CURVES = ("tanh", "logistic", "erf", "erfc", "exp")  # with which JAX writes activation functions out
REDUCTIONS = ("mean", "max")
SPREAD = (*LAYOUT, "broadcast_in_dim", "convert_element_type", "stop_gradient", "copy")
READING = ("add", "sub", "mul", "div", "max", "min", "pow", "select_n", "concatenate")


class _Finder:
    def __init__(self, paths: Sequence[Path | None]):
        self.paths = paths
        self.layers: list[Layer] = []
        self.shape: tuple[int, ...] = ()  # of the images
        self.arguments: dict[int, Any] = {}  # {number of a curve: the variable that it is a function of}

    def run(self, body: Any, values: Sequence[Any], place: Place, scope: str) -> list[Any]:
        body, numbers = closed(body), itertools.count()

        def step(equation: Any, *inputs: Any) -> list[Any]:
            return self.equation((*place, next(numbers)), scope_of(scope, equation), equation, inputs)

        return evaluate(body.jaxpr, [Weights(()) if _is_array(each) else None for each in body.consts], values, step)

    def equation(self, place: Place, scope: str, equation: Any, values: Sequence[Any]) -> list[Any]:
        if is_open(equation):
            return self.inside(place, scope, equation, values)
        values = [self.resolved(each) for each in values]
        flows = [each for each in values if isinstance(each, Flow)]
        weights = [each for each in values if isinstance(each, Weights)]
        leaves = tuple(dict.fromkeys(leaf for each in weights for leaf in each.leaves))
        if not flows or not equation.outvars:  # `jax.debug.print` has no output
            return [Weights(leaves) if weights else None for _ in equation.outvars]
        return [self.layer(place, scope, equation, flows, weights, leaves)] * len(equation.outvars)

    def inside(self, place: Place, scope: str, equation: Any, values: Sequence[Any]) -> list[Any]:
        inner = bodies(equation)
        if equation.primitive.name == "cond":
            found = [self.run(body, values[1:], (*place, at), scope) for at, body in enumerate(inner)]
            return [self.joint(each) for each in zip(*found, strict=True)]
        at = 0
        if equation.primitive.name == "scan":
            first, carried = scan_split(equation)
            state = self.carried(values[first : first + carried], values)
            values = [*values[:first], *state, *values[first + carried :]]
        elif equation.primitive.name == "while":
            params = parameters(equation)
            first = params["cond_nconsts"] + params["body_nconsts"]
            fixed = values[params["cond_nconsts"] : first]
            values = [*fixed, *self.carried(values[first:], [*fixed, *values[first:]])]
            at = [name for name in params if name.endswith("_jaxpr")].index("body_jaxpr")
        return self.run(inner[at], values, (*place, at), scope)

    def carried(self, state: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """What a loop carries after its first iteration: it may depend on whatever the inputs of its body depend on."""
        joint = self.joint(inputs)
        return [Flow(joint.layer) if isinstance(joint, Flow) and not isinstance(each, Flow) else each for each in state]

    def joint(self, values: Sequence[Any]) -> Any:
        flows = [each for each in values if isinstance(each, Flow)]
        return Flow(max(each.layer for each in flows)) if flows else values[0]

    def resolved(self, value: Any) -> Any:
        while isinstance(value, Flow) and value.layer >= 0 and self.layers[value.layer].dropped:
            value = Flow(self.layers[value.layer].follows)
        return value

    def layer(
        self, place: Place, scope: str, equation: Any, flows: list[Flow], weights: list[Weights], leaves: Any
    ) -> Flow:
        primitive, out = equation.primitive.name, tuple(equation.outvars[0].aval.shape)
        stack = str(equation.source_info.name_stack)
        flow = max(flows, key=lambda each: each.layer)
        last = self.layers[flow.layer] if flow.layer >= 0 else None

        def new(kind: str) -> Flow:
            self.layers.append(Layer(kind, flow.layer, scope, stack, out, leaves, [place]))
            return Flow(len(self.layers) - 1, end=True)

        def extended(layer: Layer) -> Flow:
            layer.places.append(place)
            layer.shape, layer.leaves = out, (*layer.leaves, *leaves)
            layer.kind = "Norm" if leaves and layer.kind in ("Add", "Scale") else layer.kind
            return Flow(flow.layer, end=True)

        if called := closed_name(equation) or ("shard_map" if primitive == "shard_map" else ""):
            return new(called)
        if primitive in PRODUCTS and weights:
            spread = primitive == "conv_general_dilated" and set(parameters(equation)["lhs_dilation"]) != {1}
            return new(PRODUCTS[primitive] + ("Transpose" if spread else ""))
        if leaves and primitive in READING:
            if last and last.leaves and self.owner(last.leaves) == self.owner(leaves) and leaves[0] not in last.leaves:
                return extended(last)
            return new({"add": "Add", "concatenate": "Concatenate"}.get(primitive, "Scale"))
        if weights and last and last.kind in PRODUCTS.values() and not last.leaves and primitive == "add":
            return extended(last)
        if primitive in CURVES:
            self.arguments[len(self.layers)] = equation.invars[0]
            return new(primitive)
        if primitive == "max" and has_zero(equation) and out == (last.shape if last else self.shape):
            return flow if last and last.kind in REDUCTIONS else new("relu")
        if primitive in ("reduce_window_max", "reduce_max"):
            return new("max_pool" if primitive == "reduce_window_max" else "max")
        if primitive in ("reduce_window_sum", "reduce_sum"):
            return Flow(flow.layer, summed="avg_pool" if primitive == "reduce_window_sum" else "mean")
        if last and flow.end and of_class(stack) and stack == last.stack and moves_axes(equation):
            return extended(last)
        if primitive in ELEMENTWISE or primitive == "concatenate":
            return self.elementwise(equation, flow, flows, last, new, extended)
        return Flow(flow.layer, summed=flow.summed if primitive in SPREAD else "")

    def elementwise(
        self, equation: Any, flow: Flow, flows: list[Flow], last: Layer | None, new: Any, extended: Any
    ) -> Flow:
        primitive, others = equation.primitive.name, {each.layer for each in flows} - {flow.layer}
        if flow.summed and len(flows) == 1 and primitive in ("div", "mul"):
            return new(flow.summed)
        if primitive in ("sub", "rsqrt", "sqrt") and (statistics := self.statistics(flows)):
            for number in statistics:
                self.layers[number].dropped = True
            return self.joint([self.resolved(each) for each in flows])
        if last and last.kind in CURVES and primitive in ("add", "sub", "mul", "div"):
            if len(flows) == 1 and flow.end:
                return extended(last)
            if primitive in ("mul", "div") and others <= {last.follows} and not self.gates(flow.layer, equation):
                last.kind = _curve(last.kind, primitive)
                return extended(last)
        if (
            last
            and last.leaves
            and last.kind in ("Scale", "Norm")
            and others
            and primitive in ("mul", "div", "sub", "select_n")
        ):
            return extended(last)
        if others and primitive in ("add", "concatenate"):
            shapes = {each.aval.shape for each in equation.invars}
            if primitive == "concatenate" or len(shapes) == 1:
                return new(primitive)
        return Flow(flow.layer, summed=flow.summed if primitive in SPREAD else "")

    def gates(self, curve: int, product: Any) -> bool:
        """Whether a product is of a curve and another value than that of which it is one, as in a gated linear unit."""
        layer = self.layers[curve]
        if layer.kind == "logistic":
            return self.arguments[curve] not in product.invars
        return layer.kind in ("tanh", "erf") and len(layer.places) == 1  # GELU adds 1 to it first

    def statistics(self, flows: Sequence[Flow]) -> set[int]:
        """The layers that are means or maxima of others. They are no pools if they are subtracted, or under a root."""
        found = {each.layer for each in flows if each.layer >= 0 and self.layers[each.layer].kind in REDUCTIONS}
        return found - {self.layers[number].follows for number in found}

    def owner(self, leaves: Sequence[int]) -> Path:
        """The path of the module that holds the first of some parameters."""
        return (self.paths[leaves[0]] or ())[:-1]


def _name(found: list[Layer], finder: _Finder) -> None:
    """Give each layer its name: the path of the module, or the parameter, or the layer before it and its kind."""
    first: dict[Path, set[int]] = defaultdict(set)  # {module: the first parameters of its layers}
    for layer in found:
        if layer.leaves:
            first[finder.owner(layer.leaves)].add(layer.leaves[0])
    for layer in found:
        owner = finder.owner(layer.leaves) if layer.leaves else ()
        layer.kind = "sigmoid" if layer.kind == "logistic" else layer.kind
        if layer.leaves:
            holds_more = any(len(other) > len(owner) and other[: len(owner)] == owner for other in first)
            alone = owner and len(first[owner]) == 1 and not holds_more
            layer.name = "/".join(owner if alone else finder.paths[layer.leaves[0]] or (layer.kind.lower(),))
        else:
            layer.name = _place_name(layer, finder)


def _place_name(layer: Layer, finder: _Finder) -> str:
    kind = layer.kind.lower() if layer.kind in PRODUCTS.values() else layer.kind
    before = layer
    while not before.leaves and before.follows >= 0:
        before = finder.layers[before.follows]
    scope = layer.scope
    inside = before is not layer and f"{before.scope}/".startswith(f"{scope}/")
    if scope and not (before.leaves and inside):
        return scope if scope.split("/")[-1] == kind else f"{scope}/{kind}"
    return f"{before.name}/{kind}" if before.leaves and kind == layer.kind else kind


def _curve(kind: str, primitive: str) -> str:
    """The name of a curve that is multiplied by the value that it is a function of, or is divided by its own sum."""
    if primitive == "div":
        return "softmax" if kind == "exp" else kind
    return {"tanh": "gelu", "erf": "gelu", "erfc": "gelu", "logistic": "silu"}.get(kind, kind)


def _is_array(value: Any) -> bool:
    return getattr(value, "ndim", 0) > 0

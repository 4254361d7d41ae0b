"""Layer-wise relevance propagation (LRP): the score is distributed backwards, layer by layer, to the pixels.

    sum of the relevance of a layer's input == sum of the relevance of its output   (without the share of biases)

The backward walk starts at the activations that the target reads, each with its share of the score, and visits every
layer below once, last to first. `lrp_rules` says what happens at one layer. This module finds the order of the layers,
and their weights once batch normalisations are merged into them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import ArrayLike

from jaxviz.attribution.explain import BATCH, Array, Attribution, answer, ask
from jaxviz.attribution.lrp_rules import (
    CONVOLUTIONS,
    LINEAR,
    Affine,
    Gradient,
    Rule,
    ZBox,
    find_composite,
    find_rule,
)
from jaxviz.compiling.jit import jit
from jaxviz.errors import InputError
from jaxviz.model import IMAGE, Model
from jaxviz.networks.forwards import KerasForward
from jaxviz.objectives import Objective
from jaxviz.targets import Target
from weights_convert import KerasNet, Node
from weights_convert.layers import EFFECTS, KINDS, OVER, Effect, activation

__all__ = ["lrp"]


def lrp(
    model: Model,
    image: ArrayLike,
    target: Target = None,
    *,
    composite: str | Mapping[str, Rule] = "epsilon_plus",
    batch: int = BATCH,
) -> Attribution:
    """An `Attribution` with values `[h w c]`: the score itself, distributed over the pixels that it came from.

    Without biases the values sum to the score. A batch normalisation is merged into the convolution or dense layer
    right before it. Where there is no such layer, its scale changes no share, and its shift becomes part of the bias of
    the next convolution or dense layer.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each.
        composite: "epsilon_plus", "epsilon_alpha2_beta1", "epsilon_gamma_box", or a rule for each layer as
            `{key: rule}`, such as `{**rules.COMPOSITES["epsilon_plus"], "block1_conv1": rules.ZBox()}`. A key is a
            layer's name, "first" (the first convolution) or a kind of layer, looked up in this order.
        batch: images computed at a time.

    Raises:
        InputError: a model that is not from a Keras file, an unknown composite or class, a layer without a rule, or an
            image of another shape or outside [0, 1].

    Source: Bach et al. 2015; Montavon et al. 2019, Layer-Wise Relevance Propagation: An Overview. The composites are
    those of zennit 1.0, with its SequentialMergeBatchNorm.
    """
    if not isinstance(model.forward, KerasForward):
        raise InputError(
            "lrp needs to know every layer, so it takes networks that load reads from a Keras file; given: a wrapped "
            "module. Use a gradient method, such as grad_cam"
        )
    if model.interventions:
        raise InputError(
            "lrp distributes the score by the layers of the file, and knows no rule for an intervention; given: "
            f"{model!r}. Take the model without interventions, or a gradient method, such as grad_cam"
        )
    question = ask(model, image, target)
    plan = _plan(_network(model), question.objectives.layers, find_composite(composite))

    def method(images: Array, objectives: Objective) -> tuple[Attribution, np.ndarray]:
        values, score = _relevance(model, images, objectives, plan=plan)
        return Attribution(values=values, score=score), np.where(np.asarray(score) == 0, NO_SCORE, IN_BIASES)

    return answer(question, method, batch)


NO_SCORE = (
    "the score is 0, so there is nothing to distribute: every path to it may go through an inactive ReLU (output 0). "
    "Another layer or another target may show something"
)
IN_BIASES = "all of the score stays in biases: pixels that are 0 in the network's own units have no share in it"


class Step(NamedTuple):
    """One layer of the backward walk."""

    node: Node
    rule: Rule
    norm: Node | None  # the batch normalisation right after it, which is merged into it
    unsigned: bool  # its input is never negative


def _plan(net: KerasNet, targets: Sequence[str], composite: Mapping[str, Rule]) -> tuple[Step, ...]:
    """All layers that the activations `targets` depend on, last to first."""
    nodes: dict[str, Node] = {}
    handles = list(targets)
    for node in reversed(net.graph.nodes):
        if node.name in handles or f"{node.name}/pre" in handles:
            nodes[node.name] = node
            handles += node.inputs

    readers = Counter(handles)
    merged: dict[str, Node] = {}  # {linear layer: its batch normalisation}
    unsigned: set[str] = set()
    shapes = dict(net.shapes)
    for node in reversed(nodes.values()):
        source = nodes.get(node.inputs[0])
        if source is not None and _merges(source, node, len(shapes[node.name])) and readers[source.name] == 1:
            merged[source.name] = node
        if _never_negative(node) or (node.kind in SIGN_KEEPING and unsigned.issuperset(node.inputs)):
            unsigned.add(node.name)
        if node.name in readers and _mixes(node):
            raise InputError(f"softmax mixes all classes, and no rule passes it: explain {node.name}/pre instead")

    first = next((name for name in reversed(nodes) if nodes[name].kind in CONVOLUTIONS), None)
    steps = []
    for name, node in nodes.items():
        if node not in merged.values():
            key = name if name in composite else node.layer  # a rule for a layer is for all of its calls
            rule = find_rule(composite, key, node.kind, first=name == first)
            never_negative = unsigned.issuperset(node.inputs)
            steps.append(Step(node=node, rule=rule, norm=merged.get(name), unsigned=never_negative))
    return tuple(steps)


def _merges(node: Node, norm: Node, rank: int) -> bool:
    """Whether `norm` normalises the features of `node`, a linear layer; `rank` is that of its output."""
    if norm.kind != "BatchNormalization" or node.kind not in LINEAR or activation(node) is not None:
        return False
    return dict(norm.config)["axis"] in (-1, rank - 1)


def _mixes(node: Node) -> bool:
    function = activation(node)
    return function is not None and function.mixes


def _never_negative(node: Node) -> bool:
    function = activation(node)
    return function is not None and function.never_negative


SIGN_KEEPING = {*OVER, *EFFECTS[Effect.MOVES], *EFFECTS[Effect.ADDS]}


@jit(static=("plan",))
def _relevance(
    model: Model, images: jax.Array, objectives: Objective, *, plan: tuple[Step, ...]
) -> tuple[jax.Array, jax.Array]:
    net, fed = _network(model), model.inputs(images)
    values = net.activations(fed, {IMAGE, *objectives.layers, *(name for step in plan for name in step.node.inputs)})
    explained = {name: images if name == IMAGE else values[name] for name in objectives.layers}
    score, relevance = jax.vmap(_start)(objectives, explained)
    direct = relevance.pop(IMAGE, 0.0)  # a target may read the image itself, outside of the network
    relevance[IMAGE] = jnp.zeros_like(fed)

    shifts = _shifts(net, plan, values)
    for step in plan:
        # An activation function passes on what arrives at its output.
        name, sources = step.node.name, step.node.inputs
        ends = [step.norm.name] if step.norm else [name, f"{name}/pre"]
        arrived: Any = sum(relevance.pop(end, 0.0) for end in ends)
        layers, x = _layers(net, step, values, shifts)
        if isinstance(step.rule, ZBox):
            layers[0] = layers[0]._replace(box=_box(model, net, images, sources[0], shifts))
        elif isinstance(step.rule, Gradient):  # the shift counts when a max-pooling chooses its winner
            x = _arguments(values[source] for source in sources)
        shares = _back(step.rule, layers, x, arrived)
        for source, share in zip(sources, shares if len(sources) > 1 else [shares], strict=True):
            relevance[source] = relevance.get(source, 0.0) + share

    pixels = relevance[IMAGE][..., ::-1] if model.inputs.reverse else relevance[IMAGE]
    return pixels + direct, score


def _network(model: Model) -> KerasNet:
    return nnx.merge(model.forward.graphdef, model.params)  # type: ignore[attr-defined]


def _start(objective: Objective, values: Mapping[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The score, and the part of it that each activation has: for a class, its logit at its unit."""
    score, gradient = jax.value_and_grad(objective)(values)
    return score, jax.tree.map(jnp.multiply, values, gradient)


def _arguments(values: Iterable[jax.Array]) -> Any:
    """The input of a layer: an array, or a tuple where it has several."""
    several = tuple(values)
    return several if len(several) > 1 else several[0]


def _shifts(net: KerasNet, plan: Sequence[Step], values: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """{activation: its constant part}, from the batch normalisations that are not merged into a layer before them.

    Rules look at the contributions x·w only, so a scale s before the weights does not matter: (s x)·w = x·(s w). A
    shift matters: it belongs to the bias of the next linear layer. An activation function ends it.
    """
    shifts: dict[str, jax.Array] = {}
    for step in reversed(plan):
        node = step.node
        if node.kind in LINEAR or activation(node) is not None:
            continue
        inputs = [values[name] for name in node.inputs]
        tangents = [shifts.get(name, jnp.zeros_like(values[name])) for name in node.inputs]
        if node.kind == "BatchNormalization":
            shifts[node.name] = net.layers[node.layer](*tangents)
        elif any(name in shifts for name in node.inputs):
            # The layer decides at these inputs: a max-pooling passes on the shift of its winners.
            shifts[node.name] = jax.jvp(_before_activation(net, node), inputs, tangents)[1]
    return shifts


def _back(rule: Rule, layers: Sequence[Affine], x: Any, relevance: Any) -> Any:
    """The relevance of x from the relevance of the last layer's output, by the same rule for each of `layers`."""
    first, *rest = layers
    if rest:
        relevance = _back(rule, rest, first.apply(first.kernel, x) + first.bias, relevance)
    return rule(first, x, relevance)


def _layers(
    net: KerasNet, step: Step, values: Mapping[str, jax.Array], shifts: Mapping[str, jax.Array]
) -> tuple[list[Affine], Any]:
    """A layer as `Affine` (two for a separable convolution) and its input; a batch normalisation is in the weights."""
    node = step.node
    x = _arguments(values[name] - shifts.get(name, 0.0) for name in node.inputs)
    if node.kind not in LINEAR:
        function = _before_activation(net, node)
        return [Affine(lambda _, x: function(*(x if isinstance(x, tuple) else (x,))))], x

    factors = KINDS[node.kind].factors
    assert factors is not None  # that is what makes a kind LINEAR
    layers = [Affine(*factor) for factor in factors(dict(node.config), net.layers[node.layer])]
    layers[0] = layers[0]._replace(unsigned=step.unsigned)
    if node.inputs[0] in shifts:
        first = layers[0]
        layers[0] = first._replace(bias=first.bias + first.apply(first.kernel, shifts[node.inputs[0]]))
    if step.norm is not None:
        last = layers[-1]
        shape = (1,) * (x.ndim - 1) + last.kernel.shape[-1:]
        shift, scale = jax.jvp(net.layers[step.norm.layer], (jnp.zeros(shape),), (jnp.ones(shape),))
        layers[-1] = last._replace(kernel=last.kernel * scale.ravel(), bias=last.bias * scale + shift)
    return layers, x


def _before_activation(net: KerasNet, node: Node) -> Callable[..., jax.Array]:
    """The function that a layer computes before its activation function: the first of the node's steps."""
    steps = net.steps()
    return steps.get(f"{node.name}/pre", steps[node.name]).function


def _box(
    model: Model, net: KerasNet, images: jax.Array, name: str, shifts: Mapping[str, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """The bounds of the activation `name`: its values for a black and for a white image."""
    extremes = model.inputs(jnp.stack([jnp.zeros_like(images[0]), jnp.ones_like(images[0])]))
    found, shift = net.activations(extremes, [name])[name], shifts.get(name, 0.0)
    return found.min(0) - shift, found.max(0) - shift

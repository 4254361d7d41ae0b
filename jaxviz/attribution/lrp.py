"""Layer-wise relevance propagation: the score itself, handed back layer by layer to the pixels that it came from.

    sum of the relevance of a layer's input == sum of the relevance of its output   (less what biases take)

The walk starts from the score's share in each activation that it reads, and meets every layer below once, last to
first. `rules` says what happens at a layer; here are the order of layers and the weights that they have once batch
normalisations are part of them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxviz.attribution.explain import BATCH, Array, Attribution, explain
from jaxviz.attribution.lrp_rules import (
    ADDING,
    CONVOLUTIONS,
    LINEAR,
    MOVING,
    Gradient,
    Layer,
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
from weights_convert.layers import KINDS, MIXING, OVER, across_channels, activation, convolve

__all__ = ["lrp"]


def lrp(
    model: Model,
    image: Any,
    target: Target = None,
    *,
    composite: str | Mapping[str, Rule] = "epsilon_plus",
    batch: int = BATCH,
) -> Attribution:
    """An `Attribution` with signed values `[h w c]`: the part of the target's score that came from each pixel.

    Without biases the values sum to the score. A batch normalisation is part of the convolution or dense layer right
    before it; where there is none, its scale changes no share, and its shift is part of the bias of the next one.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each.
        composite: "epsilon_plus", "epsilon_alpha2_beta1", "epsilon_gamma_box", or a rule for each layer as
            `{layer, "first" (the first convolution) or kind of layer: rule}`, looked up in this order, such as
            `{**rules.COMPOSITES["epsilon_plus"], "block1_conv1": rules.ZBox()}`.
        batch: images computed at a time.

    Raises:
        InputError: a model that is not from a Keras file, an unknown composite or class, a layer without a rule, an
            image of another shape or outside [0, 1].

    Source: Bach et al. 2015; Montavon et al. 2019, Layer-Wise Relevance Propagation: An Overview. The composites are
    those of zennit 1.0, with its SequentialMergeBatchNorm.
    """
    if not isinstance(model.forward, KerasForward):
        raise InputError(
            "lrp needs to know every layer, so it takes networks that load reads from a Keras file; "
            "for a wrapped module use a gradient method, such as grad_cam"
        )
    rules = find_composite(composite)

    def method(model: Model, images: Array, objectives: Objective) -> Any:
        plan = _plan(_network(model), objectives.layers, rules)
        values, score = _relevance(model, images, objectives, plan=plan)
        return Attribution(values, score), score != 0

    return explain(method, model, image, target, batch, otherwise=IN_BIASES)


IN_BIASES = "all of the score stays in biases: pixels that are 0, as the network is fed, have no share in it"


class Step(NamedTuple):
    """One layer on the way down."""

    node: Node
    rule: Rule
    norm: Node | None  # the batch normalisation right after it, which is part of it
    unsigned: bool  # its input is nowhere negative


def _plan(net: KerasNet, targets: Sequence[str], composite: Mapping[str, Rule]) -> tuple[Step, ...]:
    """All layers that `targets` depend on, last to first."""
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
            steps.append(Step(node, rule, merged.get(name), unsigned.issuperset(node.inputs)))
    return tuple(steps)


def _merges(node: Node, norm: Node, rank: int) -> bool:
    """Whether `norm` normalises the features of `node`, a linear layer; `rank` is that of its output."""
    if norm.kind != "BatchNormalization" or node.kind not in LINEAR or activation(node) is not None:
        return False
    return dict(norm.config)["axis"] in (-1, rank - 1)


def _mixes(node: Node) -> bool:
    return node.kind == "Softmax" or dict(node.config).get("activation") in MIXING


def _never_negative(node: Node) -> bool:
    config: dict[str, Any] = dict(node.config)
    if node.kind == "ReLU":
        return config["negative_slope"] == 0 and config["threshold"] >= 0
    return config.get("activation") in ("relu", "relu6", "sigmoid")


SIGN_KEEPING = {*MOVING, *ADDING, *OVER} - {"UpSampling2D", "Resizing"}  # which may interpolate with negative weights


@jit(static=("plan",))
def _relevance(
    model: Model, images: jax.Array, objectives: Objective, *, plan: tuple[Step, ...]
) -> tuple[jax.Array, jax.Array]:
    net, fed = _network(model), model.inputs(images)
    values = net.activations(fed, {IMAGE, *objectives.layers, *(name for step in plan for name in step.node.inputs)})
    explained = {name: images if name == IMAGE else values[name] for name in objectives.layers}
    score, relevance = jax.vmap(_start)(objectives, explained)
    direct = relevance.pop(IMAGE, 0.0)  # of a target that reads the image itself: it never enters the network
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
        elif isinstance(step.rule, Gradient):  # the winner of a max-pooling won with its shift
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
    """{activation: its constant part, from batch normalisations that are part of no layer before them}.

    Rules look at contributions x·w alone, so a scale s before the weights does not matter: (s x)·w = x·(s w). A shift
    does: it belongs to the bias of the next linear layer. At an activation function it ends.
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
            # As the layer treats these inputs: a max-pooling hands on the shift of the winners.
            shifts[node.name] = jax.jvp(_function(net, node), inputs, tangents)[1]
    return shifts


def _back(rule: Rule, layers: Sequence[Layer], x: Any, relevance: Any) -> Any:
    """The relevance of x from that of the last one's output, by the same rule for each of `layers`."""
    first, *rest = layers
    if rest:
        relevance = _back(rule, rest, first.apply(first.kernel, x) + first.bias, relevance)
    return rule(first, x, relevance)


def _layers(
    net: KerasNet, step: Step, values: Mapping[str, jax.Array], shifts: Mapping[str, jax.Array]
) -> tuple[list[Layer], Any]:
    """A layer, which is two for a separable convolution, and its input; batch normalisations are in the weights."""
    node = step.node
    x = _arguments(values[name] - shifts.get(name, 0.0) for name in node.inputs)
    if node.kind not in LINEAR:
        function = _function(net, node)
        return [Layer(lambda _, x: function(*(x if isinstance(x, tuple) else (x,))))], x

    layers = _linear(net.layers[node.layer], node)
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


def _linear(module: Any, node: Node) -> list[Layer]:
    """The linear functions, first to last, that a layer of LINEAR computes."""
    config: dict[str, Any] = dict(node.config)
    bias = 0.0 if module.bias is None else module.bias[...]
    if node.kind == "Dense":
        return [Layer(lambda kernel, x: x @ kernel, module.kernel[...], bias)]
    if node.kind == "Conv2D":
        return [Layer(partial(convolve, config, groups=config["groups"]), module.kernel[...], bias)]
    if node.kind == "DepthwiseConv2D":
        return [_depthwise(config, module.kernel[...], bias)]
    return [
        _depthwise(config, module.depthwise_kernel[...], 0.0),
        Layer(across_channels, module.pointwise_kernel[...], bias),
    ]


def _depthwise(config: Mapping[str, Any], kernel: jax.Array, bias: Any) -> Layer:
    """The kernel [h w i m] as [h w 1 i·m], whose last axis is the output's, as in every other layer."""
    *window, channels, multiplier = kernel.shape
    flat = kernel.reshape(*window, 1, channels * multiplier)
    return Layer(partial(convolve, config, groups=channels), flat, bias)


def _function(net: KerasNet, node: Node) -> Callable[..., jax.Array]:
    """What a layer computes before its activation function."""
    kind = KINDS[node.kind]
    return partial(kind.function, dict(node.config)) if kind.module is None else net.layers[node.layer]


def _box(
    model: Model, net: KerasNet, images: jax.Array, name: str, shifts: Mapping[str, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """The bounds of the activation `name`: what a black and a white image come to there."""
    extremes = model.inputs(jnp.stack([jnp.zeros_like(images[0]), jnp.ones_like(images[0])]))
    found, shift = net.activations(extremes, [name])[name], shifts.get(name, 0.0)
    return found.min(0) - shift, found.max(0) - shift

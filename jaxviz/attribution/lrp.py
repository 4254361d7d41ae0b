"""Layer-wise relevance propagation (LRP): the score is distributed backwards, operation by operation, to the pixels.

    sum of the relevance of an operation's inputs == that of its output   (without the share of biases)

The network is traced, and its program runs once forwards (`recording.py`), whatever module it comes from. The backward
walk starts at the activations that the target reads, each with its share of the score, and visits every signal below
once, last to first. `lrp_rules.py` says what happens at one operation.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxviz.attribution.explain import BATCH, Array, Attribution, answer, ask
from jaxviz.attribution.lrp_rules import (
    CONVOLUTION,
    LINEAR,
    SOFTMAX,
    Gradient,
    Rule,
    ZBox,
    find_composite,
    find_rule,
)
from jaxviz.attribution.recording import record
from jaxviz.attribution.signals import Fixed, Signal, fixed
from jaxviz.compiling.jit import jit
from jaxviz.errors import InputError
from jaxviz.model import IMAGE, Model, check_real
from jaxviz.objectives import Objective
from jaxviz.structure import handle_at
from jaxviz.targets import Target
from weights_convert import UNIT

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

    It works for every network, since rules are for the operations of its traced program. Without biases the values sum
    to the score where a ReLU follows each convolution. Elsewhere, a rule that counts positive contributions only loses
    the relevance of a unit that has none. A batch normalisation is merged into the convolution or dense layer right
    before it. Where there is no such layer, its scale changes no share, and its shift becomes part of the bias of the
    next convolution or dense layer. In a layer normalisation, the variance counts as a constant (Ali et al. 2022). In
    an attention, all relevance goes to the values, and in a squeeze-and-excitation, to the signal, not to its gate
    (Arras et al. 2017).

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each.
        composite: "epsilon_plus", "epsilon_alpha2_beta1", "epsilon_gamma_box", "attention", which gives queries and
            keys a share as well (AttnLRP, Achtibat et al. 2024), or a rule for each layer as `{key: rule}`, such as
            `{**rules.COMPOSITES["epsilon_plus"], "block1_conv1": rules.ZBox()}`. A key is a layer's name, "first" (the
            first convolution), a class of layers such as "Conv2D", or a kind of operation: "convolution", "dense",
            "average", "sum", "product", "move" or "softmax". They are looked up in this order.
        batch: images computed at a time.

    Raises:
        InputError: an unknown composite or class, an operation without a rule, or an image of another shape or outside
            [0, 1].

    Source: Bach et al. 2015; Montavon et al. 2019, Layer-Wise Relevance Propagation: An Overview. The first three
    composites are those of zennit 1.0, with its SequentialMergeBatchNorm.
    """
    question = ask(model, image, target)
    check_real(model.structs(question.images.shape[1:], question.objectives.layers))
    rules = tuple(find_composite(composite).items())

    def method(images: Array, objectives: Objective) -> tuple[Attribution, np.ndarray]:
        values, score = _relevance(model, images, objectives, composite=rules)
        return Attribution(values=values, score=score), np.where(np.asarray(score) == 0, NO_SCORE, IN_BIASES)

    return answer(question, method, batch)


NO_SCORE = (
    "the score is 0, so there is nothing to distribute: every path to it may go through an inactive ReLU (output 0). "
    "Another layer or another target may show something"
)
IN_BIASES = "all of the score stays in biases: pixels that are 0 in the network's own units have no share in it"


@jit(static=("composite",))
def _relevance(
    model: Model, images: jax.Array, objectives: Objective, *, composite: tuple[tuple[str, Rule], ...]
) -> tuple[jax.Array, jax.Array]:
    rules, fed = dict(composite), model.inputs(images)
    run = _recorder(model, fed, [name for name in objectives.layers if name != IMAGE], gates=SOFTMAX not in rules)
    signals, found = run(fed)
    values = {name: images if name == IMAGE else found[name].value for name in objectives.layers}
    score, shares = jax.vmap(_start)(objectives, values)
    direct = shares.pop(IMAGE, 0.0)  # a target may read the image itself, outside of the network

    relevance: dict[Signal, Any] = {}
    _add(relevance, [found[name] for name in shares], shares.values())
    reached = _reached(signals, relevance)
    for signal, rule in zip(reversed(reached), reversed(_rules(model, reached, rules)), strict=True):
        if signal is signals[0]:
            continue
        arrived = relevance.pop(signal)
        box = _box(model, run, fed, signals.index(signal)) if isinstance(rule, ZBox) else None
        _add(relevance, signal.sources, _back(rule, signal, arrived.astype(signal.value.dtype), box))

    pixels = relevance.get(signals[0], jnp.zeros_like(fed))
    return (pixels[..., ::-1] if model.inputs.reverse else pixels) + direct, score


def _recorder(
    model: Model, fed: jax.Array, names: Sequence[str], *, gates: bool
) -> Callable[[jax.Array], tuple[list[Signal], dict[str, Signal | Fixed]]]:
    """A function of images in the network's own units: all signals, the images first, and the activations `names`."""

    def network(params: Any, fed: jax.Array) -> list[jax.Array]:
        found = replace(model, params=params, inputs=UNIT)(fed, names)
        return [found[name] for name in names]

    program = jax.make_jaxpr(network)(model.params, fed)
    weights = [fixed(leaf, weight=True) for leaf in jax.tree.leaves(model.params)]

    def run(fed: jax.Array) -> tuple[list[Signal], dict[str, Signal | Fixed]]:
        signals, outputs = record(program, [*weights, Signal(fed)], gates=gates)
        return signals, dict(zip(names, outputs, strict=True))

    return run


def _start(objective: Objective, values: Mapping[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The score, and the part of it that each activation has: for a class, its logit at its unit."""
    score, gradient = jax.value_and_grad(objective)(values)
    return score, jax.tree.map(jnp.multiply, values, gradient)


def _add(relevance: dict[Signal, Any], signals: Iterable[Signal | Fixed], shares: Iterable[Any]) -> None:
    """Add the shares of signals to their relevance. What does not depend on the image has none."""
    for signal, share in zip(signals, shares, strict=True):
        if isinstance(signal, Signal):
            relevance[signal] = relevance[signal] + share if signal in relevance else share


def _reached(signals: Sequence[Signal], ends: Iterable[Signal]) -> list[Signal]:
    """The signals that relevance comes to from `ends`, in the order in which they are computed."""
    reached = set(ends)
    for signal in reversed(signals):
        if signal in reached:
            reached.update(signal.sources)
    return [signal for signal in signals if signal in reached]


def _rules(model: Model, reached: Sequence[Signal], composite: Mapping[str, Rule]) -> list[Rule | None]:
    """The rule for each signal; None: it passes its relevance on.

    Raises:
        InputError: an operation has no rule, or one that does not fit it.
    """
    classes = {layer.name: layer.kind for layer in model.table}
    made = [signal.operation for signal in reached]
    layers = [handle_at(each.place, model.handles) if each else "" for each in made]
    weighted = {layer for layer, each in zip(layers, made, strict=True) if each and each.kind in LINEAR}
    first = next((each for each in made if each and each.kind == CONVOLUTION), None)
    found: list[Rule | None] = []
    for layer, each in zip(layers, made, strict=True):
        if each is None:
            found.append(None)
            continue
        if each.kind == SOFTMAX and SOFTMAX not in composite:
            instead = f"{layer}/pre" if f"{layer}/pre" in model.handles else "the value before it"
            raise InputError(
                f"softmax mixes all classes, and no rule passes it: explain {instead} instead, or take "
                'composite="attention"'
            )
        # A rule for a layer with weights is not for a padding in it, say. A rule for a layer is for all of its calls.
        own = layer and (each.kind in LINEAR or layer not in weighted)
        keys = [layer, layer.split("#")[0], classes.get(layer, "")] if own else []
        found.append(find_rule(composite, keys, each.kind, first=each is first, where=layer or each.place))
    return found


def _back(rule: Rule | None, signal: Signal, relevance: jax.Array, box: Any) -> list[jax.Array]:
    """The relevance of a signal's sources from its own."""
    if signal.operation is None or rule is None:
        return [relevance]
    # A rule sees an input without its constant part; but with it, a max-pooling chooses its winner.
    given = [each.value if isinstance(rule, Gradient) else each.varying for each in signal.sources]
    layer = signal.operation.layer._replace(box=box)
    shares = rule(layer, tuple(given) if len(given) > 1 else given[0], relevance)
    return list(shares) if len(given) > 1 else [shares]


def _box(model: Model, run: Callable[..., Any], fed: jax.Array, position: int) -> tuple[jax.Array, jax.Array]:
    """The bounds of the input of the signal at a position: its values for a black and for a white image."""
    found = []
    for color in (0.0, 1.0):
        signals, _ = run(model.inputs(jnp.full(fed.shape, color, fed.dtype)))
        (source,) = signals[position].sources
        found.append(source.varying)
    return jnp.minimum(*found), jnp.maximum(*found)

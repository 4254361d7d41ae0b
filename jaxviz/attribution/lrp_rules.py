"""The rules of layer-wise relevance propagation: how the relevance of a layer's output is shared among its inputs.

    R_i = sum over j of (z_ij / sum over i of z_ij) R_j,   z_ij = x_i w_ij

Each output j shares its relevance among the inputs i in proportion to their contributions z_ij. The rules differ in
which part of the contributions counts. A bias takes a share that no pixel gets. Without biases no relevance is lost,
except that of a unit without a contribution that its rule counts; a unit that a ReLU lets through has a positive one.
Names, definitions and defaults are those of zennit 1.0 (Anders et al. 2021). A rule is a frozen dataclass, static under
`jit`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxviz.checks import near
from jaxviz.errors import InputError


class Affine(NamedTuple):
    """An operation as rules see it: `z = apply(kernel, x) + bias`; x is an array, or a tuple of several inputs."""

    apply: Callable[[Any, Any], jax.Array]
    kernel: Any = None  # None: an operation without weights
    bias: Any = 0.0
    unsigned: bool = False  # x is never negative: rules that split x by its sign then have half of the work
    box: tuple[jax.Array, jax.Array] | None = None  # the lowest and highest possible x; of the first convolution only


Layer = Affine  # its name in version 0.1


class Rule:
    """A function of a layer, its input x and the relevance of its output, which returns the relevance of x."""

    def __call__(self, layer: Affine, x: Any, relevance: jax.Array) -> Any:
        raise NotImplementedError


class WeightRule(Rule):
    """A rule that splits the weights by their sign; it works for the layers of LINEAR only."""


@dataclass(frozen=True)
class Pass(Rule):
    """All relevance is passed on unchanged; for element-wise layers."""

    def __call__(self, layer: Affine, x: Any, relevance: jax.Array) -> Any:
        return relevance


@dataclass(frozen=True)
class Gradient(Rule):
    """Relevance follows the gradient; for layers that select or move numbers (a max-pooling's winner takes all)."""

    def __call__(self, layer: Affine, x: Any, relevance: jax.Array) -> Any:
        _, pull = jax.vjp(partial(layer.apply, layer.kernel), x)
        return pull(relevance)[0]


@dataclass(frozen=True)
class Epsilon(Rule):
    """All contributions count (Bach et al. 2015, eq. 58). Without weights this is zennit's Norm.

    On a softmax, it is the rule of Achtibat et al. 2024, eq. 13.
    """

    epsilon: float = 1e-6

    def __call__(self, layer: Affine, x: Any, relevance: jax.Array) -> Any:
        return _share(layer, relevance, self.epsilon, (x, layer.kernel, layer.bias))


@dataclass(frozen=True)
class AlphaBeta(WeightRule):
    """Positive contributions count alpha times, negative ones -beta times (Bach et al. 2015, eq. 60).

    alpha - beta must be 1 for relevance to be conserved.
    """

    alpha: float = 2.0
    beta: float = 1.0
    stabilizer: float = 1e-6

    def __call__(self, layer: Affine, x: Any, relevance: jax.Array) -> Any:
        raising = _by_sign(layer, x, _positive(layer.kernel), _negative(layer.kernel), _positive(layer.bias))
        result = self.alpha * _share(layer, relevance, self.stabilizer, *raising)
        if self.beta:
            lowering = _by_sign(layer, x, _negative(layer.kernel), _positive(layer.kernel), _negative(layer.bias))
            result -= self.beta * _share(layer, relevance, self.stabilizer, *lowering)
        return result


@dataclass(frozen=True)
class ZPlus(WeightRule):
    """Positive contributions count alone (Montavon et al. 2017, section 4.1): alpha-beta with 1 and 0."""

    stabilizer: float = 1e-6

    def __call__(self, layer: Affine, x: Any, relevance: jax.Array) -> Any:
        return AlphaBeta(1.0, 0.0, self.stabilizer)(layer, x, relevance)


@dataclass(frozen=True)
class Gamma(WeightRule):
    """Contributions of the output's own sign count 1 + gamma times (Montavon et al. 2019; Andéol et al. 2021)."""

    gamma: float = 0.25
    stabilizer: float = 1e-6

    def __call__(self, layer: Affine, x: Any, relevance: jax.Array) -> Any:
        kernel, bias = layer.kernel, layer.bias
        z = layer.apply(kernel, x) + bias

        def favour(ours: Callable, others: Callable, relevance: jax.Array) -> jax.Array:
            kernels = kernel + self.gamma * ours(kernel), kernel + self.gamma * others(kernel)
            terms = _by_sign(layer, x, *kernels, bias + self.gamma * ours(bias))
            return _share(layer, relevance, self.stabilizer, *terms)

        above, below = jnp.where(z > 0, relevance, 0.0), jnp.where(z < 0, relevance, 0.0)
        return favour(_positive, _negative, above) + favour(_negative, _positive, below)


@dataclass(frozen=True)
class ZBox(WeightRule):
    """Contributions are measured from the darkest and brightest possible input (Montavon et al. 2017, section 4.1).

    It is for the first convolution, whose lowest and highest inputs are those of a black and of a white image.
    """

    stabilizer: float = 1e-6

    def __call__(self, layer: Affine, x: Any, relevance: jax.Array) -> Any:
        assert layer.box is not None
        low, high = layer.box
        # z = x·w - low·w⁺ - high·w⁻ in two terms that are never negative; the biases of the three cancel.
        above, below = (x - low, _positive(layer.kernel), 0.0), (x - high, _negative(layer.kernel), 0.0)
        return _share(layer, relevance, self.stabilizer, above, below)


@dataclass(frozen=True)
class Uniform(Rule):
    """Each factor of a product takes the same part (Achtibat et al. 2024, proposition 3.3)."""

    epsilon: float = 1e-6

    def __call__(self, layer: Affine, x: Any, relevance: jax.Array) -> Any:
        return _share(layer, relevance / len(x), self.epsilon, (x, layer.kernel, layer.bias))


Term = tuple[Any, Any, Any]  # x, kernel, bias


def _by_sign(layer: Affine, x: Any, above: jax.Array, below: jax.Array, bias: Any) -> tuple[Term, ...]:
    """The terms of a layer whose kernel is `above` for positive inputs and `below` for negative ones."""
    return ((x, above, bias),) if layer.unsigned else ((_positive(x), above, bias), (_negative(x), below, 0.0))


def _share(layer: Affine, relevance: jax.Array, stabilizer: float, *terms: Term) -> Any:
    """The relevance of the inputs of several terms, summed, where z is the sum of all terms."""
    z: Any = 0.0
    pulls = []
    for x, kernel, bias in terms:
        part, pull = jax.vjp(partial(layer.apply, kernel), x)
        z = z + part + bias
        pulls.append(pull)
    rate = relevance / (z + jnp.where(z < 0, -stabilizer, stabilizer))
    shares = [jax.tree.map(jnp.multiply, x, pull(rate)[0]) for (x, _, _), pull in zip(terms, pulls, strict=True)]
    return jax.tree.map(lambda *parts: sum(parts), *shares)


def _positive(x: Any) -> jax.Array:
    return jnp.maximum(x, 0.0)


def _negative(x: Any) -> jax.Array:
    return jnp.minimum(x, 0.0)


# The kinds of operations; `signals.py` says what they are.
CONVOLUTION, DENSE, AVERAGE, SUM, PRODUCT, MOVE, SOFTMAX = (
    "convolution", "dense", "average", "sum", "product", "move", "softmax"
)  # fmt: skip

LINEAR = (CONVOLUTION, DENSE)
"""The kinds of operations with weights."""

ADDING = (AVERAGE, SUM)
"""The kinds of operations that add numbers up without weights of the network."""

FIRST = "first"
"""A composite's key for the first convolution."""

_COMMON: Mapping[str, Rule] = {
    **dict.fromkeys((*ADDING, DENSE), Epsilon()),
    PRODUCT: Uniform(),
    MOVE: Gradient(),
}
COMPOSITES: Mapping[str, Mapping[str, Rule]] = {
    "epsilon_plus": {**_COMMON, CONVOLUTION: ZPlus()},
    "epsilon_alpha2_beta1": {**_COMMON, CONVOLUTION: AlphaBeta(2.0, 1.0)},
    "epsilon_gamma_box": {**_COMMON, CONVOLUTION: Gamma(0.25), FIRST: ZBox()},
    # Achtibat et al. 2024, AttnLRP: a softmax passes relevance on, so queries and keys have a share in an attention.
    "attention": {**_COMMON, CONVOLUTION: Gamma(0.25), SOFTMAX: Epsilon()},
}


def find_composite(composite: str | Mapping[str, Rule]) -> Mapping[str, Rule]:
    """The composite of this name, or the mapping itself.

    Raises:
        InputError: an unknown name, or a mapping with a value that is no rule.
    """
    if isinstance(composite, str):
        if composite not in COMPOSITES:
            hint = near(composite, COMPOSITES)
            raise InputError(f"no composite {composite!r}: {hint}there are {', '.join(COMPOSITES)}")
        return COMPOSITES[composite]
    if not isinstance(composite, Mapping):
        raise InputError(f"a composite is {', '.join(COMPOSITES)} or {{layer or kind: rule}}; given: {composite!r}")
    for key, rule in composite.items():
        if not isinstance(rule, Rule):
            raise InputError(f"a composite maps layers to rules, such as Epsilon(); given: {key!r}: {rule!r}")
    return composite


def find_rule(composite: Mapping[str, Rule], keys: Sequence[str], kind: str, *, first: bool, where: str) -> Rule:
    """The rule for an operation of a kind.

    Args:
        keys: the names of its layer, and its class, the last one, if rules for these are meant for the operation.
        first: whether it is the first convolution.
        where: its layer or place, for an error.

    Raises:
        InputError: there is no rule for the operation, or one that does not fit it.
    """
    order = (*keys[:-1], *([FIRST] if first else []), *keys[-1:], kind)
    rule = next((composite[key] for key in order if key in composite), None)
    if rule is None and kind not in LINEAR:
        rule = _COMMON.get(kind)
    what = f"the operation {kind} in {where or 'the network'}"
    if keys and keys[-1] and kind in (CONVOLUTION, *_COMMON):
        what = f"{where}, a {keys[-1]}"
    if rule is None:
        raise InputError(f"no rule for {what}: this composite has rules for {', '.join(composite)}")
    if isinstance(rule, WeightRule) and kind not in LINEAR:
        raise InputError(f"{rule} is for operations with weights, {' and '.join(LINEAR)}; given: {what}")
    if isinstance(rule, ZBox) and not first:
        raise InputError(f"ZBox is for the first convolution, whose input has known bounds; given: {what}")
    return rule

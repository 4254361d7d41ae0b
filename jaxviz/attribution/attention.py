"""Attributions of transformers by their attention: how much the output reads from each patch, through all blocks.

    attention `[heads t s]` of each block  ->  one matrix for each block  ->  their product  ->  the row of the output

Token t of a block reads token s of the block before. Multiplied, the matrices of all blocks say how much each token of
the last block reads from each patch of the image. The map is the row of the class token. Without one, it is the mean
over all rows, which a network that averages its tokens reads.

Law: if each attention is the identity, each token shows itself. `attention_rollout` does not depend on the target.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxviz.attribution.explain import BATCH, Array, Attribution, answer, ask, reasons_by
from jaxviz.attribution.layer_maps import Shape, before, enlarged, leads_to
from jaxviz.compiling.batches import at_once, map_in_loop
from jaxviz.compiling.jit import jit
from jaxviz.errors import InputError
from jaxviz.model import Model
from jaxviz.networks.attention import AttentionForward, with_attention
from jaxviz.objectives import Objective
from jaxviz.targets import Target
from jaxviz.tokens import WAY, Tokens, tokens_of

__all__ = ["attention_relevance", "attention_rollout"]

# (attention [heads t s], gradient of the score with respect to it) -> what is multiplied, [t s]
Weigh = Callable[[jax.Array, jax.Array], jax.Array]

AGAINST = (
    "what the blocks read from the patches lowers the score, and the part that raises it is empty. Another target may "
    "show something"
)


def attention_rollout(model: Model, image: ArrayLike, target: Target = None, *, batch: int = BATCH) -> Attribution:
    """An `Attribution` with a map `[h w]`: how much of each patch the attention of all blocks carries to the output.

    A block is half its attention, averaged over its heads, and half the identity, which stands for the residual path.
    The map is the same for all targets; the values of all tokens add up to 1 before the map is enlarged.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each. It says which blocks count: those before it.
        batch: images computed at a time.

    Raises:
        InputError: a network without attention between its tokens, tokens of which it is not known how they lie in the
            image, an unknown class, or an image of another shape or outside [0, 1].

    Source: Abnar & Zuidema 2020, Quantifying attention flow in transformers, equation 1 (attention rollout).
    """
    return _by_attention(_half, model, image, target, batch)


def attention_relevance(model: Model, image: ArrayLike, target: Target = None, *, batch: int = BATCH) -> Attribution:
    """An `Attribution` with a map `[h w]`: how much each patch raises the score through the attention of all blocks.

    A block is the identity, and what its attention adds to the score: each weight times its gradient, where that is
    positive, averaged over the heads.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each. Classes are explained before their softmax or sigmoid.
        batch: images computed at a time.

    Raises:
        InputError: a network without attention between its tokens, tokens of which it is not known how they lie in the
            image, an unknown class, or an image of another shape or outside [0, 1].

    Source: Chefer, Gur & Wolf 2021, Generic attention-model explainability, equations 5 and 6, for self-attention.
    """
    return _by_attention(_positive, model, image, target, batch)


def _half(attention: jax.Array, gradient: jax.Array) -> jax.Array:
    return (attention.mean(0) + jnp.eye(attention.shape[-1])) / 2


def _positive(attention: jax.Array, gradient: jax.Array) -> jax.Array:
    return jnp.eye(attention.shape[-1]) + jax.nn.relu(attention * gradient).mean(0)  # R + Ā R = (1 + Ā) R


def _by_attention(weigh: Weigh, model: Model, image: ArrayLike, target: Target, batch: int) -> Attribution:
    question = ask(with_attention(model), image, target)
    names, place = _attentions(question.model, question.objectives, question.images.shape[1:-1])

    def method(images: Array, objectives: Objective) -> tuple[Attribution, np.ndarray]:
        found, moves = _joined(question.model, images, objectives, place, names=names, weigh=weigh)
        return found, reasons_by(moves, AGAINST)

    return answer(question, method, batch)


def _attentions(model: Model, objective: Objective, size: Shape) -> tuple[tuple[str, ...], Tokens]:
    """The attentions between the image and the target, and how their tokens lie in the image.

    Raises:
        InputError: there are none, they have different tokens, or it is not known how these lie in the image.
    """
    network = before(model, objective, (), size)
    known = model.forward.attentions if isinstance(model.forward, AttentionForward) else ()
    names = tuple(name for name in known if name in network.seen and leads_to(network, name, objective))
    counts = {count for name in names for count in network.shapes[name][1:]}
    if len(counts) != 1:
        given = ", ".join(f"{name} {list(network.shapes[name])}" for name in names) or "no attention before the target"
        raise InputError(
            f"these attributions multiply attentions [heads t t] of one number of tokens; given: {given}. CAMs and "
            "gradients take any network"
        )
    place = tokens_of(model, network, *counts)
    if place is None:
        raise InputError(f"how the {counts.pop()} tokens of {names[0]} lie in the image is not known: {WAY}")
    return names, place


@jit(static=("names", "weigh"))
def _joined(
    model: Model, images: jax.Array, objectives: Objective, place: Tokens, *, names: tuple[str, ...], weigh: Weigh
) -> tuple[Attribution, jax.Array]:
    """The maps of a batch, and whether the score of each image moves with any attention."""

    def one(image: jax.Array, objective: Objective) -> tuple[Attribution, jax.Array]:
        def edited(moves: dict[str, jax.Array]) -> tuple[jax.Array, Any]:
            edits = {name: lambda attention, by=move: attention + by for name, move in moves.items()}
            found = model(image, (*names, *objective.layers), edits)
            return objective(found), [found[name] for name in names]

        shapes = jax.eval_shape(lambda: model(image, names))
        still = {name: jnp.zeros(shape.shape) for name, shape in shapes.items()}
        (score, found), gradients = jax.value_and_grad(edited, has_aux=True)(still)
        read = jnp.eye(found[0].shape[-1])
        for name, attention in zip(names, found, strict=True):
            read = jnp.matmul(weigh(attention, gradients[name]), read, precision="highest")
        row = read[0] if place.front else read.mean(0)
        values = enlarged(place.turned(row[:, None])[..., 0], place.size, False, place)
        return Attribution(values, score), jnp.stack([(each != 0).any() for each in gradients.values()]).any()

    size = at_once(*images.shape[1:-1], execution=model.execution)
    return map_in_loop(one, images, objectives, size=size, execution=model.execution)

"""What interventions do to a score: each of many, in one compiled call.

    effects(model, image, [intervention, …], target) -> how much the score changes by each

Law: the effect of an intervention is the score of the edited model minus the score of the model itself, at the same
image. On a network that is linear after the layer, it is the weight of the layer times what the intervention changes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from jaxviz.attribution.explain import BATCH, Array, ask, decide
from jaxviz.attribution.layer_maps import before, leads_to
from jaxviz.compiling.batches import at_once, chunks, kinds, map_in_loop, stacked
from jaxviz.compiling.jit import jit
from jaxviz.errors import InputError
from jaxviz.interventions import Given, Intervention, edited
from jaxviz.model import Model
from jaxviz.objectives import Objective, score
from jaxviz.results import brief
from jaxviz.targets import Target

__all__ = ["Effects", "effects"]

Several = tuple[Intervention, ...]


class Effects(NamedTuple):
    """What `effects` returns.

    Attributes:
        values: `[k]`, how much the score changes by each intervention; negative where it falls. `[n k]` for a batch.
        score: without any of them; `[n]` for a batch.
    """

    values: Float[Array, "*n k"]
    score: Float[Array, "*n"]

    def __repr__(self) -> str:
        return brief(self)


def effects(
    model: Model,
    image: ArrayLike,
    interventions: Iterable[Given | Iterable[Given]] | Given,
    target: Target = None,
    *,
    batch: int = BATCH,
) -> Effects:
    """The change of the target's score by each of many interventions, `Effects`.

        each = [jv.ablate(model, "conv3", channel) for channel in range(64)]
        found = jv.effects(model, image, each, "zebra")
        found.values.argsort()[:5]                          the five channels that the zebra needs most

    Interventions that differ in numbers only share one program, whichever units, images or directions they have.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        interventions: a list. Each is taken alone; a tuple of several in the list is taken together.
        target: a class number or name, an Objective, or None for the class that the network decides for without
            interventions; for a batch, one for all or a list with one for each. Classes are explained before their
            softmax or sigmoid.
        batch: interventions in one compiled call.

    Raises:
        InputError: no intervention, one at an unknown layer or at a layer that the target does not depend on, values
            that do not fit an image of this size, an unknown class, or an image of another shape or outside [0, 1].

    Source: Morcos et al. 2018 (ablation); Vig et al. 2020 and Meng et al. 2022 (patching); Turner et al. 2023
    (steering); Goldowsky-Dill et al. 2023 (paths). `ablate`, `patch`, `steer` and `through` say which.
    """
    given = list(interventions) if np.iterable(interventions) else []
    if not given:
        raise InputError(f"interventions are a list of one or more, [jv.ablate(…), …]; given: {interventions!r}")
    several = [tuple(each) if np.iterable(each) else (each,) for each in given]
    for each in several:
        edited(model, *each)
    question = ask(model, image, target)
    _check_paths(model, question.objectives, several, question.images.shape[1:-1])
    alike = kinds(several)
    values = np.empty((len(question.images), len(several)), np.float32)
    scores = np.empty(len(question.images), np.float32)
    for place, one in enumerate(question.images):
        objective = jax.tree.map(lambda leaf, at=place: leaf[at], question.objectives)
        objective = decide(model, one, objective)
        for members in alike:
            for some, positions in chunks(members, batch, "intervention"):
                stack = stacked(several[number] for number in some)
                scores[place], found = _changes(model, one, objective, some, stack)
                values[place, some[: len(positions)]] = found[: len(positions)]
    if not (np.isfinite(values).all() and np.isfinite(scores).all()):
        raise InputError("a score is NaN or infinite: numbers in the network's weights are, or they overflow")
    return Effects(values[0], scores[0]) if question.single else Effects(values, scores)


@jit()
def _changes(
    model: Model, image: jax.Array, objective: Objective, numbers: jax.Array, several: Several
) -> tuple[jax.Array, jax.Array]:
    """The score of the image, and how much it changes by each of a stack of interventions `[b]`.

    Their `numbers` count them, since interventions of your own may have no arrays of which one could tell how many.
    """
    whole = score(model, image, objective)

    def changed(_: jax.Array, some: Several) -> jax.Array:
        return score(replace(model, interventions=(*model.interventions, *some)), image, objective) - whole

    size = at_once(*image.shape[:-1], gradient=False, execution=model.execution)
    return whole, map_in_loop(changed, numbers, several, size=size, execution=model.execution)


def _check_paths(model: Model, objective: Objective, several: Sequence[Several], size: tuple[int, ...]) -> None:
    """Nothing, if the target depends on each layer with an intervention.

    Raises:
        InputError: it does not.
    """
    layers = list(dict.fromkeys(one.layer for each in several for one in each))
    network = before(model, objective, layers, size)
    for layer in layers:
        if not leads_to(network, layer, objective):
            raise InputError(f"the target, {', '.join(objective.layers)}, does not depend on {layer}")

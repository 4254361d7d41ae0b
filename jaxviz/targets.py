"""Targets: the user's short ways of saying which objective an attribution explains.

    int | str | Objective | function | None  ─►  Objective

A class target explains the last layer *before* its softmax or sigmoid, so that a saturated probability does not blank
the map. A network that ends in one sigmoid unit has the classes 0 and 1, see `Model.is_binary`. None is the class that
the network decides for. A function `{name: activation} -> score` is an objective that its user wrote.
"""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from jaxviz.checks import near
from jaxviz.compiling.batches import stacked
from jaxviz.errors import InputError
from jaxviz.model import IMAGE, Model, check_real
from jaxviz.objectives import Highest, Objective, Unit, class_score, fitting
from jaxviz.own_objectives import as_objective, check

__all__ = ["classes"]

# int | str | Objective | function | None, or a sequence of them, one for each image; whole numbers of NumPy and JAX,
# too. It is `Any` because `resolve` refuses everything else in a sentence of its own.
Target = Any


def resolve(model: Model, target: Target, count: int, shape: tuple[int, ...]) -> Objective:
    """A stack of `count` objectives, from one target for all images, of `shape`, or one target for each.

    Raises:
        InputError: no such class, a wrong number of targets, or targets of different kinds.
    """
    if is_several(target):
        objectives = [_objective(model, one, shape) for one in target]
        if len(objectives) != count:
            raise InputError(f"a target is one for all images, or one for each of {count}; given: {len(objectives)}")
    else:
        objectives = [_objective(model, target, shape)] * count
    if len({jax.tree.structure(objective) for objective in objectives}) > 1:
        raise InputError(
            "the targets of one batch must be of one kind: all classes, or all the same Objective type that differ in "
            "numbers only (one that is no flax.struct.dataclass, or a function, is a kind of its own). Ask for one "
            "image after the other"
        )
    if len({tuple(map(np.shape, jax.tree.leaves(objective))) for objective in objectives}) > 1:
        raise InputError("the targets of one batch must have masks or embeddings of one shape")
    return stacked(objectives)


def is_several(target: Any) -> bool:
    """Whether this is a list with a target for each image, not one target for all."""
    return isinstance(target, (list, tuple)) or np.ndim(target) > 0


def _objective(model: Model, target: Target, shape: tuple[int, ...]) -> Objective:
    if isinstance(target, Objective) or (callable(target) and not isinstance(target, type)):
        objective = as_objective(model, target, shape)
        names = [model.check_layer(name) for name in objective.layers if name != IMAGE]
        check(objective, model.structs(shape, [IMAGE, *names]))
        return objective
    if isinstance(target, type):
        raise InputError(f"a target is an Objective itself, such as {target.__name__}(…); given: the class")
    _check_classes(model, target)
    if target is None:
        return Highest(model.scores)
    return class_score(model.scores, class_index(model, target), model.is_binary)


def _check_classes(model: Model, target: Any) -> None:
    scores = model.structs(names=[model.scores])
    check_real(scores)
    units = scores[model.scores].shape
    if len(units) != 1:
        index = target if isinstance(target, int) and not isinstance(target, bool) else "channel"
        raise InputError(
            f"this network ends in {model.output}, {list(units)}, which has no classes: give the target as "
            f"{fitting(model.scores, units, index)}; given: {target!r}"
        )


def classes(model: Model, targets: Iterable[int | str] | None = None) -> list[Objective]:
    """A list with the objective of each of `targets`, class numbers or names; None: all classes.

        jv.sweep(model, jv.classes(model, ["zebra", 985]))

    Each is the score of its class before the softmax or sigmoid that the network ends in.

    Raises:
        InputError: no such class, or a network without classes.
    """
    _check_classes(model, targets)
    if targets is None:
        targets = range(2 if model.is_binary else model.shapes(names=[model.scores])[model.scores][0])
    if isinstance(targets, str) or not np.iterable(targets):
        raise InputError(f"targets are a list of classes, such as [{targets!r}]; given: {targets!r}")
    return [class_score(model.scores, class_index(model, target), model.is_binary) for target in targets]


def class_index(model: Model, target: Any) -> int:
    """The number of a class that is given by its number or name.

    Raises:
        InputError: no such class.
    """
    index = _named(model, target) if isinstance(target, str) else target
    if isinstance(index, bool) or not hasattr(index, "__index__"):
        raise InputError(f"a target is a class number, a class name, an Objective or None; given: {target!r}")
    if not model.is_binary:
        Unit(model.scores, index).check(model.shapes(names=[model.scores]))
    elif index not in (0, 1):
        raise InputError(f"a head of one sigmoid unit has the classes 0 and 1; given: {index}")
    return int(index)


def _named(model: Model, name: str) -> int:
    if model.labels is None:
        raise InputError(
            f"this model has no class names, so a target is a class number; given: {name!r}. "
            "model.replace(labels=(…)) gives it names"
        )
    if name not in model.labels:
        raise InputError(
            f"no class named {name!r} among {len(model.labels)}: {near(name, model.labels)}model.labels has them all"
        )
    return model.labels.index(name)

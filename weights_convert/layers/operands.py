"""How a row of an operation is made, and the checks that keep the images of a batch apart.

An operation is what a network computes outside of layers, such as `x / 127.5`, `tf.reduce_mean(x, -1)` or
`keras.ops.concatenate([x, y])`. Its row is a `Kind` whose name is that of Keras 3's class after "ops.", so it is never
confused with a layer: `ops.Add` takes two operands, the layer `Add` takes a list. To add an operation:

1. Add a row to the `KINDS` of `arithmetic`, `reducing`, `cutting`, `moving` or `neural`. `tensorflow` there lists
   TensorFlow's names for it.
2. Add it to a list of `tests/weights_convert/test_operations.py`, in the spelling of Keras 3 and of TensorFlow.
3. Then `python tests/weights_convert/layers_page.py` writes the page `docs/layers.md` again.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
from jax import Array

from . import options as o
from .functions import Activation
from .kind import LIST, Config, Kind, Spelling, identity, no_activation
from .options import Option

TWO = ("x1", "x2")
AXES = Option(o.optional(o.axes), None)
PACKAGES = {"activations": "keras.src.activations.activations"}


def spelled(names: str, translate: Callable[[dict[str, Any]], dict[str, Any]] = dict, **assumed: Any) -> Spelling:
    """A spelling; `names` are separated by spaces."""
    return Spelling(tuple(names.split()), assumed, translate)


def operation(
    module: str,
    function: Callable[..., Any] = identity,
    options: Mapping[str, Option] | None = None,
    *,
    elementwise: bool = False,
    operands: tuple[str, ...] = (),
    least: int | None = None,
    called: tuple[str, ...] = (),
    prepares: Literal["", "values", "size"] = "",
    several: bool = False,
    activation: Callable[[Config], Activation | None] = no_activation,
    keras_3: bool = True,
    tensorflow: Mapping[str, str | Spelling] | None = None,
) -> Kind:
    """The row of an operation of `keras.ops`.

    Args:
        module: where Keras 3 has its class: "numpy" for `keras.src.ops.numpy`.
        least: the number of operands that a call must have; None: all of them.
        keras_3: whether Keras 3 has it.
        The others are the fields of `Kind`.
    """
    read = dict(options or {})
    if operands and operands != LIST:
        read["arguments"] = Option(o.operands(least or len(operands), len(operands)))
    if several:
        read["output"] = Option(o.margin, 0)
    return Kind(
        read,
        function,
        activation=activation,
        harmless=frozenset({"synchronized", "sparse", "ragged"}),
        elementwise=elementwise,
        prepares=prepares,
        package=PACKAGES.get(module, f"keras.src.ops.{module}") if keras_3 else None,
        operands=operands,
        called=called,
        several=several,
        tensorflow={
            name: spelling if isinstance(spelling, Spelling) else spelled(spelling)
            for name, spelling in (tensorflow or {}).items()
        },
    )


def filled(config: Config, xs: tuple[Array, ...]) -> list[Array]:
    """The operands of a call: tensors, with the constants in their places."""
    tensors = iter(xs)
    return [next(tensors) if each is None else jnp.asarray(each, xs[0].dtype) for each in config["arguments"]]


def of_operands(function: Callable[..., Array], config: Config, *xs: Array) -> Array:
    """`function` of operands that are broadcast to one shape. Its result has the type of the first tensor."""
    operands = filled(config, xs)
    rank = xs[0].ndim
    constants = [x for x, given in zip(operands, config["arguments"], strict=True) if given is not None]
    if len({x.ndim for x in xs}) > 1 or any(x.ndim > rank or (x.ndim == rank and len(x) > 1) for x in constants):
        raise ValueError("broadcasting along the batch")
    return function(*operands).astype(xs[0].dtype)


def of_each(function: Callable[[Array], Array], config: Config, x: Array) -> Array:
    """`function` of each number."""
    return function(x).astype(x.dtype)


def elementwise(function: Callable[[Array], Array], *tensorflow: str, module: str = "numpy") -> Kind:
    """The row of an operation of one operand that treats each number by itself."""
    spellings = {name: spelled("x") for name in tensorflow}
    return operation(module, partial(of_each, function), elementwise=True, prepares="values", tensorflow=spellings)


def binary(
    function: Callable[[Array, Array], Array],
    *tensorflow: str,
    prepares: Literal["", "values"] = "",
    others: Mapping[str, Spelling] | None = None,
    keras_3: bool = True,
) -> Kind:
    """The row of an operation of two operands, x and y for TensorFlow."""
    spellings = {name: spelled("x y") for name in tensorflow} | {**(others or {})}
    return operation(
        "numpy",
        partial(of_operands, function),
        operands=TWO,
        prepares=prepares,
        tensorflow=spellings,
        keras_3=keras_3,
    )


def within(axis: int, rank: int) -> int:
    """The axis, counted from 0.

    Raises:
        ValueError: it is that of the batch, or does not exist.
    """
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of an array of {rank} axes")
    if axis % rank == 0:
        raise ValueError("an operation along the batch, whose images must not depend on each other")
    return axis % rank


def all_within(axes: tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    """The axes, counted from 0; None stands for all of them, and so for the batch too.

    Raises:
        ValueError: the batch is one of them, or one does not exist.
    """
    return tuple(within(axis, rank) for axis in (range(rank) if axes is None else axes))


def one_within(axis: int | None, rank: int) -> int:
    """One axis, counted from 0; None stands for all numbers of the batch."""
    return all_within(None if axis is None else (axis,), rank)[0]

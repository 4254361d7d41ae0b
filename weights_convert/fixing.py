"""A network with several inputs → a network with one input: all others get a fixed value."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from .graph import IMAGE
from .net import KerasNet


def fix(net: KerasNet, values: Mapping[str, Array | np.ndarray | str]) -> KerasNet:
    """`net` with a fixed value for all inputs but one. That one is then called `image`; the weights are shared.

    Args:
        net: a network with several inputs.
        values: {input: value}. A value is an array without a batch axis, in the network's own units, or "image": the
            input then takes the same as the input that is left.

    Raises:
        ValueError: more or fewer than one input is left, an input does not exist, or a value has another shape.
    """
    shapes = net.open_inputs
    rest = [name for name in shapes if name not in values]
    if unknown := [name for name in values if name not in shapes]:
        raise ValueError(f"this network has no input {unknown[0]!r}; its inputs are {shown(shapes)}")
    if len(rest) != 1:
        raise ValueError(f"one input is left for the image, the others are given; the inputs are {shown(shapes)}")
    arrays = {name: np.asarray(value) for name, value in values.items() if not isinstance(value, str)}
    same = [*rest, *(name for name in values if name not in arrays)]
    for name in same:
        if values.get(name, IMAGE) != IMAGE or shapes[name] != shapes[rest[0]]:
            raise ValueError(f'{name!r} takes an array, or "image" if it takes what {rest[0]!r} does: {shown(shapes)}')
    for name, array in arrays.items():
        if len(array.shape) != len(shapes[name]) or any(
            want not in (None, have) for want, have in zip(shapes[name], array.shape, strict=True)
        ):
            raise ValueError(f"the input {name!r} takes {list(shapes[name])}; given: {list(array.shape)}")
    if IMAGE in arrays:
        raise ValueError(f"the name {IMAGE!r} is for the input that is left; rename the other one in Keras")

    names = dict.fromkeys(same, IMAGE)
    fixed: KerasNet = nnx.merge(*nnx.split(net))
    fixed.graph = net.graph.renamed(names)
    fixed.shapes = tuple({names.get(name, name): shape for name, shape in net.shapes}.items())
    for name, array in arrays.items():
        fixed.fixed[name] = nnx.Variable(jnp.asarray(array, jnp.float32)[None])
    return fixed


def shown(inputs: Mapping[str, tuple[int | None, ...]]) -> str:
    """Inputs with their shapes, as text for messages."""
    return ", ".join(f"{name} [{' '.join(str(n or 'any') for n in shape)}]" for name, shape in inputs.items())

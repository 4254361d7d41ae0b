"""Kind: what one kind of Keras layer computes at inference, and all else that the code needs to know about it.

To add a kind of layer, change two files, and write a page again:

1. The file of its family (`linear`, `normalization`, `attention`, `nonlinear`, `pooling`, `merging`, `shaping`,
   `images` or `identity`): add a row to `KINDS` there. The fields of `Kind` below say what a row holds. Every key of
   the layer's Keras config is in exactly one of `options`, `harmless` and `training`.
2. `tests/weights_convert/test_layers.py`: add the layer, with each of its options, to the list of its family, and to
   `REQUIRED` if Keras does not make such a layer without arguments. These cases compare it with Keras, also after it
   was saved and loaded again.
3. Then `python tests/weights_convert/layers_page.py` writes the page `docs/layers.md` again.

Everything else reads the row: which weights to expect in a file (`files/h5.py`, `files/keras_3.py`, `files/nested.py`),
how to save the layer (`files/write_keras.py`) and how a network was fed (`preparation.py`). A new family is one more
file in `table.FAMILIES`. Names that an older Keras used for a layer or an option are in `config/versions.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax import Array

from . import options as o
from .functions import ACTIVATIONS, Activation
from .options import Option

Config = Mapping[str, Any]
Shape = tuple[int | None, ...]


LIST = ("*",)
"""The operands of a row whose calls take one list of tensors."""


def identity(config: Config, x: Array) -> Array:
    """`x`: what a layer computes at inference that has an effect during training only."""
    return x


def no_activation(config: Config) -> Activation | None:
    """None: the layer has no activation function."""
    return None


class Spelling(NamedTuple):
    """How a function of TensorFlow writes an operation.

    Attributes:
        names: TensorFlow's names of the row's operands and options, in the order of the row.
        assumed: {name: value} of arguments that a call leaves out. Of a name that is not in `names`, this is the only
            value that is supported.
        translate: {operand or option: value} as TensorFlow means it → as Keras 3 does.
    """

    names: tuple[str, ...]
    assumed: Mapping[str, Any]
    translate: Callable[[dict[str, Any]], dict[str, Any]] = dict


@dataclass(frozen=True)
class Kind:
    """One row of the table: how a kind of layer runs, and what else the code needs to know about it.

    Attributes:
        options: {key of the layer's config: how it is read}, of all keys that change what is computed at inference.
        function: computes the layer from its config and its inputs, if it has no weights.
        module: makes the flax module that computes the layer, if it has weights, from its config and the shape of its
            input, or the shapes of its inputs.
        weights: {Keras' name of a weight: the module's name for it}, in the order in which Keras saves them.
        activation: the activation function that ends the layer, None if it has none. The layer's `/pre` is what
            `function` or `module` returns, before it.
        harmless: keys of the config that do not change what is computed at inference.
        training: {key: neutral value} of the keys that matter during training only, but that Keras needs to make the
            layer. The value is written to a file for Keras if the key's own value is not known; None: nothing is.
        elementwise: each number that the layer returns, before its activation function, depends on the number at the
            same place of its input alone. So the layer computes the same wherever the axis of the channels is.
        prepares: "values" if networks use the layer to change the range of an image before they look at it, "size" if
            they use it to change the size of an image; "" if neither.
        package: the Python module where Keras 3 finds the class; None if Keras 3 has no such layer.
        operands: the names of the tensors, if a call takes several of them one by one; `LIST` if a call takes a list.
            If there are none of these names, a call takes one tensor, or a list.
        called: the options that Keras writes with the call, not in the config.
        several: the layer returns several tensors; the option `output` says which of them a node is.
        parts: {an inner layer's name in the names of the weights: the attribute under which Keras 3 stores it}.
        frames: the layer takes frames [n t …], and computes each by itself, as in Keras' TimeDistributed.
        tensorflow: {function of TensorFlow: its spelling} of the functions that Keras 2 saves for the operation.
    """

    options: Mapping[str, Option]
    function: Callable[..., Array] = identity
    module: Callable[[Config, Any, nnx.Rngs], nnx.Module] | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    activation: Callable[[Config], Activation | None] = no_activation
    harmless: frozenset[str] = frozenset()
    training: Mapping[str, float | None] = field(default_factory=dict)
    elementwise: bool = False
    prepares: Literal["", "values", "size"] = ""
    package: str | None = "keras.layers"
    operands: tuple[str, ...] = ()
    called: tuple[str, ...] = ()
    several: bool = False
    parts: Mapping[str, str] = field(default_factory=dict)
    tensorflow: Mapping[str, Spelling] = field(default_factory=dict)
    frames: bool = False

    @property
    def leaves_its_input(self) -> bool:
        """Whether the layer, before its activation function, returns its input."""
        return self.module is None and self.function is identity

    @property
    def does_nothing(self) -> bool:
        """Whether the layer returns its input at inference, whatever its options are."""
        return self.leaves_its_input and self.activation is no_activation


class Weighted(nnx.Module):
    """A layer whose weights have the same shapes as in Keras: it computes `function(config, weights, x)`.

    A weight that the layer was made without is None.
    """

    def __init__(self, function: Callable[..., Any], config: Config, **weights: nnx.Variable | None):
        self.function = function
        self.config = tuple(config.items())  # static parts of a module must be hashable
        self.names = tuple(weights)
        for name, variable in weights.items():
            setattr(self, name, variable)

    def __call__(self, *xs: Array) -> Any:
        """The output for the inputs [n ...]; a tuple if the layer has several outputs."""
        variables = {name: getattr(self, name) for name in self.names}
        weights = {name: None if variable is None else variable[...] for name, variable in variables.items()}
        return self.function(dict(self.config), weights, *xs)


def drawn(key: Array | None, shape: Shape, dtype: Any = jnp.float32, **options: Any) -> Array:
    """The start of a kernel: random numbers, as Flax draws those of its layers; zeros, if there is no key."""
    if key is None:
        return jnp.zeros(shape, dtype)
    return nnx.initializers.lecun_normal()(key, shape, dtype, **options)


def kernel(rngs: nnx.Rngs, *shape: int) -> nnx.Param:
    """A kernel that starts as `drawn`."""
    return nnx.Param(drawn(rngs.params(), shape))


def zeros(*shape: int, wanted: bool = True) -> nnx.Param | None:
    """A weight that starts at 0; None if it is not `wanted`."""
    return nnx.Param(jnp.zeros(shape)) if wanted else None


def ones(*shape: int, wanted: bool = True) -> nnx.Param | None:
    """A weight that starts at 1; None if it is not `wanted`."""
    return nnx.Param(jnp.ones(shape)) if wanted else None


def length(shape: Shape, axis: int = -1) -> int:
    """The length of an axis, which a weight must have too.

    Raises:
        ValueError: the length is 0, or it depends on the size of the image, which is not fixed.
    """
    found = shape[axis]
    if found == 0:
        raise ValueError("the layers before it leave no features of an image of this size")
    if found is None:
        raise ValueError("the number of features depends on the size of the image, which is not fixed")
    return found


def along(values: Array, axes: tuple[int, ...], rank: int) -> Array:
    """`values`, whose axes are `axes` of an array of this rank, in a shape that broadcasts with that array."""
    shape = [1] * rank
    for axis, n in zip(axes, values.shape, strict=True):
        shape[axis] = n
    return values.reshape(shape)


def named(config: Config) -> Activation | None:
    """The activation function in the option `activation`, most often a name; None for "linear"."""
    found = config["activation"]
    return found if isinstance(found, Activation) else None if found == "linear" else ACTIVATIONS[found]


# `config/channels.py` makes networks of channels_first into such of channels_last, which the functions compute.
CHANNELS_LAST = Option(o.one_of("channels_last", "channels_first"), "channels_last")
ACTIVATION = Option(o.activation, "linear")


def training(*weights: str) -> frozenset[str]:
    """The keys of the initializers, regularizers and constraints of these weights."""
    roles = ("initializer", "regularizer", "constraint")
    return frozenset(f"{weight}_{role}" for weight in weights for role in roles)

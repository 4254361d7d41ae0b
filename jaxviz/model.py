"""A model: it takes an image and returns named activations.

`model(image, names)` is a pure function of its parameters and the image. Images are float32 in [0, 1], `[h w c]` or
`[n h w c]`. An image may also be a signal `[t c]`, a volume `[d h w c]`, or have no axis of channels, `[h w]` or
`[pixels]`: it has the shape that the network takes. The preprocessing that the network was trained with (0–255, BGR
minus means …) is the value `inputs`.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from os import PathLike
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from numpy.typing import ArrayLike

from jaxviz.checks import lengths, near
from jaxviz.compiling.batches import at_once, map_in_loop
from jaxviz.compiling.execution import Execution
from jaxviz.compiling.jit import jit
from jaxviz.compiling.remembered import remembered
from jaxviz.errors import InputError, RunError
from weights_convert import INPUTS, Inputs

__all__ = ["Model"]

IMAGE = "image"  # the reserved name of the input
SPARE_SIZE = 224  # for a network that takes any size, if none is given: the size of ImageNet's networks
SPARE_SIZES = {1: 4096, 2: SPARE_SIZE, 3: 64}  # by the number of axes beside the channels; powers of 2 fit most layers


Edits = Mapping[str, Callable[[jax.Array], jax.Array]]
Activations = dict[str, jax.Array]


@runtime_checkable
class Forward(Protocol):
    """A function that runs a network and returns named activations. It must be hashable: it is static under `jit`."""

    def __call__(self, params: Any, images: jax.Array, names: tuple[str, ...] | None, edits: Edits) -> Activations:
        """The activations of `names`; None: all activations on the way to the output."""


class Layer(NamedTuple):
    """One row of the layer table. A layer with a fused activation function has a second handle, `name/pre`."""

    name: str
    kind: str
    parameters: int


class Hidden(NamedTuple):
    """A layer whose activation cannot be read, and the reason, as a sentence."""

    layer: Layer
    reason: str


@struct.dataclass(eq=False)
class Model:
    """A network with named activations. A pytree: its parameters are leaves, everything else is static.

    Attributes:
        params: the parameters, as `forward` takes them.
        forward: runs the network.
        inputs: the preprocessing of images in [0, 1].
        image_shape: of the images that it takes, such as `(h, w, c)`; None where it takes any. A signal is `(t, c)`, a
            volume `(d, h, w, c)`.
        table: one row for each layer.
        handles: the names of all activations, in execution order.
        outputs: the names of its outputs.
        labels: the names of the classes, if they are known.
        source, sha256: where the parameters come from: a name, and the hash of the file.
        execution: the options that change how the network is computed, not what it computes, up to rounding.
        logits: the handle before the softmax or sigmoid that the network ends in; None if it ends in neither.
        hidden: the layers whose activations cannot be read.
        tokens: (rows, columns, tokens in front) of a transformer, where its traced program does not show how its tokens
            lie in the image.
        interventions: values that edit an activation in every call, see `jaxviz.interventions`; they are leaves, too.
    """

    params: Any
    forward: Forward = struct.field(pytree_node=False)
    inputs: Inputs = struct.field(pytree_node=False)
    image_shape: tuple[int | None, ...] = struct.field(pytree_node=False)
    table: tuple[Layer, ...] = struct.field(pytree_node=False)
    handles: tuple[str, ...] = struct.field(pytree_node=False)
    outputs: tuple[str, ...] = struct.field(pytree_node=False)
    labels: tuple[str, ...] | None = struct.field(pytree_node=False, default=None)
    source: str = struct.field(pytree_node=False, default="")
    sha256: str = struct.field(pytree_node=False, default="")
    execution: Execution = struct.field(pytree_node=False, default=Execution())
    logits: str | None = struct.field(pytree_node=False, default=None)
    hidden: tuple[Hidden, ...] = struct.field(pytree_node=False, default=())
    tokens: tuple[int, int, int] | None = struct.field(pytree_node=False, default=None)
    interventions: tuple[Any, ...] = ()

    def __call__(
        self, images: jax.Array, names: Iterable[str] | None = None, edits: Edits | None = None
    ) -> Activations:
        """The activations of `names` (None: of the output) for `[h w c]`, or `[n h w c]` with the leading axis kept.

        An edit `{name: f}` replaces an activation `[n …]` by f of it, for the layers after it and in the result. JAX
        can trace this function. Only the layers before `names` are computed. `"image"` is the input itself.
        """
        names = (self.output,) if names is None else tuple(names)
        single = images.ndim == len(self.image_shape)
        batch = images[None] if single else images
        wanted = tuple(name for name in dict.fromkeys(names) if name != IMAGE)
        found = self._run(self.inputs(batch), wanted, edits or {}) if wanted else {}
        found[IMAGE] = batch
        return {name: found[name][0] if single else found[name] for name in names}

    def _run(self, images: jax.Array, names: tuple[str, ...], edits: Edits) -> Activations:
        """The forward pass in the precision of `execution`. Images, the arguments of edits, and results are float32."""
        dtype = jnp.dtype(self.execution.dtype)

        def cast(leaf: Any, to: Any = dtype) -> Any:
            return leaf.astype(to) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else leaf

        def edited(name: str, value: jax.Array) -> jax.Array:
            new = cast(value, jnp.float32)
            for edit in functions[name]:
                new = edit(new)
            if new.shape != value.shape:
                raise InputError(
                    f"an edit keeps the shape of its layer, {name}, {list(value.shape[1:])} for each image; given: an "
                    f"edit that returns {list(new.shape[1:])}"
                )
            return new.astype(value.dtype)  # a module may compute in a precision of its own

        functions: dict[str, list[Callable[[jax.Array], jax.Array]]] = {}
        for name, edit in (*((each.layer, each) for each in self.interventions), *edits.items()):
            functions.setdefault(name, []).append(edit)
        edits = {name: functools.partial(edited, name) for name in functions}
        params = self.params if dtype == jnp.float32 else jax.tree.map(cast, self.params)
        with jax.default_matmul_precision(self.execution.precision or "highest"):
            found = self.forward(params, images.astype(dtype), names, edits)
        return {name: cast(value, jnp.float32) for name, value in found.items()}

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers, in execution order."""
        return tuple(layer.name for layer in self.table)

    @property
    def output(self) -> str:
        """The name of the output; the first one where there are several. Each of `outputs` is a handle, too."""
        return self.outputs[0]

    @property
    def scores(self) -> str:
        """The handle that a class target explains: the output, before its softmax or sigmoid if it has one."""
        return self.logits or self.output

    @property
    def channels(self) -> int:
        """The length of an image's last axis, which every network fixes."""
        return self.image_shape[-1] or 0

    @property
    def is_binary(self) -> bool:
        """Whether the network ends in one sigmoid unit, and so decides between the classes 0 and 1.

        `objectives.class_score`, `decision` and `probabilities` say what follows from it.
        """
        return self.logits is not None and self.shapes(names=[self.logits])[self.logits] == (1,)

    def shapes(self, size: int | tuple[int, ...] | None = None, names: Iterable[str] | None = None) -> dict[str, tuple]:
        """The shapes of the activations of `names` (None: all layers), without the batch axis. Nothing is computed.

        Args:
            size: of the image without its last axis, for a network that takes any size; None: its own size, or 224.
            names: handles, such as layer names.

        Raises:
            InputError: the image is too small for a layer, or the layer needs the network's own size.
        """
        return {name: each.shape for name, each in self.structs(size, names).items()}

    def structs(
        self, size: int | tuple[int, ...] | None = None, names: Iterable[str] | None = None
    ) -> dict[str, jax.ShapeDtypeStruct]:
        """The `shapes` of activations, with their dtypes."""
        names = self.layers if names is None else tuple(names)
        shape, inner = self.image_size(size), tuple(name for name in names if name != IMAGE)
        try:
            found = self._structs(shape, inner) if inner else {}
        except RunError as error:
            own = f"; {error}" if str(error) else ""
            fits = self._what_fits(inner[-1])
            cause = error.__cause__ or error
            given = _by(shape[:-1] or shape)
            raise InputError(f"an image of {given} does not fit {inner[-1]}: {fits}{own}") from cause
        found[IMAGE] = jax.ShapeDtypeStruct(shape, jnp.float32)
        return {name: found[name] for name in names}

    def image_size(self, size: int | tuple[int, ...] | None = None) -> tuple[int, ...]:
        """The shape of an image of `size`, with its channels; None: the network's own size, or 224 where it takes any.

        `size` is one number, one for each axis but the last, or the whole shape, as for images without channels.
        """
        sides = self.image_shape[:-1]
        if size is None:
            return (*(side or SPARE_SIZES.get(len(sides), SPARE_SIZE) for side in sides), self.channels)
        if np.iterable(size) and len(size) == len(self.image_shape):
            shape = lengths("size", size, len(size))
            if shape[-1] == self.channels:
                return shape
        return (*lengths("size", size, len(sides)), self.channels)

    def _what_fits(self, name: str) -> str:
        sides, own = self.image_shape[:-1], _by(self.image_shape[:-1] or self.image_shape)
        if not sides or (sides[0] and self._is_fixed(name)):
            return f"like a layer after a Flatten, it needs the network's own size, {own}"
        sizes = ((n,) * len(sides) for n in range(1, 1025))
        least = next((size for size in sizes if self._fits((*size, self.channels), name)), None)
        return f"it needs at least {_by(least)}" if least else "it fits no square image of up to 1024 × 1024"

    def needs_own_size(self, name: str, shape: tuple[int, ...]) -> bool:
        """Whether a layer cannot be computed for an image of `shape`, however large, but for one of the network's size.

        A layer after a Flatten is such a layer. A network that takes any size has none.
        """
        return None not in self.image_shape and not self._fits(shape, name) and self._is_fixed(name)

    def _is_fixed(self, name: str) -> bool:
        sides = self.image_shape[:-1]
        return not self._fits((*(2 * (side or sides[0] or 1) for side in sides), self.channels), name)

    def _fits(self, shape: tuple[int, ...], name: str) -> bool:
        with suppress(RunError):
            return bool(self._structs(shape, (name,)))
        return False

    def _structs(self, shape: tuple[int, ...], names: tuple[str, ...]) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes and dtypes for an image of `shape`. They are kept, since each call of a method asks for them.

        Raises:
            RunError: the network does not run on it, or nothing is left of the image at one of the layers.
        """
        return dict(remembered(self, ("shapes", shape, names), lambda: self._traced_shapes(shape, names)))

    def _traced_shapes(self, shape: tuple[int, ...], names: tuple[str, ...]) -> dict[str, jax.ShapeDtypeStruct]:
        image = jax.ShapeDtypeStruct(shape, jnp.float32)
        try:
            found = compute.compiled().eval_shape(self, image, names=names)
        except InputError:
            raise
        except Exception as error:  # whatever a layer raises where its input is too small
            raise RunError from error
        if any(0 in each.shape for each in found.values()):
            raise RunError
        return {name: found[name] for name in names}  # JAX sorts the keys of a dictionary

    def check_layer(self, name: str) -> str:
        """`name`, if it is a handle of this model.

        Raises:
            InputError: it is not; the message has the nearest names and the whole list.
        """
        if name in self.handles:
            return name
        for layer, reason in self.hidden:
            if layer.name == name:
                layers = ", ".join(self.layers)
                raise InputError(
                    f"{name} cannot be read: {reason}. Take a layer before or after it; there are {layers}"
                )
        raise InputError(
            f"no layer {name!r} in this model: {near(name, self.handles)}its layers are {', '.join(self.layers)}"
        )

    def check_layers(self, names: Iterable[str]) -> tuple[str, ...]:
        """`names`, if they are handles of this model; `blocks[:]/conv` stands for all of `blocks[0]/conv`, ….

        Raises:
            InputError: one of them is not; the message has the nearest names and the whole list.
        """
        found: list[str] = []
        for name in names:
            every = re.escape(name).replace(re.escape("[:]"), r"\[\d+\]") if isinstance(name, str) else ""
            found += [each for each in self.handles if re.fullmatch(every, each)] or [self.check_layer(name)]
        return tuple(dict.fromkeys(found))

    def check_images(self, images: Any) -> np.ndarray:
        """`images` as float32 `[h w c]`, as the network takes it, or `[n h w c]`; the caller's array is not changed.

        Raises:
            InputError: another shape or size than the network takes, or values outside [0, 1].
        """
        try:
            array = np.asarray(images)
        except ValueError:
            raise InputError("images of one batch have one size; given: lists of unequal lengths") from None
        rank, sides = len(self.image_shape), self.image_shape[:-1]
        axes = {2: "tc", 3: "hwc"}.get(rank, "dhwc")
        wanted = f"[{' '.join(str(side or axis) for side, axis in zip(self.image_shape, axes, strict=False))}]"
        if isinstance(images, str | PathLike):
            raise InputError(f"an image is an array, as jv.read_image(path) returns it; given: {images!r}")
        if array.ndim not in (rank, rank + 1):
            raise InputError(f"an image is {wanted}, a batch has one more axis in front; given: {list(array.shape)}")
        one = array.shape[array.ndim - rank :]
        if any(want not in (None, have) for want, have in zip(self.image_shape, one, strict=True)):
            size = f", size=({', '.join(map(str, sides))})" if all(sides) else ""
            hint = f": jv.read_image(path{size}, channels={self.channels}) reads it so" if rank == 3 else ""
            raise InputError(f"this network takes images {wanted}; given: {list(array.shape)}{hint}")
        return check_values(array)

    def __repr__(self) -> str:
        size = _by(self.image_shape)
        source = f"{self.source}: " if self.source else ""
        parameters = sum(layer.parameters for layer in (*self.table, *(each.layer for each in self.hidden)))
        facts = f"{len(self.table)} layers, {parameters:,} parameters, image {size}, inputs {self.inputs.name}"
        which = f", sha256 {self.sha256[:12]}…" if self.sha256 else ""
        where = ", ".join(dict.fromkeys(each.layer for each in self.interventions))
        return f"<Model {source}{facts}{which}{f', edited at {where}' if where else ''}>"

    def __str__(self) -> str:
        shapes = self.shapes()
        size = "" if all(self.image_shape) else f" for an image of {_by(self.image_size()[:-1])}"
        rows = [("layer", "kind", f"output{size}", "parameters")]
        for layer in self.table:
            rows.append((layer.name, layer.kind, "×".join(map(str, shapes[layer.name])), f"{layer.parameters:,}"))
        for layer, reason in self.hidden:
            rows.append((layer.name, layer.kind, f"hidden: {reason}", f"{layer.parameters:,}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}" for a, b, c, d in rows]
        note = [f"inputs {self.inputs.name}: {self.inputs.note}"] if self.inputs.note else []
        return "\n".join([repr(self), *lines, *note])


def check_real(structs: Mapping[str, jax.ShapeDtypeStruct]) -> None:
    """Nothing, if activations have a gradient and a largest number.

    Raises:
        InputError: one of them is of complex or whole numbers.
    """
    for name, each in structs.items():
        if not jnp.issubdtype(each.dtype, jnp.floating):
            hint = ""
            if jnp.issubdtype(each.dtype, jnp.complexfloating):
                function = f"lambda acts: jnp.abs(acts[{name!r}]).mean()"
                hint = f"; jv.gradient and jv.sweep also take a function of it as the target, such as {function}"
            raise InputError(
                f"a CAM, a target or a filter is of a layer of real floating-point numbers; given: {name}, which is "
                f"{each.dtype}. Take a layer before or after it{hint}"
            )


def _by(shape: Iterable[int | None]) -> str:
    """A shape as people write it: 240 × 320 × 3."""
    return " × ".join(str(n or "any") for n in shape)


@jit(static=("names",))
def compute(model: Model, images: jax.Array, names: tuple[str, ...]) -> Activations:
    """`model(images, names)`, compiled once for each network, set of names and image shape."""
    if images.ndim == len(model.image_shape):
        return model(images, names)
    size = at_once(*images.shape[1:-1], gradient=False, execution=model.execution)
    return map_in_loop(lambda image: model(image, names), images, size=size, execution=model.execution)


def activation_of(model: Model, layer: str, image: ArrayLike) -> np.ndarray:
    """The activation of a layer for one image.

    Raises:
        InputError: an unknown layer, several images, or an image of another shape or outside [0, 1].
    """
    pixels = model.check_images(image)
    if pixels.ndim != len(model.image_shape):
        raise InputError(
            "the activation that this is made from is that of one image, without a batch axis; given: "
            f"{list(pixels.shape)}. For several, make one from each: [… for one in images]"
        )
    return np.asarray(compute(model, pixels, names=(model.check_layer(layer),))[layer])


_bounded = ContextVar("bounded", default=True)


@contextmanager
def out_of_range() -> Iterator[None]:
    """A context in which images may have values outside [0, 1].

    `smooth` adds noise to an image and passes the copies to any function of the user's, which calls attributions of
    ours: the noise is no mistake of the user's, so it must not be refused there. The permission cannot be an argument,
    because it has to pass through a function that is not ours; a context variable does, and keeps threads apart.
    """
    token = _bounded.set(False)
    try:
        yield
    finally:
        _bounded.reset(token)


def check_values(images: np.ndarray) -> np.ndarray:
    """`images` as float32, if their values are finite and within [0, 1].

    Raises:
        InputError: no pixels, pixels that are whole numbers, or values outside [0, 1].
    """
    if 0 in images.shape:
        raise InputError(f"an image has at least one pixel; given: no image in an array of shape {list(images.shape)}")
    if not jnp.issubdtype(images.dtype, jnp.floating):  # jax's: numpy does not know bfloat16
        raise InputError(f"images are floats in [0, 1]; given: {images.dtype} (for 0–255 pixels: image / 255)")
    low, high = float(images.min()), float(images.max())
    if _bounded.get() and not (low >= 0 and high <= 1):  # also false for NaN
        hint = " (for 0–255 pixels: image / 255)" if 1 < high <= 255 and low >= 0 else ""
        way = (
            " (for a network that takes x from low to high: inputs=weights_convert.Inputs('own', scale=high - low, "
            "mean=(-low,)), and image = (x - low) / (high - low))"
        )
        way = way if not hint and np.isfinite(high - low) else ""
        raise InputError(f"images have values in [0, 1]{way}; given: {low:.4g} to {high:.4g}{hint}")
    return images.astype(np.float32)


def find_inputs(inputs: str | Inputs, channels: int) -> Inputs:
    """The preprocessing `Inputs` of this name, for images of so many channels.

    Raises:
        InputError: there is none of this name, or it is for another number of channels.
    """
    if not isinstance(inputs, Inputs) and inputs not in INPUTS:
        raise InputError(f"no input convention {inputs!r}: {near(inputs, INPUTS)}there are {', '.join(INPUTS)}")
    found = inputs if isinstance(inputs, Inputs) else INPUTS[inputs]
    try:
        jax.eval_shape(found, jax.ShapeDtypeStruct((1, channels), jnp.float32))
    except ValueError as error:
        raise InputError(str(error)) from None
    return found

"""What the traced program of a model shows of its layers: which of them convolve, and what depends on what.

A layer is judged by its operations, not by its name: a Flax class called `ConvNet` is no convolution, and a class
called `Stem` may be one. The network is traced once to a jaxpr; nothing is computed. A convolution in the jaxpr belongs
to the innermost layer whose path is on JAX's name stack.
"""

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from jaxviz.compiling.attention import attentions
from jaxviz.compiling.execution import AS_USUAL
from jaxviz.compiling.jaxprs import CALLS, ELEMENTWISE, bodies, body_of
from jaxviz.compiling.jit import jit
from jaxviz.compiling.positions import Sights
from jaxviz.compiling.remembered import remembered
from jaxviz.compiling.sight import follow
from jaxviz.compiling.workarounds import Var, parameters
from jaxviz.model import Activations, Model


@dataclass(frozen=True)
class Structure:
    """Some layers of a network, in execution order, as the traced program shows them.

    Attributes:
        structs: {handle: its shape, without the batch axis, and its dtype}.
        convolutions: handles of the layers that convolve.
        pointwise: those of them whose kernels are all 1 × 1.
        seen: handles of the layers that depend on the image.
        picture: the shape `[h w c]` of an image as a picture, see `picture_shape`.
    """

    structs: dict[str, jax.ShapeDtypeStruct]
    convolutions: tuple[str, ...]
    pointwise: frozenset[str]
    seen: frozenset[str]
    picture: tuple[int, ...]
    _program: Any  # a closed jaxpr, whose last input is the image
    _variables: dict[str, Any]

    @functools.cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """{handle: shape without the batch axis}."""
        return {name: each.shape for name, each in self.structs.items()}

    def after(self, name: str) -> frozenset[str]:
        """Handles of the later layers that depend on the layer `name`."""
        later = list(self.shapes)[list(self.shapes).index(name) + 1 :]
        return dependent(self._program.jaxpr.eqns, [self._variables[name]], self._variables).intersection(later)

    @functools.cached_property
    def attended(self) -> frozenset[str]:
        """Handles of the layers that the last attention depends on; none, if the network has no attention."""
        equations, found = self._program.jaxpr.eqns, attentions(self._program)
        if not found:
            return frozenset()
        last = found[-1].place[0]
        needed = set(equations[last].outvars)
        for equation in reversed(equations[: last + 1]):
            if needed.intersection(equation.outvars):
                needed.update(atom for atom in equation.invars if isinstance(atom, Var))
        needed.difference_update(equations[last].outvars)
        return frozenset(name for name, atom in self._variables.items() if isinstance(atom, Var) and atom in needed)

    @functools.cached_property
    def products(self) -> dict[str, int]:
        """{handle: how many products of two numbers its convolutions compute for one image}."""
        found = dict.fromkeys(self.shapes, 0)
        for where, convolution in convolutions(self._program.jaxpr):
            if (name := handle_at(where, self.shapes)) in found:
                kernel, spec = convolution.invars[1].aval, parameters(convolution)["dimension_numbers"].rhs_spec
                found[name] += convolution.outvars[0].aval.size * kernel.size // kernel.shape[spec[0]]
        return found

    @functools.cached_property
    def sights(self) -> dict[str, Sights | None]:
        """{handle: which pixels of the image its positions see} of all layers."""
        found = follow(self._program, self._program.jaxpr.invars[-1], self.picture)
        return dict(zip(self._variables, found, strict=True))


def structure(model: Model, names: Sequence[str], size: tuple[int, ...]) -> Structure:
    """The `Structure` of the layers `names`, handles in execution order, for images of `size`, without their channels.

    It is kept, since each call of a CAM asks for it.

    Raises:
        InputError: the images are too small for a layer, or the layer needs the network's own size.
    """
    key = ("structure", tuple(names), tuple(size))
    return remembered(model, key, lambda: _found(model, names, size))


def _found(model: Model, names: Sequence[str], size: tuple[int, ...]) -> Structure:
    try:
        program = _traced(model, size, names)
    except Exception:
        model.shapes(size, names)  # raises an InputError, if the size is at fault
        raise
    traced = program.jaxpr
    variables = dict(zip(sorted(names), traced.outvars, strict=True))  # JAX sorts the keys of a dictionary
    kernels: dict[str, list[bool]] = {}
    for where, convolution in convolutions(traced):
        kernels.setdefault(handle_at(where, names), []).append(_is_pointwise(convolution))
    for name in names:  # a wrapped module has one name on the stack for all its calls
        if (first := name.split("#")[0]) in kernels:
            kernels.setdefault(name, kernels[first])
    avals = {name: variables[name].aval for name in names}
    variables = {name: _source(traced.eqns, variable) for name, variable in variables.items()}
    return Structure(
        structs={name: jax.ShapeDtypeStruct(each.shape[1:], each.dtype) for name, each in avals.items()},
        convolutions=tuple(name for name in names if name in kernels),
        pointwise=frozenset(name for name, each in kernels.items() if all(each)),
        seen=dependent(traced.eqns, traced.invars[-1:], variables),
        picture=_picture(model, traced, (*size, model.channels)),
        _program=program,
        _variables=variables,
    )


def picture_shape(model: Model, size: tuple[int, ...]) -> tuple[int, ...]:
    """The shape `[h w c]` of an image as a picture with places and channels; the image can be reshaped to it.

    It is the shape in which the network's first layer that mixes pixels (a convolution, say) sees the image. So it has
    an axis of channels also where the image has none: `[28 28]` and `[784]` that become `[28 28 1]` in the network are
    a picture `[28 28 1]`. A network that flattens `[28 28]` at once does not tell the axes apart, and each number is a
    place: `[28 28 1]`. So it is for a `[c t]` that the network transposes. A signal is `[t c]`, a volume `[d h w c]`.

    Args:
        size: of the image without its last axis.
    """
    shape = (*size, model.channels)
    try:
        traced = _traced(model, size, (model.output,)).jaxpr
    except Exception:  # a head that does not take this size; what a user's module raises then may be of any class
        return shape
    return _picture(model, traced, shape)


def _traced(model: Model, size: tuple[int, ...], names: Sequence[str]) -> Any:
    """The program, a closed jaxpr, that computes the layers `names` of one image. JAX keeps it."""
    images = jax.ShapeDtypeStruct((1, *size, model.channels), jnp.float32)
    return _whole.trace(replace(model, execution=AS_USUAL), images, names=tuple(names)).jaxpr


def _picture(model: Model, traced: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    if getattr(model.forward, "channels_first", False):  # its user has said which axis has the channels
        return shape
    readers: list[tuple[str, tuple[int, ...]]] = []
    _follow(traced, [traced.invars[-1]], readers)
    made = next((each for how, each in readers if how == "reshape" and len(each) > 2), None)
    readers = [reader for reader in readers if reader[0] != "reshape"]
    how, seen = next((reader for reader in readers if reader[0] in MIXING), (readers or [("", shape)])[0])
    if seen == (*shape, 1):
        return seen
    if len(shape) == 1 and made and how not in (*SLIDING, "transpose", ""):  # a picture that is padded first, say
        return made
    row = tuple(length for length in seen[:-1] if length != 1) + seen[-1:] == shape  # a signal [1 t c]
    if len(shape) < 3 and len(seen) > 1 and how in SLIDING and not row:
        return seen
    mixed = len(shape) == 2 and (len(seen) == 1 or how == "transpose")
    return (*shape, 1) if len(shape) == 1 or mixed else shape


SLIDING = ("conv_general_dilated", "reduce_window_max", "reduce_window_sum")
MIXING = (*SLIDING, "dot_general")


def _follow(jaxpr: Any, images: Iterable[Any], readers: list[tuple[str, tuple[int, ...]]]) -> list[Any]:
    """Whichever outputs of a jaxpr are still the `images`, pixel by pixel, possibly in another shape.

    Args:
        readers: gets the primitive of each equation that reads them otherwise, and the shape `[h w c]` that it reads;
            and of each reshape, the shape that it makes.
    """
    same: set[Any] = set(images)
    for equation in jaxpr.eqns:
        read: list[Any] = [atom for atom in equation.invars if isinstance(atom, Var) and atom in same]
        if not read:
            continue
        outputs: list[Any] = equation.outvars
        name, image, output = equation.primitive.name, read[0].aval, outputs[0].aval
        if name in CALLS:
            body = body_of(equation).jaxpr
            inner = [mine for mine, atom in zip(body.invars, equation.invars, strict=True) if atom in read]
            kept = _follow(body, inner, readers)
            same.update(mine for mine, its in zip(equation.outvars, body.outvars, strict=True) if its in kept)
        elif name in RESHAPING | ELEMENTWISE and output.shape[:1] == (1,) and output.size == image.size:
            same.update(equation.outvars)
            if name == "reshape":
                readers.append((name, tuple(output.shape[1:])))
        else:
            shape = image.shape
            if name == "transpose" and parameters(equation)["permutation"][0] != 0:
                name = ""  # time in front of the batch, as recurrent layers have it
            if name == "conv_general_dilated":
                _, channels, *places = parameters(equation)["dimension_numbers"].lhs_spec
                if shape[channels] == 1:  # wherever the axis is
                    shape = (1, *(shape[axis] for axis in sorted(places)), 1)
            readers.append((name, tuple(shape[1:])))
    return [atom for atom in jaxpr.outvars if isinstance(atom, Var) and atom in same]


RESHAPING = frozenset(("broadcast_in_dim", "reshape", "rev", "squeeze"))


@jit(static=("names",))
def _whole(model: Model, images: jax.Array, names: tuple[str, ...]) -> Activations:
    """Traced, never run. A batch, since the activations of a single image are slices that no later layer reads."""
    return model(images, names)


def handle_at(where: str, handles: Iterable[str]) -> str:
    """The layer of a place on JAX's name stack: "transpose(jvp(block1_conv1/pre))" is in block1_conv1. Or else ""."""
    names = re.sub(r"(transpose|jvp|vmap)\(|\)", "", where).split("/")
    paths = ("/".join(names[first:last]) for last in range(len(names), 0, -1) for first in range(last))
    return next((path for path in paths if path in handles), "").removesuffix("/pre")


def convolutions(jaxpr: Any, outer: str = "") -> Iterator[tuple[str, Any]]:
    """Each convolution with its name stack, also those inside functions that are called."""
    for equation in jaxpr.eqns:
        where = f"{outer}/{equation.source_info.name_stack}"
        if equation.primitive.name == "conv_general_dilated":
            yield where, equation
        for body in bodies(equation):
            yield from convolutions(body.jaxpr, where)


def _is_pointwise(convolution: Any) -> bool:
    layout, kernel = parameters(convolution)["dimension_numbers"], convolution.invars[1].aval.shape
    return all(kernel[axis] == 1 for axis in layout.rhs_spec[2:])


def _source(equations: Sequence[Any], variable: Any) -> Any:
    """The variable that later layers read: one that is read itself, or that was only turned or cast for the caller."""
    made = {out: equation for equation in equations for out in equation.outvars}
    read = {atom for equation in equations for atom in equation.invars if isinstance(atom, Var)}
    while variable in made and variable not in read and made[variable].primitive.name in _FOR_CALLERS:
        (variable,) = made[variable].invars
    return variable


_FOR_CALLERS = ("convert_element_type", "transpose")


def dependent(equations: Iterable[Any], starts: Iterable[Any], variables: dict[str, Any]) -> frozenset[str]:
    """The names of the variables that depend on any of `starts`."""
    reached = set(starts)
    for equation in equations:
        if any(isinstance(atom, Var) and atom in reached for atom in equation.invars):
            reached.update(equation.outvars)
    return frozenset(name for name, atom in variables.items() if isinstance(atom, Var) and atom in reached)

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

from jaxviz.compiling.execution import AS_USUAL
from jaxviz.compiling.jaxprs import bodies
from jaxviz.compiling.jit import jit
from jaxviz.compiling.positions import Sights
from jaxviz.compiling.sight import follow
from jaxviz.compiling.workarounds import Var, parameters
from jaxviz.model import Activations, Model


@dataclass(frozen=True)
class Structure:
    """Some layers of a network, in execution order, as the traced program shows them.

    Attributes:
        shapes: {handle: shape without the batch axis}.
        convolutions: handles of the layers that convolve.
        pointwise: those of them whose kernels are all 1 × 1.
        seen: handles of the layers that depend on the image.
    """

    shapes: dict[str, tuple[int, ...]]
    convolutions: tuple[str, ...]
    pointwise: frozenset[str]
    seen: frozenset[str]
    _program: Any  # a closed jaxpr, whose last input is the image
    _variables: dict[str, Any]

    def after(self, name: str) -> frozenset[str]:
        """Handles of the later layers that depend on the layer `name`."""
        later = list(self.shapes)[list(self.shapes).index(name) + 1 :]
        return _dependent(self._program.jaxpr.eqns, [self._variables[name]], self._variables).intersection(later)

    @functools.cached_property
    def sights(self) -> dict[str, Sights | None]:
        """{handle: which pixels of the image its positions see} of all layers."""
        found = follow(self._program, self._program.jaxpr.invars[-1])
        return dict(zip(self._variables, found, strict=True))


def structure(model: Model, names: Sequence[str], size: tuple[int, int]) -> Structure:
    """The `Structure` of the layers `names`, handles in execution order, for images of `size`.

    Raises:
        InputError: the images are too small for a layer, or the layer needs the network's own size.
    """
    images = jax.ShapeDtypeStruct((1, *size, model.image_shape[2]), jnp.float32)
    try:
        traced = _whole.trace(replace(model, execution=AS_USUAL), images, names=tuple(names)).jaxpr
    except Exception:
        model.shapes(size, names)  # raises an InputError, if the size is at fault
        raise
    program, traced = traced, traced.jaxpr
    variables = dict(zip(sorted(names), traced.outvars, strict=True))  # JAX sorts the keys of a dictionary
    kernels: dict[str, list[bool]] = {}
    for where, convolution in convolutions(traced):
        kernels.setdefault(handle_at(where, names), []).append(_is_pointwise(convolution))
    shapes = {name: tuple(variables[name].aval.shape[1:]) for name in names}
    variables = {name: _source(traced.eqns, variable) for name, variable in variables.items()}
    return Structure(
        shapes=shapes,
        convolutions=tuple(name for name in names if name in kernels),
        pointwise=frozenset(name for name, each in kernels.items() if all(each)),
        seen=_dependent(traced.eqns, traced.invars[-1:], variables),
        _program=program,
        _variables=variables,
    )


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


def _dependent(equations: Iterable[Any], starts: Iterable[Any], variables: dict[str, Any]) -> frozenset[str]:
    """The names of the variables that depend on any of `starts`."""
    reached = set(starts)
    for equation in equations:
        if any(isinstance(atom, Var) and atom in reached for atom in equation.invars):
            reached.update(equation.outvars)
    return frozenset(name for name, atom in variables.items() if isinstance(atom, Var) and atom in reached)

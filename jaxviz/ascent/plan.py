"""`plan`: the algorithm that each layer gets in a gradient of a model, and the reason."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import jax

from jaxviz.ascent.arguments import image_channels, image_shape, needed_shapes, resized, seen_shape
from jaxviz.ascent.canvases.canvas import Canvas
from jaxviz.ascent.canvases.pixels import Pixels
from jaxviz.ascent.step import loss
from jaxviz.ascent.transforms.transform import Transform
from jaxviz.compiling import rewrite
from jaxviz.compiling.batches import map_in_loop
from jaxviz.compiling.jaxprs import operations
from jaxviz.compiling.jit import explained
from jaxviz.compiling.one_channel import narrow
from jaxviz.errors import InputError
from jaxviz.model import Model, check_real
from jaxviz.objectives import Channel, Objective, Unit
from jaxviz.structure import handle_at

__all__ = ["plan"]


class Row(NamedTuple):
    """One convolution, product or backward pass of a max-pool."""

    layer: str
    back: bool  # in the backward pass
    operation: str
    shape: tuple[int, ...]  # of the input
    algorithm: str
    reason: str


class Plan(tuple[Row, ...]):
    """A `Row` for each operation for which there is a choice, as they run; `print` shows them as a table.

    Attributes:
        operations: the number of equations of the rewritten program; the time that XLA takes to compile it grows with
            them.
    """

    operations: int

    def __new__(cls, rows: Iterable[Row], operations: int) -> "Plan":
        plan = super().__new__(cls, rows)
        plan.operations = operations
        return plan

    def __getnewargs__(self) -> tuple[Any, ...]:  # what `copy` and `pickle` call `__new__` with
        return tuple(self), self.operations

    def __str__(self) -> str:
        cells = [("layer", "pass", "operation", "input", "algorithm", "reason")]
        for row in self:
            shape = " × ".join(map(str, row.shape))
            way = "backward" if row.back else "forward"
            cells.append((row.layer, way, row.operation, shape, row.algorithm, row.reason))
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        table = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)
        return "\n".join([*table, f"{self.operations} operations to compile"])


def plan(
    model: Model,
    layer: str,
    *,
    size: int | tuple[int, int] | None = None,
    canvas: Canvas | None = None,
    transform: Transform | None = None,
    looped: bool = True,
) -> Plan:
    """The `Plan` of the gradient of one channel (or unit) of a layer with respect to the image, or to a canvas' latent.

    It lists the operations for which there is a choice on the platform. On a CPU, these are the convolutions, the
    backward passes of max-pools, and those products that read a kernel across its rows, as in the gradient of a dense
    layer for several images or places; on a GPU, the max-pools. On a TPU, and with `Execution(rewrite=False)`, the plan
    is empty, because XLA decides. The gradient is traced, not computed.

    Args:
        model: its `execution` decides which algorithms are allowed, and for which platform the gradient is written.
        layer: the name of a layer of the model.
        size: the size of the image in pixels, one number or (height, width); the default is the network's own size, or
            224 if it takes any.
        canvas: what an ascent changes, as for `sweep`; it has a size of its own. None: the image.
        transform: what an ascent does to the image before the network sees it, as for `sweep`.
        looped: True: the gradient runs in a loop, as in an ascent or for a batch; False: it runs for a single image.

    Raises:
        InputError: the layer is unknown, what the network sees is too small for it, or a size and a canvas are given.
    """
    if canvas is not None and size is not None:
        raise InputError(f"a canvas has a size, so give one of them; given: size={size} and a canvas of {canvas.size}")
    wanted = model.image_size(size)
    canvas = Pixels(wanted[:-1] or wanted) if canvas is None else canvas
    channels = image_channels(model, canvas)
    name = model.check_layer(layer)
    seen = seen_shape(model, image_shape(canvas, channels), transform)
    (needed,) = needed_shapes(model, [Unit(name, 0)], seen)
    found = model.structs(needed[:-1] or needed, [name])
    check_real(found)
    objective: Objective = Channel(name, 0) if len(found[name].shape) > 1 else Unit(name, 0)
    fitted = resized(transform, seen, needed)

    def of_one(latent: Any, key: jax.Array) -> jax.Array:
        return loss(model, objective, key, latent, canvas=canvas, transform=fitted)

    gradient = jax.value_and_grad(narrow(of_one, model.execution))

    execution = replace(model.execution, memory=None)  # to bound it, a program would be compiled

    def run(keys: jax.Array) -> Any:
        latents = jax.vmap(lambda key: canvas.new(key, channels))(keys)
        return map_in_loop(gradient, latents, keys, size=1, execution=execution)

    count = rewrite.STEPS if looped else 1
    with explained(), rewrite.choices() as choices:
        program = jax.make_jaxpr(run)(jax.random.split(jax.random.key(0), count))
    rows = (
        Row(
            handle_at(choice.where, model.handles) or choice.where or "image",
            "transpose(" in choice.where,
            _OPERATIONS.get(choice.operation, "max-pool"),
            choice.shapes[0],
            choice.algorithm,
            choice.reason,
        )
        for choice in choices
    )
    return Plan(rows, operations(program))


_OPERATIONS = {"conv_general_dilated": "convolution", "dot_general": "product"}  # by their names in JAX

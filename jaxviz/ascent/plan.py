"""`plan`: the algorithm that each layer gets in a gradient of a model, and the reason."""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxviz.compiling import rewrite
from jaxviz.compiling.batches import map_in_loop
from jaxviz.compiling.one_channel import narrow
from jaxviz.model import Model
from jaxviz.objectives import Channel, Objective, Unit, score
from jaxviz.structure import handle_at

__all__ = ["plan"]


class Row(NamedTuple):
    """One convolution, or the backward pass of one max-pool."""

    layer: str
    back: bool  # in the backward pass
    operation: str
    shape: tuple[int, ...]  # of the input
    algorithm: str
    reason: str


class Plan(tuple[Row, ...]):
    """A `Row` for each operation, in the order of execution; `print` shows them as a table."""

    __slots__ = ()

    def __str__(self) -> str:
        cells = [("layer", "pass", "operation", "input", "algorithm", "reason")]
        for row in self:
            shape = " × ".join(map(str, row.shape))
            way = "backward" if row.back else "forward"
            cells.append((row.layer, way, row.operation, shape, row.algorithm, row.reason))
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


def plan(model: Model, layer: str, *, size: int | tuple[int, int] | None = None, looped: bool = True) -> Plan:
    """The `Plan` of the gradient of one channel (or unit) of a layer with respect to the image.

    It lists the operations that are rewritten for the platform. On a CPU, these are the convolutions and the backward
    passes of max-pools; on a GPU, the latter. On a TPU, and with `Execution(rewrite=False)`, the plan is empty, because
    XLA decides. The gradient is traced, not computed.

    Args:
        model: its `execution` decides which algorithms are allowed, and for which platform the gradient is written.
        layer: the name of a layer of the model.
        size: the size of the image in pixels, one number or (height, width); the default is the network's own size, or
            224 if it takes any.
        looped: True: the gradient runs in a loop, as in an ascent or for a batch; False: it runs for a single image.

    Raises:
        InputError: the layer is unknown, or the image is too small for it.
    """
    shape = model.image_size(size)
    ((name, output),) = model.shapes(size, [model.check_layer(layer)]).items()
    objective: Objective = Channel(name, 0) if len(output) > 1 else Unit(name, 0)

    def loss(image: jax.Array) -> jax.Array:
        return score(model, image, objective)

    gradient = jax.value_and_grad(narrow(loss, model.execution))

    execution = replace(model.execution, memory=None)  # to bound it, a program would be compiled

    def run(images: jax.Array) -> Any:
        return map_in_loop(gradient, images, size=1, execution=execution)

    count = rewrite.STEPS if looped else 1
    with rewrite.choices() as found:
        jax.eval_shape(run, jax.ShapeDtypeStruct((count, *shape), jnp.float32))
    return Plan(
        Row(
            handle_at(choice.where, model.handles) or choice.where or "image",
            "transpose(" in choice.where,
            {"conv_general_dilated": "convolution"}.get(choice.operation, "max-pool"),
            choice.shapes[0],
            choice.algorithm,
            choice.reason,
        )
        for choice in found
    )

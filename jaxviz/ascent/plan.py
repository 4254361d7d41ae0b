"""How an ascent or a gradient of a model runs on this machine: which algorithm each layer got, and why."""

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
    """One convolution, or the way back through one max-pool."""

    layer: str
    back: bool
    operation: str
    shape: tuple[int, ...]  # of what comes in
    algorithm: str
    reason: str


class Plan(tuple[Row, ...]):
    """Rows in the order of execution; `print` shows them as a table."""

    __slots__ = ()

    def __str__(self) -> str:
        cells = [("layer", "way", "operation", "input", "algorithm", "because of")]
        for row in self:
            shape = " × ".join(map(str, row.shape))
            cells.append((row.layer, "back" if row.back else "there", row.operation, shape, row.algorithm, row.reason))
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


def plan(model: Model, layer: str, *, size: int | tuple[int, int] | None = None, looped: bool = True) -> Plan:
    """The `Plan` of the gradient of one channel (or unit) of a layer with respect to the image. Nothing is computed.

    On GPU and TPU, and with `Execution(rewrite=False)`, it is empty: everything is left to XLA.

    Args:
        layer: a handle of the model.
        size: of the image; default the network's own, or 224.
        looped: as in an ascent or a batch; False: as for a single image.

    Raises:
        InputError: an unknown layer, or an image too small for it.
    """
    shape = model.image_size(size)
    ((name, output),) = model.shapes(size, [model.check_layer(layer)]).items()
    objective: Objective = Channel(name, 0) if len(output) == 3 else Unit(name, 0)

    def loss(image: jax.Array) -> jax.Array:
        return score(model, image, objective)

    gradient = jax.value_and_grad(narrow(loss, model.execution))

    def run(images: jax.Array) -> Any:
        return map_in_loop(gradient, images, size=1, execution=model.execution)

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

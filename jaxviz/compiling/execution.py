"""How a network is run: a value that belongs to the model, static under `jit`.

exact = model.replace(execution=jv.Execution(rewrite=False))
on_a_gpu = model.replace(execution=jv.Execution(dtype="bfloat16"))
"""

from dataclasses import dataclass

from jaxviz.compiling.winograd import TILES
from jaxviz.errors import InputError

__all__ = ["Execution"]

PRECISIONS = ("default", "high", "highest")
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Execution:
    """The same numbers by other means.

    Attributes:
        rewrite: whether operations that XLA:CPU runs on a slow path are replaced; no effect elsewhere.
        winograd: the tiles of Winograd's algorithm in those replacements, where it pays: "2x4" and "2x2" keep float32's
            last digits; "4x4" is faster and loses about one digit more; None: direct convolutions.
        precision: of products on GPU and TPU: "highest" (float32), "high", "default" (TF32 or bfloat16 passes); None:
            "highest" for activations and attributions, "default" in gradient ascent. A CPU always computes float32.
        dtype: of the network's parameters and activations, "float32" or "bfloat16"; images, scores and results stay
            float32. On a CPU bfloat16 saves nothing.

    Raises:
        InputError: a value that is none of these.
    """

    rewrite: bool = True
    winograd: str | None = "2x4"
    precision: str | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("rewrite", self.rewrite, (True, False)),
            ("winograd", self.winograd, (None, *TILES)),
            ("precision", self.precision, (None, *PRECISIONS)),
            ("dtype", self.dtype, DTYPES),
        ):
            if value not in allowed:
                raise InputError(f"{name} is one of {', '.join(map(repr, allowed))}; given: {value!r}")

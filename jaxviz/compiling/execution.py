"""How a network is computed: a value that belongs to the model, and that `jit` treats as static.

exact = model.replace(execution=jv.Execution(rewrite=False))
on_a_gpu = model.replace(execution=jv.Execution(dtype="bfloat16"))

`platform_of` is the only function that asks JAX for its platform. Everything that differs between platforms (the
rewriting for XLA:CPU, how many images are computed at a time, compiler options) asks it.
"""

from dataclasses import dataclass

import jax

from jaxviz.compiling.winograd import TILES
from jaxviz.errors import InputError

__all__ = ["Execution"]

PRECISIONS = ("default", "high", "highest")
DTYPES = ("float32", "bfloat16")
PLATFORMS = ("cpu", "gpu", "tpu")


@dataclass(frozen=True)
class Execution:
    """Options that change how a network is computed, not what it computes, up to rounding.

    Attributes:
        rewrite: whether operations that XLA:CPU runs on a slow path are replaced; it has no effect on a GPU or TPU.
        winograd: the tile of Winograd's algorithm, which replaces direct convolutions where it is faster. "2x4" and
            "2x2" have errors in the last digits of float32; "4x4" is faster and loses about one digit more; with None,
            all convolutions stay direct.
        precision: the precision of matrix products and convolutions on a GPU or TPU: "highest" (float32), "high" or
            "default" (passes in TF32 or bfloat16). None is "highest" for activations and attributions and "default" for
            gradient ascent. A CPU always computes in float32.
        dtype: the type of the network's parameters and activations, "float32" or "bfloat16". Images, scores and results
            are float32 in both cases. On a CPU, bfloat16 is not faster.
        platform: the platform that programs are written for, "cpu", "gpu" or "tpu"; None is the platform of JAX's
            default device. It does not move a computation to another device. With it, the program of a GPU or TPU can
            be traced and lowered on a machine that has none.

    Raises:
        InputError: an attribute has none of these values.
    """

    rewrite: bool = True
    winograd: str | None = "2x4"
    precision: str | None = None
    dtype: str = "float32"
    platform: str | None = None

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("rewrite", self.rewrite, (True, False)),
            ("winograd", self.winograd, (None, *TILES)),
            ("precision", self.precision, (None, *PRECISIONS)),
            ("dtype", self.dtype, DTYPES),
            ("platform", self.platform, (None, *PLATFORMS)),
        ):
            if value not in allowed:
                raise InputError(f"{name} is one of {', '.join(map(repr, allowed))}; given: {value!r}")

    @property
    def rewrites(self) -> bool:
        """Whether traced functions are rewritten for XLA:CPU: `rewrite` is on and the platform is a CPU."""
        return self.rewrite and platform_of(self) == "cpu"


AS_USUAL = Execution()


def platform_of(execution: Execution = AS_USUAL) -> str:
    """The platform that programs are written for: `execution.platform`, or else that of JAX's default device.

    The second case starts JAX's backend, so it is asked when a function is called and never when a module is imported.
    """
    return execution.platform or jax.default_backend()

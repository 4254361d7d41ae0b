"""How a network is computed: a value that belongs to the model, and that `jit` treats as static.

exact = model.replace(execution=jv.Execution(rewrite=False))
on_a_gpu = model.replace(execution=jv.Execution(dtype="bfloat16"))

`platform_of` is the only function that asks JAX for its platform. Everything that differs between platforms (the
rewriting, how many images are computed at a time, compiler options) asks it.
"""

from dataclasses import dataclass
from typing import Any

import jax

from jaxviz.compiling.winograd import TILES
from jaxviz.errors import InputError

__all__ = ["Execution"]

PRECISIONS = ("default", "high", "highest")
DTYPES = ("float32", "bfloat16")
PLATFORMS = ("cpu", "gpu", "tpu")
UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def _bytes(memory: Any) -> int | None:
    """The number of bytes of "2 GB", or of a number of bytes.

    Raises:
        InputError: it is something else, or less than 1 byte.
    """
    if memory is None:
        return None
    number, unit = memory.split() if isinstance(memory, str) and len(memory.split()) == 2 else (memory, None)
    try:
        count = int(float(number) * (1 if unit is None else UNITS[unit]))
    except (KeyError, TypeError, ValueError, OverflowError):
        count = 0
    if count < 1 or isinstance(memory, bool):
        raise InputError(
            f'memory is a number of bytes, or a number and one of {", ".join(UNITS)}, such as "2 GB"; given: {memory!r}'
        )
    return count


@dataclass(frozen=True)
class Execution:
    """Options that change how a network is computed, not what it computes, up to rounding.

    Attributes:
        rewrite: whether operations that XLA runs on a slow path on the platform are replaced.
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
        memory: the memory that a compiled program may use for values between its inputs and its results, as a number of
            bytes or as "2 GB", "512 MiB" and the like; None does not bound it. `batches.fitting` says how it is kept.
            It bounds how many images are computed together where jaxviz chooses their number, and changes no result.

    Raises:
        InputError: an attribute has none of these values.
    """

    rewrite: bool = True
    winograd: str | None = "2x4"
    precision: str | None = None
    dtype: str = "float32"
    platform: str | None = None
    memory: float | int | str | None = None

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
        _bytes(self.memory)

    @property
    def limit(self) -> int | None:
        """`memory` in bytes."""
        return _bytes(self.memory)


AS_USUAL = Execution()


def platform_of(execution: Execution = AS_USUAL) -> str:
    """The platform that programs are written for: `execution.platform`, or else that of JAX's default device.

    The second case starts JAX's backend, so it is asked when a function is called and never when a module is imported.
    """
    return execution.platform or jax.default_backend()

"""`jit`: `jax.jit` with the compiler options of the platform, safe against Ctrl-C and against two faults of JAX."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax

from jaxviz.compiling import interrupts, workarounds
from jaxviz.compiling.execution import platform_of
from jaxviz.compiling.garbage import uncollected
from jaxviz.errors import InputError


class Jit:
    """A function compiled by `jax.jit`.

    Compared with `jax.jit` itself:
    - The compiler options depend on the platform that runs the program, so they are looked up at the first call.
      `import jaxviz` starts no backend.
    - Ctrl-C during a compilation takes effect after it (`interrupts.held`).
    - Python's garbage collector waits while the function is traced (`garbage.uncollected`).
    - Arguments of two classes with the same fields are never taken for each other (`workarounds.classes_of`).
    - A network that JAX cannot differentiate or run gets a sentence that says why (`workarounds.REFUSALS`).
    """

    def __init__(self, function: Callable, static: tuple[str, ...], donate: tuple[str, ...]):
        functools.update_wrapper(self, function)
        self.function = workarounds.tell_classes_apart(uncollected()(function))
        self.static, self.donate = static, donate
        self._jitted: dict[str, Any] = {}

    def compiled(self, platform: str | None = None) -> Any:
        """What `jax.jit` returned, made at the first call; it has `lower` and `eval_shape`.

        Args:
            platform: the one that runs the program, "cpu", "gpu" or "tpu"; None: that of JAX's default device.
        """
        platform = platform or platform_of()
        if platform not in self._jitted:
            self._jitted[platform] = jax.jit(
                self.function,
                static_argnames=(*self.static, "classes"),
                donate_argnames=self.donate,
                compiler_options=workarounds.compiler_options() if platform == "cpu" else None,
            )
        return self._jitted[platform]

    def lower(self, platform: str | None, /, *args: Any, **kwargs: Any) -> Any:
        """The program for `platform` as XLA gets it, not compiled; the arguments may be abstract.

        To compile it for a device that this machine does not have, give the abstract arguments shardings on one. The
        `execution` of a model among the arguments names the same platform.
        """
        traced = self.compiled(platform).trace(*args, **kwargs, classes=workarounds.classes_of(args, kwargs))
        if platform is None or platform == platform_of():
            return traced.lower()  # a call reuses what is compiled from it
        return traced.lower(lowering_platforms=("cuda" if platform == "gpu" else platform,))

    def trace(self, *args: Any, **kwargs: Any) -> Any:
        """The traced function, whose `jaxpr` JAX keeps: a second trace of the same shapes costs nothing."""
        return self.compiled().trace(*args, **kwargs, classes=workarounds.classes_of(args, kwargs))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with interrupts.held(), explained():
            return self.compiled()(*args, **kwargs, classes=workarounds.classes_of(args, kwargs))


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """A context in which what JAX refuses is an `InputError` that says what can be done; JAX's error is the cause."""
    try:
        yield
    except ValueError as error:
        for part, sentence in workarounds.REFUSALS.items():
            if part in str(error):
                raise InputError(sentence) from error
        raise


def jit(*, static: tuple[str, ...] = (), donate: tuple[str, ...] = ()) -> Callable[[Callable], Jit]:
    """A decorator that compiles a function.

    Args:
        static: the names of arguments that are compiled into the program; a new value compiles a new program.
        donate: the names of arguments whose memory the results may reuse; the caller cannot use them afterwards.
    """
    return lambda function: Jit(function, static, donate)

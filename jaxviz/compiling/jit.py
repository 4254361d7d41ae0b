"""`jit`: `jax.jit` with the compiler options of the platform, safe against Ctrl-C and against two faults of JAX."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from jaxviz.compiling import interrupts, workarounds
from jaxviz.compiling.execution import platform_of


class Jit:
    """A function compiled by `jax.jit`.

    Compared with `jax.jit` itself:
    - The compiler options depend on the platform, so they are looked up at the first call. `import jaxviz` starts no
      backend.
    - Ctrl-C during a compilation takes effect after it (`interrupts.held`).
    - Arguments of two classes with the same fields are never taken for each other (`workarounds.classes_of`).
    """

    def __init__(self, function: Callable, static: tuple[str, ...], donate: tuple[str, ...]):
        functools.update_wrapper(self, function)
        self.function, self.static, self.donate = function, static, donate
        self._jitted: Any = None

    def compiled(self) -> Any:
        """What `jax.jit` returned, made at the first call; it has `lower` and `eval_shape`."""
        if self._jitted is None:
            options = workarounds.compiler_options() if platform_of() == "cpu" else None
            self._jitted = jax.jit(
                workarounds.tell_classes_apart(self.function),
                static_argnames=(*self.static, "classes"),
                donate_argnames=self.donate,
                compiler_options=options,
            )
        return self._jitted

    def trace(self, *args: Any, **kwargs: Any) -> Any:
        """The traced function, whose `jaxpr` JAX keeps: a second trace of the same shapes costs nothing."""
        return self.compiled().trace(*args, **kwargs, classes=workarounds.classes_of(args, kwargs))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with interrupts.held():
            return self.compiled()(*args, **kwargs, classes=workarounds.classes_of(args, kwargs))


def jit(*, static: tuple[str, ...] = (), donate: tuple[str, ...] = ()) -> Callable[[Callable], Jit]:
    """A decorator that compiles a function.

    Args:
        static: the names of arguments that are compiled into the program; a new value compiles a new program.
        donate: the names of arguments whose memory the results may reuse; the caller cannot use them afterwards.
    """
    return lambda function: Jit(function, static, donate)

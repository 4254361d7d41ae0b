"""The error for an argument that cannot be used, warnings that point at the user's line, and errors in one line."""

import inspect
import warnings

__all__ = ["InputError", "JaxvizWarning"]


class InputError(ValueError):
    """An argument cannot be used. The message says what is wrong or required, what was given, and what would work."""


class RunError(InputError):
    """A network does not run on images of this shape; the cause is its own error."""


class JaxvizWarning(UserWarning):
    """Something that can be computed, but is likely not what was meant. The message says why, and what to try."""


def warn(message: str, category: type[JaxvizWarning] = JaxvizWarning) -> None:
    """A warning at the line outside of this package that called it."""
    frame, level = inspect.currentframe(), 1
    while (frame := frame.f_back if frame else None) and frame.f_globals.get("__name__", "").startswith("jaxviz."):
        level += 1
    warnings.warn(message, category, stacklevel=level + 1)


def first_line(error: BaseException) -> str:
    """The first line of an error's message; the name of its class, if it has no message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

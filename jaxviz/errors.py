"""The error for an argument that cannot be used, and warnings that point at the user's line."""

import inspect
import warnings

__all__ = ["InputError"]


class InputError(ValueError):
    """An argument cannot be used. The message says what is wrong or required, what was given, and what would work."""


class RunError(InputError):
    """A network does not run on images of this shape; the cause is its own error."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """A warning at the line outside of this package that called it."""
    frame, level = inspect.currentframe(), 1
    while (frame := frame.f_back if frame else None) and frame.f_globals.get("__name__", "").startswith("jaxviz."):
        level += 1
    warnings.warn(message, category, stacklevel=level + 1)

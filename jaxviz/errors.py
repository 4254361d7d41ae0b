"""The error for an argument that cannot be used."""

__all__ = ["InputError"]


class InputError(ValueError):
    """An argument cannot be used. The message says what is wrong or required, what was given, and what would work."""

"""What the engine raises when an argument cannot be used."""

__all__ = ["InputError"]


class InputError(ValueError):
    """An argument that cannot be used: what was wrong, what was given, what would work, in one sentence."""

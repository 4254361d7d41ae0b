"""The errors that say why a file cannot become a network. They have one base class, so that a caller can catch all."""

import difflib
from collections.abc import Iterable, Sequence


class KerasFileError(ValueError):
    """A file cannot be used. The message says which file, what is wrong with it, and what would work."""


class NotReadable(KerasFileError):  # noqa: N818 (each error is named after what is wrong)
    """The file is not one of the formats read here, or it is damaged."""


class UnsafeFile(KerasFileError):  # noqa: N818
    """To read the file would mean to follow a link, open another file, make an object, or unpack far more than the file
    stores. None of that is done. Or: the separate process that was to read the file crashed or ran into a limit."""


class WeightMismatch(KerasFileError):  # noqa: N818
    """The weights in the file are not what the network needs: missing, too many, of another shape, or not finite."""


class UnsupportedLayer(KerasFileError):  # noqa: N818
    """The network has parts that would not compute what Keras computes. `complaints` has one sentence for each part."""

    def __init__(self, complaints: Sequence[str], hint: str = ""):
        self.complaints = tuple(complaints)
        count = "1 thing" if len(self.complaints) == 1 else f"{len(self.complaints)} things"
        lines = [f"{count} in this network cannot be reproduced:", *(f"- {sentence}" for sentence in self.complaints)]
        super().__init__("\n".join([*lines, hint] if hint else lines))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known names that are most like `name`, as "did you mean 'a' or 'b'? "; "" if none is like it."""
    near = difflib.get_close_matches(name, list(known))
    return f"did you mean {' or '.join(map(repr, near))}? " if near else ""

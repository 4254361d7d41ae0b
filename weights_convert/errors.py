"""Why a file cannot become a network. One base class, so that a caller can catch every one of them at once."""

from collections.abc import Sequence


class KerasFileError(ValueError):
    """A file of weights that cannot be used: which file, what is wrong with it, what would work."""


class NotReadable(KerasFileError):  # noqa: N818 (each is named after what is wrong)
    """The file is not one of the formats read here, or it is damaged."""


class UnsafeFile(KerasFileError):  # noqa: N818
    """Reading the file would mean to follow a link, open another file, build an object, or unpack far more than it
    stores: none of that is done. Or the process that it was read in did not come back."""


class WeightMismatch(KerasFileError):  # noqa: N818
    """The file's weights are not what the network needs: missing, left over, of another shape, or not finite."""


class UnsupportedLayer(KerasFileError):  # noqa: N818
    """Parts of a network that would not compute what Keras computes; `complaints` has one sentence for each."""

    def __init__(self, complaints: Sequence[str], hint: str = ""):
        self.complaints = tuple(complaints)
        count = "1 thing" if len(self.complaints) == 1 else f"{len(self.complaints)} things"
        lines = [f"{count} in this network cannot be reproduced:", *(f"- {sentence}" for sentence in self.complaints)]
        super().__init__("\n".join([*lines, hint] if hint else lines))

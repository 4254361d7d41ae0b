"""Writers: where the pictures of a `Monitor` are kept.

    Writer  (tag, step, picture uint8 [h w 3]) -> None

Law: a picture that was written can be read back, pixel by pixel, as soon as the call returns.

Any function of that type is a writer. If it has a method `close()`, the Monitor calls it at its end. It is called in
the background thread of the Monitor, one picture at a time, and by process 0 only; open files at the first call.

Checklist for a new writer (this file and `tests/jaxviz/test_monitor.py`): a function that takes the place to write to
and returns a `Writer`; its name in `__all__`; a test that reads the pictures back.
"""

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxviz.errors import InputError
from jaxviz.rendering.images import write_image
from jaxviz.training.views import Picture

__all__ = ["pictures", "tensorboard"]

Writer = Callable[[str, int, Picture], None]


def pictures(folder: str | os.PathLike[str]) -> Writer:
    """A writer of PNG files: `folder/tag/00000100.png` for step 100. Their order by name is their order in time.

    The writer raises an `InputError` for a tag that leaves the folder, such as "../conv1".
    """

    def write(tag: str, step: int, picture: Picture) -> None:
        if not set(tag.split("/")).isdisjoint({"", ".", ".."}):
            raise InputError(
                f'a tag must be names joined by single slashes, such as "activations/conv1"; given: {tag!r}'
            )
        path = Path(folder, tag, f"{step:08d}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, picture)

    return write


def tensorboard(logdir: str | os.PathLike[str]) -> Writer:
    """A writer of an event file in `logdir`; `tensorboard --logdir` shows it under Images while the training runs.

    TensorBoard follows one growing file in each folder. If another writer logs scalars, give this one a subfolder.

    Raises:
        ImportError: tensorboardX is not installed.
    """
    try:
        import tensorboardX as tensorboardX
    except ImportError:
        raise ImportError("a TensorBoard log needs tensorboardX: pip install tensorboardX") from None
    return _EventFile(os.fspath(logdir))


class _EventFile:
    """Pictures in TensorBoard's format, each on the disk before the next one.

    tensorboardX's SummaryWriter is not used: if a write fails, its thread dies, and the tenth call waits forever.
    """

    def __init__(self, logdir: str):
        self._logdir = logdir
        self._file: Any = None

    def __call__(self, tag: str, step: int, picture: Picture) -> None:
        from tensorboardX.event_file_writer import EventsWriter, directory_check
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import image

        if self._file is None:  # opened at the first picture: only process 0 has one
            directory_check(self._logdir)
            # A file's name has the time in whole seconds; without a suffix two writers could share one file.
            self._file = EventsWriter(os.path.join(self._logdir, "events"), f".{secrets.token_hex(4)}")
        self._file.write_event(Event(wall_time=time.time(), step=step, summary=image(tag, picture, dataformats="HWC")))
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

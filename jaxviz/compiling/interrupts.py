"""Ctrl-C, held back while XLA compiles: an interpreter that goes away under a compilation crashes (jaxlib 0.10.2)."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HELD = "stopping as soon as XLA has compiled; Ctrl-C again stops at once"


@contextmanager
def held() -> Iterator[None]:
    """Within it, a first Ctrl-C waits for the end, where it is a KeyboardInterrupt; a second one does not wait.

    Nothing is changed for a program that handles SIGINT itself, or in another thread than the main one.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    came = False

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print(HELD, file=sys.stderr, flush=True)

    signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt

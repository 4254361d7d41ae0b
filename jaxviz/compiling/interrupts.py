"""Ctrl-C during a compilation waits until it is over.

Python would otherwise exit while XLA still compiles in its own threads, and crash (jaxlib 0.10.2).
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HELD = "stopping as soon as XLA has compiled; Ctrl-C again stops at once"


@contextmanager
def held() -> Iterator[None]:
    """A context in which a first Ctrl-C waits: the KeyboardInterrupt is raised at the end of the context.

    A second Ctrl-C does not wait. Nothing changes for a program that handles SIGINT itself, and in any thread but the
    main thread, which is the only one that gets signals.
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

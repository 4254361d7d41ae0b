"""Memory that a test gives back: the whole suite fits into a laptop's memory."""

import ctypes
import gc
import os
import sys

import jax

GROWTH = 0.3e9  # bytes; a laptop has room for two processes that grow so, and giving back more often takes time

_left = float("inf")  # bytes that were held after the last giving back; inf: never given back yet


def give_back_growth():
    """Give memory back if this process has grown by more than `GROWTH` since the last time."""
    global _left
    if sys.platform != "linux":
        return
    _left = min(_left, held())
    if held() > _left + GROWTH:
        give_back()
        _left = held()


def held() -> int:
    """The bytes of memory that this process holds itself: without those of libraries, which processes share."""
    with open("/proc/self/statm") as file:
        _, resident, shared, *_ = map(int, file.read().split())
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def give_back_all():
    """Give memory back at the end of a test file. What is left stays for good, so it is not searched again.

    Modules and what they hold are a million objects, which each collection looked through: an eighth of the time of the
    tests.
    """
    give_back()
    gc.freeze()


def give_back():
    """Drop compiled programs and the graphs of Keras that nobody holds any more, and return the memory to the system.

    JAX keeps each compiled program as long as the process lives, and glibc keeps what is freed: measured after
    `test_cams.py`, 290 MB of 1480.
    """
    for name in ("keras", "tf_keras"):
        if name in sys.modules:
            sys.modules[name].backend.clear_session()
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl does not
        if trim:
            trim(0)

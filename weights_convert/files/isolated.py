"""An untrusted file → `Saved`, read by a process of its own and handed over as safetensors.

The process has limits on memory, time and what it writes, so a file that makes libhdf5 crash, hang or swell ends in one
error. It is no sandbox: a file that took over libhdf5 would have all rights of the user. What is handed over holds
numbers and JSON, and is judged here like any other file.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..errors import KerasFileError, NotReadable, UnsafeFile
from .reading import existing, read
from .safetensors import read_safetensors, write
from .saved import Saved
from .shards import parts

SECONDS = 60
BASE = 1 << 30  # bytes of address space; Python and the libraries take half of that
MEMORY = 4  # times the size of the file: float16 doubles when it is read, and the writer holds a copy
PROGRAM = "import sys; from weights_convert.files.isolated import hand_over; hand_over(*sys.argv[1:])"
KINDS = {kind.__name__: kind for kind in (KerasFileError, NotReadable, UnsafeFile, ImportError, OSError)}


@contextmanager
def read_isolated(
    path: str | os.PathLike[str], architecture: str | None, max_bytes: int, seconds: int = SECONDS
) -> Iterator[Saved]:
    """What a file holds, for as long as the context lasts. (Not on Windows, which has no such limits.)

    Raises:
        FileNotFoundError: no file at `path`.
        KerasFileError: what reading it raised; UnsafeFile, if the process crashed or ran into a limit.
    """
    path = existing(path)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "weights.safetensors"
        memory = BASE + MEMORY * sum(part.stat().st_size for part in parts(path))
        arguments = [str(path), str(written), architecture or "", str(max_bytes), str(memory), str(seconds)]
        try:
            process = subprocess.run(
                [sys.executable, "-c", PROGRAM, *arguments],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                capture_output=True,
                text=True,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise UnsafeFile(f"{path}: reading it took longer than {seconds} s, and was stopped") from None
        if process.returncode:
            raise _reason(path, process.returncode, process.stdout, process.stderr)
        yield replace(read_safetensors(written), path=path)


def _reason(path: Path, status: int, said: str, complained: str) -> Exception:
    """What the process said, or how it ended if it could not."""
    if said:
        kind, message = json.loads(said)
        return KINDS[kind](message)
    last = (complained.splitlines() or [f"exit status {status}"])[-1]
    how = signal.Signals(-status).name if status < 0 else last
    return UnsafeFile(f"{path}: the process that read it crashed ({how}); the file is damaged, or made to do that")


def hand_over(path: str, to: str, architecture: str, max_bytes: str, memory: str, seconds: str) -> None:
    """The process: limit itself, then write the contents of `path` to `to`, or say what is wrong with it."""
    try:
        _limit(int(memory), int(seconds))
        write(read(path, architecture or None, max_bytes=int(max_bytes)), Path(to))
    except MemoryError:
        error: Exception = UnsafeFile(f"{path}: reading it takes more than {int(memory):,} bytes of memory")
    except (KerasFileError, ImportError, OSError) as raised:
        error = raised
    else:
        return
    kind = next(name for name in (type(error).__name__, "OSError") if name in KINDS)
    print(json.dumps([kind, str(error)]))
    sys.exit(1)


def _limit(memory: int, seconds: int) -> None:
    import resource  # which Windows does not have

    for what, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (limit, limit))

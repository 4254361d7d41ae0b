"""An untrusted file → `Saved`: a separate process reads it, and hands its contents over as a safetensors file.

The process has limits on memory, on time and on the size of files that it writes. So a file that makes libhdf5 crash,
hang or use too much memory ends in one error. It is not a sandbox: a file that takes control of libhdf5 would have all
rights of the user. The file that is handed over holds numbers and JSON, and is checked here like any other file.
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
BASE = 1 << 30  # bytes of address space; Python and the libraries need half of it
MEMORY = 4  # times the size of the file: float16 doubles when it is read, and the writer needs a copy
PROGRAM = "import sys; from weights_convert.files.isolated import hand_over; hand_over(*sys.argv[1:])"
KINDS = {kind.__name__: kind for kind in (KerasFileError, NotReadable, UnsafeFile, ImportError, OSError)}


@contextmanager
def read_isolated(
    path: str | os.PathLike[str], architecture: str | None, max_bytes: int, seconds: int = SECONDS
) -> Iterator[Saved]:
    """The contents of a file, which can be read until the context ends. Windows has no such limits, so not there.

    Raises:
        FileNotFoundError: there is no file at `path`.
        KerasFileError: the error that reading it raised; UnsafeFile if the process crashed or ran into a limit.
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
    """The error that the process reported; if it could not report one, how it ended."""
    if said:
        kind, message = json.loads(said)
        return KINDS[kind](message)
    last = (complained.splitlines() or [f"exit status {status}"])[-1]
    how = signal.Signals(-status).name if status < 0 else last
    return UnsafeFile(f"{path}: the process that read it crashed ({how}); the file is damaged, or made to do that")


def hand_over(path: str, to: str, architecture: str, max_bytes: str, memory: str, seconds: str) -> None:
    """The main function of the process: set limits, then write the contents of `path` to `to`, or report an error."""
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

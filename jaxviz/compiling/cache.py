"""Compiled programs kept from one process to the next: JAX's own persistent cache, in a folder of your own."""

import hashlib
import os
import platform
from os import PathLike
from pathlib import Path

import jax
import jaxlib
import pooch

from jaxviz.checks import whole
from jaxviz.errors import InputError

__all__ = ["keep_compilations"]


def keep_compilations(folder: str | PathLike[str] | None = None, *, megabytes: int = 1024) -> Path:
    """The folder in which, from this call on, JAX keeps what it compiles in this process, and finds it in the next.

    A layer of VGG16 takes a second or more to compile for gradient ascent; from the cache it is there at once.

    What lies in the folder is *run*: whoever can write to it can run code as you. So it is made for you alone, and one
    that others may write to is refused. It is one for each version of jaxlib and each processor, since a program
    compiled for another processor may crash. This sets JAX's configuration for the whole process; `import jaxviz`
    never does.

    Args:
        folder: where; default a folder in jaxviz's cache (`$JAXVIZ_CACHE`).
        megabytes: the most that is kept; what was used longest ago goes first.

    Raises:
        InputError: other users may write to the folder, or no room in it.
    """
    size = whole("megabytes", megabytes) * 2**20
    machine = hashlib.sha256(f"{platform.machine()} {_processor()}".encode()).hexdigest()[:12]
    place = Path(folder or cache_folder() / "compilations") / f"jaxlib-{jaxlib.__version__}-{machine}"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix":
        for each in (place, place.parent):
            state = each.stat()
            if state.st_mode & 0o022 or state.st_uid != os.getuid():
                raise InputError(f"{each} is open to other users, who could run code here: chmod 700 it")
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_compilation_cache_max_size", size)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    return place


def cache_folder() -> Path:
    """Where jaxviz keeps what it downloads: `$JAXVIZ_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("JAXVIZ_CACHE") or pooch.os_cache("jaxviz"))


def _processor() -> str:
    """The processor and what it can do, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))

"""Compiled programs that are kept from one process to the next, by JAX's own persistent cache in a private folder."""

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
    """The folder in which JAX keeps its compiled programs from this call on; the next process finds them there.

    Compiling gradient ascent for a layer of VGG16 takes a second or more; loading the program from the cache takes none
    of it.

    JAX *runs* the programs in this folder, so whoever can write to it can run code as you. The folder is therefore made
    for you alone, and a folder that other users can write to is refused. There is one folder for each version of jaxlib
    and each processor, since a program that was compiled for another processor may crash. The call changes JAX's
    configuration for the whole process; `import jaxviz` changes nothing.

    Args:
        folder: the folder; the default is `compilations` in jaxviz's cache folder (`$JAXVIZ_CACHE`).
        megabytes: the largest size of the folder; the programs that were not used for the longest time are deleted.

    Raises:
        InputError: other users can write to the folder, or `megabytes` is not a whole number of 1 or more.
    """
    size = whole("megabytes", megabytes) * 2**20
    machine = hashlib.sha256(f"{platform.machine()} {_processor()}".encode()).hexdigest()[:12]
    place = Path(folder or cache_folder() / "compilations") / f"jaxlib-{jaxlib.__version__}-{machine}"
    for each in (place.parent, place):  # `mkdir` makes a parent open to a group where the umask is 002
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name == "posix":
            state = each.stat()
            if state.st_mode & 0o022 or state.st_uid != os.getuid():
                raise InputError(
                    f"{each} must be yours and closed to other users, who could run code as you: chmod 700 it; given: "
                    f"mode {state.st_mode & 0o777:o}, owner {state.st_uid}"
                )
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_compilation_cache_max_size", size)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # together, small programs take seconds
    return place


def cache_folder() -> Path:
    """The folder of jaxviz's downloads and compiled programs: `$JAXVIZ_CACHE`, or one in the user's cache folder."""
    return Path(os.environ.get("JAXVIZ_CACHE") or pooch.os_cache("jaxviz"))


def _processor() -> str:
    """The model of the processor and its instruction sets, as far as the operating system reports them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))

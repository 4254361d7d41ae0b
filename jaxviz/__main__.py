"""The command line as a program: `jaxviz` and `python -m jaxviz`."""

import os
import sys
from typing import Any

import jax

import jaxviz as jv
from jaxviz.cli.commands import main
from jaxviz.cli.exits import INTERRUPTED


def run() -> None:
    """Run the command that was typed, and end the process."""
    keep_compilations()
    try:
        main(prog_name="jaxviz")
    except SystemExit as ended:
        if ended.code != INTERRUPTED:
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)  # at once: an interpreter that goes away under a compilation of XLA crashes


def keep_compilations() -> None:
    """Keep what this command compiles for the next one, by the safety rules of `jv.keep_compilations`.

    JAX's own settings come first: a folder of the user's (`JAX_COMPILATION_CACHE_DIR`), or none at all
    (`JAX_ENABLE_COMPILATION_CACHE=false`). A folder that is not safe is named on stderr, and the command runs without.
    """
    settings: Any = jax.config  # its attributes have no types
    if settings.jax_compilation_cache_dir or not settings.jax_enable_compilation_cache:
        return
    try:
        jv.keep_compilations()
    except (jv.InputError, OSError) as error:
        print(f"jaxviz: compiled programs are not kept: {error}", file=sys.stderr)


if __name__ == "__main__":
    run()

"""The command line as a program: `jaxviz` and `python -m jaxviz`."""

import os
import sys

from jaxviz.cli.commands import main
from jaxviz.cli.exits import INTERRUPTED


def run() -> None:
    """Run the command that was typed, and end the process."""
    try:
        main(prog_name="jaxviz")
    except SystemExit as ended:
        if ended.code != INTERRUPTED:
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)  # at once: an interpreter that goes away under a compilation of XLA crashes


if __name__ == "__main__":
    run()

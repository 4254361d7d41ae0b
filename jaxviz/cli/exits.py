"""How a command ends that does not succeed: on bad input, on Ctrl-C; and what it says of a blank map."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from jaxviz.attribution.explain import BlankMap
from jaxviz.errors import InputError
from weights_convert import KerasFileError

BAD, INTERRUPTED = 2, 130  # exit statuses: click's, and 128 + SIGINT as a shell has it
# What a person can get wrong. Anything else is a bug, and shows its traceback.
BAD_INPUT = (InputError, KerasFileError, OSError, ImportError)


class OneLine(click.Group):
    """Commands whose bad input ends in exit status 2 and one line on stderr; the details, if any, are on stdout."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _blank_maps_in_one_line():
                return super().invoke(ctx)
        except click.UsageError as error:
            asked = error.ctx or ctx
            self._stop(f"{error.format_message()} See: {asked.command_path} --help", BAD)
        except BAD_INPUT as error:
            self._stop(str(error), BAD)
        except KeyboardInterrupt:
            self._stop("stopped", INTERRUPTED)

    @staticmethod
    def _stop(message: str, status: int) -> None:
        reason, *details = message.splitlines()
        for line in details:
            click.echo(line)
        click.echo(f"jaxviz: {reason}", err=True)
        raise click.exceptions.Exit(status)


@contextmanager
def _blank_maps_in_one_line() -> Iterator[None]:
    """Within it, a BlankMap is a line on stderr; other warnings stay what they are."""
    with warnings.catch_warnings():  # restores `showwarning`, too
        warnings.simplefilter("always", BlankMap)
        show = warnings.showwarning

        def show_in_one_line(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, BlankMap):
                click.echo(f"jaxviz: {message}", err=True)
            else:
                show(message, category, *where, **more)

        warnings.showwarning = show_in_one_line
        yield

"""How a command ends: the exit status, and one line on stderr for bad input, Ctrl-C or a warning.

The library's messages give advice for Python, such as `layer=…`. Here they are rewritten for the command line, where
the same argument is the option `--layer`.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from jaxviz.errors import InputError, JaxvizWarning
from jaxviz.rendering.images import NotUpright
from weights_convert import KerasFileError

BAD, INTERRUPTED = 2, 130  # exit statuses: click's own, and 128 + SIGINT as in a shell
# Errors that are the user's to correct. Any other error is a bug of this program, and shows its traceback.
BAD_INPUT = (InputError, KerasFileError, OSError, ImportError)


class OneLine(click.Group):
    """A group of commands that end in exit status 2 and one line on stderr where the input is bad.

    An error of several lines, such as a list of weights that do not fit, has its other lines on stdout.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with self._warnings_in_one_line(ctx):
                return super().invoke(ctx)
        except click.UsageError as error:
            asked = error.ctx or ctx
            self._stop(f"{error.format_message()} See: {asked.command_path} --help", BAD)
        except BAD_INPUT as error:
            self._stop(self.advise(str(error), ctx.invoked_subcommand), BAD)
        except KeyboardInterrupt:
            self._stop("stopped", INTERRUPTED)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command and its arguments, none of which is an option given twice.

        Click would take the last of them, and drop the others silently.
        """
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            running = click.Context(command, info_name=name, parent=ctx)
            _, _, given = command.make_parser(running).parse_args(list(rest))
            for each in given:
                if isinstance(each, click.Option) and not each.multiple and given.count(each) > 1:
                    raise click.UsageError(f"{each.opts[0]} is given more than once, and takes one value.", running)
        return name, command, rest

    def advise(self, message: str, command: str | None = None) -> str:
        """The message with each argument of Python that is also an option of the command written as the option.

        `layer=…` becomes `--layer …`, `relu=False` becomes `--no-relu`, `custom={…}` becomes `--custom MODULE:NAME`.
        Without a command, the options of all commands are known.
        """
        running = [each for name, each in self.commands.items() if command in (None, name)]
        message = re.sub(r"\bcustom=\{[^}]*\}", "--custom MODULE:NAME", message)
        options = {
            name.removeprefix("--"): option
            for each in running
            for option in each.params
            if isinstance(option, click.Option)
            for name in option.opts
        }

        def option(found: re.Match[str]) -> str:
            name, value = found.groups()
            negative = options[name].secondary_opts
            if value == "False" and negative:
                return negative[0]
            return f"--{name}" if value in ("", "True") else f"--{name} {value}"

        if not options:
            return message
        # The first letter of a value is enough, as the rest of it stays where it is.
        return re.sub(rf"\b({'|'.join(options)})=(True\b|False\b|[^\s`.,;:)]?)", option, message)

    @staticmethod
    def _stop(message: str, status: int) -> None:
        reason, *details = message.splitlines()
        for line in details:
            click.echo(line)
        click.echo(f"jaxviz: {reason}", err=True)
        raise click.exceptions.Exit(status)

    @contextmanager
    def _warnings_in_one_line(self, ctx: click.Context) -> Iterator[None]:
        """A context in which our warnings are a line on stderr; other warnings are shown as Python shows them."""
        with warnings.catch_warnings():  # restores `showwarning`, too
            warnings.simplefilter("always", JaxvizWarning)
            warnings.simplefilter("default", NotUpright)
            show = warnings.showwarning

            def show_in_one_line(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
                if issubclass(category, JaxvizWarning):
                    click.echo(f"jaxviz: {self.advise(str(message), ctx.invoked_subcommand)}", err=True)
                else:
                    show(message, category, *where, **more)

            warnings.showwarning = show_in_one_line
            yield

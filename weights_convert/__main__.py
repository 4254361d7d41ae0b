"""The command line: it lists the layers of a file, checks that the file loads, and converts it."""

import math
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from .architectures import ARCHITECTURES
from .config.listing import entries
from .errors import KerasFileError, UnsupportedLayer
from .files.reading import read
from .files.saved import sha256
from .files.shards import parts
from .loading import load
from .net import KerasNet
from .own import imported
from .saving import save

Row = tuple[str, str, str, int]

HELP = """List the layers of a Keras file, and say all that keeps it from loading.

\b
Examples:
  python -m weights_convert cats_and_dogs_small_2.h5
  python -m weights_convert vgg16_weights.h5 --architecture vgg16
  python -m weights_convert model.keras --to model.safetensors
  python -m weights_convert stranger.h5 --isolated --to model.safetensors
  python -m weights_convert own.h5 --custom my_layers:Swish
"""


def _architecture(context: click.Context, option: click.Parameter, name: str | None) -> str | None:
    if name is None or name in ARCHITECTURES or name.endswith(".json"):
        return name
    raise click.BadParameter(f"{name!r} is none of {ARCHITECTURES}, and no .json file")


@click.command(help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--architecture",
    callback=_architecture,
    help="The graph of a file of weights only: a known name, or a .json file of what model.to_json() gave.",
)
@click.option(
    "--custom",
    "places",
    multiple=True,
    metavar="MODULE:NAME",
    help="What computes a layer, class or activation function called NAME; or a dict of such. Repeatable.",
)
@click.option("--to", type=click.Path(path_type=Path), help="Write the network to this .safetensors, .keras or .h5.")
@click.option("--isolated", is_flag=True, help="Read the file in a process of its own, with limits on memory and time.")
def main(file: Path, architecture: str | None, places: tuple[str, ...], to: Path | None, isolated: bool) -> None:
    """The exit status is 0 if the file loads, else 2; then one line on stderr says why, and stdout has the details."""
    try:
        net = load(file, architecture, custom=imported(places), isolated=isolated)
        click.echo(_table(_layers(net)))
        size = sum(part.stat().st_size for part in parts(file))
        click.echo(f"\n{size:,} bytes, sha256 {sha256(file)}")
        if to is not None:
            save(net, to)
    except (KerasFileError, OSError, ImportError, ValueError) as error:
        if isinstance(error, UnsupportedLayer) and not isolated:
            click.echo(_table(_listed(file)) + "\n")
        reason, *details = re.sub(r"\bcustom=\{[^}]*\}", "--custom MODULE:NAME", str(error)).splitlines()
        for line in details:
            click.echo(line)
        click.echo(f"error: {reason}", err=True)
        sys.exit(2)


def _layers(net: KerasNet) -> Iterable[Row]:
    """(name, kind, output shape, parameters) of the layers of a network."""
    shapes, weights = dict(net.shapes), net.weights()
    for node in net.graph.nodes:
        _, *shape = shapes[node.name]
        # the weights of a layer count once, at its first call
        parameters = sum(math.prod(variable.shape) for variable in weights.get(node.name, {}).values())
        yield node.name, node.kind, f"({', '.join(map(str, shape))})", parameters


def _listed(file: Path) -> Iterable[Row]:
    """(name, kind, "?", parameters) of the layers of a file whose network cannot be built, so that it has no shapes."""
    saved = read(file)
    for name, kind, _ in entries(saved.config or {}):
        weights = saved.weights.get(name, {})
        yield name, kind, "?", sum(math.prod(weight.shape) for weight in weights.values())


def _table(rows: Iterable[Row]) -> str:
    rows = list(rows)
    cells: list[Sequence[str]] = [("layer", "kind", "output", "parameters")]
    cells += [(name, kind, shape, f"{parameters:,}") for name, kind, shape, parameters in rows]
    cells += [("total", "", "", f"{sum(parameters for *_, parameters in rows):,}")]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    lines = []
    for *words, parameters in cells:
        left = "  ".join(word.ljust(width) for word, width in zip(words, widths, strict=False))
        lines.append(f"{left}  {parameters.rjust(widths[3])}")
    return "\n".join(lines)


if __name__ == "__main__":
    main(prog_name="python -m weights_convert")

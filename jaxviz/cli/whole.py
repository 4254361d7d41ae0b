"""The command for a whole network: `atlas`."""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import click
import jax

import jaxviz as jv
from jaxviz.atlases.workers import scheduler as connected
from jaxviz.cli.arguments import loaded
from jaxviz.cli.climbing import RECIPES, load_fed, with_recipe


def _shard(context: click.Context, option: click.Parameter, given: str | None) -> tuple[int, int] | None:
    if given is None:
        return None
    if not re.fullmatch(r"\d+/\d+", given) or int(given.split("/")[0]) >= int(given.split("/")[1]):
        raise click.BadParameter(f"i/n with i from 0 to n - 1: of four, the first is 0/4, the last 3/4; given: {given}")
    index, count = given.split("/")
    return int(index), int(count)


@click.command()
@loaded
@click.option(
    "--out", required=True, help="The store: a folder, which is made, or an address such as s3://bucket/name."
)
@click.option("--layer", "layers", multiple=True, help="A layer; repeatable. Default: all that convolve.")
@with_recipe
@click.option(
    "--images", type=click.Path(exists=True, file_okay=False), help="A folder of photographs, to show strongest parts."
)
@click.option("--robust/--no-robust", default=True, help="Whether to measure how much of each score holds.")
@click.option("--latent", is_flag=True, help="Keep what was climbed, too, such as Fourier coefficients.")
@click.option("--chunk", type=click.IntRange(min=1), help="Filters that are computed and written together.")
@click.option("--shard", metavar="I/N", callback=_shard, help="Do part I, from 0, of N: for a job array.")
@click.option("--scheduler", metavar="URL", help="A scheduler of dask, such as tcp://host:8786, whose workers do it.")
@click.option("--verify", is_flag=True, help="Read all that is finished, by its checksums; make damaged parts again.")
@click.option("--dry-run", is_flag=True, help="Only say what it would take: chunks, size and time, from one chunk.")
def atlas(
    file: str,
    out: str,
    layers: tuple[str, ...],
    recipe: str,
    size: int | None,
    steps: int | None,
    step: float | None,
    seed: int,
    images: str | None,
    robust: bool,
    latent: bool,
    chunk: int | None,
    shard: tuple[int, int] | None,
    scheduler: str | None,
    verify: bool,
    dry_run: bool,
    **loading: Any,
) -> None:
    """Draw every filter of a network into one store.

    Whatever stops it (Ctrl-C, a full disk, a lost machine), the same command goes on where it stopped. Several jobs may
    work on one store: with --shard, each does its part; with --scheduler, the workers of dask do all parts. The network
    is fed as the source of the recipe feeds it, unless you give --inputs. It needs the extra "atlas".

    \b
    Examples:
      jaxviz atlas vgg16_demo --out vgg16.zarr --recipe chollet --dry-run
      jaxviz atlas vgg16 --out vgg16.zarr --images photographs
      jaxviz atlas vgg16 --out /shared/vgg16.zarr --shard $SLURM_ARRAY_TASK_ID/8
    """
    source = RECIPES[recipe]
    given = {"size": size, "steps": steps, "step": step}
    arguments: dict[str, Any] = {
        **{name: value for name, value in given.items() if value is not None},
        "recipe": recipe,
        "key": jax.random.key(seed),
        "images": images,
        "robust": robust,
        "latent": latent,
        "layers": layers or None,
        "chunk": chunk,
    }
    model = load_fed(file, loading, source)
    if dry_run:
        click.echo(str(jv.estimate_atlas(model, **arguments)))
        return
    with _logged(), connected(scheduler) if scheduler else nullcontext() as executor:
        found = jv.atlas(model, out, executor=executor, shard=shard, verify=verify, **arguments)
    done = sum(int(layer.done.sum()) for layer in found)
    click.echo(f"{found.path}: {done} of {sum(map(len, found))} filters")


@contextmanager
def _logged() -> Iterator[None]:
    """A context in which each chunk is a line on stderr, with the remaining time, where there is no terminal."""
    log, handler = logging.getLogger("jaxviz.atlas"), logging.StreamHandler(sys.stderr)
    level = log.level
    if not sys.stderr.isatty():
        log.addHandler(handler)
        log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)

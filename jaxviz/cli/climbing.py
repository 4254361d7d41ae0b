"""Commands that climb from noise: what a filter looks for (`filters`), and what a class looks like (`class`)."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import jax

import jaxviz as jv
from jaxviz.ascent.recipes import Style
from jaxviz.cli.arguments import chosen_layers, network, picture_path
from jaxviz.rendering import rgb

RECIPES = jv.recipes.RECIPES


def defaults(setting: str) -> str:
    """A help text with the default of a setting in each recipe, such as `Default: 40 (chollet), 30 (keras_io).`"""
    values = {name: each.defaults[setting] for name, each in RECIPES.items() if setting in each.defaults}
    return f"Default: {', '.join(f'{value} ({name})' for name, value in values.items())}."


def climbed(command: Callable) -> Callable:
    """The command with what all commands that draw a grid of ascents share: the recipe, its settings, and the grid."""
    for decorate in (
        with_recipe,
        click.option(
            "--margin", type=click.IntRange(min=0), default=5, show_default=True, help="Pixels between images."
        ),
        click.option("--rows", type=click.IntRange(min=1), default=8, show_default=True, help="Rows of the grid."),
        click.option(
            "--columns", type=click.IntRange(min=1), default=8, show_default=True, help="Images in a row of the grid."
        ),
    ):
        command = decorate(command)
    return command


def with_recipe(command: Callable) -> Callable:
    """The command with the recipe, its settings and the seed."""
    for decorate in (
        click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Seed of the noise at the start."),
        click.option("--step", type=float, help=f"Length of a step. {defaults('step')}"),
        click.option("--steps", type=click.IntRange(min=1), help=f"Number of steps. {defaults('steps')}"),
        click.option("--size", type=click.IntRange(min=1), help=f"Side of an image in pixels. {defaults('size')}"),
        click.option(
            "--recipe",
            type=click.Choice(list(RECIPES)),
            default="lucid",
            show_default=True,
            help="The source of the ascent: lucid suits every layer, chollet is the book's.",
        ),
    ):
        command = decorate(command)
    return command


@click.command()
@network
@click.option("--layer", "layers", multiple=True, help="A layer; repeatable. Default: the last convolution.")
@click.option(
    "--channel", "indices", type=int, multiple=True, help="A channel; repeatable. Default: as many as fill the grid."
)
@click.option("--numbers", is_flag=True, help="Write above each image its channel and last score.")
@climbed
def filters(
    file: str,
    layers: tuple[str, ...],
    indices: tuple[int, ...],
    recipe: str,
    size: int | None,
    steps: int | None,
    step: float | None,
    columns: int,
    rows: int,
    numbers: bool,
    margin: int,
    seed: int,
    out: Path,
    **loading: Any,
) -> None:
    """Draw what each filter looks for.

    There is one grid for each layer, filled row by row. For each filter it shows an image that activates the filter
    strongly, found by gradient ascent from noise. Chollet's book feeds its networks without preprocessing, so
    --recipe chollet loads VGG16 with --inputs raw255, and --recipe chollet_3rd_edition loads Xception with --inputs
    unit, unless you give --inputs. Any other network keeps its own preprocessing. Ctrl-C writes the filters that are
    finished.

    \b
    Examples:
      jaxviz filters vgg16_demo --layer block5_conv1 --rows 2 --numbers
      jaxviz filters vgg16_demo --layer block3_conv1 --recipe chollet
      jaxviz filters vgg16_demo --layer block3_conv1 --channel 27 --recipe chollet --size 150 --steps 1000 --step 0.1
      jaxviz filters cats_and_dogs_small_2.h5 --recipe keras_io
    """
    source, settings = _recipe(recipe, size=size, steps=steps, step=step)
    model = load_fed(file, loading, source)
    # A wrong layer or channel is refused before the first ascent.
    each = {name: source.objectives(model, name, indices or None) for name in chosen_layers(model, layers)}
    for name, objectives in each.items():
        if not indices:
            objectives = objectives[: rows * columns]
        shown = list(indices or range(len(objectives))) if numbers else None
        path = picture_path(out, "filters", name, *(indices if len(indices) == 1 else ()))
        count = len(objectives)
        click.echo(f"{name}: {count} filter{'s' * (count > 1)}, {settings['steps']} steps")
        _draw(path, model, objectives, source, settings | {"key": jax.random.key(seed)}, columns, margin, shown)


@click.command("class")
@network
@click.option(
    "--target",
    "targets",
    multiple=True,
    help="A class number or name; repeatable. Default: as many classes as fill the grid.",
)
@climbed
def classes(
    file: str,
    targets: tuple[str, ...],
    recipe: str,
    size: int | None,
    steps: int | None,
    step: float | None,
    columns: int,
    rows: int,
    margin: int,
    seed: int,
    out: Path,
    **loading: Any,
) -> None:
    """Draw what a class looks like.

    There is one grid, filled row by row. For each class it shows an image that gives the class a high score, before the
    softmax or sigmoid, found by gradient ascent from noise. Ctrl-C writes the classes that are finished.

    \b
    Examples:
      jaxviz class vgg16 --target zebra --target 985
      jaxviz class cats_and_dogs_small_2.h5 --size 150
    """
    source, settings = _recipe(recipe, size=size, steps=steps, step=step)
    model = load_fed(file, loading, source)
    wanted = [int(target) if re.fullmatch(r"-?\d+", target) else target for target in targets]
    objectives = [source.penalized(each) for each in jv.classes(model, wanted or None)]
    if not targets:
        objectives = objectives[: rows * columns]
    path = picture_path(out, "class", *(targets if len(targets) == 1 else ()))
    count = len(objectives)
    click.echo(f"{count} class{'es' * (count > 1)}, {settings['steps']} steps")
    _draw(path, model, objectives, source, settings | {"key": jax.random.key(seed)}, columns, margin)


def _draw(
    path: Path,
    model: jv.Model,
    objectives: Sequence[jv.Objective],
    source: Style,
    settings: dict[str, Any],
    columns: int,
    margin: int,
    numbers: list[int] | None = None,
) -> None:
    """Climb all objectives and write their images as one grid; on Ctrl-C, those that are finished."""
    try:
        found = jv.sweep(model, objectives, **settings)
    except jv.Interrupted as interrupted:
        click.echo(f"{len(interrupted.positions)} of {len(objectives)} are finished")
        if interrupted.finished:
            kept = None if numbers is None else [numbers[i] for i in interrupted.positions]
            _write_grid(path, interrupted.finished, source, columns, margin, kept)
        raise
    _write_grid(path, found, source, columns, margin, numbers)


def _recipe(name: str, **given: Any) -> tuple[Style, dict[str, Any]]:
    """A recipe, and its settings with those that were given."""
    source = RECIPES[name]
    return source, source.settings(**{name: value for name, value in given.items() if value is not None})


def load_fed(file: str, loading: dict[str, Any], source: Style) -> jv.Model:
    """The network, fed as the source of the recipe feeds it unless --inputs says otherwise."""
    model = jv.load(file, **loading)
    return source.feed(model) if loading["inputs"] is None else model


def _write_grid(
    path: Path, found: jv.Ascent, source: Style, columns: int, margin: int, numbers: list[int] | None
) -> None:
    """Write the images of an ascent as one grid, with the crop and contrast of the recipe's source.

    With numbers, each image is apart, below its number and its last score.
    """
    pictures = source.pictures(found)
    if numbers is None:
        jv.write_image(path, rgb.tile(pictures, min(columns, len(pictures)), margin))
    else:
        titles = [f"{number} · {score:.4g}" for number, score in zip(numbers, found.scores[:, -1], strict=True)]
        jv.show_filters(pictures / 255, std="none", columns=columns, titles=titles).savefig(path)
    click.echo(path)

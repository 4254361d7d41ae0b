"""The commands: each reads a Keras file, and most read a photograph, and writes pictures."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import jax
import numpy as np

import jaxviz as jv
from jaxviz.ascent.recipes import Style
from jaxviz.attribution.cams import last_convolution
from jaxviz.attribution.lrp_rules import COMPOSITES
from jaxviz.cli import demo, methods
from jaxviz.cli.exits import OneLine
from jaxviz.objectives import probabilities
from jaxviz.rendering import rgb
from jaxviz.rendering.images import resize
from jaxviz.structure import picture_shape
from weights_convert import CAFFE, INPUTS, RAW255
from weights_convert.own import imported

TOP = 5  # how many classes of a prediction are printed
RECIPES = jv.recipes.RECIPES


def defaults(setting: str) -> str:
    """A help text with the default of a setting in each recipe, such as `Default: 40 (chollet), 30 (keras_io).`"""
    values = {name: each.defaults[setting] for name, each in RECIPES.items() if setting in each.defaults}
    return f"Default: {', '.join(f'{value} ({name})' for name, value in values.items())}."


folder = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False, writable=True),
    default="pictures",
    show_default=True,
    help="The folder that the pictures are written to. It is made if it is missing.",
)


def _imported(context: click.Context, option: click.Parameter, places: tuple[str, ...]) -> dict[str, Any]:
    try:
        return imported(places)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def network(command: Callable) -> Callable:
    """The command with what all commands on a network share: the argument FILE, how to load it, the folder."""
    for decorate in (
        folder,
        click.option(
            "--inputs",
            type=click.Choice(list(INPUTS)),
            help="The preprocessing that the network was trained with. Default: the file's or the application's own.",
        ),
        click.option(
            "--architecture",
            metavar="NAME",
            help="The architecture, for a file that holds weights only: the name of an application, such as "
            "vgg16_notop, or a .json file that Keras' model.to_json() wrote.",
        ),
        click.option(
            "--custom",
            multiple=True,
            callback=_imported,
            metavar="MODULE:NAME",
            help="The code of a layer, class or activation function called NAME that the file does not bring, such as "
            "my_layers:Swish, or a dict of such; repeatable.",
        ),
        click.argument("file"),
    ):
        command = decorate(command)
    return command


def seen(command: Callable) -> Callable:
    """The command with what all commands that look at a photograph share: the argument PHOTO and how to read it."""
    turned = "Whether to turn PHOTO as the camera was held (EXIF). Default: not, as Keras reads it."
    return click.argument("photo")(click.option("--upright/--no-upright", default=None, help=turned)(command))


def explained(command: Callable) -> Callable:
    """The command with what all commands that explain a decision share: the photograph and the target."""
    wanted = "What to explain: a class number or name, or LAYER:CHANNEL. Default: the class with the highest score."
    return seen(click.option("--target", help=wanted)(command))


# `ignore_unknown_options`: an option before the command is taken as an unknown command, which is refused in one line.
@click.group(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"], "ignore_unknown_options": True})
@click.version_option(jv.__version__, prog_name="jaxviz")
def main() -> None:
    """See what a convolutional network sees.

    Each command takes a network as FILE. FILE is a file that Keras saved (.keras, .h5); or the name of an application
    of Keras, such as resnet50 or vgg16_notop, whose weights are downloaded once; or vgg16_demo or vgg16_tumor, whose
    real weights come with the extra "demo".

    \b
    Examples:
      jaxviz demo
      jaxviz activations cats_and_dogs_small_2.h5 cat.jpg
      jaxviz filters vgg16_demo --layer block3_conv1
      jaxviz gradcam vgg16 elephants.jpg
      jaxviz attribute vgg16 elephants.jpg --method integrated_gradients --method lrp
    """


@main.command("demo")
@folder
@click.option("--quick", is_flag=True, help="Show less, in less than a minute.")
def show_demo(out: Path, quick: bool) -> None:
    """Show what the real VGG16 sees in a photograph of a cat.

    The command writes two web pages with pictures. It needs the extra "demo", but no download, and takes 2 to 3 minutes
    on 2 cores.

    With --quick it takes less than a minute. It then shows the activations of 2 layers instead of 5, 8 filters of one
    layer instead of 64 filters of 4 layers, one channel instead of 4, and 3 attribution methods instead of all. The
    network sees the photograph at 112 × 112 pixels instead of 224 × 224.

    \b
    Examples:
      jaxviz demo --out pictures
      jaxviz demo --quick
    """
    click.echo(f"open {demo.run(out, click.echo, demo.QUICK if quick else demo.FULL)}")


@main.command()
@network
@seen
@click.option("--layer", "layers", multiple=True, help="A layer; repeatable. Default: every layer with maps.")
@click.option("--channel", type=int, help="Draw this channel alone, and larger.")
def activations(
    file: str,
    photo: str,
    upright: bool | None,
    layers: tuple[str, ...],
    channel: int | None,
    out: Path,
    **loading: Any,
) -> None:
    """Draw the activations of each layer for PHOTO.

    There is one picture for each layer, with all channels of the layer. A channel with the same value everywhere is
    black.

    \b
    Examples:
      jaxviz activations cats_and_dogs_small_2.h5 cat.jpg
      jaxviz activations vgg16_demo cat.jpg --layer block1_conv1 --layer block5_conv3
      jaxviz activations vgg16_demo cat.jpg --layer block1_conv2 --channel 30
    """
    model = jv.load(file, **loading)
    shapes = model.shapes()
    names = layers or [name for name in model.layers if len(shapes[name]) == 3]
    if channel is not None:
        for name in names:
            jv.channels(model, name, [channel])  # an index out of range is refused before any picture is written
    found = jv.activations(model, _read(model, photo, upright), names)
    for name in names:
        path = _path(out, "activations", name, channel)
        jv.show_activations({name: found[name]}, channel=channel).savefig(path)
        click.echo(path)


@main.command()
@network
@click.option("--layer", "layers", multiple=True, help="A layer; repeatable. Default: the last convolution.")
@click.option(
    "--channel", "indices", type=int, multiple=True, help="A channel; repeatable. Default: as many as fill the grid."
)
@click.option(
    "--recipe", type=click.Choice(list(RECIPES)), default="chollet", show_default=True, help="The source of the ascent."
)
@click.option("--size", type=click.IntRange(min=1), help=f"Side of an image in pixels. {defaults('size')}")
@click.option("--steps", type=click.IntRange(min=1), help=f"Number of steps. {defaults('steps')}")
@click.option("--step", type=float, help=f"Length of a step. {defaults('step')}")
@click.option(
    "--columns", type=click.IntRange(min=1), default=8, show_default=True, help="Images in a row of the grid."
)
@click.option("--rows", type=click.IntRange(min=1), default=8, show_default=True, help="Rows of the grid.")
@click.option("--margin", type=click.IntRange(min=0), default=5, show_default=True, help="Pixels between images.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Seed of the noise at the start.")
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
    margin: int,
    seed: int,
    out: Path,
    **loading: Any,
) -> None:
    """Draw what each filter looks for.

    There is one grid for each layer, filled row by row. For each filter it shows an image that activates the filter
    strongly, found by gradient ascent from noise. Chollet's ascent climbs on raw pixels, so --recipe chollet loads
    VGG16 with --inputs raw255 unless you give --inputs. Any other network keeps its own preprocessing. Ctrl-C writes
    the filters that are finished.

    \b
    Examples:
      jaxviz filters vgg16_demo --layer block3_conv1
      jaxviz filters vgg16_demo --layer block3_conv1 --channel 27 --size 150 --steps 1000 --step 0.1
      jaxviz filters cats_and_dogs_small_2.h5 --recipe keras_io
    """
    model = jv.load(file, **loading)
    source = RECIPES[recipe]
    if source.raw and loading["inputs"] is None and model.inputs == CAFFE:
        model = replace(model, inputs=RAW255)
    given = {"size": size, "steps": steps, "step": step}
    settings = source.settings(**{name: value for name, value in given.items() if value is not None})

    for name in layers or [last_convolution(model, jv.Highest(model.scores))]:
        objectives = jv.channels(model, name, indices or None, border=source.border)
        if not indices:
            objectives = objectives[: rows * columns]
        path = _path(out, "filters", name, *(indices if len(indices) == 1 else ()))
        click.echo(f"{name}: {len(objectives)} filters, {settings['steps']} steps")
        try:
            found = jv.sweep(model, objectives, key=jax.random.key(seed), **settings)
        except jv.Interrupted as interrupted:
            click.echo(f"{name}: {len(interrupted.positions)} of {len(objectives)} filters are finished")
            if interrupted.finished:
                _write_grid(path, interrupted.finished.image, source, columns, margin)
            raise
        _write_grid(path, found.image, source, columns, margin)


@main.command()
@network
@explained
@click.option("--layer", help="The layer to look at. Default: the last convolution that the target depends on.")
@click.option("--cmap", default="jet", show_default=True, help="A colour map of matplotlib, such as viridis.")
@click.option(
    "--weight",
    type=click.FloatRange(0, 1),
    default=0.4,
    show_default=True,
    help="Weight of the colours over the photograph.",
)
def gradcam(
    file: str,
    photo: str,
    upright: bool | None,
    target: str | None,
    layer: str | None,
    cmap: str,
    weight: float,
    out: Path,
    **loading: Any,
) -> None:
    """Draw where in PHOTO a decision comes from.

    The command prints the decision, and draws the map of Grad-CAM over the photograph at the photograph's own size.

    \b
    Examples:
      jaxviz gradcam vgg16 mello.jpg --target cornet
      jaxviz gradcam cats_and_dogs_small_2.h5 cat.jpg --target 0 --cmap viridis --weight 0.5
      jaxviz gradcam vgg16_demo cat.jpg --target block5_conv3:286 --layer block5_conv2
    """
    model = jv.load(file, **loading)
    image, photograph = _read(model, photo, upright), jv.read_image(photo, upright=bool(upright))
    cam = jv.grad_cam(model, image, _decision(model, image, target), layer=layer)
    path = _path(out, "gradcam", Path(photo).stem, target)
    values = resize(cam.values, photograph.shape[:2])
    jv.write_image(path, rgb.overlay(photograph, values, cmap, weight))
    click.echo(path)


@main.command()
@network
@explained
@click.option(
    "--method",
    "names",
    multiple=True,
    default=["grad_cam"],
    show_default=True,
    help=f"A method; repeatable. The methods are {', '.join(methods.METHODS)}.",
)
@click.option(
    "--layer",
    multiple=True,
    help="For CAMs: a layer to look at; repeatable. Default: the last convolution that the target depends on.",
)
@click.option("--relu/--no-relu", default=None, help="For CAMs: --no-relu also shows the regions that lower the score.")
@click.option("--steps", type=click.IntRange(min=1), help="For integrated_gradients: points on the path. Default: 64.")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    help="For smoothgrad: noisy copies (default: 25). For rise: masks (default: 4000).",
)
@click.option(
    "--window",
    type=click.IntRange(min=1),
    help="For occlusion: side of the window in pixels. Default: a fifth of the image.",
)
@click.option(
    "--stride",
    type=click.IntRange(min=1),
    help="For occlusion: pixels from one window to the next. Default: the window's side.",
)
@click.option("--composite", help=f"For lrp: {', '.join(COMPOSITES)}. Default: the first.")
def attribute(
    file: str,
    photo: str,
    upright: bool | None,
    target: str | None,
    names: tuple[str, ...],
    out: Path,
    inputs: str | None,
    architecture: str | None,
    custom: dict[str, Any],
    **options: Any,
) -> None:
    """Draw where in PHOTO a decision comes from, by any method.

    The command prints the decision and the score that is explained. A map of regions is drawn over the photograph. In a
    map of pixels, red raises the score of the target and blue lowers it.

    \b
    Examples:
      jaxviz attribute vgg16 mello.jpg --method integrated_gradients --method lrp --target cornet
      jaxviz attribute cats_and_dogs_small_2.h5 cat.jpg --method occlusion --window 40 --stride 10
      jaxviz attribute vgg16_demo cat.jpg --target block5_conv3:286 --method layer_cam --layer block3_conv3
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    chosen = methods.share(names, given)
    model = jv.load(file, inputs=inputs, architecture=architecture, custom=custom)
    image, photograph = _read(model, photo, upright), jv.read_image(photo, upright=bool(upright))
    wanted = _decision(model, image, target)
    for name, settings in chosen.items():
        found = methods.METHODS[name](model, image, wanted, **settings)
        if found.values.ndim == 1:  # pixels of a flat image
            found = found._replace(values=found.values.reshape(picture_shape(model, image.shape[:-1])))
        gap = f"; the map sums to the gain over the baseline within {found.gap:.2%}" if hasattr(found, "gap") else ""
        click.echo(f"{name}: target {target or wanted}, score {found.score:.4f}{gap}")
        path = _path(out, name, Path(photo).stem, target)
        methods.show(name, photograph, found, signed=settings.get("relu") is False).savefig(path)
        click.echo(path)


def _read(model: jv.Model, photo: str, upright: bool | None) -> np.ndarray:
    """The photograph at the size, and with the channels, that the network takes."""
    shape = model.image_size()
    picture = picture_shape(model, shape[:-1])
    if len(picture) != 3:
        raise jv.InputError(
            f"a command explains photographs: use Python for signals and volumes; given: a network that takes {shape}"
        )
    return jv.read_image(photo, picture[:2], channels=picture[2], upright=upright).reshape(shape)


def _write_grid(path: Path, images: np.ndarray, source: Style, columns: int, margin: int) -> None:
    """Write the images of an ascent `[n h w c]` as one grid, with the crop and contrast of the recipe's source."""
    pictures = np.stack([source.picture(image) for image in images])
    jv.write_image(path, rgb.tile(pictures, min(columns, len(pictures)), margin))
    click.echo(path)


def _decision(model: jv.Model, image: np.ndarray, target: str | None) -> int | str | jv.Objective:
    """The target that was given, or the class that the network decides for; the best classes are printed."""
    wanted = None if target is None else _target(model, target)
    scores = jv.predict(model, image)
    if scores.ndim == 1:
        for line in _best(model, scores):
            click.echo(line)
    elif not isinstance(wanted, jv.Objective):
        raise jv.InputError(
            f"a network without classes needs --target LAYER:CHANNEL; given: a network that ends in {model.output}"
        )
    return methods.decided(model, image) if wanted is None else wanted


def _target(model: jv.Model, target: str) -> int | str | jv.Objective:
    """The target that "386", "African_elephant" or "block5_conv3:27" on the command line stands for."""
    if place := re.fullmatch(r"(.+):(\d+)", target):
        name, index = model.check_layer(place[1]), int(place[2])
        maps = len(model.shapes(names=[name])[name]) > 1
        return jv.Channel(name, index) if maps else jv.Unit(name, index)
    if re.fullmatch(r"-?\d+", target):
        return int(target)
    if model.labels is None:
        raise jv.InputError(
            f"this network has no class names, so --target is a class number or LAYER:CHANNEL; given: {target!r}"
        )
    return target


def _best(model: jv.Model, scores: np.ndarray) -> Iterator[str]:
    """A line for each of the TOP classes, best first: its score, its number and, if it has one, its name."""
    scores = np.asarray(probabilities(scores, model.is_binary))
    for index in np.argsort(-scores, kind="stable")[:TOP]:
        yield f"{scores[index]:.4f}  class {index}" + (f", {model.labels[index]}" if model.labels else "")


def _path(out: Path, *words: Any) -> Path:
    """The path of a PNG in the folder `out`, which is made. `words` are its name, so that two targets are two pictures.

    A word such as `model/conv:3`, a channel of a nested layer, is not a name of a file: `/` and `:` become `_`.
    """
    out.mkdir(parents=True, exist_ok=True)
    return out / (re.sub("[/:]", "_", "_".join(str(word) for word in words if word is not None)) + ".png")

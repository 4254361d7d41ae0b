"""The command line: a Keras file (and a photograph) in, pictures out."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import click
import jax
import numpy as np

import jaxviz as jv
from jaxviz.attribution.cams import last_convolution
from jaxviz.attribution.lrp_rules import COMPOSITES
from jaxviz.cli import demo, methods
from jaxviz.cli.exits import OneLine
from jaxviz.model import SPARE_SIZE
from jaxviz.objectives import probabilities
from jaxviz.rendering import rgb
from jaxviz.rendering.images import resize
from weights_convert import CAFFE, INPUTS, RAW255

TOP = 5  # classes of a prediction that are printed


class Style(NamedTuple):
    """How a source climbs (`recipe`) and what it does with the images: the pixels it cuts off and the contrast."""

    recipe: Callable[..., jv.recipes.Recipe]
    size: int
    border: int  # of the objective, in pixels of the layer
    crop: int  # of the picture, on each side
    std: float


STYLES = {
    "chollet": Style(jv.recipes.chollet, size=64, border=0, crop=0, std=0.1),
    "keras_io": Style(jv.recipes.keras_io, size=180, border=2, crop=25, std=0.15),
}


folder = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False, writable=True),
    default="pictures",
    show_default=True,
    help="A folder.",
)


def network(command: Callable) -> Callable:
    """The argument FILE, how to load it, and where the pictures go: what all commands on a network share."""
    for decorate in (
        folder,
        click.option("--inputs", type=click.Choice(list(INPUTS)), help="What it was fed with. Default: its own."),
        click.option(
            "--architecture",
            metavar="NAME",
            help="The graph of a file of weights, such as vgg16_notop, or a .json file of what model.to_json() gave.",
        ),
        click.argument("file"),
    ):
        command = decorate(command)
    return command


def explained(command: Callable) -> Callable:
    """The argument PHOTO and the target in it: what the commands that explain a decision share."""
    wanted = "A class number or name, or LAYER:CHANNEL. Default: the class that the network decides for."
    return click.argument("photo")(click.option("--target", help=wanted)(command))


# An unknown option before the command is then an unknown command, which is refused in one line.
@click.group(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"], "ignore_unknown_options": True})
@click.version_option(package_name="jaxviz-engine", prog_name="jaxviz")
def main() -> None:
    """See what a convolutional network sees.

    FILE is a file that Keras saved (.keras, .h5), the name of one of Keras' applications (resnet50, vgg16_notop, …:
    downloaded once), or vgg16_demo or vgg16_tumor (real weights that come with the extra "demo").

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
def show_demo(out: Path) -> None:
    """Make two pages on the real VGG16 and a cat.

    Needs the extra "demo", but no download; takes 2 to 3 minutes on 2 cores.

    \b
    Example:
      jaxviz demo --out pictures
    """
    click.echo(f"open {demo.run(out, click.echo)}")


@main.command()
@network
@click.argument("photo")
@click.option("--layer", "layers", multiple=True, help="Repeatable. Default: every layer that has maps.")
@click.option("--channel", type=int, help="Show this channel alone, larger.")
def activations(file: str, photo: str, layers: tuple[str, ...], channel: int | None, out: Path, **loading: Any) -> None:
    """Draw what each layer makes of PHOTO.

    One picture a layer, with all its channels; a channel that is constant is black.

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
            jv.channels(model, name, [channel])  # refuses all that is out of range before anything is written
    found = jv.activations(model, _read(model, photo), names)
    for name in names:
        path = _path(out, "activations", name, channel)
        jv.show_activations({name: found[name]}, channel=channel).savefig(path)
        click.echo(path)


@main.command()
@network
@click.option("--layer", "layers", multiple=True, help="Repeatable. Default: the last convolution.")
@click.option("--channel", "indices", type=int, multiple=True, help="Repeatable. Default: as many as fill the grid.")
@click.option("--recipe", type=click.Choice(list(STYLES)), default="chollet", show_default=True, help="Whose ascent.")
@click.option("--size", type=click.IntRange(min=1), help="Pixels. Default: 64 (chollet), 180 (keras_io).")
@click.option("--steps", type=click.IntRange(min=1), help="Default: 40 (chollet), 30 (keras_io).")
@click.option("--step", type=float, help="Length of a step. Default: 1.0 (chollet), 10.0 (keras_io).")
@click.option("--columns", type=click.IntRange(min=1), default=8, show_default=True, help="Pictures in a row.")
@click.option("--rows", type=click.IntRange(min=1), default=8, show_default=True, help="Rows of pictures.")
@click.option("--margin", type=click.IntRange(min=0), default=5, show_default=True, help="Pixels between pictures.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Of the noise that the ascent starts from.")
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

    One grid a layer, row by row: for each filter the image that excites it most, found by gradient ascent from noise.
    Chollet's ascent feeds raw pixels: with it, VGG16 is loaded as --inputs raw255 unless you say otherwise. Any other
    network keeps its own inputs. Ctrl-C writes the filters that are finished.

    \b
    Examples:
      jaxviz filters vgg16_demo --layer block3_conv1
      jaxviz filters vgg16_demo --layer block3_conv1 --channel 27 --size 150 --steps 1000 --step 0.1
      jaxviz filters cats_and_dogs_small_2.h5 --recipe keras_io
    """
    model = jv.load(file, **loading)
    if recipe == "chollet" and loading["inputs"] is None and model.inputs == CAFFE:
        model = replace(model, inputs=RAW255)
    style = STYLES[recipe]
    size = style.size if size is None else size
    if size <= 2 * style.crop:
        raise jv.InputError(f"{recipe} cuts {style.crop} pixels off each side: --size {size} leaves nothing")
    given = {"steps": steps, "step": step}
    settings = style.recipe(size=size, **{name: value for name, value in given.items() if value is not None})

    for name in layers or [last_convolution(model, jv.Highest(model.scores))]:
        objectives = jv.channels(model, name, indices or None, border=style.border)
        if not indices:
            objectives = objectives[: rows * columns]
        path = _path(out, "filters", name, *(indices if len(indices) == 1 else ()))
        click.echo(f"{name}: {len(objectives)} filters, {settings['steps']} steps")
        try:
            found = jv.sweep(model, objectives, key=jax.random.key(seed), **settings)
        except jv.Interrupted as interrupted:
            click.echo(f"{name}: {len(interrupted.positions)} of {len(objectives)} filters are finished")
            if interrupted.finished:
                _write_grid(path, interrupted.finished.image, style, columns, margin)
            raise
        still = int((found.scores == found.scores[:, :1]).all(1).sum())
        if settings["steps"] > 1 and still:
            why = "what leads to them is off, or --step is too short; try another --seed or --size"
            click.echo(f"{name}: {still} did not move: {why}", err=True)
        _write_grid(path, found.image, style, columns, margin)


@main.command()
@network
@explained
@click.option("--layer", help="Whose maps are weighted. Default: the last convolution that the target depends on.")
@click.option("--cmap", default="jet", show_default=True, help="One of matplotlib's colour maps, such as viridis.")
@click.option(
    "--weight", type=click.FloatRange(0, 1), default=0.4, show_default=True, help="Of the colours over the photograph."
)
def gradcam(
    file: str, photo: str, target: str | None, layer: str | None, cmap: str, weight: float, out: Path, **loading: Any
) -> None:
    """Draw where in PHOTO a decision comes from.

    Prints the decision, and draws Grad-CAM's map over the photograph at the photograph's own size.

    \b
    Examples:
      jaxviz gradcam vgg16 mello.jpg --target cornet
      jaxviz gradcam cats_and_dogs_small_2.h5 cat.jpg --target 0 --cmap viridis --weight 0.5
      jaxviz gradcam vgg16_demo cat.jpg --target block5_conv3:286 --layer block5_conv2
    """
    model = jv.load(file, **loading)
    image, photograph = _read(model, photo), jv.read_image(photo)
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
    help=f"Repeatable: {', '.join(methods.METHODS)}.",
)
@click.option(
    "--layer", multiple=True, help="Of CAMs; repeatable. Default: the last convolution that the target depends on."
)
@click.option("--relu/--no-relu", default=None, help="Of CAMs: without, also what speaks against the target.")
@click.option("--steps", type=click.IntRange(min=1), help="Of integrated_gradients. Default: 64.")
@click.option("--samples", type=click.IntRange(min=1), help="Of smoothgrad (default: 25) and rise (default: 4000).")
@click.option("--window", type=click.IntRange(min=1), help="Of occlusion, in pixels. Default: a fifth of the image.")
@click.option("--stride", type=click.IntRange(min=1), help="Of occlusion, in pixels. Default: the window's size.")
@click.option("--composite", help=f"Of lrp: {', '.join(COMPOSITES)}. Default: the first.")
def attribute(
    file: str,
    photo: str,
    target: str | None,
    names: tuple[str, ...],
    out: Path,
    inputs: str | None,
    architecture: str | None,
    **options: Any,
) -> None:
    """Draw what in PHOTO a decision comes from, by any method.

    Prints the decision and the score that is explained. Methods that find regions are drawn over the photograph; of
    those that find pixels, red speaks for the target and blue against it.

    \b
    Examples:
      jaxviz attribute vgg16 mello.jpg --method integrated_gradients --method lrp --target cornet
      jaxviz attribute cats_and_dogs_small_2.h5 cat.jpg --method occlusion --window 40 --stride 10
      jaxviz attribute vgg16_demo cat.jpg --target block5_conv3:286 --method layer_cam --layer block3_conv3
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    chosen = methods.share(names, given)
    model = jv.load(file, inputs=inputs, architecture=architecture)
    image, photograph = _read(model, photo), jv.read_image(photo)
    wanted = _decision(model, image, target)
    for name, settings in chosen.items():
        found = methods.METHODS[name](model, image, wanted, **settings)
        gap = f", which the map adds up to within {found.gap:.2%}" if hasattr(found, "gap") else ""
        click.echo(f"{name}: target {target or wanted}, score {found.score:.4f}{gap}")
        path = _path(out, name, Path(photo).stem, target)
        methods.show(name, photograph, found, signed=settings.get("relu") is False).savefig(path)
        click.echo(path)


def _read(model: jv.Model, photo: str) -> np.ndarray:
    """The photograph as the network takes it."""
    height, width, channels = model.image_shape
    return jv.read_image(photo, (height or SPARE_SIZE, width or SPARE_SIZE), channels=channels)


def _write_grid(path: Path, images: np.ndarray, style: Style, columns: int, margin: int) -> None:
    """The images of an ascent `[n h w c]` as its source shows them, side by side."""
    inner = slice(style.crop, -style.crop or None)
    pictures = np.stack([rgb.stretch(image[inner, inner], style.std) for image in images])
    jv.write_image(path, rgb.tile(pictures, min(columns, len(pictures)), margin))
    click.echo(path)


def _decision(model: jv.Model, image: np.ndarray, target: str | None) -> int | str | jv.Objective:
    """What to explain, after the best classes are printed: the target as written, or the decision of the network."""
    wanted = None if target is None else _target(model, target)
    scores = jv.predict(model, image)
    if scores.ndim == 1:
        for line in _best(model, scores):
            click.echo(line)
    elif not isinstance(wanted, jv.Objective):
        raise jv.InputError(f"this network ends in {model.output}, which has no classes: give --target LAYER:CHANNEL")
    return methods.decided(model, image) if wanted is None else wanted


def _target(model: jv.Model, target: str) -> int | str | jv.Objective:
    """A target as it is written on the command line: "386", "African_elephant" or "block5_conv3:27"."""
    if place := re.fullmatch(r"(.+):(\d+)", target):
        name, index = model.check_layer(place[1]), int(place[2])
        maps = len(model.shapes(names=[name])[name]) == 3
        return jv.Channel(name, index) if maps else jv.Unit(name, index)
    return int(target) if re.fullmatch(r"-?\d+", target) else target


def _best(model: jv.Model, scores: np.ndarray) -> Iterator[str]:
    """One line for each of the TOP classes, best first."""
    scores = np.asarray(probabilities(scores, model.is_binary))
    for index in np.argsort(-scores, kind="stable")[:TOP]:
        yield f"{scores[index]:.4f}  class {index}" + (f", {model.labels[index]}" if model.labels else "")


def _path(out: Path, *words: Any) -> Path:
    """A PNG in the folder `out`, which is made, named after what was asked for: two targets are two pictures.

    `model/conv:3`, a channel of a nested layer, is no name of a file.
    """
    out.mkdir(parents=True, exist_ok=True)
    return out / (re.sub("[/:]", "_", "_".join(str(word) for word in words if word is not None)) + ".png")

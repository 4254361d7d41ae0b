"""Commands on what a network makes of a photograph: `activations`, `gradcam`, `attribute`."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

import jaxviz as jv
from jaxviz.attribution.lrp_rules import COMPOSITES
from jaxviz.cli import methods
from jaxviz.cli.arguments import network, picture_path, read_photo, seen
from jaxviz.objectives import probabilities
from jaxviz.rendering import rgb
from jaxviz.rendering.images import resize
from jaxviz.structure import picture_shape

TOP = 5  # how many classes of a prediction are printed


def explained(command: Callable) -> Callable:
    """The command with what all commands that explain a decision share: the photograph and the target."""
    wanted = "What to explain: a class number or name, or LAYER:CHANNEL. Default: the class with the highest score."
    return seen(click.option("--target", help=wanted)(command))


@click.command()
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
    found = jv.activations(model, read_photo(model, photo, upright), names)
    for name in names:
        path = picture_path(out, "activations", name, channel)
        jv.show_activations({name: found[name]}, channel=channel).savefig(path)
        click.echo(path)


@click.command()
@network
@explained
@click.option(
    "--layer", multiple=True, help="A layer to look at; repeatable. Default: the last convolution before the target."
)
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
    layer: tuple[str, ...],
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
    image, photograph = read_photo(model, photo, upright), jv.read_image(photo, upright=bool(upright))
    cam = jv.grad_cam(model, image, _decision(model, image, target), layer=layer or None)
    path = picture_path(out, "gradcam", Path(photo).stem, target)
    values = resize(cam.values, photograph.shape[:2])
    jv.write_image(path, rgb.overlay(photograph, values, cmap, weight))
    click.echo(path)


@click.command()
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
    image, photograph = read_photo(model, photo, upright), jv.read_image(photo, upright=bool(upright))
    wanted = _decision(model, image, target)
    for name, settings in chosen.items():
        found = methods.METHODS[name](model, image, wanted, **settings)
        if found.values.ndim == 1:  # pixels of a flat image
            found = found._replace(values=found.values.reshape(picture_shape(model, image.shape[:-1])))
        gap = f"; the map sums to the gain over the baseline within {found.gap:.2%}" if hasattr(found, "gap") else ""
        click.echo(f"{name}: target {target or wanted}, score {found.score:.4f}{gap}")
        path = picture_path(out, name, Path(photo).stem, target)
        methods.show(name, photograph, found, signed=settings.get("relu") is False).savefig(path)
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

"""What several commands share: their arguments, how PHOTO is read, and the names of the pictures."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

import jaxviz as jv
from jaxviz.attribution.cams import last_convolution
from jaxviz.structure import picture_shape
from weights_convert import INPUTS
from weights_convert.own import imported

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


def loaded(command: Callable) -> Callable:
    """The command with the argument FILE and how to load it."""
    for decorate in (
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


def network(command: Callable) -> Callable:
    """The command with what all commands that draw share: the argument FILE, how to load it, the folder."""
    return loaded(folder(command))


def seen(command: Callable) -> Callable:
    """The command with what all commands that look at a photograph share: the argument PHOTO and how to read it."""
    turned = "Whether to turn PHOTO as the camera was held (EXIF). Default: not, as Keras reads it."
    return click.argument("photo")(click.option("--upright/--no-upright", default=None, help=turned)(command))


def read_photo(model: jv.Model, photo: str, upright: bool | None) -> np.ndarray:
    """The photograph at the size, and with the channels, that the network takes."""
    shape = model.image_size()
    picture = picture_shape(model, shape[:-1])
    if len(picture) != 3:
        raise jv.InputError(
            f"a command explains photographs: use Python for signals and volumes; given: a network that takes {shape}"
        )
    return jv.read_image(photo, picture[:2], channels=picture[2], upright=upright).reshape(shape)


def chosen_layers(model: jv.Model, layers: Sequence[str]) -> list[str]:
    """The layers of an option --layer, or the last convolution where there are none.

    Raises:
        InputError: an unknown layer. So it is refused before any picture is written.
    """
    return [model.check_layer(name) for name in layers or [last_convolution(model, jv.Highest(model.scores))]]


def picture_path(out: Path, *words: Any) -> Path:
    """The path of a PNG in the folder `out`, which is made. `words` are its name, so that two targets are two pictures.

    A word such as `model/conv:3`, a channel of a nested layer, is not a name of a file: `/` and `:` become `_`.
    """
    out.mkdir(parents=True, exist_ok=True)
    return out / (re.sub("[/:]", "_", "_".join(str(word) for word in words if word is not None)) + ".png")

"""Commands that climb from a photograph: `dream` and `caricature`."""

from pathlib import Path
from typing import Any

import click
import jax
import numpy as np

import jaxviz as jv
from jaxviz.cli.arguments import chosen_layers, network, picture_path, read_photo, seen

seeded = click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Seed of what is drawn at random.")


@click.command()
@network
@seen
@click.option("--layer", "layers", multiple=True, help="A layer to excite; repeatable. Default: the last convolution.")
@click.option("--octaves", type=click.IntRange(min=1), default=4, show_default=True, help="The number of sizes.")
@click.option("--scale", type=float, default=1.4, show_default=True, help="The ratio of one size to the next.")
@click.option("--steps", type=click.IntRange(min=1), default=10, show_default=True, help="Steps at each size.")
@click.option("--step", type=float, default=1.5, show_default=True, help="Mean change of a pixel in a step, of 255.")
@click.option(
    "--tile", type=click.IntRange(min=1), help="Side of a tile in pixels. Default: the network's own size, or 224."
)
@seeded
def dream(
    file: str,
    photo: str,
    upright: bool | None,
    layers: tuple[str, ...],
    octaves: int,
    scale: float,
    steps: int,
    step: float,
    tile: int | None,
    seed: int,
    out: Path,
    **loading: Any,
) -> None:
    """Let the network dream into PHOTO (DeepDream).

    PHOTO keeps its own size, which may be large: it is computed tile by tile. The layers are excited, so that more and
    more of what they know appears. Deep layers draw things, early ones draw textures.

    \b
    Examples:
      jaxviz dream vgg16_demo sky.jpg --layer block4_conv2
      jaxviz dream vgg16_demo cat.jpg --layer block4_conv3 --layer block5_conv1 --octaves 3 --steps 20
    """
    model = jv.load(file, **loading)
    image = jv.read_image(photo, channels=model.channels, upright=upright)
    names = chosen_layers(model, layers)
    key = jax.random.key(seed)
    found = jv.dream(model, image, names, key=key, octaves=octaves, scale=scale, steps=steps, step=step, tile=tile)
    _write(picture_path(out, "dream", Path(photo).stem, *(names if len(names) == 1 else ())), found)


@click.command()
@network
@seen
@click.option("--layer", "layers", multiple=True, help="A layer; repeatable. Default: the last convolution.")
@click.option("--steps", type=click.IntRange(min=1), default=256, show_default=True, help="Number of steps.")
@click.option(
    "--power", type=float, default=1.0, show_default=True, help="A larger power keeps closer to the photograph."
)
@seeded
def caricature(
    file: str,
    photo: str,
    upright: bool | None,
    layers: tuple[str, ...],
    steps: int,
    power: float,
    seed: int,
    out: Path,
    **loading: Any,
) -> None:
    """Draw PHOTO as a layer sees it, exaggerated.

    There is one picture for each layer, at the size that the network takes. What the layer sees in the photograph is
    drawn stronger, and what it does not see is left out.

    \b
    Examples:
      jaxviz caricature vgg16_demo cat.jpg --layer block4_conv3
      jaxviz caricature vgg16_demo cat.jpg --layer block3_conv1 --layer block5_conv1 --steps 128
    """
    model = jv.load(file, **loading)
    image = read_photo(model, photo, upright)
    for name in chosen_layers(model, layers):
        found = jv.caricature(model, image, name, power=power, steps=steps, key=jax.random.key(seed))
        _write(picture_path(out, "caricature", Path(photo).stem, name), found)


def _write(path: Path, found: jv.Ascent) -> None:
    """Write the image of an ascent, whose values are in [0, 1]."""
    picture = (255 * found.image).round().astype(np.uint8)
    jv.write_image(path, picture if picture.shape[-1] == 3 else picture[..., 0])
    click.echo(path)

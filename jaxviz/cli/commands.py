"""The commands: each reads a Keras file, and most read a photograph, and writes pictures."""

from pathlib import Path
from typing import Any

import click
import jax

import jaxviz as jv
from jaxviz.cli import climbing, demo, dreaming, explaining, sites, whole
from jaxviz.cli.arguments import folder
from jaxviz.cli.exits import OneLine


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
      jaxviz atlas vgg16_demo --out vgg16.zarr
      jaxviz dream vgg16_demo cat.jpg --layer block4_conv2
      jaxviz gradcam vgg16 elephants.jpg
      jaxviz attribute vgg16 elephants.jpg --method integrated_gradients --method lrp
    """
    _keep_compilations()


def _keep_compilations() -> None:
    """Keep what this command compiles for the next one, by the safety rules of `jv.keep_compilations`.

    JAX's own settings come first: a folder of the user's (`JAX_COMPILATION_CACHE_DIR`), or none at all
    (`JAX_ENABLE_COMPILATION_CACHE=false`). A folder that is not safe is named on stderr, and the command runs without.
    """
    settings: Any = jax.config  # its attributes have no types
    if settings.jax_compilation_cache_dir or not settings.jax_enable_compilation_cache:
        return
    try:
        jv.keep_compilations()
    except (jv.InputError, OSError) as error:
        click.echo(f"jaxviz: compiled programs are not kept: {error}", err=True)


@main.command("demo")
@folder
@click.option("--quick", is_flag=True, help="Show less, in less than a minute.")
def show_demo(out: Path, quick: bool) -> None:
    """Show what the real VGG16 sees in a photograph of a cat.

    The command writes two web pages with pictures. It needs the extra "demo", but no download, and takes about 2
    minutes on 2 cores.

    With --quick it takes less than a minute. It then shows the activations of 2 layers instead of 5, 8 filters of one
    layer instead of 32 filters of 4 layers, no deep layer, one channel instead of 4, and 3 attribution methods instead
    of all. The network sees the photograph at 112 × 112 pixels instead of 224 × 224.

    \b
    Examples:
      jaxviz demo --out pictures
      jaxviz demo --quick
    """
    click.echo(f"open {demo.run(out, click.echo, demo.QUICK if quick else demo.FULL)}")


for each in (
    *(explaining.activations, climbing.filters, climbing.classes, dreaming.dream, dreaming.caricature),
    *(explaining.gradcam, explaining.attribute, whole.atlas, sites.page),
):
    main.add_command(each)

"""The command that makes a web site of an atlas: `page`."""

from pathlib import Path

import click

import jaxviz as jv


@click.command()
@click.argument("atlases", metavar="ATLAS [ATLAS]", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="site",
    show_default=True,
    help="The folder of the site. It is made if it is missing; another site in it is replaced.",
)
def page(atlases: tuple[str, ...], out: Path) -> None:
    """Make a web site of an ATLAS, which a browser opens from the folder.

    The page has the filters of all layers. A click on one shows its large picture, its scores, its receptive field, the
    crops of photographs that excite it most, and the filters that are like it. Two atlases stand side by side: two
    steps of a training, or two networks. The site needs no server, and loads nothing from elsewhere. The command needs
    the extra "atlas".

    \b
    Examples:
      jaxviz page vgg16.zarr --out site
      jaxviz page epoch_1.zarr epoch_9.zarr --out training
    """
    click.echo(f"open {jv.write_site(out, *atlases)}")

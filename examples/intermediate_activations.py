"""What are the activations of each layer of a network for a photograph?

    python examples/intermediate_activations.py
    python examples/intermediate_activations.py cats_and_dogs_small_2.h5 cat.jpg

Without arguments, it draws the activations of a small cats-and-dogs network for a photograph of a cat; both come with
the package catsordogs. After Chollet, Deep Learning with Python (2017), 5.4.1.
"""

import sys
from pathlib import Path

import jaxviz as jv
from jaxviz.cli.demo import package_file

OUT = Path(__file__).parent / "out"


def main(file: str | None = None, photo: str | None = None) -> None:
    OUT.mkdir(exist_ok=True)

    # The network. Printing it shows the layers, their shapes and their parameters.
    model = jv.load(file or package_file("catsordogs", "model.h5", "catsordogs==0.0.9"))
    print(model)

    # The photograph, with the size and the channels that the network was trained on. Its values are in [0, 1]. The
    # model does the preprocessing that its network expects, such as 0–255 or BGR; repr(model) says which.
    height, width, colours = model.image_shape
    image = jv.read_image(
        photo or package_file("catsordogs", "test1.jpeg", "catsordogs==0.0.9"),
        size=(height or 224, width or 224),
        channels=colours,
    )
    print(f"photograph: {image.shape}, {image.min():.2f} to {image.max():.2f}")

    # The activations of the layers that have maps. Those of the dense layers at the end have no place in the image.
    shapes = model.shapes()
    maps = [name for name in model.layers if len(shapes[name]) == 3]
    found = jv.activations(model, image, maps)

    # Single channels of the first layer. The channel that detects an edge, say, has another number in each network.
    first = maps[0]
    for channel in (3, 30):
        if channel < found[first].shape[-1]:
            jv.show_activations({first: found[first]}, channel=channel).savefig(OUT / f"{first}_{channel}.png")

    # Every channel, 16 in a row. Deeper layers are coarser, and more of their channels are inactive, which are black.
    for name in maps:
        jv.show_activations({name: found[name]}).savefig(OUT / f"activations_{name}.png")
    print(f"the pictures are in {OUT}")


if __name__ == "__main__":
    if {"-h", "--help"} & {*sys.argv}:
        print(__doc__)
    else:
        main(*sys.argv[1:])

"""What does each layer of a network make of a photograph?

    python examples/intermediate_activations.py
    python examples/intermediate_activations.py cats_and_dogs_small_2.h5 cat.jpg

Without arguments: a small cats-and-dogs network and a photograph of a cat, both from the package catsordogs.
After Chollet, Deep Learning with Python (2017), 5.4.1.
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

    # The photograph at the size and with the colours that the network was trained on. Values are in [0, 1]; what the
    # network itself expects, such as 0–255 or BGR, is the model's business: repr(model) says which.
    height, width, colours = model.image_shape
    image = jv.read_image(
        photo or package_file("catsordogs", "test1.jpeg", "catsordogs==0.0.9"),
        size=(height or 224, width or 224),
        channels=colours,
    )
    print(f"photograph: {image.shape}, {image.min():.2f} to {image.max():.2f}")

    # The activations of the layers that still have maps: the dense ones at the end cannot be traced back to places.
    shapes = model.shapes()
    maps = [name for name in model.layers if len(shapes[name]) == 3]
    found = jv.activations(model, image, maps)

    # Single channels of the first layer. Which detector sits at which number differs from network to network.
    first = maps[0]
    for channel in (3, 30):
        if channel < found[first].shape[-1]:
            jv.show_activations({first: found[first]}, channel=channel).savefig(OUT / f"{first}_{channel}.png")

    # Every channel, 16 in a row. Deeper layers are coarser and sparser: a channel that finds nothing is black.
    for name in maps:
        jv.show_activations({name: found[name]}).savefig(OUT / f"activations_{name}.png")
    print(f"the pictures are in {OUT}")


if __name__ == "__main__":
    if {"-h", "--help"} & {*sys.argv}:
        print(__doc__)
    else:
        main(*sys.argv[1:])

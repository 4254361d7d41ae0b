"""Which image activates a filter most?

    python examples/filter_essence.py
    python examples/filter_essence.py vgg16_notop block4_conv3
    python examples/filter_essence.py cats_and_dogs_small_2.h5 conv2d_8

Without arguments, it draws the filters of layer block3_conv1 of VGG16; the real ImageNet weights come with the extra
"demo". It takes about a minute on 2 cores. After Chollet, Deep Learning with Python (2017), 5.4.2.
"""

import sys
from pathlib import Path

import jaxviz as jv

OUT = Path(__file__).parent / "out"
FILTER = 27


def main(file: str = "vgg16_demo", layer: str = "block3_conv1") -> None:
    OUT.mkdir(exist_ok=True)

    # The book's ascent climbs on raw pixels, without the preprocessing of VGG16, which subtracts the means of the
    # colours. A network of your own keeps its own preprocessing.
    model = jv.load(file, inputs="raw255" if file.startswith("vgg16") else None)
    print(repr(model))

    # One filter. Its score is the mean of its map, and each step moves the image along the gradient of the score. The
    # book takes 40 long steps. The article takes 1,000 short steps; here the image has 64 pixels a side, so that they
    # take seconds.
    filters = jv.channels(model, layer)
    one = filters[min(FILTER, len(filters) - 1)]
    book = jv.ascend(model, one, **jv.recipes.chollet(size=150, steps=40, step=1.0))
    article = jv.ascend(model, one, **jv.recipes.chollet(size=64, steps=1000, step=0.1))
    for name, found in {"book": book, "article": article}.items():
        jv.show_filters(found, columns=1).savefig(OUT / f"filter_{name}.png")
        jv.show_scores(found).savefig(OUT / f"scores_{name}.png")
        print(f"{layer}, filter {one.index}, the {name}'s steps: {found.scores[0]:.1f} → {found.scores[-1]:.1f}")

    # The first 64 filters of the layer, climbing side by side in one compiled loop.
    grid = jv.sweep(model, filters[:64], **jv.recipes.chollet(size=64))
    jv.show_filters(grid, columns=8, margin=5).savefig(OUT / f"filters_{layer}.png")
    print(f"the pictures are in {OUT}")


if __name__ == "__main__":
    if {"-h", "--help"} & {*sys.argv}:
        print(__doc__)
    else:
        main(*sys.argv[1:])

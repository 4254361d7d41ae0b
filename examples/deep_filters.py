"""What do the filters of deep layers look for?

    python examples/deep_filters.py
    python examples/deep_filters.py vgg16_notop 512 block5_conv2 block5_conv3
    python examples/deep_filters.py cats_and_dogs_small_2.h5 192 conv2d_8

Without arguments, it draws the first six filters of three deep layers of VGG16, not chosen by their look: above by
Chollet's ascent, below by Lucid's recipe. The real ImageNet weights come with the extra "demo". It takes about two
minutes on 2 cores, and its `filters.jpg` is `docs/filters.jpg`. The arguments are the file, the number of steps by
Lucid's recipe, and the layers.
"""

import sys
from pathlib import Path

import numpy as np

import jaxviz as jv
from jaxviz.rendering import rgb

OUT = Path(__file__).parent / "out"
LAYERS = ("block4_conv3", "block5_conv1", "block5_conv3")
FILTERS, SIZE = range(6), 96


def main(file: str = "vgg16_demo", steps: int | str = 192, *layers: str) -> None:
    OUT.mkdir(exist_ok=True)
    model = jv.load(file)
    rows = []
    for layer in layers or LAYERS:
        found = {}
        for name, given in {"chollet": {}, "lucid": {"steps": int(steps)}}.items():
            # A style is a recipe as its source uses it: how the network is fed, what is climbed, how it is drawn. Both
            # climb before the ReLU, since half of these filters are inactive on Chollet's grey noise.
            style = jv.recipes.RECIPES[name]
            settings = style.settings(size=SIZE, **given) | {"relu": "pre"}
            ascent = jv.sweep(style.feed(model), style.objectives(model, layer, FILTERS), **settings)
            found[name] = style.pictures(ascent)
            print(f"{layer}, {name}: {ascent.scores[:, 0].mean():.3g} → {ascent.scores[:, -1].mean():.3g}")
        jv.show_recipes(found, indices=FILTERS).savefig(OUT / f"deep_{layer}.png")
        rows += found.values()

    jv.write_image(OUT / "filters.jpg", rgb.tile(np.concatenate(rows), columns=len(FILTERS), margin=5))
    print(f"the pictures are in {OUT}")


if __name__ == "__main__":
    if {"-h", "--help"} & {*sys.argv}:
        print(__doc__)
    else:
        main(*sys.argv[1:])

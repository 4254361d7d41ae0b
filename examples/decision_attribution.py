"""Where in a photograph does a decision come from?

    python examples/decision_attribution.py
    python examples/decision_attribution.py cats_and_dogs_small_2.h5 dog.jpg
    python examples/decision_attribution.py vgg16 mello.jpg

Without arguments, it explains what a small cats-and-dogs network decides for a photograph of a dog; both come with the
package catsordogs. After Chollet, Deep Learning with Python (2017), 5.4.3; Selvaraju et al. 2017, Grad-CAM.
"""

import sys
from pathlib import Path

import numpy as np

import jaxviz as jv
from jaxviz.cli.demo import package_file

OUT = Path(__file__).parent / "out"


def main(file: str | None = None, photo: str | None = None) -> None:
    OUT.mkdir(exist_ok=True)
    photo = photo or package_file("catsordogs", "test2.jpeg", "catsordogs==0.0.9")
    model = jv.load(file or package_file("catsordogs", "model.h5", "catsordogs==0.0.9"))
    print(repr(model))

    # The decision of the network.
    height, width, colours = model.image_shape
    image = jv.read_image(photo, size=(height or 224, width or 224), channels=colours)
    scores = jv.predict(model, image)
    if scores.shape == (1000,):
        for class_ in jv.decode_predictions(scores):
            print(f"{class_.score:.4f}  {class_.name}")
    elif scores.shape == (1,):
        print(f"{scores[0]:.4f}  class 1: the dog, where the network was trained on folders named cats and dogs")
    else:
        print(f"{scores.max():.4f}  class {np.argmax(scores)}")

    # The regions of the image that raise the score of that decision. Grad-CAM weights each channel of the last
    # convolution by how much the score grows with it. The score is the one before the softmax or sigmoid: after it, the
    # gradient of a certain decision would be almost zero, and the map blank.
    cam = jv.grad_cam(model, image)
    jv.show_maps({"Grad-CAM": cam}).savefig(OUT / "map.png")

    # The same map over the photograph, at the photograph's own size.
    jv.show_overlay(jv.read_image(photo), cam).savefig(OUT / "decision.png")
    print(f"the pictures are in {OUT}")


if __name__ == "__main__":
    if {"-h", "--help"} & {*sys.argv}:
        print(__doc__)
    else:
        main(*sys.argv[1:])

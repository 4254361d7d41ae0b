"""The demonstration: two pages of pictures of the real VGG16 and a photograph of a cat, without a download."""

import importlib.util
import shutil
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

import jaxviz as jv
from jaxviz.cli import methods
from jaxviz.rendering import rgb
from jaxviz.rendering.images import resize

# Layer → what to look for in its picture.
ACTIVATIONS = {
    "block1_conv1": "edges and colours, the cat still whole",
    "block2_conv1": "edges of one direction, spots of one colour",
    "block3_conv1": "the stripes of the fur, the rims of the eyes",
    "block4_conv1": "coarser, and most channels answer in a few places only",
    "block5_conv3": "few answers, on a coarse grid; many channels find nothing",
}
FILTERS = {
    "block1_conv1": "colours and edges; a few filters rise at the rim only, or not at all, and noise is left",
    "block2_conv1": "fine stripes and grains",
    "block3_conv1": "textures: dots, meshes, waves",
    "block4_conv1": "richer patterns: scales, rings, curls, weaves",
}
EXPLAINED, SEEN_BY = "block5_conv3", "block5_conv2"

# Method → its options, and what it shows and costs. Together they take 45 seconds of processor time.
LAYER = {"layer": SEEN_BY}
METHODS: dict[str, tuple[dict[str, Any], str]] = {
    "gradient": ({}, "how fast the score rises with each pixel; one gradient, and noisy"),
    "input_x_gradient": ({}, "the same times the pixel, its share to first order; one gradient"),
    "integrated_gradients": ({"steps": 6}, "shares that add up, on the way from black; 6 gradients, 64 are usual"),
    "smoothgrad": ({"samples": 4}, "the gradient averaged under noise; 4 gradients, 25 are usual"),
    "guided_gradient": ({}, "only what is positive at every ReLU: crisp, but hardly an explanation; one gradient"),
    "deconvnet": ({}, "every positive gradient gets through, ReLU on or off: no explanation either; one gradient"),
    "guided_grad_cam": (LAYER, "guided_gradient where grad_cam is high; a gradient and a forward pass"),
    "lrp": ({}, "the score itself, handed back layer by layer; about two gradients"),
    "grad_cam": (LAYER, f"the maps of {SEEN_BY}, weighted by their mean gradient; a forward pass and a bit"),
    "grad_cam_plus_plus": (LAYER, "positive gradients, for several things of one kind; costs the same"),
    "hires_cam": (LAYER, "every pixel of a map has its own gradient; costs the same"),
    "layer_cam": (LAYER, "hires_cam of the positive gradients; costs the same"),
    "x_grad_cam": (LAYER, "grad_cam with gradients weighted by activation; costs the same"),
    "eigen_cam": (LAYER, f"what {SEEN_BY} mostly sees, whatever the target; a decomposition besides"),
    "score_cam": (
        {"layer": "block2_conv2"},
        "maps weighted by the score of the photograph seen through them; 128 forward passes, one for each channel "
        "of block2_conv2; the last layer, which is usual, has 512",
    ),
    "occlusion": ({"window": 16, "stride": 8}, "what the score loses behind a grey square; 49 forward passes"),
    "rise": ({"samples": 64}, "which random masks leave the score high; 64 forward passes, 4000 are usual"),
}
SMALL, SEE_SMALL = 64, ("score_cam", "occlusion", "rise")  # many forward passes, each a tenth of one at 224 × 224

Picture = tuple[str, str]  # a file beside the page, and its caption

PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
  :root { color-scheme: light dark }
  body { font: 17px/1.5 system-ui, sans-serif; max-width: 60rem; margin: auto; padding: 1rem }
  pre { font-size: 13px; line-height: 1.35; overflow-x: auto }
  .tiles, .small, .wide { display: grid; gap: 1.5rem }
  .tiles { grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)) }
  .small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)) }
  figure { margin: 0 }
  figcaption { font-size: 15px; opacity: .8 }
  img { width: 100%; max-height: 48rem; object-fit: contain; object-position: left }
</style>
<h1>$title</h1>
$sections
</html>
""")


def run(out: Path, say: Callable[[str], object] = print) -> Path:
    """The page `index.html` in the folder `out`, which links to `methods.html`, with all their pictures.

    `say` is told each step before it is taken.

    Raises:
        ImportError: the extra `demo` is not installed.
    """
    photograph_file = package_file("skimage", "data/chelsea.png", "scikit-image")
    say("loading VGG16's convolutions and the photograph")
    model, raw = jv.load("vgg16_demo"), jv.load("vgg16_demo", inputs="raw255")
    image, photograph = jv.read_image(photograph_file, size=224), jv.read_image(photograph_file)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(photograph_file, out / "photograph.png")
    means = jv.activations(model, image, EXPLAINED)[EXPLAINED].mean((0, 1))
    strongest = np.argsort(-means)[:4].tolist()

    sections = [
        _section(
            "The network and the photograph",
            "VGG16 as trained on ImageNet, without its classifier, is shown a cat.",
            [("photograph.png", "Chelsea, from scikit-image. The network sees her at 224 × 224.")],
            more=f"<pre>{escape(str(model))}</pre>",
        ),
        _section(
            "What each layer makes of the photograph",
            "Every tile is one channel, its contrast set; one that is the same everywhere is black.",
            _activations(model, image, out, say),
            layout="wide",
        ),
        _section(
            "What each filter looks for",
            "Each tile climbed from grey noise towards what excites one filter most, by 40 steps of Chollet's ascent. "
            "Filters 0 to 63 run from the top down, column by column.",
            _filters(raw, out, say),
        ),
        _section(
            "Where the strongest channels look",
            f"The four channels of {EXPLAINED} with the highest mean on this photograph, explained by Grad-CAM: the "
            f"maps of the layer below, {SEEN_BY}, weighted by how much each of them speaks for the channel.",
            _overlays(model, image, photograph, {index: float(means[index]) for index in strongest}, out, say),
            more='<p><a href="methods.html">The strongest of them, explained by every method</a></p>',
        ),
    ]
    explanations = _section(
        f"Why channel {strongest[0]} of {EXPLAINED} is active",
        "Red speaks for it and blue against it; an overlay shows what speaks for it. The network sees the photograph "
        f"at 224 × 224; for {', '.join(SEE_SMALL)}, which need many forward passes, at {SMALL} × {SMALL}.",
        _methods(model, photograph_file, jv.Channel(EXPLAINED, strongest[0]), out, say),
        layout="small",
        more='<p><a href="index.html">What VGG16 sees</a></p>',
    )
    _write_page(out / "methods.html", "One question, every method", [explanations])
    return _write_page(out / "index.html", "What VGG16 sees", sections)


def package_file(package: str, name: str, distribution: str) -> Path:
    """A file that an installed package carries; the package is found, never imported.

    Raises:
        ImportError: the package is not installed; it says from which distribution it is.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ImportError(f"the package {package} is not installed: pip install {distribution}")
    return Path(found.origin).parent / name


def _activations(model: jv.Model, image: np.ndarray, out: Path, say: Callable[[str], object]) -> list[Picture]:
    say(f"activations of {', '.join(ACTIVATIONS)}")
    pictures = []
    for name, activation in jv.activations(model, image, ACTIVATIONS).items():
        file = f"activations_{name}.png"
        jv.show_activations({name: activation}).savefig(out / file)
        pictures.append((file, f"{name}: {ACTIVATIONS[name]}"))
    return pictures


def _filters(model: jv.Model, out: Path, say: Callable[[str], object]) -> list[Picture]:
    pictures = []
    for name, seen in FILTERS.items():
        say(f"filters of {name}: 64 images, 40 steps")
        found = jv.sweep(model, jv.channels(model, name, range(64)), **jv.recipes.chollet(size=64))
        grid = rgb.tile(np.stack([rgb.stretch(each) for each in found.image]), columns=8, by="column")
        file = f"filters_{name}.png"
        jv.write_image(out / file, grid)
        pictures.append((file, f"{name}: {seen}"))
    jv.show_scores(found.scores[:8], labels=[f"filter {i}" for i in range(8)]).savefig(out / "scores.png")
    return [*pictures, ("scores.png", f"The score of the first eight filters of {name}, before each step")]


def _overlays(
    model: jv.Model,
    image: np.ndarray,
    photograph: np.ndarray,
    channels: dict[int, float],
    out: Path,
    say: Callable[[str], object],
) -> list[Picture]:
    pictures = []
    for index, mean in channels.items():
        say(f"Grad-CAM of {EXPLAINED}, channel {index}")
        cam = jv.grad_cam(model, image, jv.Channel(EXPLAINED, index), layer=SEEN_BY)
        file = f"gradcam_{EXPLAINED}_{index}.png"
        jv.write_image(out / file, rgb.overlay(photograph, resize(cam.values, photograph.shape[:2])))
        pictures.append((file, f"Channel {index}, mean {mean:.1f}"))
    return pictures


def _methods(
    model: jv.Model, photograph_file: Path, target: jv.Channel, out: Path, say: Callable[[str], object]
) -> list[Picture]:
    photograph = jv.read_image(photograph_file)
    pictures = [("photograph.png", "The photograph")]
    for name, (options, shows) in METHODS.items():
        say(f"{name} of {target.layer}, channel {target.index}")
        image = jv.read_image(photograph_file, size=SMALL if name in SEE_SMALL else 224)
        found = methods.METHODS[name](model, image, target, **options)
        file = f"{name}.png"
        methods.show(name, photograph, found).savefig(out / file)
        pictures.append((file, f"{name}: {shows}"))
    return pictures


def _section(title: str, text: str, pictures: Sequence[Picture], *, layout: str = "tiles", more: str = "") -> str:
    """A section of the page: its pictures, each a link to itself at full size, and `more`, which is HTML already."""
    figures = [
        f'<figure><a href="{file}"><img src="{file}" alt="{escape(caption)}"></a>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for file, caption in pictures
    ]
    heading = f"<h2>{escape(title)}</h2>\n<p>{escape(text)}</p>"
    return "\n".join(["<section>", heading, f'<div class="{layout}">', *figures, "</div>", more, "</section>"])


def _write_page(page: Path, title: str, sections: Sequence[str]) -> Path:
    page.write_text(PAGE.substitute(title=title, sections="\n".join(sections)), encoding="utf-8")
    return page

"""The demonstration: a page of pictures of the real VGG16 and a photograph of a cat, without a download."""

import importlib.util
import shutil
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from string import Template

import numpy as np

import jaxviz as jv
from jaxviz import rgb
from jaxviz.images import resize

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

Picture = tuple[str, str]  # a file beside the page, and its caption

PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>What VGG16 sees</title>
<style>
  :root { color-scheme: light dark }
  body { font: 17px/1.5 system-ui, sans-serif; max-width: 60rem; margin: auto; padding: 1rem }
  pre { font-size: 13px; line-height: 1.35; overflow-x: auto }
  .tiles, .wide { display: grid; gap: 1.5rem }
  .tiles { grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)) }
  figure { margin: 0 }
  figcaption { font-size: 15px; opacity: .8 }
  img { width: 100%; max-height: 48rem; object-fit: contain; object-position: left }
</style>
<h1>What VGG16 sees</h1>
$sections
</html>
""")


def run(out: Path, say: Callable[[str], object] = print) -> Path:
    """The page `index.html` in the folder `out`, with its pictures; `say` is told each step before it is taken.

    Raises:
        ImportError: the extra `demo` is not installed.
    """
    photograph_file = package_file("skimage", "data/chelsea.png")
    say("loading VGG16's convolutions and the photograph")
    model, raw = jv.load("vgg16_demo"), jv.load("vgg16_demo", inputs="raw255")
    image, photograph = jv.read_image(photograph_file, size=224), jv.read_image(photograph_file)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(photograph_file, out / "photograph.png")

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
            _overlays(model, image, photograph, out, say),
        ),
    ]
    page = out / "index.html"
    page.write_text(PAGE.substitute(sections="\n".join(sections)), encoding="utf-8")
    return page


def package_file(package: str, name: str, extra: str = "demo") -> Path:
    """A file that an installed package carries; the package is found, never imported.

    Raises:
        ImportError: the package is not installed; it names the extra that has it.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ImportError(f'the package {package} is not installed: pip install "jaxviz-engine[{extra}]"')
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
    model: jv.Model, image: np.ndarray, photograph: np.ndarray, out: Path, say: Callable[[str], object]
) -> list[Picture]:
    means = jv.activations(model, image, EXPLAINED)[EXPLAINED].mean((0, 1))
    pictures = []
    for index in np.argsort(-means)[:4].tolist():
        say(f"Grad-CAM of {EXPLAINED}, channel {index}")
        cam = jv.grad_cam(model, image, jv.Channel(EXPLAINED, index), layer=SEEN_BY)
        file = f"gradcam_{EXPLAINED}_{index}.png"
        jv.write_image(out / file, rgb.overlay(photograph, resize(cam.values, photograph.shape[:2]), "jet", 0.4))
        pictures.append((file, f"Channel {index}, mean {means[index]:.1f}"))
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

"""The demonstration: two pages of pictures of the real VGG16 and a photograph of a cat, without a download.

    FULL, QUICK: Extent      how much is shown; `run(out, extent=…)` writes the pages

The second page explains one channel by every method of `methods.GENERAL`. A new method appears there without an edit
here: its caption is the first line of its docstring, and `settings` chooses its options by their names.
"""

import importlib.util
import inspect
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import jaxviz as jv
from jaxviz.cli import methods
from jaxviz.page import html
from jaxviz.page.html import Illustration
from jaxviz.rendering import rgb
from jaxviz.rendering.images import resize
from weights_convert import RAW255

Say = Callable[[str], object]

# What to look for in the picture of a layer's activations, and in the images of its filters.
ACTIVATIONS = {
    "block1_conv1": "edges and colours; the cat is still whole",
    "block2_conv1": "edges of one direction, spots of one colour",
    "block3_conv1": "the stripes of the fur, the rims of the eyes",
    "block4_conv1": "the map is coarser, and most channels are active in a few places only",
    "block5_conv3": "the grid is coarse, few places are active, and many channels are inactive everywhere",
}
FILTERS = {
    "block1_conv1": "colours and edges; a few filters only rise at the border of the image, or not at all: black tiles",
    "block2_conv1": "fine stripes and grains",
    "block3_conv1": "textures: dots, meshes, waves",
    "block4_conv1": "richer patterns: scales, rings, curls, weaves",
}
DEEP = {"block5_conv1": "things: feathers, bubbles, leaves, masks, berries, cut glass"}
BESIDE = ("chollet", "lucid")  # the recipes by which the filters of deep layers are drawn
EXPLAINED = "block5_conv3"  # its strongest channels on the photograph are what the methods explain


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much the demonstration shows, and so how long it takes."""

    activations: tuple[str, ...]  # layers
    filters: tuple[str, ...]  # layers
    filters_each: int  # filters of a layer; a picture has 8 columns of them
    deep: tuple[str, ...]  # deep layers, a few filters of each by two recipes
    deep_steps: int  # of Lucid's recipe
    channels: int  # the strongest of EXPLAINED
    methods: tuple[str, ...] | None  # None: all that take any network
    size: int  # the side of the image that the network sees, in pixels


FULL = Extent(
    activations=tuple(ACTIVATIONS),
    filters=tuple(FILTERS),
    filters_each=32,
    deep=tuple(DEEP),
    deep_steps=48,  # more of them sharpen the contrast, and show nothing else
    channels=4,
    methods=None,
    size=224,
)
QUICK = Extent(
    activations=("block1_conv1", "block3_conv1"),
    filters=("block2_conv1",),
    filters_each=8,
    deep=(),
    deep_steps=0,
    channels=1,
    methods=("gradient", "lrp", "grad_cam"),
    size=112,
)

DEEP_FILTERS, DEEP_SIZE = range(6), 96  # of a deep layer: the channels, and the pixels of an image

# A method that needs many forward passes explains a small image, where a pass takes a tenth of the time. Such a method
# is known by the module that it lives in, as its options may be those of any CAM.
SMALL = 64
MANY_PASSES = ("perturbation", "score_cam")
# Option → its value here, for the methods that have it. Together, all methods take 45 seconds of processor time.
FEW: dict[str, Any] = {"layer": "block5_conv2", "steps": 6, "samples": 4}  # the layer below EXPLAINED; few gradients
MANY: dict[str, Any] = {
    "layer": "block2_conv2",
    "samples": 64,
    "window": 16,
    "stride": 8,
}  # a layer with few channels; many passes


def run(out: Path, say: Say = print, extent: Extent = FULL) -> Path:
    """The page `index.html` in the folder `out`, which links to `methods.html`, with all their pictures.

    Args:
        out: the folder, which is made.
        say: a function that is told each step before it is taken.
        extent: how much the pages show.

    Raises:
        ImportError: the extra `demo` is not installed.
    """
    photograph_file = package_file("skimage", "data/chelsea.png", "scikit-image")
    say("loading VGG16's convolutions and the photograph")
    model, photograph = jv.load("vgg16_demo"), jv.read_image(photograph_file)
    image = jv.read_image(photograph_file, size=extent.size)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(photograph_file, out / "photograph.png")
    means = jv.activations(model, image, EXPLAINED)[EXPLAINED].mean((0, 1))
    strongest = np.argsort(-means)[: extent.channels].tolist()

    sections = [
        html.section(
            "The network and the photograph",
            "The network is VGG16 as trained on ImageNet, without its classifier. It is shown a cat.",
            [_photograph(f"Chelsea, from scikit-image. The network sees her at {extent.size} × {extent.size} pixels.")],
            more=[html.preformatted(str(model))],
        ),
        html.section(
            "What each layer makes of the photograph",
            "Each tile is one channel with its contrast stretched. A channel with the same value everywhere is black.",
            _activations(model, image, extent, out, say),
            layout="wide",
        ),
        html.section(
            "What each filter looks for",
            "Each tile is an image that started as grey noise and climbed, in 40 steps of Chollet's gradient ascent, "
            f"towards what activates one filter most. Filters 0 to {extent.filters_each - 1} run down the columns, "
            "from left to right.",
            _filters(replace(model, inputs=RAW255), extent, out, say),
        ),
        *([_deep_section(model, extent, out, say)] if extent.deep else []),
        html.section(
            "Where the strongest channels look",
            f"These are the channels of {EXPLAINED} with the highest mean on this photograph, explained by Grad-CAM: "
            f"the maps of the layer below, {FEW['layer']}, are weighted by how much each of them raises the channel.",
            _overlays(model, image, photograph, {index: float(means[index]) for index in strongest}, out, say),
            more=[html.link("methods.html", "The strongest channel, explained by several methods")],
        ),
    ]
    many = any(needs_many_passes(methods.METHODS[name]) for name in extent.methods or methods.GENERAL)
    explanations = html.section(
        f"Why channel {strongest[0]} of {EXPLAINED} is active",
        "Red pixels raise the channel and blue pixels lower it. A map of regions lies over the photograph and shows "
        f"the regions that raise the channel. The network sees the photograph at {extent.size} × {extent.size} pixels"
        + (f"; for methods that need many forward passes, at {SMALL} × {SMALL}." if many else "."),
        _methods(model, photograph_file, jv.Channel(EXPLAINED, strongest[0]), extent, out, say),
        layout="small",
        more=[html.link("index.html", "What VGG16 sees")],
    )
    html.write_page(out / "methods.html", "One question, several methods", [explanations])
    return html.write_page(out / "index.html", "What VGG16 sees", sections)


def package_file(package: str, name: str, distribution: str) -> Path:
    """The path of a file that comes with an installed package, which is found but not imported.

    Args:
        package: the package as it is imported.
        name: the path of the file in the package.
        distribution: the package as pip installs it.

    Raises:
        ImportError: the package is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ImportError(f"the package {package} is not installed: pip install {distribution}")
    return Path(found.origin).parent / name


def settings(method: Callable[..., Any]) -> dict[str, Any]:
    """The options that a method is called with here: those of FEW, or of MANY, that it has."""
    chosen = MANY if needs_many_passes(method) else FEW
    return {name: chosen[name] for name in inspect.signature(method).parameters if name in chosen}


def needs_many_passes(method: Callable[..., Any]) -> bool:
    return method.__module__.rpartition(".")[2] in MANY_PASSES


def caption(name: str, method: Callable[..., Any], options: Mapping[str, Any]) -> str:
    """The name of a method, the first line of its docstring, and its options with their defaults.

    A docstring begins "An `Attribution` with a map `[h w]`: …". A reader of the page needs only the part after the
    colon.
    """
    parameters = inspect.signature(method).parameters
    words = []
    for option, value in options.items():
        default = parameters[option].default
        words.append(f"{option} {value}" + (f" ({default} by default)" if default is not None else ""))
    first_line = (inspect.getdoc(method) or "").partition("\n")[0].replace("`", "")
    shown = re.sub(r"^An? \w*Attribution[^:]*: ", "", first_line)
    return f"{name}: {shown}" + (f" Here: {', '.join(words)}." if words else "")


def _photograph(words: str) -> Illustration:
    return Illustration("photograph.png", words)


def _activations(model: jv.Model, image: np.ndarray, extent: Extent, out: Path, say: Say) -> list[Illustration]:
    say(f"activations of {', '.join(extent.activations)}")
    pictures = []
    for layer, activation in jv.activations(model, image, extent.activations).items():
        file = f"activations_{layer}.png"
        jv.show_activations({layer: activation}).savefig(out / file)
        pictures.append(Illustration(file, f"{layer}: {ACTIVATIONS[layer]}"))
    return pictures


def _filters(model: jv.Model, extent: Extent, out: Path, say: Say) -> list[Illustration]:
    pictures = []
    for layer in extent.filters:
        say(f"filters of {layer}: {extent.filters_each} images, 40 steps")
        found = jv.sweep(model, jv.channels(model, layer, range(extent.filters_each)), **jv.recipes.chollet(size=64))
        grid = rgb.tile(jv.recipes.RECIPES["chollet"].pictures(found), columns=8, by="column")
        file = f"filters_{layer}.png"
        jv.write_image(out / file, grid)
        pictures.append(Illustration(file, f"{layer}: {FILTERS[layer]}"))
    jv.show_scores(found.scores[:8], labels=[f"filter {i}" for i in range(8)]).savefig(out / "scores.png")
    return [*pictures, Illustration("scores.png", f"The score of the first eight filters of {layer} before each step")]


def _deep_section(model: jv.Model, extent: Extent, out: Path, say: Say) -> html.Html:
    return html.section(
        "What the filters of a deep layer look for",
        "Chollet's ascent (above) draws the outlines of what excites a deep filter. Lucid's recipe (below) draws the "
        "thing: the image climbs by its Fourier coefficients, in the colours of photographs, and is moved, scaled and "
        "turned a little at each step. Both climb before the ReLU, as half of the filters are inactive on grey noise.",
        _deep(model, extent, out, say),
        layout="wide",
    )


def _deep(model: jv.Model, extent: Extent, out: Path, say: Say) -> list[Illustration]:
    pictures = []
    for layer in extent.deep:
        say(f"filters of {layer} by {' and '.join(BESIDE)}: {len(DEEP_FILTERS)} images each")
        found = {}
        for name in BESIDE:
            style = jv.recipes.RECIPES[name]
            steps = {"steps": extent.deep_steps} if name == "lucid" else {}
            settings = style.settings(size=DEEP_SIZE, **steps) | {"relu": "pre"}
            ascent = jv.sweep(style.feed(model), style.objectives(model, layer, DEEP_FILTERS), **settings)
            found[name] = style.pictures(ascent)
        file = f"deep_{layer}.png"
        jv.show_recipes(found, indices=DEEP_FILTERS).savefig(out / file)
        pictures.append(Illustration(file, f"{layer}: {DEEP[layer]}"))
    return pictures


def _overlays(
    model: jv.Model, image: np.ndarray, photograph: np.ndarray, channels: Mapping[int, float], out: Path, say: Say
) -> list[Illustration]:
    """Grad-CAM of each of the channels `{index: mean}` of EXPLAINED."""
    pictures = []
    for index, mean in channels.items():
        say(f"Grad-CAM of {EXPLAINED}, channel {index}")
        cam = jv.grad_cam(model, image, jv.Channel(EXPLAINED, index), layer=FEW["layer"])
        file = f"gradcam_{EXPLAINED}_{index}.png"
        jv.write_image(out / file, rgb.overlay(photograph, resize(cam.values, photograph.shape[:2])))
        pictures.append(Illustration(file, f"Channel {index}, mean {mean:.1f}"))
    return pictures


def _methods(
    model: jv.Model, photograph_file: Path, target: jv.Channel, extent: Extent, out: Path, say: Say
) -> list[Illustration]:
    photograph = jv.read_image(photograph_file)
    pictures = [_photograph("The photograph")]
    for name in extent.methods or methods.GENERAL:
        say(f"{name} of {target.layer}, channel {target.index}")
        method = methods.METHODS[name]
        options = settings(method)
        image = jv.read_image(photograph_file, size=SMALL if needs_many_passes(method) else extent.size)
        found = method(model, image, target, **options)
        file = f"{name}.png"
        methods.show(name, photograph, found).savefig(out / file)
        pictures.append(Illustration(file, caption(name, method, options)))
    return pictures

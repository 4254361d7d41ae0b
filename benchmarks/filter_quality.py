"""Claim: pictures of deep filters by `recipes.lucid` hold under a change of the picture, where Chollet's do not.

    python benchmarks/filter_quality.py [--quick] [--only LAYER …] [--parts FOLDER]

It is no timing, so other programs may run beside it. All of it takes about 40 minutes on two cores. Each part (a layer,
a recipe, a seed, 16 channels) is written to `--parts` when it is done, and a second call goes on from there.

64 channels of each layer climb by both recipes from the noise of two seeds, as many steps, on the same network with the
preprocessing that it was trained with, and before the ReLU. (Behind it, as in the book, 5 of the first 16 of
`block4_conv3` do not move, being inactive on grey noise.) No number of a recipe was chosen by a look at these channels.
The finished pictures, of 8 bits, are measured by `jv.held_score`: brought to the same mean and contrast, and then shown
to the network under perturbations that no recipe climbs under.

    held        the mean score of the perturbed picture
    retention   the held score, divided by the score of the picture itself
    energy      the part of the spectral energy above half of the highest frequency: noise

A row has the ratio of the means over channels and seeds, Lucid's to Chollet's; and the channels for which it fails:
whose held score, the mean over seeds, is the lower one by Lucid's recipe.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import light
import numpy as np
from common import RESULTS, write

import jaxviz as jv

CHANNELS, TOGETHER, SEEDS, STEPS = 64, 16, (0, 1), 96
RECIPES = ("chollet", "lucid")


class Case(NamedTuple):
    """A layer, the channels of it that are measured, and what their ratios should reach."""

    network: str
    layer: str
    channels: range
    size: int  # pixels
    retention: float
    held: float
    energy: float  # how many times lower


VGG = [
    Case("VGG16", layer, range(3, 512, 8), 80, 1.6, 1.05, 1.5)
    for layer in ("block4_conv3", "block5_conv1", "block5_conv3")
]
LIGHT = [Case("EfficientNet-Lite0", "block5c_add", range(48, 112), 128, 1.8, 1.6, 2.5)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 channels, 4 steps, one seed: to see that it runs")
    parser.add_argument("--only", nargs="*", metavar="LAYER", help="these layers only; no table is written")
    parser.add_argument(
        "--parts",
        type=Path,
        default=Path(tempfile.gettempdir()) / "jaxviz_filter_quality",
        help="the folder of finished parts; default: %(default)s",
    )
    args = parser.parse_args()
    cases = [case for case in VGG + LIGHT if not args.only or case.layer in args.only]
    seeds, steps = SEEDS, STEPS
    if args.quick:
        cases, seeds, steps = [case._replace(channels=case.channels[:2]) for case in cases[:1]], SEEDS[:1], 4
    rows = []
    for case in cases:
        model = network(case.network)
        found = {name: measured(model, case, name, seeds, steps, args.parts) for name in RECIPES}
        rows.append(row(case, found))
        print(table(rows[-1:]), flush=True)
        if not args.quick and not args.only:  # after each layer, since all of them take long
            claim = (
                f"{CHANNELS} channels of each layer, seeds {', '.join(map(str, SEEDS))}, {STEPS} steps by each recipe"
            )
            print(write("filter_quality", {"measured": claim, "rows": rows}))
            words = f"{claim}. What is measured is in `benchmarks/filter_quality.py`.\n\n{table(rows)}"
            (RESULTS / "filter_quality.md").write_text(words, encoding="utf-8")


def network(name: str) -> jv.Model:
    return jv.load("vgg16_demo") if name == "VGG16" else light.read()


def measured(
    model: jv.Model, case: Case, recipe: str, seeds: tuple[int, ...], steps: int, parts: Path
) -> dict[str, np.ndarray]:
    """{measure: `[seeds channels]`} of the pictures of one recipe."""
    found: dict[str, list[Any]] = {"held": [], "retention": [], "energy": []}
    for seed in seeds:
        several = [
            part(model, case, recipe, seed, steps, case.channels[first : first + TOGETHER], parts)
            for first in range(0, len(case.channels), TOGETHER)
        ]
        for name in found:
            found[name].append(np.concatenate([each[name] for each in several]))
    return {name: np.stack(values) for name, values in found.items()}


def part(
    model: jv.Model, case: Case, recipe: str, seed: int, steps: int, channels: range, parts: Path
) -> dict[str, np.ndarray]:
    """The measures of a few channels, computed or, if they were before, read."""
    path = parts / f"{case.network}_{case.layer}_{recipe}_{case.size}_{steps}_{seed}_{channels[0]}_{len(channels)}"
    objectives = jv.channels(model, case.layer, channels)
    style = jv.recipes.RECIPES[recipe]

    def climb() -> dict[str, np.ndarray]:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), np.array(channels))
        settings = style.recipe(size=case.size, steps=steps) | {"relu": "pre"}
        found = jv.sweep(model, objectives, key=keys, **settings)
        return {"pictures": np.stack([style.picture(image) for image in found.image])}

    def measure() -> dict[str, np.ndarray]:
        pictures = kept(path.with_name(f"{path.name}_pictures.npz"), climb)["pictures"]
        held, retention, energy = jv.held_score(model, pictures / np.float32(255), objectives)
        return {"held": held, "retention": retention, "energy": energy}

    return kept(path.with_name(f"{path.name}_measures.npz"), measure)


def kept(path: Path, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays in a file, which is written, and named, if it is not there."""
    if not path.exists():
        found = compute()
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".part")
        with scratch.open("wb") as file:
            np.savez(file, **found)
        scratch.rename(path)
        print(path.name, flush=True)
    with np.load(path) as file:
        return dict(file)


def row(case: Case, found: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """The means of each recipe, their ratios, what these should be, and the channels for which Lucid's recipe fails."""
    means = {name: {measure: float(np.nanmean(v)) for measure, v in each.items()} for name, each in found.items()}
    plain, robust = (means[name] for name in RECIPES)
    ratios = {
        "retention": robust["retention"] / plain["retention"],
        "held": robust["held"] / plain["held"],
        "energy": plain["energy"] / robust["energy"],
    }
    before, after = (found[name]["held"].mean(0) for name in RECIPES)
    return {
        "network": case.network,
        "layer": case.layer,
        "means": {name: {measure: _short(value) for measure, value in each.items()} for name, each in means.items()},
        "ratios": {measure: _short(value) for measure, value in ratios.items()},
        "wanted": {measure: getattr(case, measure) for measure in ratios},
        "fails": [case.channels[i] for i in np.flatnonzero(after < before)],
        "inactive": [case.channels[i] for i in np.flatnonzero(~(np.maximum(before, after) > 0))],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The results as Markdown; bold is a ratio that is below its aim."""
    lines = [
        "| layer | retention | held score | spectral energy, times lower | held score is lower for channels |",
        "|---|---|---|---|---|",
    ]
    for each in rows:
        plain, robust = (each["means"][name] for name in RECIPES)
        cells = [f"{each['network']} `{each['layer']}`"]
        for measure in ("retention", "held", "energy"):
            ratio, aim = each["ratios"][measure], each["wanted"][measure]
            text = f"{ratio:.2f} ×" if ratio >= aim else f"**{ratio:.2f} ×**"
            cells.append(f"{plain[measure]:.3g} → {robust[measure]:.3g}, {text} (aim {aim})")
        inactive = f"; inactive: {', '.join(map(str, each['inactive']))}" if each["inactive"] else ""
        fails = ", ".join(map(str, each["fails"])) or "none"
        cells.append(f"{len(each['fails'])}: {fails}{inactive}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _short(value: float) -> float:
    return float(f"{value:.3g}")


if __name__ == "__main__":
    main()

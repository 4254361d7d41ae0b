"""Claim: a robust ascent takes little longer than a plain one, and less than by any other tool.

    python benchmarks/robust_sweep.py

The work is 64 filters of VGG16's `block4_conv3`, with its real weights, at 128 × 128 pixels: the ascent of
`recipes.lucid`, with a random transform of its own for each filter and step. Everybody does the same number of steps,
each in a process of its own, in turn. Compiling and tracing at the first call do not count. The peers:

    Chollet's recipe    jaxviz without Fourier canvas and transform: what robustness costs
    torch-lucent        `render_vis` with `standard_transforms`, one draw for a batch, all 64 filters at once or 8 at a
                        time, whichever is faster; without its enlargement to 224 pixels; network and optimiser eager
    tf-keras-vis        `ActivationMaximization` with its default modifiers and regularizers, in the same batches

The transforms are random, so no answers are compared; instead, each tool's images must raise the mean score of the
channels, as our network computes it, before any time is printed. The same two recipes run on a light network,
MobileNetV2 with random weights.

The stopping rule is no timing: 8 filters climb the whole recipe with it and without it. It states how many times fewer
steps were climbed, and the held score that is left.
"""

import functools
import os
import sys
import tempfile
import types

import numpy as np
import peers
from common import OURS, Contender, at_a_time, contenders, options, race, row, write

LAYER, LIGHT_LAYER, SIZE, FILTERS, STEPS, TRIED = "block4_conv3", "block_12_add", 128, 64, 6, 6
PLAIN, LUCENT, KERAS_VIS = "Chollet's recipe", "torch-lucent", "tf-keras-vis"
WANTED = {LUCENT: 1.6, KERAS_VIS: 3.0}  # times as long as ours
COST = {"VGG16": 1.10, "MobileNetV2": 1.3}  # at most: ours, divided by the plain recipe
STOPPED, WHOLE = 8, 256  # filters and steps of the stopping rule's trial
SAVED, KEPT = 1.25, 0.98  # it should save so many times the steps, and keep so much of the held score


# Each returns `sweep(layer, filters, steps, batch) -> images [n h w 3] in [0, 1]`.


def lucid(weights: peers.Weights, file: str):
    return _ours("lucid", file)


def plain(weights: peers.Weights, file: str):
    return _ours("chollet", file)


def _ours(recipe: str, file: str):
    import jaxviz as jv

    network = functools.cache(jv.load)

    def sweep(layer, filters, steps, batch):
        model = network(file)
        settings = jv.recipes.RECIPES[recipe].recipe(size=SIZE, steps=steps)
        return jv.sweep(model, jv.channels(model, layer, filters), **settings).image

    return sweep


def lucent(weights: peers.Weights, file: str):
    import torch

    # lucent takes one class of torchvision, for networks that are fed as torchvision's are, and IPython to show images.
    for name, parts in (("torchvision", ()), ("torchvision.transforms", ("Normalize",)), ("IPython", ())):
        sys.modules[name] = types.ModuleType(name)
        for part in parts:
            setattr(sys.modules[name], part, None)
    sys.modules["IPython.display"] = sys.modules["IPython"].display = types.ModuleType("IPython.display")
    import kornia

    # Names that kornia has dropped since; lucent 0.1.8 is of 2021.
    kornia.get_rotation_matrix2d = kornia.geometry.transform.get_rotation_matrix2d
    kornia.warp_affine = kornia.geometry.transform.warp_affine
    from lucent.optvis import objectives, param, render, transform

    network_of = functools.cache(lambda layer: peers.in_torch(weights, layer))
    means = torch.tensor([103.939, 116.779, 123.68]).reshape(3, 1, 1)

    def some(layer, filters, steps):
        network = network_of(layer)
        last = str(len(network) - 1)
        objective = objectives.Objective.sum(
            [objectives.channel(last, index, batch=i) for i, index in enumerate(filters)]
        )
        found = render.render_vis(
            network,
            objective,
            lambda: param.image(SIZE, batch=len(filters)),
            transforms=[*transform.standard_transforms, lambda images: 255 * images.flip(1) - means],
            thresholds=(steps,),
            preprocess=False,
            progress=False,
            show_image=False,
            fixed_image_size=SIZE,
        )
        return found[-1]

    def sweep(layer, filters, steps, batch):
        return np.concatenate([some(layer, filters[i : i + batch], steps) for i in range(0, len(filters), batch)])

    return sweep


def tf_keras_vis(weights: peers.Weights, file: str):
    extractor = functools.cache(lambda layer: peers.in_keras(weights, layer, "tensorflow"))
    import tensorflow as tf
    from tf_keras_vis.activation_maximization import ActivationMaximization

    def some(layer, filters, steps):
        start = tf.random.uniform((len(filters), SIZE, SIZE, 3), 0, 255)
        images = ActivationMaximization(extractor(layer), clone=False)(
            lambda output: tf.gather(tf.reduce_mean(output, (1, 2)), filters, batch_dims=1),
            seed_input=start,
            steps=steps,
        )
        return np.asarray(images) / 255

    def sweep(layer, filters, steps, batch):
        return np.concatenate([some(layer, filters[i : i + batch], steps) for i in range(0, len(filters), batch)])

    return sweep


def faster_batch(contender: Contender, layer: str, filters: list[int]) -> int:
    """8 filters at a time or all, whichever takes less time for a step once it is compiled."""
    seconds = {}
    for batch in (8, len(filters)):
        contender(layer, filters, 1, batch)
        seconds[batch] = contender(layer, filters, 1, batch).seconds
    return min(seconds, key=seconds.__getitem__)


def measure(name: str, ways: dict, arguments: tuple, layer: str, *, filters: int, steps: int, rounds: int) -> dict:
    """The row of a network, in which each tool raises the score of the channels."""
    found = contenders(ways, *arguments)
    numbers = list(range(filters))
    batches = {who: filters if who in (OURS, PLAIN) else faster_batch(c, layer, numbers) for who, c in found.items()}
    images = {who: c(layer, numbers, TRIED, batches[who]).value for who, c in found.items()}
    check(arguments[1], layer, numbers, images)
    runs = {who: at_a_time(c, batches[who]) for who, c in found.items()}
    seconds = race(runs, layer, numbers, steps, rounds=rounds)
    for contender in found.values():
        contender.end()
    words = ", ".join(f"{who} {batch} at a time" for who, batch in batches.items() if who not in (OURS, PLAIN))
    return row(
        f"{name} {layer}, {SIZE}²" + (f" ({words})" if words else ""),
        seconds,
        per=filters * steps,
        wanted={who: value for who, value in WANTED.items() if who in found} | {PLAIN: round(1 / COST[name], 2)},
    )


def check(file: str, layer: str, filters: list[int], images: dict[str, np.ndarray]) -> None:
    """Refuse tools whose images do not excite the channels more than mid-grey does.

    Raises:
        AssertionError: such a tool, or images of another shape.
    """
    import jax

    import jaxviz as jv

    model = jv.load(file)
    of_one = jax.jit(lambda image, index: jv.Channel(layer, index)(model(image, [layer])))

    def score(some: np.ndarray) -> float:
        clipped = np.clip(some, 0, 1).astype(np.float32)
        return float(np.mean([of_one(image, index) for image, index in zip(clipped, filters, strict=True)]))

    grey = score(np.full((len(filters), SIZE, SIZE, 3), 0.5, np.float32))
    for who, some in images.items():
        assert some.shape == (len(filters), SIZE, SIZE, 3), f"{who}: {some.shape}"
        reached = score(some)
        assert reached > grey, f"{who}: the channels have a mean of {reached:.3g}, and {grey:.3g} on mid-grey"


def stopping(filters: int, steps: int) -> dict[str, str]:
    """How many times fewer steps are climbed with the stopping rule, and how much of the held score is left."""
    import jaxviz as jv

    model = jv.load("vgg16_demo")
    objectives = jv.channels(model, LAYER, range(0, 8 * filters, 8))
    recipe = jv.recipes.lucid(size=SIZE, steps=steps)
    whole = jv.sweep(model, objectives, **recipe)
    early = jv.sweep(model, objectives, **recipe, stop=jv.Plateau())
    held = [jv.held_score(model, found.image, objectives)[0].mean() for found in (whole, early)]
    climbed = early.steps
    return {
        "steps": f"{steps} → {climbed.mean():.0f} ({climbed.min()} to {climbed.max()})",
        "saved": f"{steps / climbed.mean():.2f} × (aim {SAVED})",
        "held score": f"{held[1] / held[0]:.1%} (aim {KEPT:.0%})",
    }


def main():
    args = options(__doc__)
    import jaxviz as jv

    filters, steps, rounds = (8, 1, 1) if args.quick else (FILTERS, STEPS, args.rounds)
    weights = peers.weights_of(jv.load("vgg16_demo"))
    ways = {OURS: lucid, PLAIN: plain, LUCENT: lucent, KERAS_VIS: tf_keras_vis}
    work = {"filters": filters, "steps": steps, "rounds": rounds}
    rows = [measure("VGG16", ways, (weights, "vgg16_demo"), LAYER, **work)]
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/mobilenet_v2.keras"
        save(file)
        rows.append(measure("MobileNetV2", {OURS: lucid, PLAIN: plain}, ({}, file), LIGHT_LAYER, **work))
    stopped = stopping(2 if args.quick else STOPPED, 8 if args.quick else WHOLE)
    print(stopped)
    if not args.quick:
        results = {"claim": f"ms per filter and step of Lucid's ascent, {filters} filters at once", "rows": rows}
        results["the stopping rule, on VGG16 " + LAYER] = stopped
        print(write("robust_sweep", results, ("keras", "tensorflow", "tf-keras-vis", "torch", "torch-lucent")))


def save(file: str) -> None:
    """Write MobileNetV2 with random weights."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras

    keras.utils.set_random_seed(0)
    keras.applications.MobileNetV2(weights=None).save(file)


if __name__ == "__main__":
    main()

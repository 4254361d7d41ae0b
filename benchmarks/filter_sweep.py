"""Claim: a sweep of filters costs less per filter and step than a Python loop over a jitted Keras step.

    KERAS_BACKEND=jax python benchmarks/filter_sweep.py

Chollet's ascent on the real VGG16 convolution base, from the same noise, on the same device: `jv.sweep`, and the loop
of Deep Learning with Python (3rd edition) on Keras 3 with its JAX backend, `jax.value_and_grad` of a Keras model inside
one jitted step, filter by filter, with the RMS normalisation of the 1st. Compile time apart; the scores are compared
before any time is printed; the two run in turn. The last column is the least time that the multiplications of the
layers below take at the speed of a large matrix product here, forward and back, counted as direct convolution. (For
block4_conv1 at 64² the memory check has compiled before, and the column shows nothing.)
"""

import os
import resource
import statistics
import time

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import keras
import numpy as np
from common import alternate, matrix_speed, median_ratio, multiplications, write

import jaxviz as jv

LAYERS = ("block2_conv1", "block3_conv1", "block4_conv1")
SIZES = (64, 150)
FILTERS, STEPS, ROUNDS = 8, 10, 3


def keras_loop(layer: str, model: jv.Model):
    """`(start, filters) -> scores` by the book's loop, on a Keras model with our weights."""
    base = keras.applications.VGG16(weights=None, include_top=False)
    extractor = keras.Model(base.inputs, base.get_layer(layer).output)
    for each in extractor.layers:
        if each.weights:
            weights = model.params["layers"][each.name]
            each.set_weights([np.asarray(weights[name][...]) for name in ("kernel", "bias")])

    def compute_loss(image, filter_index):
        return jnp.mean(extractor(image)[:, :, :, filter_index])

    @jax.jit
    def step(image, filter_index):
        loss, gradient = jax.value_and_grad(compute_loss)(image, filter_index)
        return loss, image + gradient / (jnp.sqrt(jnp.mean(gradient**2)) + 1e-5)

    def run(start, filters):
        scores = []
        for image, index in zip(start, filters, strict=True):
            image, losses = jnp.asarray(255 * image[None]), []
            for _ in range(STEPS):
                loss, image = step(image, index)
                losses.append(loss)
            scores.append(jax.block_until_ready(losses))
        return np.array(scores)

    return run


def memory_of_more_filters(model: jv.Model) -> dict[str, float]:
    """Peak memory of the process, in MB, after 64 filters and after 512, at the same batch."""
    peaks = {}
    for count in (64, 512):
        recipe = jv.recipes.chollet(size=64, steps=2)
        jv.sweep(model, jv.channels(model, "block4_conv1", range(count)), **recipe)
        peaks[f"{count} filters"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return peaks


def main():
    model = jv.load("vgg16_demo", inputs="raw255")
    peaks = memory_of_more_filters(model)
    speed = matrix_speed()
    filters = list(range(FILTERS))
    rows = []
    print("ms per filter and step      jaxviz   Keras 3 loop   ratio   compile: jaxviz, Keras (s)   floor")
    for layer in LAYERS:
        loop = keras_loop(layer, model)
        for size in SIZES:
            start = np.random.default_rng(0).random((FILTERS, size, size, 3), np.float32) * 20 / 255 + 128 / 255
            recipe = jv.recipes.chollet(size=size, steps=STEPS, start=start)
            objectives = jv.channels(model, layer, filters)

            begin = time.perf_counter()
            ours = jv.sweep(model, objectives, **recipe).scores
            middle = time.perf_counter()
            theirs = loop(start, filters)
            end = time.perf_counter()
            error = np.abs(ours - theirs).max() / theirs.max()
            assert error < 5e-3, f"{layer} at {size}: the scores differ by {error:.1e}"

            seconds = alternate(
                {
                    "jaxviz": lambda o=objectives, r=recipe: jv.sweep(model, o, **r),
                    "keras": lambda f=loop, s=start: f(s, filters),
                },
                ROUNDS,
            )
            each = {name: 1e3 * statistics.median(taken) / FILTERS / STEPS for name, taken in seconds.items()}
            row = {
                "layer": layer,
                "size": size,
                "ms": {name: round(value, 2) for name, value in each.items()},
                "ratio": round(median_ratio(seconds["keras"], seconds["jaxviz"]), 2),
                "compile s": {
                    "jaxviz": round(middle - begin - statistics.median(seconds["jaxviz"]), 1),
                    "keras": round(end - middle - statistics.median(seconds["keras"]), 1),
                },
                "largest difference of the scores": float(f"{error:.1e}"),
                "floor ms": round(1e3 * 2 * multiplications(model, layer, size) / speed, 2),
            }
            rows.append(row)
            compiled = row["compile s"]
            print(
                f"{layer} at {size:>3}² {each['jaxviz']:14.2f} {each['keras']:14.2f} {row['ratio']:7.2f}"
                f" {compiled['jaxviz']:14.1f} {compiled['keras']:8.1f} {row['floor ms']:16.2f}"
            )
    print("peak memory, MB:", ", ".join(f"{name} {peak:.0f}" for name, peak in peaks.items()))
    print(write("filter_sweep", {"rows": rows, "peak memory MB": peaks}, ("keras",)))


if __name__ == "__main__":
    main()

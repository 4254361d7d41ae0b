"""Where the time of an ascent goes: a profile of the row of `filter_sweep.py` that has the most ambitious aims.

    python benchmarks/ascent_profile.py

It is Chollet's ascent at block3_conv1 and 150², as in `filter_sweep.py`, under JAX's profiler. Each operation of XLA
counts for one kind of work. Operations that run at the same time are both counted, so the parts may add up to more than
the whole. On the first processor of the results they add up to less. There, most of the missing time follows matrix
products and the direct convolution in the trace. It probably belongs to them, as their work goes on after the call that
is timed has returned.
"""

import collections
import gzip
import json
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from common import options, write

import jaxviz as jv

LAYER, SIZE, FILTERS, STEPS = "block3_conv1", 150, 8, 20

# The beginning of the name of an operation of XLA → the kind of work. The first kind that fits counts.
KINDS = (
    (("dot",), "matrix products of Winograd's points"),
    (("convolution",), "the direct convolution, from 3 channels"),
    (("concatenate", "bitcast_concatenate"), "Winograd's sums, pools and their ways back"),
    (("select", "maximum", "reduce-window"), "ReLUs and pools"),
)
REST = "everything else"

WHY = (
    "of the two aims that `filter_sweep` misses, the keras.io loop and the eager notebook at this layer, each asks "
    "for little more than half of the floor of direct convolution, near which the keras.io loop runs"
)


def profile(run) -> dict[str, float]:
    """The seconds of each kind of work in a call."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        (trace,) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    seconds: dict[str, float] = collections.defaultdict(float)
    for event in events:
        if event.get("ph") == "X" and "hlo_op" in event.get("args", {}):
            name = event["args"]["hlo_op"]
            if not name.startswith("while"):
                kind = next((kind for starts, kind in KINDS if name.startswith(starts)), REST)
                seconds[kind] += event["dur"] / 1e6
    return seconds


def main():
    args = options(__doc__)
    steps = 2 if args.quick else STEPS
    model = jv.load("vgg16_demo", inputs="raw255")
    start = np.random.default_rng(0).random((FILTERS, SIZE, SIZE, 3), np.float32) * 20 / 255 + 128 / 255
    recipe = jv.recipes.chollet(size=SIZE, steps=steps, start=start)
    objectives = jv.channels(model, LAYER, range(FILTERS))

    def run():
        jv.sweep(model, objectives, **recipe)

    run()
    begin = time.perf_counter()
    run()
    whole = time.perf_counter() - begin
    scale = 1e3 / FILTERS / steps
    parts = {kind: f"{scale * value:.1f} ms" for kind, value in sorted(profile(run).items(), key=lambda kv: -kv[1])}
    found = {"whole": f"{scale * whole:.1f} ms", **parts}
    print("\n".join(f"{kind:<48}{value}" for kind, value in found.items()))
    if not args.quick:
        claim = f"where the time of a step at {LAYER}, {SIZE}², goes"
        results = {"claim": claim, "parts of a filter and step": found, "why it matters": WHY}
        print(write("ascent_profile", results))


if __name__ == "__main__":
    main()

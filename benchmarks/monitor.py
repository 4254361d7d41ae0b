"""Claim: a Monitor costs a training nothing on the steps in between, and a few milliseconds on the steps it draws.

    python benchmarks/monitor.py

The network and the five views of `examples/watch_training.py`, trained on 16 × 16 digits with a batch of 50, three ways
in turn: without pictures, with a Monitor, and with the same views and writer called in the loop. Medians, in
milliseconds. The pictures are computed on the same device in any case: on a CPU that the training keeps busy they slow
the steps beside them down, and `processor, a step` says what they cost there in the end.
"""

import importlib.metadata
import json
import os
import platform
import runpy
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxviz as jv

HERE = Path(__file__).parent
EVERY, STEPS, ROUNDS = 20, 40, 7


def main():
    example = runpy.run_path(str(HERE.parent / "examples" / "watch_training.py"))
    images, labels = example["digits"]()
    batch = jnp.asarray(images[:50]), jnp.asarray(labels[:50])
    net = example["Net"](*images.shape[2:], nnx.Rngs(0))
    optimizer = nnx.Optimizer(net, optax.adam(1e-3), wrt=nnx.Param)
    model = jv.wrap(net, image_shape=images.shape[1:])
    views = {name: jv.views.Activations(images[0], name) for name in ("conv1", "conv2", "conv3")}
    views["filters"] = jv.views.Filters(jv.channels(model, "conv2", range(16)))
    views["grad_cam"] = jv.views.Overlay(jv.grad_cam, images[:4], labels[:4].tolist())

    def train(draw):
        """Seconds of each call of `draw`, and of each step after it."""
        calls, steps = [], []
        for step in range(STEPS):
            begin = time.perf_counter()
            draw(step)
            drawn = time.perf_counter()
            example["train"](net, optimizer, *batch)[0].block_until_ready()
            calls.append(drawn - begin)
            steps.append(time.perf_counter() - drawn)
        return calls, steps

    def without(writer):
        return train(lambda step: None)

    def monitor(writer):
        with jv.Monitor(writer, views, every=EVERY) as monitor:
            return train(lambda step: monitor(step, model, net))

    def in_the_loop(writer):
        def draw(step):
            if step % EVERY == 0:
                for tag, view in views.items():
                    writer(tag, step, view(model.replace(params=nnx.state(net))))

        return train(draw)

    ways = (without, monitor, in_the_loop)
    found = {way: [] for way in ways}
    for _ in range(1 + ROUNDS):  # the first compiles
        for way in ways:
            with tempfile.TemporaryDirectory() as logdir:
                begin = time.process_time()
                calls, steps = way(jv.tensorboard(logdir))
                found[way].append((calls, steps, time.process_time() - begin))

    on = np.arange(STEPS) % EVERY == 0
    figures = {}
    for way in ways:
        calls, steps, processor = (1e3 * np.array(each) for each in zip(*found[way][1:], strict=True))
        figures[way.__name__] = {
            "call, step with pictures": np.median(calls[:, on]),
            "call, other steps": np.median(calls[:, ~on]),
            "step after pictures": np.median(steps[:, on]),
            "step": np.median(steps),
            "processor, a step": np.median(processor) / STEPS,
        }
    result = {
        "unit": "ms",
        "every": EVERY,
        "figures": {name: {what: round(float(ms), 4) for what, ms in row.items()} for name, row in figures.items()},
        "environment": {
            "device": jax.devices()[0].device_kind,
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
            "machine": platform.platform(),
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("jax", "flax", "tensorboardX")},
        },
    }
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "monitor.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

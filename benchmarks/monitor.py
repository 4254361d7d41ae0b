"""Claim: a Monitor costs a training nothing on most steps, and a few milliseconds on the steps that it draws.

    python benchmarks/monitor.py

The network and the five views of `examples/watch_training.py` are trained on 16 × 16 digits with a batch of 50, in
three ways that take turns: without pictures, with a Monitor, and with the same views and writer called in the loop.
Times are medians. The pictures are computed on the device that trains. On a CPU that is busy with the training, they
slow down the next steps; the row `processor` shows this cost.
"""

import runpy
import tempfile
import time

import numpy as np
from common import HERE, OURS, options, row, write

EVERY, STEPS = 20, 40


def main():
    args = options(__doc__)
    import jax.numpy as jnp
    import optax
    from flax import nnx

    import jaxviz as jv

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
        """The seconds of each call of `draw`, and of each training step after it."""
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

    ways = {OURS: monitor, "no pictures": without, "views in the loop": in_the_loop}
    found = {name: [] for name in ways}
    for _ in range(1 + (1 if args.quick else 2 * args.rounds)):  # the first round compiles, and does not count
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as logdir:
                begin = time.process_time()
                calls, steps = way(jv.tensorboard(logdir))
                found[name].append((calls, steps, time.process_time() - begin))

    on = np.arange(STEPS) % EVERY == 0
    seconds = {name: [np.array(each) for each in zip(*rounds[1:], strict=True)] for name, rounds in found.items()}
    of = {
        "call, step with pictures": lambda calls, steps, processor: calls[:, on],
        "call, other steps": lambda calls, steps, processor: calls[:, ~on],
        "step after pictures": lambda calls, steps, processor: steps[:, on],
        "step": lambda calls, steps, processor: steps,
        "processor, a step": lambda calls, steps, processor: processor / STEPS,
    }
    rows = [row(what, {name: each(*seconds[name]).ravel().tolist() for name in ways}) for what, each in of.items()]
    if not args.quick:
        claim = f"ms of a training step with and without pictures every {EVERY} steps"
        print(write("monitor", {"claim": claim, "rows": rows}, ("tensorboardX",)))


if __name__ == "__main__":
    main()

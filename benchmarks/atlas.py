"""Claim: an atlas of three layers takes at most 1.03 × the time of the bare sweeps, and two workers no longer than it.

    python benchmarks/atlas.py            the claims, on a sample: a quarter of an hour
    python benchmarks/atlas.py --full     all 4,224 filters once, into --out, and its page, opened in Chromium; hours

The network is the real VGG16 base, fed with raw pixels, with Chollet's recipe at 64 × 64 pixels: 40 steps for each of
its 4,224 filters. The sample is 64 filters of each of three layers. The bare sweep is `jv.sweep` of all 64 filters at
once; it writes nothing. Neither measures how much of a score holds (`robust=False`), as a bare sweep does not. The
claim is about the three layers together, since a store has a fixed cost, which is a larger part of a quick layer. One
process has all cores; of two workers, each has half of them and does half of the chunks, as `--shard` says. Compiling
at the first call does not count. The answers are compared. The peak memory is that of a fresh process that makes an
atlas of so many filters of one layer, and nothing else.

The times on accelerators are calculated, not measured: the filters × steps of the whole atlas, by the least time of a
step of 32 filters of `block3_conv1` at 150 × 150 pixels on that accelerator, from the program that XLA compiled for it
(`accelerators.json`), in proportion to the pixels and to the products up to each layer. They are lower limits: they
leave out compiling, starting and writing, and hold where memory or products bound a step as there. Chunks are spread
evenly, a whole number to each accelerator.
"""

import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from common import CORES, RESULTS, Answer, Contender, difference, options, race, read, row, write

LAYERS, FILTERS, SIZE, STEPS, CHUNK = ("block1_conv2", "block3_conv1", "block5_conv1"), 64, 64, 40, 32
STEP = "ascent step, 32 filters"  # of accelerators.json; this is its layer, and the side of its images:
STEP_LAYER, STEP_SIZE = "block3_conv1", 150
COUNTS = (1, 8, 64)
CLAIM = "an atlas of three layers takes at most 1.03 × the time of the bare sweeps, and two workers no longer than it"


def network():
    import jaxviz as jv

    return jv.load("vgg16_demo", inputs="raw255")


def settings(steps):
    return {"recipe": "chollet", "size": SIZE, "steps": steps, "chunk": CHUNK, "robust": False}


# Each returns `scores(layer, filters, steps) -> [filters steps]`.


def bare():
    import jax

    import jaxviz as jv

    model = network()

    def scores(layer, filters, steps):
        place = jax.random.fold_in(jax.random.key(0), model.handles.index(layer))
        keys = jax.vmap(jax.random.fold_in, (None, 0))(place, np.arange(filters))
        recipe = jv.recipes.chollet(size=SIZE, steps=steps)
        return jv.sweep(model, jv.channels(model, layer, range(filters)), key=keys, **recipe).scores

    return scores


def whole():
    return worker(0, 1)


def worker(mine, workers):
    """A worker that does its part of the filters, on its part of the cores, as a job with `--shard mine/workers`."""
    if workers > 1:
        cores, part = sorted(os.sched_getaffinity(0)), max(1, CORES // workers)
        os.sched_setaffinity(0, cores[mine * part : (mine + 1) * part])

    import jaxviz as jv

    model = network()

    def scores(layer, filters, steps):
        """Those of its own filters: all layers' chunks cost the same, so a shard of a layer is so many filters."""
        parts = workers * (model.shapes(names=[layer])[layer][-1] // filters)
        with tempfile.TemporaryDirectory() as folder:
            found = jv.atlas(model, f"{folder}/a.zarr", [layer], **settings(steps), shard=(mine, parts))[layer]
            done = np.flatnonzero(found.done)
            return found.scores[done[0] : done[-1] + 1]

    return scores


class Two:
    """Two workers at once."""

    def __init__(self):
        self.workers = [Contender(worker, mine, 2) for mine in (0, 1)]

    def __call__(self, *work):
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda each: each(*work), self.workers))
        return Answer(np.concatenate([each.value for each in answers]), max(each.seconds for each in answers), 0.0)

    def end(self):
        for each in self.workers:
            each.end()


def peaks(counts):
    """The peak memory in MB of a fresh process for each number of filters."""
    result = {}
    for count in counts:
        fresh = Contender(whole)
        result[f"{count} filters"] = round(fresh("block5_conv1", count, 1).peak)
        fresh.end()
    return result


def on_accelerators(model):
    """{number and name of accelerators: seconds} of the whole atlas, calculated: see above."""
    from jaxviz.atlases.plan import plan

    wanted = plan(
        model,
        None,
        recipe="chollet",
        settings={"size": SIZE, "steps": STEPS},
        key=None,
        robust=False,
        latent=False,
        files=None,
        chunk=CHUNK,
    )
    layers = wanted.manifest["layers"]
    chunk = layers.index(STEP_LAYER)
    unit = next(cost for each, cost in zip(wanted.chunks, wanted.costs, strict=True) if each.layer == chunk)
    known = json.loads((RESULTS / "accelerators.json").read_text(encoding="utf-8"))
    found = {}
    for name, programs in known.items():
        least = programs["float32"][STEP]["roofline"] * (SIZE / STEP_SIZE) ** 2
        seconds = sorted((STEPS * least * cost / unit for cost in wanted.costs), reverse=True)
        found |= {f"{count} × {name}": float(f"{_longest(seconds, count):.3g}") for count in COUNTS}
    return found


def _longest(seconds, count):
    """The time of the accelerator that works longest, if each takes the next chunk when it is free."""
    busy = np.zeros(count)
    for each in seconds:
        busy[busy.argmin()] += each
    return busy.max()


def full(out):
    """What the whole atlas takes here, and its page."""
    import jaxviz as jv

    new = not Path(out).exists()
    began = time.perf_counter()
    found = jv.atlas(network(), out, **settings(STEPS))
    seconds = time.perf_counter() - began
    filters = sum(map(len, found))
    began = time.perf_counter()
    site = jv.write_site(f"{out}-page", out)
    page = time.perf_counter() - began
    result = {
        "filters": filters,
        "filters without a picture": int(sum((layer.dead | layer.lost).sum() for layer in found)),
        "hours": round(seconds / 3600, 2) if new else "not known, since it was stopped and went on",
        "store, MB": round(_size(out) / 1e6, 1),
        "page, MB": round(_size(f"{out}-page") / 1e6, 1),
        "seconds to write the page": round(page, 1),
        "seconds to load the page": round(load_time(f"{out}-page"), 2),
    }
    print(result, site)
    return result


def load_time(folder):
    """The seconds until Chromium has loaded a page over localhost, by its own clock; the median of five new ones."""
    from playwright.sync_api import sync_playwright

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    seconds = []
    with sync_playwright() as playwright:
        for _ in range(5):
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])  # root has no sandbox
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/index.html", wait_until="load")
            timing = "performance.timing.loadEventEnd - performance.timing.navigationStart"
            page.wait_for_function(f"{timing} > 0")
            seconds.append(page.evaluate(timing) / 1000)
            browser.close()
    server.shutdown()
    server.server_close()
    return statistics.median(seconds)


def _size(folder):
    return sum(each.stat().st_size for each in Path(folder).rglob("*") if each.is_file())


MORE = {
    "--full": {"action": "store_true", "help": "make the whole atlas once, instead of the claims"},
    "--out": {"default": "vgg16.zarr", "help": "where the whole atlas is made; it goes on there if it was stopped"},
}


def main():
    args = options(__doc__, MORE)
    results = dict(read("atlas") or {"claim": CLAIM})
    if args.full:
        if shutil.disk_usage(Path(args.out).resolve().parent).free < 1e9:
            raise SystemExit("the whole atlas and its page need 1 GB")
        results["the whole VGG16"] = full(args.out)
    else:
        results |= sample(args)
    if not args.quick:
        print(write("atlas", results, ("zarr",)))


def sample(args):
    steps = 2 if args.quick else STEPS
    layers = LAYERS[1:2] if args.quick else LAYERS
    found = {"atlas": Contender(whole), "bare sweep": Contender(bare), "two workers": Two()}
    rows, every = [], []
    for layer in layers:
        ours, *others = (contender(layer, FILTERS, steps).value for contender in found.values())  # compiles, too
        differences = {name: difference(each, ours) for name, each in zip(list(found)[1:], others, strict=True)}
        seconds = race(found, layer, FILTERS, steps, rounds=1 if args.quick else args.rounds)
        every.append(seconds)
        work = f"{FILTERS} filters of {layer}, {SIZE}², {steps} steps"
        rows.append(row(work, seconds, ours="atlas", unit="s", differences=differences))
    together = {name: [sum(each) for each in zip(*(one[name] for one in every), strict=True)] for name in found}
    wanted = {"bare sweep": round(1 / 1.03, 2)}
    rows.append(row("the three layers together", together, ours="atlas", unit="s", wanted=wanted))
    for contender in found.values():
        contender.end()
    few, many = (64, 128) if args.quick else (64, 512)
    memory = peaks((few, many))
    print("peak memory, MB:", memory)
    accelerators = on_accelerators(network())
    print("calculated seconds of the whole atlas, on so many accelerators:", json.dumps(accelerators, indent=2))
    return {
        "claim": CLAIM,
        "rows": rows,
        "peak memory of a process, MB": memory,
        "seconds of the whole VGG16, at least, calculated and not measured": accelerators,
    }


if __name__ == "__main__":
    main()

"""Claim: loading a spoiled file gives a network or one of our own errors; it never crashes, hangs or fills the memory.

    python benchmarks/fuzz_files.py keras --first 0 --count 1000

The files were written by real Keras and are spoiled in the ways of `mutations.py`: anywhere in their bytes, and in the
links, attributes, members and JSON texts of their format. A worker process loads each file. Another process watches the
worker, so that a crash of libhdf5 is seen and counted.

The command above adds the files 0 to 999 of that format to `results/fuzz_files.json`. A file can be made again from its
format and its number.
"""

import argparse
import json
import os
import queue
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import h5py
from common import read, write
from mutations import make

FORMATS = {  # a format of Keras → the name of the file that is loaded
    "h5": "m.h5",
    "h5 weights": "w.h5",
    "weights.h5": "m.weights.h5",
    "weights.json": "m.weights.json",  # the index of weights in shards, which are `.weights.h5` files
    "keras": "m.keras",
    "safetensors": "m.safetensors",
}
GRAPHLESS = ("h5 weights", "weights.h5", "weights.json")
SECONDS = 10  # for one file
MEMORY = 1 << 30  # bytes that one file may take
BATCH = 1000  # files for one worker
GOOD = ("loaded", "KerasFileError", "NotReadable", "UnsafeFile", "UnsupportedLayer", "WeightMismatch")


def seeds(folder: Path) -> None:
    """Write a small network in all formats."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras
    from keras.src.legacy.saving import legacy_h5_format

    import weights_convert

    layers = keras.layers
    image = keras.Input((6, 6, 3))
    x = layers.Conv2D(2, 3, activation="relu")(image)
    x = layers.Add()([layers.BatchNormalization()(x), x])
    model = keras.Model(image, layers.Dense(3, activation="softmax")(layers.Flatten()(x)))
    model.save(folder / FORMATS["h5"])
    model.save(folder / FORMATS["keras"])
    model.save_weights(folder / FORMATS["weights.h5"])
    model.save_weights(folder / FORMATS["weights.json"], max_shard_size=5e-7)  # GB
    with h5py.File(folder / FORMATS["h5 weights"], "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    (folder / "m.json").write_text(model.to_json())
    weights_convert.save(weights_convert.load(folder / FORMATS["h5"]), folder / FORMATS["safetensors"])


def load(path: Path, graph: str | None) -> str:
    """The outcome for a file: "loaded", or the name of the error. All weights of a loaded network must be finite."""
    import jax
    import jax.numpy as jnp

    import weights_convert

    try:
        net = weights_convert.load(path, graph)
    except (weights_convert.KerasFileError, FileNotFoundError) as error:
        str(error).encode()  # a message that a terminal could not show is a failure, too
        return type(error).__name__
    for weights in net.weights().values():
        for variable in weights.values():
            assert isinstance(variable[...], jax.Array)
            assert bool(jnp.isfinite(variable[...]).all())
    return "loaded"


def work(kind: str, first: int, count: int, folder: Path) -> None:
    """Load the files, and print for each the seconds, the peak of memory, and the outcome."""
    original = (folder / FORMATS[kind]).read_bytes()
    place = Path(tempfile.mkdtemp(dir=folder))
    for shard in folder.glob("m_*.weights.h5"):
        shutil.copy(shard, place)
    graph = str(folder / "m.json") if kind in GRAPHLESS else None
    path = place / FORMATS[kind]
    path.write_bytes(original)
    print(load(path, graph), 0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)
    for number in range(first, first + count):
        path.write_bytes(make(kind, number, original))
        begin = time.perf_counter()
        try:
            outcome = load(path, graph)
        except Exception as error:  # the claim says that this does not happen, so every such error is reported
            outcome = f"foreign {type(error).__name__}: {error}".replace("\n", " ")[:300]
        seconds = time.perf_counter() - begin
        print(f"{seconds:.3f}", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, outcome, flush=True)


def watch(kind: str, first: int, count: int, folder: Path) -> Iterator[tuple[int, str, float, int]]:
    """The (number, outcome, seconds, bytes of memory) of each file. A worker that crashes or hangs is replaced."""
    number, last = first, first + count
    while number < last:
        command = [sys.executable, __file__, kind, "--first", str(number), "--count", str(last - number)]
        with subprocess.Popen([*command, "--work", str(folder)], stdout=subprocess.PIPE, text=True) as worker:
            lines: queue.Queue[str] = queue.Queue()
            threading.Thread(target=_pass_on, args=(worker.stdout, lines), daemon=True).start()
            peak = int(lines.get(timeout=300).split()[-1])  # after all imports, with the file as Keras wrote it
            while number < last:
                try:
                    line = lines.get(timeout=SECONDS)
                except queue.Empty:
                    worker.kill()
                    yield number, f"no answer within {SECONDS} s", SECONDS, 0
                    number += 1
                    break
                if not line:
                    how = signal.Signals(-worker.wait()).name if worker.wait() < 0 else f"exit status {worker.wait()}"
                    yield number, f"crash: {how}", 0.0, 0
                    number += 1
                    break
                seconds, memory, outcome = line.rstrip("\n").split(" ", 2)
                yield number, outcome, float(seconds), (int(memory) - peak) * 1024
                peak = max(peak, int(memory))
                number += 1


def _pass_on(stream: IO[str], lines: queue.Queue[str]) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def fuzz(kind: str, first: int, count: int, folder: Path) -> dict[str, Any]:
    """The result for these files: how often each outcome came, the failures by number, the most time and memory."""
    outcomes: Counter[str] = Counter()
    bad: dict[str, str] = {}
    slowest, largest = 0.0, 0
    for begin in range(first, first + count, BATCH):
        for number, outcome, seconds, memory in watch(kind, begin, min(BATCH, first + count - begin), folder):
            good = outcome in GOOD and seconds <= SECONDS and memory <= MEMORY
            outcomes[outcome if outcome in GOOD else outcome.split(":")[0]] += 1
            slowest, largest = max(slowest, seconds), max(largest, memory)
            if not good:
                bad[str(number)] = f"{outcome} ({seconds:.1f} s, {memory >> 20} MiB)"
    return {
        "files": count,
        "first": first,
        "outcomes": dict(sorted(outcomes.items())),
        "bad": bad,
        "slowest, seconds": slowest,
        "most memory for one file, MiB": largest >> 20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="+", choices=list(FORMATS))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument(
        "--only", action="store_true", help="print the result, but do not add it to the file of results"
    )
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.seeds:
        seeds(given.seeds)
        return
    if given.work:
        work(given.kinds[0], given.first, given.count, given.work)
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, *given.kinds, "--seeds", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        results = {kind: fuzz(kind, given.first, given.count, Path(folder)) for kind in given.kinds}
    print(json.dumps(results, indent=2))
    for kind, result in results.items():
        if not given.only:
            add(kind, result)
    sys.exit(1 if any(result["bad"] for result in results.values()) else 0)


def add(kind: str, result: dict[str, Any]) -> None:
    """Add a run to the results, in place of a run that began with the same file."""
    results = read("fuzz_files") or {}
    runs = [run for run in results.get(kind, {}).get("runs", []) if run["first"] != result["first"]] + [result]
    runs.sort(key=lambda run: run["first"])
    outcomes = sum((Counter(run["outcomes"]) for run in runs), Counter())
    results[kind] = {
        "files": sum(run["files"] for run in runs),
        "outcomes": dict(outcomes.most_common()),
        "bad": {number: outcome for run in runs for number, outcome in run["bad"].items()},
        "slowest, seconds": max(run["slowest, seconds"] for run in runs),
        "most memory for one file, MiB": max(run["most memory for one file, MiB"] for run in runs),
        "runs": runs,
    }
    write("fuzz_files", {kind: results[kind] for kind in FORMATS if kind in results}, ("h5py", "safetensors", "keras"))


if __name__ == "__main__":
    main()

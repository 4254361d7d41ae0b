"""Claim: VGG16 with its head, 138 M weights, loads faster than in Keras, in little more memory than its file.

    python benchmarks/load_time.py [--rounds 3]

Real Keras writes the network once, with random weights, as `.h5` and as `.keras`. Then the loaders read each file in
turn, every time in a fresh process. The libraries are imported and the backend is started before the clock starts. The
memory is the peak memory of the process during the call, minus its memory before the call.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FILES = ("vgg16.h5", "vgg16.keras")
STATUS = Path("/proc/self/status")


def build(folder: Path) -> None:
    """Write the files with Keras."""
    import keras

    model = keras.applications.VGG16(weights=None)
    for name in FILES:
        model.save(folder / name)


def held(key: str) -> int:
    """The bytes that this process holds, as the kernel counts them: now (VmRSS), or at the peak (VmHWM)."""
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:")]
    return int(line.split()[1]) * 1024


def load(loader: str, path: Path) -> dict[str, float]:
    """The seconds and the bytes of memory of one call."""
    if loader == "Keras":
        import keras

        keras.ops.convert_to_numpy(keras.ops.ones(3) + 1)
        run: Any = lambda: keras.models.load_model(path, compile=False)  # noqa: E731
    else:
        import jax
        import jax.numpy as jnp

        import weights_convert

        jax.block_until_ready(jnp.ones(3) + 1)
        run = lambda: jax.block_until_ready(  # noqa: E731
            [w[...] for group in weights_convert.load(path).weights().values() for w in group.values()]
        )
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, begin = held("VmRSS"), time.perf_counter()
    kept = run()
    seconds = time.perf_counter() - begin
    assert kept
    return {"seconds": seconds, "memory": held("VmHWM") - before}


def main() -> None:
    from common import OURS, options, row, write

    args = options(__doc__)
    rows, memory = [], {}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, __file__, "build", folder], check=True, capture_output=True)
        for name in FILES[:1] if args.quick else FILES:
            path = Path(folder) / name
            runs: dict[str, list[dict[str, float]]] = {OURS: [], "Keras": []}
            for _ in range(1 if args.quick else args.rounds):
                for loader, measured in runs.items():
                    command = [sys.executable, __file__, loader, str(path)]
                    done = subprocess.run(command, check=True, capture_output=True, text=True)
                    measured.append(json.loads(done.stdout.splitlines()[-1]))
            seconds = {loader: [run["seconds"] for run in measured] for loader, measured in runs.items()}
            rows.append(row(f"VGG16 with its head, {path.suffix}", seconds, unit="s", wanted={"Keras": 1.0}))
            most = {loader: max(run["memory"] for run in measured) for loader, measured in runs.items()}
            memory |= {f"{loader}, {path.suffix}": f"{m / path.stat().st_size:.2f} ×" for loader, m in most.items()}
            print("memory, in sizes of the file:", memory)
    if not args.quick:
        results = {
            "claim": "loading 138 M weights",
            "rows": rows,
            "peak memory above the start, of the file's size": memory,
        }
        print(write("load_time", results, ("keras", "tensorflow", "h5py")))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        main()
    elif sys.argv[1] == "build":
        build(Path(sys.argv[2]))
    else:
        print(json.dumps(load(sys.argv[1], Path(sys.argv[2]))))

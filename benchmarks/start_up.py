"""Claims: `import jaxviz` takes less than a second more than `import jax`; the first grid of filters is done sooner.

    python benchmarks/start_up.py

A time is the seconds from the start of a fresh process to its end; the contenders take turns. The work, which is in
`first_grid.py`: load VGG16's base from one Keras `.h5` file, do 40 steps of Chollet's ascent of the first 64 filters of
`block2_conv1` at 64 px, and write their 8 × 8 grid as a PNG. Compiling and tracing count. jaxviz runs without a
compilation cache, which is the default of JAX, and with a cache that an earlier process filled. The peers are Keras on
TensorFlow with the step, or with the whole ascent, as a `tf.function`. The images after two steps are compared before
any time is printed.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import peers
from common import OURS, alternate, difference, options, row, write

LAYER, SIZE, STEPS, FILTERS = "block2_conv1", 64, 40, 64
CHECKED = 2  # steps after which the images are compared
HERE = Path(__file__).parent
IMPORTS = {"jax": "import jax", OURS: "import jaxviz", "TensorFlow": "import tensorflow"}
WANTED = {"keras.io loop": 1.5, "hand-batched": 1.5}


def python(*arguments: object, **environment: str) -> None:
    """Run a fresh interpreter with `arguments`, which finds the same modules as this one."""
    where = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, env=where | environment, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)


def main():
    args = options(__doc__)
    rounds, steps, filters = (1, 2, 8) if args.quick else (args.rounds, STEPS, FILTERS)
    with tempfile.TemporaryDirectory() as folder:
        file, noise = f"{folder}/vgg16.h5", f"{folder}/start.npy"
        python(__file__, "--save", file)
        start = np.random.default_rng(0).random((filters, SIZE, SIZE, 3), np.float32) * 20 + 128
        np.save(noise, start)

        def grid(way, picture, **environment):
            def run(steps=steps):
                python(HERE / "first_grid.py", way, file, noise, f"{folder}/{picture}.png", steps, LAYER, **environment)

            return run

        # This cache keeps every program; by default, JAX keeps only programs that took a second to compile.
        kept = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/cache", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        ways = {
            OURS: grid("jaxviz", OURS),
            "jaxviz, compiled before": grid("jaxviz", "jaxviz, compiled before", **kept),
            "keras.io loop": grid("keras_io", "keras.io loop"),
            "hand-batched": grid("hand_batched", "hand-batched"),
        }
        imports = {name: lambda code=code: python("-c", code) for name, code in IMPORTS.items()}
        for run in imports.values():  # this fills the operating system's cache of files, and the cache of bytecode
            run()
        for run in ways.values():  # this fills JAX's cache
            run(CHECKED)
        moves = {name: np.load(f"{folder}/{name}.png.npy") - start for name in ways}
        rows = [
            row("import", alternate(imports, 1 if args.quick else 5), ours="jax", unit="s"),
            row(
                f"from the start of the process to the grid of {filters} filters, {LAYER}",
                alternate(ways, rounds),
                unit="s",
                differences={name: difference(each, moves[OURS]) for name, each in moves.items() if name != OURS},
                allowed=1e-2,  # of the distance climbed: ReLUs that flip by rounding drive the images apart
                wanted=WANTED,
            ),
        ]
    if not args.quick:
        more = rows[0]["time"][OURS] - rows[0]["time"]["jax"]
        results = {"claim": "seconds from the start of a fresh process to its end", "rows": rows}
        results["import jaxviz"] = f"{more:.2f} s more than import jax; the aim is less than 1"
        print(write("start_up", results, ("keras", "tensorflow")))


def save(file: str) -> None:
    """Write VGG16's base with Keras, so that both sides read a file as users have it."""
    import jaxviz as jv

    peers.in_keras(peers.weights_of(jv.load("vgg16_demo")), "block5_pool", "tensorflow").save(file)


if __name__ == "__main__":
    save(sys.argv[2]) if sys.argv[1:2] == ["--save"] else main()

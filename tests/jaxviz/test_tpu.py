"""Law: on a TPU, an ascent and a gradient do the arithmetic that they should, and nothing that a TPU does slowly.

No TPU is needed: libtpu compiles for one. It comes from the package registry, in the version that the installed JAX
names, into a folder of its own (`benchmarks/accelerators.py` has the figures of real networks).
"""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.files  # one version of Python is enough: what differs is libtpu's, not ours

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

PROGRAM = """
import json
import accelerators, hlo
import jax, jax.numpy as jnp
from flax import linen as nn
import jaxviz as jv

class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.max_pool(nn.relu(nn.Conv(64, (3, 3), name="one")(x)), (2, 2), (2, 2))
        x = nn.relu(nn.Conv(128, (3, 3), name="two")(x))
        return nn.Dense(10, name="head")(x.mean((1, 2)))

network = Network()
variables = network.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
target = accelerators.TARGETS["TPU v5e"]
model = jv.wrap(network, variables, image_shape=(32, 32, 3)).replace(execution=jv.Execution(platform="tpu"))
programs = {
    "ascent": accelerators.ascent_of(model, "two", jv.recipes.chollet(size=32), 8),
    "robust ascent": accelerators.ascent_of(model, "two", jv.recipes.lucid(size=96), 16),
    "gradient": accelerators.gradient_of(model, 8),
}
for name, program in programs.items():
    print(json.dumps([name, accelerators.calculated(program, target, target.topology().devices[0], "float32")]))
"""


@pytest.fixture(scope="module")
def libtpu(tmp_path_factory):
    """A folder with libtpu, which is half a gigabyte."""
    named = [re.match(r"libtpu==[\d.*]+", wanted) for wanted in importlib.metadata.requires("jax") or ()]
    (version,) = [match[0] for match in named if match]
    folder = tmp_path_factory.mktemp("libtpu")
    install = (
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-compile",
        "--no-deps",
        "--target",
        folder,
        version,
    )
    subprocess.run(install, check=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def found(libtpu):
    """What XLA calculates, by the name of the program."""
    paths = (libtpu, BENCHMARKS, BENCHMARKS.parent)
    known = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=known, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(map(json.loads, done.stdout.splitlines()))


@pytest.mark.parametrize(
    ("name", "more", "also"),
    [("gradient", 0.05, set()), ("ascent", 0.15, set()), ("robust ascent", 0.15, {"transpose"})],
)
def test_a_tpu_does_the_arithmetic_and_nothing_slow(found, name, more, also):
    """XLA also counts what is no product; of the products, an ascent does those of one channel of its last layer.

    The images of the robust ascent are so large that a scatter of its resample would be counted.
    """
    program = found[name]
    assert 1 <= program["FLOPs"] / program["arithmetic"] <= 1 + more
    pool = {"select-and-scatter"}  # of a max-pool, which a TPU computes with a convolution
    assert program["slow"].keys() <= pool | also
    assert program["cycles"] > 0

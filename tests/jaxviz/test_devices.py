"""Law: a network answers the same wherever its parameters are: on one device, on another, or sharded over several.

Where JAX cannot run it, a sentence says so. The devices are two of one CPU, so they need a process of their own.
"""

import os
import subprocess
import sys

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import jaxviz as jv

SHAPE = (16, 16, 3)
random = np.random.default_rng(0)
image = random.random(SHAPE, np.float32)
params = {
    name: {"kernel": jnp.asarray(random.normal(size=shape), jnp.float32)}
    for name, shape in {"conv": (3, 3, 3, 8), "head": (8, 4)}.items()
}


def network(params, x):
    axes = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(x, params["conv"]["kernel"], (1, 1), "SAME", dimension_numbers=axes)
    return jax.nn.relu(x).mean((1, 2)) @ params["head"]["kernel"]


def answers(model):
    yield jv.predict(model, image)
    yield jv.activations(model, image, "conv")["conv"]
    for method in (jv.gradient, jv.grad_cam, jv.lrp, jv.smoothgrad):
        yield method(model, image, 1).values
    yield jv.sweep(model, jv.channels(model, "conv", range(2)), **jv.recipes.chollet(size=16, steps=2)).image


first, second = jax.devices()
mesh = Mesh(np.array([first, second]), ("units",))
expected = list(answers(jv.wrap(network, params, SHAPE)))
replicated = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
sharded = jax.device_put(
    params, {
        "conv": {"kernel": NamedSharding(mesh, PartitionSpec(None, None, None, "units"))},
        "head": {"kernel": NamedSharding(mesh, PartitionSpec(None, "units"))},
    }
)
for elsewhere in (jax.device_put(params, second), replicated, sharded):
    for ours, theirs in zip(answers(jv.wrap(network, elsewhere, SHAPE)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def refused(call):
    try:
        call()
    except jv.InputError as error:
        print(error)


apart = {**params, "head": jax.device_put(params["head"], second), "conv": jax.device_put(params["conv"], first)}
refused(lambda: jv.predict(jv.wrap(network, apart, SHAPE), image))
refused(lambda: jv.predict(jv.wrap(lambda p, x: network(p, jax.device_put(x, second)), apart, SHAPE), image))
"""


def test_parameters_on_other_devices():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    known = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=known, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("one program runs on one set of devices" in line for line in lines)

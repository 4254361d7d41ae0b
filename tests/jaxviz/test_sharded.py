"""Law: the step of an ascent whose batch is spread over several devices has no communication between them.

Also: it finds what one device finds. The devices are four of one CPU, so they need a process of their own.
"""

import os
import re
import subprocess
import sys

import pytest

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np, optax
from flax import linen as nn
from jax.sharding import NamedSharding, PartitionSpec
from jax.tree_util import Partial

import jaxviz as jv
from jaxviz.ascent import slots


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.max_pool(nn.relu(nn.Conv(64, (3, 3), name="one")(x)), (2, 2), (2, 2))
        return nn.Conv(64, (3, 3), name="two")(nn.relu(nn.Conv(64, (3, 3), name="between")(x)))


network = Network()
variables = network.init(jax.random.key(0), jnp.zeros((1, 24, 24, 3)))
model = jv.wrap(network, variables, image_shape=(24, 24, 3))
model = model.replace(execution=jv.Execution(platform=PLATFORM))
canvas, optimizer = jv.Pixels((24, 24)), Partial(optax.adam, learning_rate=0.05)
some = jax.tree.map(lambda *leaves: np.stack(leaves), *jv.channels(model, "two", range(8)))
keys = jax.random.split(jax.random.key(1), 8)


def arguments():
    state = slots._begin(canvas, optimizer, None, keys, None, channels=3)
    done, live = np.zeros(8, np.int32), np.ones(8, bool)
    return model, some, keys, state, done, live, 3, canvas, None, optimizer, None


mesh = jax.sharding.Mesh(np.array(jax.devices()), ("item",))
everywhere, apart = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("item"))


def spread(model, some, keys, state, done, live, *rest):
    return jax.device_put(model, everywhere), *jax.device_put((some, keys, state, done, live), apart), *rest


text = slots._climb.lower(None, *spread(*arguments())).compile().as_text()
(found, *_), scores, _ = slots._climb(*spread(*arguments()))
(alone, *_), known, _ = slots._climb(*arguments())
np.testing.assert_allclose(found.latent, alone.latent, atol=1e-5)
np.testing.assert_allclose(scores, known, rtol=1e-3, atol=1e-5)
print(found.latent.sharding.shard_shape(found.latent.shape))
print(text)
"""


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_a_step_over_four_devices_communicates_nothing(platform):
    """On this machine either way; with "gpu", without the rules for XLA:CPU."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    program = PROGRAM.replace("PLATFORM", repr(platform))
    known = os.environ | {"XLA_FLAGS": flags}
    done = subprocess.run([sys.executable, "-c", program], env=known, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    part, _, text = done.stdout.partition("\n")
    assert part == "(2, 24, 24, 3)"  # of eight images
    assert "num_partitions=4" in text
    assert not re.findall(r"all-reduce|all-gather|all-to-all|collective-\w+|reduce-scatter", text)

"""Law: `jv.plan` lists every operation with a choice that runs, by its layer's name, with the algorithm that runs."""

import copy

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import jaxviz as jv


class Nnx(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.one = nnx.Conv(3, 64, (3, 3), rngs=rngs)
        self.two = nnx.Conv(64, 64, (3, 3), rngs=rngs)
        self.three = nnx.Conv(64, 8, (3, 3), rngs=rngs)

    def __call__(self, x):
        return self.three(nnx.max_pool(nnx.relu(self.two(nnx.relu(self.one(x)))), (2, 2), (2, 2)))


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(64, (3, 3), name="two")(nn.relu(nn.Conv(64, (3, 3), name="one")(x))))
        return nn.Conv(8, (3, 3), name="three")(nn.max_pool(x, (2, 2), (2, 2)))


def models():
    linen = Linen()
    variables = linen.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    shape = (32, 32, 3)
    return {"nnx": jv.wrap(Nnx(nnx.Rngs(0)), image_shape=shape), "linen": jv.wrap(linen, variables, image_shape=shape)}


@pytest.mark.parametrize("kind", ["nnx", "linen"])
def test_every_convolution_is_in_the_plan_by_its_layer(kind):
    rows = jv.plan(models()[kind], "three")
    found = [(row.layer, row.back, row.operation, row.algorithm) for row in rows]
    assert [row for row in found if row[2] == "convolution"] == [
        ("one", False, "convolution", "direct"),
        ("two", False, "convolution", "2x4"),
        ("two", True, "convolution", "2x4"),
        ("one", True, "convolution", "taps"),
    ]
    assert [row[2:] for row in found if row[2] == "max-pool"] == [("max-pool", "mask")]


class Tokens(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.one = nnx.Conv(3, 8, (8, 8), (8, 8), rngs=rngs)
        self.wide = nnx.Linear(8, 32, rngs=rngs)
        self.narrow = nnx.Linear(32, 8, rngs=rngs)

    def __call__(self, x):
        return self.narrow(nnx.relu(self.wide(self.one(x))))


def test_a_product_that_reads_its_kernel_across_its_rows_is_in_the_plan():
    rows = jv.plan(jv.wrap(Tokens(nnx.Rngs(0)), image_shape=(16, 16, 3)), "narrow")
    found = [(row.layer, row.back, row.operation, row.algorithm) for row in rows if row.operation != "convolution"]
    assert found == [("narrow", True, "product", "kernel first"), ("wide", True, "product", "kernel first")]


def test_a_keras_network_under_its_own_names(vgg):
    rows = jv.plan(vgg, "block3_conv1", size=64)
    assert [row.layer for row in rows if not row.back][:2] == ["block1_conv1", "block1_conv2"]
    assert {row.layer for row in rows if row.operation == "max-pool"} == {"block1_pool", "block2_pool"}
    lines = str(rows).splitlines()
    assert lines[0].split() == ["layer", "pass", "operation", "input", "algorithm", "reason"]
    assert len(lines) == 2 + len(rows)
    assert lines[-1] == f"{rows.operations} operations to compile"


def test_the_number_of_operations(vgg):
    counts = [jv.plan(vgg, f"block{i}_conv1", size=64).operations for i in (1, 2, 3)]
    assert counts == sorted(set(counts))
    plan = jv.plan(vgg, "block1_conv1", size=64)
    assert copy.deepcopy(plan) == plan
    assert copy.deepcopy(plan).operations == plan.operations
    plain = vgg.replace(execution=jv.Execution(rewrite=False))
    assert jv.plan(plain, "block3_conv1", size=64).operations < counts[-1]


def test_what_is_asked_for_is_what_runs(vgg):
    def algorithms(**settings):
        return {
            row.algorithm for row in jv.plan(vgg.replace(execution=jv.Execution(**settings)), "block3_conv1", size=64)
        }

    assert "2x4" in algorithms()
    assert "4x4" in algorithms(winograd="4x4")
    assert algorithms(winograd=None) == {"direct", "taps", "mask"}
    assert algorithms(rewrite=False) == set()
    assert algorithms(platform="gpu") == {"mask"}
    assert algorithms(platform="tpu") == set()
    assert {row.algorithm for row in jv.plan(vgg, "block3_conv1", size=64, looped=False)} == {"direct", "taps", "mask"}


def test_the_plan_of_an_ascent_is_that_of_what_the_network_sees():
    """A canvas and transforms change the sizes, and bring no convolution of their own."""
    model = models()["linen"]
    transform = jv.transforms.Chain((jv.transforms.Pad(4), jv.transforms.Jitter(2), jv.transforms.Affine(degrees=5.0)))
    rows = jv.plan(model, "three", canvas=jv.Fourier((20, 24)), transform=transform)
    assert rows[0].shape == (1, 26, 30, 3)
    known = jv.plan(model, "three", size=(26, 30))
    assert [row[:3] for row in rows] == [row[:3] for row in known]
    with pytest.raises(jv.InputError, match=r"a canvas has a size, so give one .* size=8 and a canvas of \(8, 8\)"):
        jv.plan(model, "three", size=8, canvas=jv.Pixels((8, 8)))

"""Law: numbers added at places are the same sums as products with one-hot matrices, which is what a TPU computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxviz.ascent.transforms.affine import resample
from jaxviz.compiling import scatters
from jaxviz.compiling.execution import Execution
from jaxviz.compiling.rewrite import choices, rewrite

ON_TPU = Execution(platform="tpu")


def drawn(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("batch", [(), (3,)])
def test_the_sums_at_places(batch, relative):
    operand, updates = drawn(*batch, 2, 300), drawn(*batch, 2, 2000)
    places = np.random.default_rng(0).integers(-20, 320, (*batch, 2000), np.int32)
    expected = np.float64(operand)
    for index in np.ndindex(*batch):
        for place, update in zip(places[index], updates[index].T, strict=True):
            if 0 <= place < 300:
                expected[index][:, place] += update
    assert relative(scatters.add(*map(jnp.asarray, (operand, places, updates))), expected) < 1e-6


@pytest.mark.parametrize("mapped", [False, True])
def test_the_gradient_of_a_resample(mapped, relative):
    images, y, x = drawn(2, 40, 36, 3), 20 + 12 * drawn(2, 40, 36), 18 + 12 * drawn(2, 40, 36)[::-1]
    gradient = jax.grad(lambda image, y, x: jnp.sin(resample(image, y, x, 0.5)).sum())
    args = (images, y, x) if mapped else (images[0], y[0], x[0])
    plain = jax.vmap(gradient) if mapped else gradient
    with choices() as found:
        values = rewrite(plain, ON_TPU)(*args)
    assert {choice.algorithm for choice in found} == {"product"}
    assert relative(values, plain(*args)) < 1e-6
    assert "scatter" not in str(jax.make_jaxpr(rewrite(plain, ON_TPU))(*args))


PLACES = np.arange(2000) % 300
OTHERS = {
    "a few numbers": lambda x: x.at[:, PLACES[:9]].add(1.0),
    "a large operand": lambda x: jnp.tile(x, 1000).at[:, PLACES].add(1.0),
    "along the first axis": lambda x: x.T.at[PLACES].add(1.0),
    "at places of two axes": lambda x: x.at[PLACES % 2, PLACES].add(1.0),
    "numbers that are set": lambda x: x.at[:, PLACES[:300]].set(1.0),
    "whole numbers": lambda x: x.astype(jnp.int32).at[:, PLACES].add(1),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_scatters_stay(name):
    operand = jnp.asarray(drawn(2, 300))
    with choices() as found:
        values = rewrite(OTHERS[name], ON_TPU)(operand)
    assert not found
    np.testing.assert_array_equal(values, OTHERS[name](operand))

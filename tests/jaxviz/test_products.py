"""Law: a product has the same values with its kernel on the left-hand side, where XLA:CPU reads it as it lies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxviz.compiling.products import kernel_first
from jaxviz.compiling.rewrite import choices, rewrite


def drawn(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("shape", "axis"), [((3, 24), 1), ((24, 3), 0), ((2, 24, 3), 1), ((2, 3, 24), -1)])
def test_the_product_of_all_rows(shape, axis, relative):
    rows, kernel = drawn(*shape), drawn(40, 24)
    expected = np.moveaxis(np.float64(rows), axis, -1) @ np.float64(kernel).T
    assert relative(jax.jit(lambda *args: kernel_first(*args, axis))(rows, kernel), expected) < 1e-6


@pytest.mark.parametrize("features", [(), (5,)])
def test_the_gradient_of_a_dense_layer_reads_its_kernel_as_it_lies(features, relative):
    images, kernel = drawn(3, *features, 40), drawn(40, 24)
    gradient = jax.vmap(jax.grad(lambda x, w: jnp.sin(x @ w).sum()), (0, None))
    with choices() as found:
        ours = jax.jit(rewrite(gradient))
        values = ours(images, kernel)
    assert relative(values, gradient(images, kernel)) < 1e-5
    assert [choice.algorithm for choice in found] == ["kernel first"]
    products = [line for line in ours.lower(images, kernel).compile().as_text().splitlines() if " dot(" in line]
    assert any(line.strip().split(" = ")[1].startswith("f32[40,") for line in products), products


def test_in_a_loop_and_in_half_precision(relative):
    images, kernel = jnp.asarray(drawn(4, 3, 24), jnp.bfloat16), jnp.asarray(drawn(40, 24), jnp.bfloat16)

    def product(x, w):
        return lax.dot_general(x, w, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)

    def function(xs, w):
        return lax.map(lambda x: product(x, w), xs)

    with choices() as found:
        values = jax.jit(rewrite(function))(images, kernel)
    assert values.dtype == jnp.float32
    assert [choice.algorithm for choice in found] == ["kernel first"]
    assert relative(values, np.float64(images) @ np.float64(kernel).T) < 1e-6


OTHERS = {
    "one row": (lambda x, w: x[:1] @ w.T, (3, 24)),
    "many rows": (lambda x, w: x @ w.T, (99, 24)),
    "no rows": (lambda x, w: x[:0] @ w.T, (3, 24)),
    "along its rows": (lambda x, w: x @ w, (3, 40)),
    "a sum over two axes": (lambda x, w: lax.dot_general(x, w, (((1, 2), (0, 1)), ((), ()))), (3, 40, 24)),
    "a product for each of a batch": (lambda x, w: jax.vmap(jnp.dot)(x, w), (40, 24)),
    "an outer product": (lambda x, w: jnp.tensordot(x, w, 0), (3,)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_products_stay(name):
    function, shape = OTHERS[name]
    x, kernel = drawn(*shape), drawn(40, 24)
    with choices() as found:
        values = rewrite(function)(x, kernel)
    assert not found
    np.testing.assert_allclose(values, function(x, kernel), rtol=1e-5, atol=1e-5)

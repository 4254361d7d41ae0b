"""Law: the results of `map_in_chunks` and `map_in_loop` are those of the function of each item, whatever the size.

Law: with `Execution(memory=…)`, XLA's own count of a program's temporaries is not above the memory.
"""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxviz as jv
from jaxviz.compiling.batches import chunks, fitting, map_in_chunks, map_in_loop
from jaxviz.compiling.execution import Execution
from jaxviz.compiling.jit import jit
from jaxviz.compiling.rewrite import rewrite

ITEMS = {"a": np.arange(7, dtype=np.float32), "b": np.arange(21, dtype=np.float32).reshape(7, 3)}


def of_one(item):
    return {"sum": item["a"] + item["b"].sum(), "product": item["a"] * item["b"]}


def one_by_one():
    found = [of_one({"a": a, "b": b}) for a, b in zip(ITEMS["a"], ITEMS["b"], strict=True)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_sizes_change_nothing(size):
    jax.tree.map(np.testing.assert_array_equal, map_in_chunks(jax.vmap(of_one), ITEMS, size), one_by_one())
    jax.tree.map(np.testing.assert_array_equal, map_in_loop(of_one, ITEMS, size=size), one_by_one())


@pytest.mark.parametrize(("size", "rounds"), [(2, 4), (3, 3), (4, 2), (5, 2)])
def test_the_last_of_a_prime_count_is_repeated(size, rounds):
    """Seven items are not computed one by one."""
    (loop,) = (
        each
        for each in jax.make_jaxpr(lambda items: map_in_loop(of_one, items, size=size))(ITEMS).eqns
        if each.primitive.name == "scan"
    )
    assert loop.params["length"] == rounds


@pytest.mark.parametrize(("size", "lengths"), [(8, [7, 7, 6]), (20, [20]), (99, [20]), (1, [1] * 20)])
def test_chunks_are_even_and_of_one_length(size, lengths):
    found = list(chunks(np.arange(20), size))
    assert [len(positions) for _, positions in found] == lengths
    assert {len(items) for items, _ in found} == {lengths[0]}
    assert np.concatenate([positions for _, positions in found]).tolist() == list(range(20))


def test_a_size_is_a_whole_number():
    with pytest.raises(jv.InputError, match="batch is a whole number, 1 or more; given: 0"):
        map_in_chunks(jnp.sin, np.arange(3.0), 0)


def test_all_chunks_run_one_program():
    traces = []

    @jax.jit
    def function(some):
        traces.append(some)
        return 2 * some

    assert map_in_chunks(function, np.arange(10.0, dtype=np.float32), 4).tolist() == list(range(0, 20, 2))
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("xla", "AS_USUAL CHANNELS Choice FEW Jit ON_CPU PIXELS STEPS at_once choices jit over rewrite"),
        ("chunks", "chunks over progress"),
        ("execution", "Execution"),
        ("narrow", "narrow"),
        ("patches", "Field Patch Slide Window within"),
    ],
)
def test_names_of_version_0_1_are_still_there(module, names):
    found = importlib.import_module(f"jaxviz.{module}")
    assert set(names.split()) <= set(vars(found))


def blurred(image):
    """One item of a function with temporaries: two convolutions of 8 channels, and a max-pool."""
    kernel = jnp.ones((3, 3, 1, 8)) / 9
    x = jax.nn.relu(nn.Conv(8, (3, 3)).apply({"params": {"kernel": kernel, "bias": jnp.zeros(8)}}, image[..., None]))
    return nn.max_pool(x * x.mean(), (2, 2), (2, 2)).sum()


def temporaries(function, *items):
    """XLA's count of bytes between inputs and results."""
    return jit()(function).lower(None, *items).compile().memory_analysis().temp_size_in_bytes


IMAGES = np.random.default_rng(0).random((24, 32, 32), np.float32)


@pytest.fixture(scope="module")
def needed():
    """The bytes that the gradients of some images need together."""

    @functools.cache
    def of(count):
        return temporaries(rewrite(jax.vmap(jax.grad(blurred))), IMAGES[:count])

    return of


@pytest.mark.parametrize("allowed", [1.0, 3.5, 10.2, 30])
def test_as_many_items_as_fit(needed, allowed):
    limit = int(allowed * needed(1))
    found = fitting(lambda n: jit()(rewrite(jax.vmap(jax.grad(blurred)))).lower(None, IMAGES[:n]), limit, 24)
    assert needed(found) <= limit
    assert found == 24 or needed(found) >= 0.9 * limit or needed(found + 1) > limit
    assert (found == 24) == (allowed == 30)


@pytest.mark.parametrize("each", [3, 10])
def test_a_compiler_that_refuses_what_the_device_cannot_hold(each):
    """As that of a TPU does: no bytes are known of a program that is refused."""

    class Program:
        def __init__(self, count):
            self.temp_size_in_bytes = 40 + each * count

        def compile(self):
            if self.temp_size_in_bytes > 1000:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Used 1.2K of 1.0K hbm")
            return self

        def memory_analysis(self):
            return self

    found = fitting(Program, 900, 500)
    assert 0.9 * 900 - each <= 40 + each * found <= 900
    with pytest.raises(jv.InputError, match=r"the device itself must hold the program .*; given: memory of 0.0009 MB"):
        fitting(lambda count: Program(1000 * count), 900, 500)


def test_a_loop_stays_within_the_memory_and_gives_the_same(needed):
    """A quarter more is for the loop itself, which holds the gradients that are finished."""

    def loop(execution):
        return lambda images: map_in_loop(jax.grad(blurred), images, size=24, execution=execution)

    limit = 7 * needed(1)
    bounded = loop(Execution(memory=limit))
    assert needed(24) > 2 * limit
    assert needed(3) < temporaries(bounded, IMAGES) <= 1.25 * limit
    free = loop(Execution())
    np.testing.assert_allclose(jit()(bounded)(IMAGES), jit()(free)(IMAGES), rtol=1e-5)


def test_too_little_memory_is_an_error_that_says_how_much_is_needed(needed):
    def loop(images):
        return map_in_loop(jax.grad(blurred), images, size=24, execution=Execution(memory=1000))

    with pytest.raises(jv.InputError, match=f"needs {needed(1) / 1e6:.3g} MB .* given: memory of 0.001 MB"):
        jit()(loop)(IMAGES)


def test_the_rest_of_a_count_is_shared_out():
    """Nine items, at most five together: a loop over fives would leave four over, so there are three threes."""
    text = str(jax.make_jaxpr(lambda x: map_in_loop(blurred, x, size=5))(IMAGES[:9]))
    assert "length=3" in text

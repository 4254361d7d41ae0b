"""Law: the results of `map_in_chunks` and `map_in_loop` are those of the function of each item, whatever the size."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxviz as jv
from jaxviz.compiling.batches import chunks, map_in_chunks, map_in_loop

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

"""Law: no garbage is collected while a function is traced, and the collector is afterwards as it was before."""

import gc

import jax.numpy as jnp
import pytest

from jaxviz.compiling.garbage import uncollected
from jaxviz.compiling.jit import jit


@pytest.fixture(params=[True, False])
def enabled(request):
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if before else gc.disable)()


def test_a_function_is_traced_without_collections(enabled):
    seen = []

    @jit()
    def doubled(x):
        seen.append(gc.isenabled())
        return 2 * x

    assert doubled(jnp.ones(())) == 2
    assert seen == [False]
    assert gc.isenabled() == enabled


def test_an_error_leaves_the_collector_as_it_was(enabled):
    @jit()
    def broken(x):
        raise RuntimeError("no trace")

    with pytest.raises(RuntimeError, match="no trace"):
        broken(jnp.ones(()))
    assert gc.isenabled() == enabled


def test_contexts_in_one_another(enabled):
    with uncollected():
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled() == enabled

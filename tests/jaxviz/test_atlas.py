"""An atlas: every filter of a network in one store.

Laws:
- What is read is what `sweep` finds, filter by filter.
- What is not finished, or damaged, is not shown.
- A store of something else is refused, and stays as it is.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from atlas_network import network

import jaxviz as jv


@pytest.fixture(scope="module")
def model() -> jv.Model:
    return network()


SETTINGS = {"recipe": "chollet", "size": 16, "steps": 3, "chunk": 3}


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("atlas") / "a.zarr"
    jv.atlas(model, path, **SETTINGS, robust=False)
    return path


def test_it_holds_what_a_sweep_finds(model, path):
    found = jv.open_atlas(path)
    assert found.layers == ("first", "second")
    layer = found["second"]
    assert len(layer) == layer.filters == layer.done.sum() == 7
    assert not layer.dead.any()
    place = jax.random.fold_in(jax.random.key(0), model.handles.index("second"))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(place, jnp.arange(7))
    recipe = jv.recipes.chollet(size=16, steps=3)
    known = jv.sweep(model, jv.channels(model, "second"), key=keys, **recipe)
    np.testing.assert_allclose(layer.scores[:], known.scores, rtol=1e-6)
    shown = jv.recipes.RECIPES["chollet"].pictures(known).astype(int)
    assert np.abs(np.asarray(layer.image) - shown).max() <= 1
    exact = np.rint(255 * np.clip(known.image, 0, 1)).astype(int)
    assert np.abs(layer.exact[:] - exact).max() <= 1


def test_a_layer_says_where_it_is(model, path):
    layer = jv.open_atlas(path)["second"]
    assert (layer.name, model.layers[layer.position]) == ("second", "second")
    assert layer.receptive_field == tuple(jv.receptive_field(model, "second"))
    assert layer.robust is layer.latent is layer.crops is layer.crop_files is None


def test_unknown_layers_have_near_misses(path):
    with pytest.raises(jv.InputError, match="did you mean second"):
        jv.open_atlas(path)["secnd"]


def test_a_store_of_something_else_is_refused(model, path):
    before = {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}
    with pytest.raises(jv.InputError, match=r"recipe.steps is 3 there, 4 here"):
        jv.atlas(model, path, **SETTINGS | {"steps": 4}, robust=False)
    assert before == {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}

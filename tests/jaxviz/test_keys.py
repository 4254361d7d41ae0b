"""Random keys.

Law: a key is a key of JAX, of either form, or None for `jax.random.key(0)`; the number of a seed is refused everywhere.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import image, images, keras_model

import jaxviz as jv
from jaxviz.attribution.explain import keys_of_images
from jaxviz.compiling.draws import drawn, folded, picked
from jaxviz.keys import checked_key, one_key


def test_both_forms_and_the_default_are_one_key():
    key = jax.random.key(3)
    old = jax.random.PRNGKey(3)
    for form in (key, old, np.asarray(old)):
        assert checked_key(form) == key
    assert one_key(None) == jax.random.key(0)
    assert checked_key(jax.random.split(key, 4)).shape == (4,)


@pytest.mark.parametrize("wrong", [3, np.uint32(3), np.float32([1, 2]), "3"])
def test_a_seed_is_refused(wrong):
    with pytest.raises(jv.InputError, match=r"a key is a random key of JAX, such as jax\.random\.key\(\d\); given"):
        checked_key(wrong)


def test_what_is_drawn_for_many_keys_is_drawn_for_each():
    keys = folded(jax.random.key(5), np.arange(6))
    assert (keys == jnp.stack([jax.random.fold_in(jax.random.key(5), number) for number in range(6)])).all()
    some = picked(keys, np.array([4, 1, 1]))
    assert (some == jnp.stack([keys[4], keys[1], keys[1]])).all()
    found = jax.jit(lambda keys: drawn(lambda key: jax.random.normal(key, (7, 5)), keys))(some)
    assert np.array_equal(found, np.stack([jax.random.normal(key, (7, 5)) for key in some]))


def test_every_function_that_draws_checks_its_key():
    model, wrong = keras_model(), jnp.zeros(2)
    for call in (
        lambda: jv.sweep(model, jv.channels(model, "second", [0]), key=wrong),
        lambda: jv.dream(model, np.zeros((20, 20, 3), np.float32), "second", key=wrong, octaves=1),
        lambda: jv.accentuate(model, image(), jv.Channel("second", 0), layer="first", key=wrong),
        lambda: keys_of_images(wrong, 1),  # of all attributions
        lambda: jv.top_images(model, images(2), "second", key=wrong),
        lambda: jv.portray(model, "second", 0, key=wrong),
        lambda: jv.held_score(model, images(1), [jv.Channel("second", 0)], key=wrong),
    ):
        with pytest.raises(jv.InputError, match="a key is a random key of JAX"):
            call()


def test_several_keys_where_one_draws_all():
    model = keras_model()
    with pytest.raises(jv.InputError, match=r"there is one key here, .* given: \[2\] keys"):
        jv.top_images(model, images(2), "second", key=jax.random.split(jax.random.key(0)))

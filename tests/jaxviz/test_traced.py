"""Networks that are functions, Equinox modules or Haiku functions: their layers are found in the traced program.

Law: the same weights give the same handles, maps and sweeps, in whatever library the network is written. What is not
read costs nothing: the program that runs has the operations of the author's.
"""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import function_network, image, images, six_of_a_kind

import jaxviz as jv
from jaxviz.compiling.jaxprs import bodies

TRACED = ("equinox", "haiku", "function")
# The handle of each kind for the same value. A Keras layer has its activation function fused.
SAME = {
    "keras": ("first/pre", "first", "pool", "second/pre", "second", "head/pre"),
    "nnx": ("first", None, None, "blocks/0", None, "output"),
    "linen": ("first", None, None, "second", None, "output"),
    "equinox": ("first", "first/relu", "first/max_pool", "second", "second/relu", "head"),
    "haiku": ("first", "first/relu", "first/max_pool", "second", "second/relu", "head"),
    "function": ("first", "first/relu", "first/max_pool", "second", "second/relu", "head"),
}


@pytest.fixture(scope="module")
def models():
    return six_of_a_kind()


def test_the_same_network_has_the_same_handles_in_every_library(models, relative):
    expected = jv.activations(models["keras"], images(2), SAME["keras"])
    for kind, names in SAME.items():
        found = jv.activations(models[kind], images(2), [name for name in names if name])
        for name, value in zip(names, expected.values(), strict=True):
            assert name is None or relative(found[name], value) < 1e-6, (kind, name)
    for kind in TRACED:
        assert models[kind].layers == (*SAME[kind], "output")
        counts = {layer.name: layer.parameters for layer in models[kind].table}
        assert (counts["first"], counts["second"], counts["head"], sum(counts.values())) == (112, 222, 1085, 1419)
    assert [layer.kind for layer in models["function"].table][::3] == ["Conv", "Conv", ""]
    assert [layer.kind for layer in models["equinox"].table][::5] == ["Conv2d", "Linear"]


@pytest.mark.parametrize("method", [jv.grad_cam, jv.guided_gradient, jv.deconvnet, jv.gradient])
def test_the_same_network_has_the_same_maps_in_every_library(models, relative, method):
    settings = {"relu": False} if method is jv.grad_cam else {}
    expected = method(models["linen"], images(2), 1, **settings).values
    for kind in TRACED:
        assert relative(method(models[kind], images(2), 1, **settings).values, expected) < 1e-5, kind


def test_a_cam_of_an_activation_is_that_of_the_keras_layer(models, relative):
    expected = jv.hires_cam(models["keras"], image(), 1, layer="first", relu=False).values
    for kind in TRACED:
        found = jv.hires_cam(models[kind], image(), 1, layer="first/relu", relu=False).values
        assert relative(found, expected) < 1e-5, kind


def test_the_same_network_has_the_same_sweep_in_every_library(models, relative):
    settings = jv.recipes.chollet(size=12, steps=3)
    sweeps = {
        kind: jv.sweep(models[kind], jv.channels(models[kind], "second", range(2)), **settings)
        for kind in ("linen", *TRACED)
    }
    for kind in TRACED:
        assert relative(sweeps[kind].image, sweeps["linen"].image) < 1e-4, kind


@pytest.mark.parametrize("kind", TRACED)
def test_an_edit_changes_everything_downstream_and_is_returned(models, kind):
    model, x = models[kind], jnp.asarray(images(2))
    for name in ("first", "first/relu", "first/max_pool"):
        edit = {name: lambda a: a.at[..., 0].set(7)}
        found = model(x, [name, "second", "output"], edit)
        plain = model(x, [name, "second", "output"])
        assert (found[name][..., 0] == 7).all()
        np.testing.assert_array_equal(found[name][..., 1:], plain[name][..., 1:])
        assert not np.allclose(found["output"], plain["output"])


def operations(body) -> Counter:
    """{operation: how often it is in a traced function}, with the bodies of functions that it calls."""
    found: Counter = Counter()
    for equation in body.eqns:
        found[equation.primitive.name] += 1
        for inner in bodies(equation):
            found += operations(inner.jaxpr)
    return found


def test_the_program_that_runs_has_the_operations_of_the_function(models):
    model, x = models["function"], jnp.asarray(images(1))
    with jax.default_matmul_precision("highest"):
        own = operations(jax.make_jaxpr(function_network)(model.params, x))
        ours = operations(jax.make_jaxpr(lambda x: model.forward(model.params, x, ("output",), {}))(x))
        first = operations(jax.make_jaxpr(lambda x: model.forward(model.params, x, ("first",), {}))(x))
    assert ours == own
    assert first["conv_general_dilated"] == 1
    assert not first["dot_general"]

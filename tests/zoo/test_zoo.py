"""Networks that others wrote, from packages; `.ci/run` tests them in an environment of their own.

Laws: a wrapped network computes what its library computes: the output, its gradient, and each value that the library
shows. Maps, sweeps, guided gradients, LRP and Monitors work as they do for other networks; `docs/zoo.md` says what does
not.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo_networks import NETWORKS, images
from zoo_page import PAGE, default_layer, differences, row, wrapped

import jaxviz as jv

# What others deprecate in each other's packages is not tested here.
pytestmark = [pytest.mark.zoo, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_a_network_that_others_wrote(make, relative):
    entry = make()
    model, x = wrapped(entry), images(1)[0]
    found = differences(entry, model)
    assert max(found.values()) < 1e-4, found
    assert relative(jv.predict(model, images(2)), entry.call(images(2))) < 1e-4
    own = jax.jit(jax.grad(lambda x: entry.call(x)[:, 1].sum()))(jnp.asarray(x[None]))[0]
    assert relative(jv.gradient(model, x, 1).values, own) < 1e-3

    maps = [name for name, shape in model.shapes().items() if len(shape) == 3 and shape[0] > 1]
    layers = [*maps[:1], *([None] if default_layer(model).startswith("`") else [])]
    for layer in layers:
        cam = jv.grad_cam(model, x, 1, layer=layer, relu=False).values
        assert cam.shape == x.shape[:2]
        assert np.isfinite(cam).all()
        assert cam.any()

    name = next(iter(maps), model.layers[0])
    settings = jv.recipes.chollet(size=x.shape[0], steps=4)
    units = [jv.Channel(name, i) for i in range(4)] if name in maps else jv.classes(model, range(4))
    sweep = jv.sweep(model, units, **settings)
    assert (sweep.scores[:, -1] > sweep.scores[:, 0]).all()

    other = jax.tree.map(jnp.flip, model.params)
    written = []
    view = jv.views.Activations(x, name)
    with jv.Monitor(lambda tag, step, picture: written.append(picture), {"view": view}, every=1) as monitor:
        monitor(0, model)
        monitor(1, model.replace(params=other))
    for picture, params in zip(written, (model.params, other), strict=True):
        np.testing.assert_array_equal(picture, view(model.replace(params=params)))
    assert (written[0] != written[1]).any()

    shown = row(make.__name__, entry, model, len(found))
    # BoTNet adds up its softmax before it weighs anything, so that it is no attention.
    assert shown.endswith((" yes | yes |", " no ReLU | yes |", 'or take composite="attention" |'))
    assert shown in PAGE.read_text(encoding="utf-8").splitlines(), "run: python tests/zoo/zoo_page.py"

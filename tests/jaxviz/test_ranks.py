"""Signals, volumes, and images without an axis of channels.

Law: the same numbers in another shape have the same explanation. A signal `[t c]` is an image `[t 1 c]`, an image
`[h w c]` is a volume `[1 h w c]`, and `[h w]` and `[h·w]`, which the network reshapes to `[h w 1]`, are that image.
The oracle of each is the network of images, whose methods are tested elsewhere.
"""

import jax
import numpy as np
import pytest
from flax import nnx

import jaxviz as jv
from jaxviz.networks.keras import from_net
from jaxviz.structure import picture_shape
from weights_convert import Graph, KerasNet
from weights_convert.layers import node

CAMS = (jv.grad_cam, jv.grad_cam_plus_plus, jv.hires_cam, jv.layer_cam, jv.x_grad_cam, jv.eigen_cam, jv.score_cam)
PIXELS = (jv.gradient, jv.input_x_gradient, jv.guided_gradient, jv.deconvnet, jv.guided_grad_cam, jv.lrp)
# {name: (shape, axes, shape of the image that it is, kernel, kernel there)}
KINDS = {
    "signal": ((12, 2), 1, (12, 1, 2), (3,), (3, 1)),
    "volume": ((1, 8, 6, 2), 3, (8, 6, 2), (1, 3, 3), (3, 3)),
    "plain": ((8, 6), 2, (8, 6, 1), (3, 3), (3, 3)),
    "flat": ((48,), 2, (8, 6, 1), (3, 3), (3, 3)),
}


def network(shape, axes, kernel, reshape=None) -> jv.Model:
    config = {"filters": 4, "kernel_size": kernel, "padding": "same", "activation": "relu"}
    pool = tuple(2 if side > 1 else 1 for side in kernel)
    rows = [
        *([("shape", "Reshape", {"target_shape": reshape})] if reshape else []),
        ("first", f"Conv{axes}D", config),
        ("pool", f"MaxPooling{axes}D", {"pool_size": pool, "strides": pool}),
        ("second", f"Conv{axes}D", config),
        ("mean", f"GlobalAveragePooling{axes}D", {}),
        ("head", "Dense", {"units": 3, "activation": "softmax"}),
    ]
    sources = ["image", *(name for name, _, _ in rows)]
    nodes = [node(name, kind, each, (source,)) for (name, kind, each), source in zip(rows, sources, strict=False)]
    return from_net(KerasNet(Graph.of_image(shape, tuple(nodes)), rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module", params=KINDS)
def pair(request):
    """The kind, a network of it, its two images; and the network and images `[h w c]` that are the same numbers."""
    shape, axes, image_shape, kernel, image_kernel = KINDS[request.param]
    reshape = (8, 6, 1) if request.param in ("plain", "flat") else None
    model, there = network(shape, axes, kernel, reshape), network(image_shape, 2, image_kernel)
    for name, layer in nnx.to_pure_dict(there.params)["layers"].items():
        for key, value in layer.items():
            mine = model.params["layers"][name][key]
            mine[...] = value.reshape(mine.shape)
    images = np.random.default_rng(0).random((2, *shape), np.float32)
    return request.param, model, images, there, images.reshape(2, *image_shape)


def test_a_network_and_its_image_in_another_shape(pair):
    kind, model, images, there, photographs = pair
    places = tuple(np.squeeze(np.empty(photographs.shape[1:3])).shape) if kind == "signal" else photographs.shape[1:3]
    settings = {"samples": 6, "key": jax.random.key(3)}

    def same(ours, theirs):
        assert ours.score == pytest.approx(theirs.score, rel=1e-5)
        np.testing.assert_allclose(
            ours.values, np.reshape(theirs.values, ours.values.shape), atol=1e-5 * np.abs(theirs.values).max()
        )

    np.testing.assert_allclose(jv.predict(model, images), jv.predict(there, photographs), rtol=1e-5)
    few = (jv.grad_cam, jv.score_cam, jv.guided_grad_cam)
    for method in few if kind in ("plain", "flat") else CAMS + PIXELS:
        found = method(model, images, 1)
        same(found, method(there, photographs, 1))
        whole = images.shape[1:] if method in PIXELS else (*((1,) if kind == "volume" else ()), *places)
        assert found.values.shape == (2, *whole)
    window = {"signal": (3,), "volume": (1, 3, 3)}.get(kind, 3)
    there_window = {"signal": (3, 1)}.get(kind, 3)
    same(jv.occlusion(model, images, 1, window=window), jv.occlusion(there, photographs, 1, window=there_window))
    if kind in ("plain", "flat"):
        same(jv.rise(model, images[0], **settings), jv.rise(there, photographs[0], **settings))
    else:
        assert jv.rise(model, images[0], **settings).values.shape == picture_shape(model, images.shape[1:-1])[:-1]
        same(jv.smoothgrad(model, images[0], 1, **settings), jv.smoothgrad(there, photographs[0], 1, **settings))
        path, other = jv.integrated_gradients(model, images, 1), jv.integrated_gradients(there, photographs, 1)
        same(path, other)
        np.testing.assert_allclose(path.gap, other.gap, atol=1e-4)

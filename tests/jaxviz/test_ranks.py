"""Signals, volumes, and images without an axis of channels.

Law: the same numbers in another shape have the same explanation. A signal `[t c]` is an image `[t 1 c]`, an image
`[h w c]` is a volume `[1 h w c]`, and `[h w]` and `[h·w]`, which the network reshapes to `[h w 1]`, are that image.
The oracle of each is the network of images, whose methods are tested elsewhere.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxviz as jv
from jaxviz.networks.keras import from_net
from jaxviz.structure import picture_shape
from weights_convert import Graph, KerasNet
from weights_convert.layers import node

CLASS = 0
# {kind: (shape, axes, shape of the image that it is, kernel, kernel there)}
KINDS = {
    "signal": ((12, 2), 1, (12, 1, 2), (3,), (3, 1)),
    "volume": ((1, 8, 6, 1), 3, (8, 6, 1), (1, 3, 3), (3, 3)),
    "plain": ((8, 6), 2, (8, 6, 1), (3, 3), (3, 3)),
    "flat": ((48,), 2, (8, 6, 1), (3, 3), (3, 3)),
}
REGIONS = {  # methods with a map of regions; what is left out goes the same way as one that is here
    "signal": (jv.grad_cam_plus_plus, jv.eigen_cam, jv.score_cam),
    "volume": (jv.grad_cam,),
    "plain": (jv.grad_cam,),
    "flat": (jv.score_cam,),
}
PIXELS = {"signal": (jv.lrp,), "volume": (jv.lrp,), "plain": (), "flat": (jv.guided_grad_cam,)}


def network(shape, axes, kernel, reshape=None) -> jv.Model:
    strides = tuple(2 if side > 1 else 1 for side in kernel)
    rows = [
        *([("shape", "Reshape", {"target_shape": reshape})] if reshape else []),
        ("conv", f"Conv{axes}D", {"filters": 4, "kernel_size": kernel, "strides": strides, "activation": "relu"}),
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

    def same(ours, theirs):
        assert ours.score == pytest.approx(theirs.score, rel=1e-5)
        numbers = np.reshape(theirs.values, ours.values.shape)
        np.testing.assert_allclose(ours.values, numbers, atol=1e-5 * np.abs(numbers).max())

    places = {"signal": (12,), "volume": (1, 8, 6)}.get(kind, (8, 6))
    np.testing.assert_allclose(jv.predict(model, images), jv.predict(there, photographs), rtol=1e-5)
    for method in REGIONS[kind] + PIXELS[kind]:
        found = method(model, images, CLASS)
        same(found, method(there, photographs, CLASS))
        assert found.values.shape == (2, *(places if method in REGIONS[kind] else images.shape[1:]))
    window = {"signal": ((3,), (3, 1)), "volume": ((1, 3, 3), 3)}.get(kind, (3, 3))
    found = jv.occlusion(model, images[0], CLASS, window=window[0])
    same(found, jv.occlusion(there, photographs[0], CLASS, window=window[1]))
    if kind == "flat":
        same(*(jv.rise(one, each[0], CLASS, samples=6) for one, each in ((model, images), (there, photographs))))
    if kind == "signal":
        path = jv.integrated_gradients(model, images, CLASS)
        assert path.gap.shape == (2,)
        assert path.gap.max() < 1e-2


def test_windows_of_a_volume_lose_what_is_in_them():
    """On f(x) = w · x, a window of a volume `[d h w c]` loses the sum of w · (x - fill) in it."""
    weight, image = np.random.default_rng(0).normal(size=(2, 4, 6, 6, 1)).astype(np.float32)
    image = np.abs(image) % 1
    model = jv.wrap(lambda w, x: (x * w).sum((1, 2, 3, 4))[:, None], weight, image.shape)
    found = jv.occlusion(model, image, window=(2, 3, 2), fill=0.25, target=0)
    lost = (weight * (image - 0.25)).reshape(2, 2, 2, 3, 3, 2).sum((1, 3, 5))
    np.testing.assert_allclose(found.values[::2, ::3, ::2], lost, rtol=1e-4, atol=1e-5)


def test_a_sweep_of_a_signal_is_that_of_an_image(pair):
    kind, model, _, there, _ = pair
    if kind != "signal":
        return
    shape, size = KINDS[kind][0], KINDS[kind][2][:2]
    objectives = jv.channels(model, "conv/pre", [1, 2])
    found = jv.sweep(model, objectives, **jv.recipes.chollet(size=model.image_size(), steps=3))
    theirs = jv.sweep(there, objectives, **jv.recipes.chollet(size=size, steps=3))
    assert found.image.shape == (2, *shape)
    np.testing.assert_allclose(found.scores, theirs.scores, rtol=1e-5)
    np.testing.assert_allclose(found.image, theirs.image.reshape(found.image.shape), atol=1e-5)
    with pytest.raises(jv.InputError, match=r"this network takes images \[.*so the canvas has a size such as"):
        jv.sweep(model, objectives, **jv.recipes.chollet(size=(5, 5, 5), steps=1))


KERNEL = jnp.ones((3, 3, 1, 1))


def convolve(images, kernel=KERNEL, layout=("NHWC", "HWIO", "NHWC")):
    out = jax.lax.conv_general_dilated(images, kernel, (1,) * (kernel.ndim - 2), "SAME", dimension_numbers=layout)
    return out.mean(tuple(range(1, out.ndim)))[:, None]


def standardized(x):
    return (x - x.mean((1, 2), keepdims=True)) / (x.std((1, 2), keepdims=True) + 1e-3)


# {what the network does with its image: (its shape, the network, the picture)}
PICTURES = {
    "a channel is added": ((8, 6), lambda _, x: convolve(x[..., None]), (8, 6, 1)),
    "after it was standardised": ((8, 6), lambda _, x: convolve(standardized(x)[..., None]), (8, 6, 1)),
    "a channel in front": ((8, 6), lambda _, x: convolve(x[:, None], layout=("NCHW", "HWIO", "NCHW")), (8, 6, 1)),
    "made colour": ((8, 6), lambda _, x: convolve(x[..., None].repeat(3, -1), jnp.ones((3, 3, 3, 1))), (8, 6, 1)),
    "flat": ((48,), lambda _, x: convolve(x.reshape(-1, 8, 6, 1)), (8, 6, 1)),
    "flat colours": ((144,), lambda _, x: convolve(x.reshape(-1, 8, 6, 3), jnp.ones((3, 3, 3, 1))), (8, 6, 3)),
    "flat, then padded": (
        (48,),
        lambda _, x: convolve(jnp.pad(x.reshape(-1, 8, 6, 1), ((0, 0), (2, 0), (0, 3), (0, 0)))),
        (8, 6, 1),
    ),
    "flat, then enlarged": ((48,), lambda _, x: convolve(x.reshape(-1, 8, 6, 1).repeat(2, 1).repeat(2, 2)), (8, 6, 1)),
    "flat without convolution": ((48,), lambda _, x: x @ jnp.ones((48, 2)), (48, 1)),
    "flattened": ((8, 6), lambda _, x: x.reshape(len(x), -1) @ jnp.ones((48, 2)), (8, 6, 1)),
    "flattened colours": ((4, 4, 3), lambda _, x: x.reshape(len(x), -1) @ jnp.ones((48, 2)), (4, 4, 3)),
    "a signal": ((8, 6), lambda _, x: convolve(x, jnp.ones((3, 6, 1)), ("NHC", "HIO", "NHC")), (8, 6)),
    "a signal as a row": ((8, 6), lambda _, x: convolve(x[:, None], jnp.ones((1, 3, 6, 1))), (8, 6)),
    "a transposed signal": (
        (6, 8),
        lambda _, x: convolve(x.transpose(0, 2, 1), jnp.ones((3, 6, 1)), ("NHC", "HIO", "NHC")),
        (6, 8, 1),
    ),
    "patches": (
        (8, 6, 3),
        lambda _, x: x.reshape(-1, 4, 2, 3, 2, 3).swapaxes(2, 3).reshape(-1, 12, 12) @ jnp.ones((12, 1)),
        (8, 6, 3),
    ),
    "a volume": (
        (4, 4, 4, 1),
        lambda _, x: convolve(x, jnp.ones((3, 3, 3, 1, 1)), ("NDHWC", "DHWIO", "NDHWC")),
        (4, 4, 4, 1),
    ),
    "a volume without channels": (
        (4, 4, 4),
        lambda _, x: convolve(x[..., None], jnp.ones((3, 3, 3, 1, 1)), ("NDHWC", "DHWIO", "NDHWC")),
        (4, 4, 4, 1),
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_the_picture_that_an_image_is(name):
    shape, function, picture = PICTURES[name]
    assert picture_shape(jv.wrap(function, image_shape=shape), shape[:-1]) == picture


def test_shapes_that_do_not_fit_are_told_what_would(pair):
    kind, model, images, _, _ = pair
    image = images[0]
    with pytest.raises(jv.InputError, match=r"a batch has one more axis in front; given: \[3, 3, 3, 3, 3, 3\]"):
        jv.predict(model, np.zeros((3,) * 6, np.float32))
    with pytest.raises(jv.InputError, match=r"takes images \[.*\]; given: \[3"):
        jv.predict(model, np.zeros((3,) * image.ndim, np.float32))
    with pytest.raises(jv.InputError, match=r"values in \[0, 1\] .*inputs=weights_convert.Inputs.*given: -3 to -3"):
        jv.predict(model, np.full_like(image, -3))
    with pytest.raises(jv.InputError, match=r"a CAM needs a layer with maps \[.*; given: mean, \[4\]"):
        jv.grad_cam(model, image, 1, layer="mean")
    with pytest.raises(
        jv.InputError,
        match="a window fits into the image" if kind != "signal" else "window is a whole number, 1 or more;",
    ):
        jv.occlusion(model, image, 1, window={"volume": (2, 3, 3), "signal": (2, 2)}.get(kind, 9))
    if image.ndim < 3:
        with pytest.raises(jv.InputError, match=f"smooth knows no network.*axes={image.ndim}"):
            jv.smooth(lambda copies: jv.gradient(model, copies, 1), image)

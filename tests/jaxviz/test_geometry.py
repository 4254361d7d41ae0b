"""Where in the image a layer looks.

Laws:
- A position of a layer depends on no pixel outside of its receptive field, and in the middle on its first and last one:
  `jax.jacobian` says so. Where no size, stride and offset do that, there is an error; windows hold everywhere.
- A lone bright square is where the network is asked about it: Grad-CAM, Score-CAM, Eigen-CAM and occlusion are high
  there, to one position of the layer, whatever the network did to the image before that layer.
- Where a map belongs over the whole image, it is stretched as Keras, tf-explain and the book do it.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from networks import keras_model

import jaxviz as jv
from jaxviz.geometry import place, windows
from jaxviz.networks.keras import from_net
from jaxviz.structure import structure
from weights_convert import ARCHITECTURES, Graph, KerasNet
from weights_convert.layers import node

SHAPE = (24, 20, 1)


def conv(x, size=3, padding="SAME", **settings):
    kernel = jnp.ones((size, size, x.shape[-1], 2))
    return jax.lax.conv_general_dilated(
        x, kernel, settings.pop("strides", (1, 1)), padding, **settings, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def usual(x):
    """Strides, skips, dilation, padding, pooling, concatenation, and a loop over layers."""
    x = conv(jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0))), 3, "VALID", strides=(2, 2))
    x = x + conv(conv(x, rhs_dilation=(2, 2)))
    x = jax.lax.scan(jax.checkpoint(lambda x, _: (0.1 * conv(x), None)), x, None, length=2)[0]
    return jnp.concatenate([nn.avg_pool(x, (3, 3), (1, 1), "SAME"), x], -1)


def cropped(x):
    """Slices of five kinds, and paddings of three."""
    x = jnp.take(jax.lax.dynamic_slice_in_dim(x[:, 1:, ::-1], 2, 20, 1), np.arange(16), axis=2)
    x = jnp.split(x, [12], axis=1)[0]
    x = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    return conv(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge"), padding="VALID")


def enlarged(x):
    """A transposed convolution, nearest and bilinear resizing."""
    x = conv(nn.avg_pool(x, (4, 4), (4, 4)), lhs_dilation=(2, 2), padding=((1, 2), (1, 2)))
    x = conv(jnp.repeat(x, 2, axis=1))
    x = jax.image.resize(x, (len(x), 12, 20, 2), "bilinear")
    return conv(jax.image.resize(x, (len(x), 18, 15, 2), "nearest"))


def turned(x):
    """Channels first, blocks of pixels as channels, and rows and columns in one axis."""
    x = conv(x.reshape(-1, 6, 4, 5, 4, 1).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 6, 5, 16))
    x = (2 * x.reshape(-1, 30, 2)).reshape(-1, 6, 5, 2)
    return jnp.moveaxis(x, -1, 1) * x.shape[1]


def pooled(x):
    """Pooling to a given size, by parts of uneven lengths."""
    x = conv(x)
    for axis, count in ((1, 7), (2, 6)):
        lengths = [(i * x.shape[axis] // count, -((i + 1) * x.shape[axis] // -count)) for i in range(count)]
        x = jnp.concatenate(
            [x[(slice(None),) * axis + (slice(*ends),)].mean(axis, keepdims=True) for ends in lengths], axis
        )
    return x


@pytest.mark.parametrize(
    ("function", "field"),
    [
        (usual, None),
        (cropped, None),
        (enlarged, None),
        (turned, ((12, 12), (4, 4), (-4, -4))),
        (pooled, None),
        (lambda x: conv(x) * x[:, 4:].mean((1, 2), keepdims=True), ((24, 20), (0, 0), (0, 0))),  # a gate
        (lambda x: x[:, 4:].reshape(len(x), -1) @ jnp.ones((400, 3)), ((20, 20), (0, 0), (4, 0))),
        (lambda x: jnp.cumsum(conv(x), 1), ((24, 3), (0, 1), (0, -1))),
        (lambda x: conv(x[:, ::-1], strides=(2, 1)), ((3, 3), (-2, 1), (21, -1))),
        (lambda x: conv(conv(x.swapaxes(1, 2)).swapaxes(1, 2)), ((5, 5), (1, 1), (-2, -2))),
        (lambda x: jnp.delete(x, np.arange(15, 18), 1), ((4, 1), (1, 1), (0, 0))),
    ],
    ids=[
        "usual",
        "cropped",
        "enlarged",
        "turned",
        "pooled",
        "a gate",
        "dense",
        "a running sum",
        "flipped",
        "and back",
        "a gap",
    ],
)
def test_a_receptive_field_is_what_the_numbers_depend_on(function, field):
    model = jv.wrap(lambda params, images: function(images), image_shape=SHAPE)
    found = jv.receptive_field(model, "output")
    assert field is None or found == field
    jacobian = jax.jacobian(lambda image: model(image, ["output"])["output"])(jnp.full(SHAPE, 0.5))
    depends = np.asarray(jacobian)[..., 0] != 0  # [the output's axes, rows, columns]
    sights = structure(model, ["output"], SHAPE[:2]).sights["output"]
    for axis, sight in enumerate(sights):
        along = sight.positions[0].axis - 1 if sight.positions else 0
        others = tuple(other for other in range(depends.ndim) if other not in (along, depends.ndim - 2 + axis))
        seen = [np.flatnonzero(pixels)[[0, -1]] for pixels in depends.any(others)]
        starts = found.offset[axis] + np.arange(len(seen)) * found.stride[axis]
        for start, (first, last) in zip(starts, seen, strict=True):
            inside = start - 1e-3 <= first <= last <= start + found.size[axis] - 1 + 1e-3
            assert inside or function is cropped  # at its edges, a position sees mirrored pixels
        if sight.lost is None:  # exactly, each position of the part that the network looks at
            (each,) = sight.positions
            exact = np.clip([each.low, each.high], *each.seen).T
            np.testing.assert_array_equal(seen, exact)
        else:
            assert max(last - first + 1 for first, last in seen) == found.size[axis]


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: conv(x.swapaxes(1, 2), strides=(1, 2)), r"axes \[0, 1\] of the image are axes \[1, 0\]"),
        (
            lambda x: jnp.moveaxis(conv(jnp.rot90(x, 1, (1, 2))), -1, 1),
            r"are axes \[2, 1\] of this layer \[2, 20, 24\]",
        ),
        (lambda x: x.swapaxes(1, 2).mean(2, keepdims=True), r"axes \[1\] of the image are axes \[0\]"),
        (lambda x: conv(jnp.roll(x, 5, 1)), "do not follow each other"),
        (lambda x: conv(jnp.roll(x, 10, 2)), "do not follow each other"),
        (lambda x: conv(jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)), "wrap"), padding="VALID"), "do not follow"),
        (lambda x: jnp.roll(conv(jnp.roll(x, -4, 1)), 4, 1), "do not follow each other"),
        (lambda x: jnp.take(x, np.random.default_rng(0).permutation(24), 1), "do not follow each other"),
        (lambda x: conv(x) + conv(x[:, ::-1]), "see several parts of the image"),
        (lambda x: x[:, :20] + x[:, :20].swapaxes(1, 2), "see several parts of the image"),
    ],
    ids=["transpose", "rot90", "columns", "roll", "half", "wrap", "back", "shuffle", "both ways", "symmetric"],
)
def test_what_a_receptive_field_cannot_say_is_an_error(function, why):
    model = jv.wrap(lambda params, images: function(images), image_shape=SHAPE)
    with pytest.raises(jv.InputError, match=f"output has no receptive field of one size, .*{why}"):
        jv.receptive_field(model, "output")
    jacobian = jax.jacobian(lambda image: model(image, ["output"])["output"])(jnp.full(SHAPE, 0.5))
    depends, fields = np.asarray(jacobian)[..., 0] != 0, windows(model, "output")
    for position in np.ndindex(*depends.shape[:-2]):
        for axis, window in enumerate(fields):
            seen, (first, last) = np.flatnonzero(depends[position].any(1 - axis)), window.of(position)
            assert first <= seen[0] <= seen[-1] <= last


@pytest.mark.parametrize(
    "function",
    [lambda x: conv(x, 5, "VALID", rhs_dilation=(2, 1)), lambda x: conv(x, strides=(2, 3)).reshape(len(x), -1), pooled],
    ids=["dilated", "flat", "pooled"],
)
def test_a_window_is_what_one_number_depends_on(function):
    """Also of a flat layer, whose units are places and channels in one axis."""
    model = jv.wrap(lambda params, images: function(images), image_shape=SHAPE)
    found = windows(model, "output")
    jacobian = jax.jacobian(lambda image: model(image, ["output"])["output"])(jnp.full(SHAPE, 0.5))
    depends = np.asarray(jacobian)[..., 0] != 0
    for position in np.ndindex(*depends.shape[:-2]):
        for axis, window in enumerate(found):
            seen = np.flatnonzero(depends[position].any(1 - axis))
            np.testing.assert_array_equal(seen[[0, -1]], np.clip(window.of(position), 0, SHAPE[axis] - 1))


def test_a_known_network():
    """VGG16: 196 pixels at the end of its last block, 212 after the last pooling (Araujo et al. 2019, table 1)."""
    graph = ARCHITECTURES["vgg16_notop"].graph
    model = from_net(nnx.eval_shape(lambda: KerasNet(graph, rngs=nnx.Rngs(0))))
    assert jv.receptive_field(model, "block5_conv3") == ((196, 196), (16, 16), (-90, -90))
    assert jv.receptive_field(model, "block5_pool", 150) == ((212, 212), (32, 32), (-90, -90))


def test_what_has_no_receptive_field():
    model = keras_model()
    assert jv.receptive_field(model, "image") == ((1, 1), (1, 1), (0, 0))
    assert jv.receptive_field(model, "second") == ((8, 8), (2, 2), (-3, -3))
    with pytest.raises(jv.InputError, match="did you mean second"):
        jv.receptive_field(model, "secnd")

    def network(params, images):
        return {"a": jnp.ones((len(images), 2)), "b": images.mean((1, 2))}

    constant = jv.wrap(network, image_shape=SHAPE)
    with pytest.raises(jv.InputError, match="a does not depend on the image"):
        jv.receptive_field(constant, "a")


def bell(shape):
    """A kernel that looks at its middle."""
    rows, columns = (np.exp(-(((np.arange(n) - (n - 1) / 2) / max(n / 6, 0.8)) ** 2)) for n in shape[:2])
    return np.broadcast_to((rows[:, None] * columns)[..., None, None] * np.linspace(1, 2, shape[3]), shape)


def keras_net(*layers):
    rows = [*layers, ("GlobalAveragePooling2D", {}), ("Dense", {"units": 2, "use_bias": False})]
    names = ["image", *(f"{kind}_{i}" for i, (kind, _) in enumerate(rows))]
    nodes = (node(name, *row, (source,)) for name, row, source in zip(names[1:], rows, names, strict=False))
    net = KerasNet(Graph.of_image(SHAPE, tuple(nodes)), rngs=nnx.Rngs(0))
    for layer in net.layers.values():
        layer.kernel[...] = jnp.asarray(
            bell(layer.kernel.shape) if layer.kernel[...].ndim == 4 else 1 + 0 * layer.kernel
        )
    return from_net(net)


def convolution(size=3, padding="same"):
    return "Conv2D", {"filters": 3, "kernel_size": size, "padding": padding, "activation": "relu"}


class Turned(nn.Module):
    """Flax code that crops, pads, flips and resizes before convolutions with the channels first."""

    @nn.compact
    def __call__(self, x):
        x = jnp.pad(x[:, 4:, ::-1], ((0, 0), (0, 0), (0, 8), (0, 0)))
        x = jax.image.resize(x, (len(x), 10, 28, 1), "bilinear").transpose(0, 3, 1, 2)
        x = nn.relu(ChannelsFirst(name="last")(x))
        return nn.Dense(2, kernel_init=nn.initializers.ones)(x.mean((2, 3)))


class Wrapped(nn.Module):
    """Convolutions after a change of the image, such as a roll, or with a padding that wraps around."""

    change: Callable
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x):
        x = self.change(x)
        for name in ("first", "second", "last"):
            x = nn.relu(
                nn.Conv(3, (3, 3), padding=self.padding, name=name, kernel_init=lambda _, size, __: bell(size))(x)
            )
        return nn.Dense(2, kernel_init=nn.initializers.ones)(x.mean((1, 2)))


class ChannelsFirst(nn.Module):
    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", lambda key, shape: jnp.asarray(bell(shape)).transpose(3, 2, 0, 1), (3, 3, 1, 3))
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))


def linen(module, shape=SHAPE):
    return jv.wrap(module, module.init(jax.random.key(0), jnp.zeros((1, *shape))), image_shape=shape)


def centre(values):
    """The middle (row, column) of what is higher than half of the map's maximum."""
    high = np.where(values > values.max() / 2, values, 0)
    return [(high.sum(1 - axis) @ np.arange(high.shape[axis])) / high.sum() for axis in (0, 1)]


@pytest.mark.parametrize(
    ("model", "corner"),
    [
        (lambda: keras_net(convolution(), ("MaxPooling2D", {}), convolution()), (5, 12)),  # nothing unusual
        (lambda: keras_net(("Cropping2D", {"cropping": ((10, 0), (0, 4))}), convolution()), (12, 3)),
        (lambda: keras_net(("CenterCrop", {"height": 14, "width": 12}), convolution()), (6, 5)),
        (lambda: keras_net(("ZeroPadding2D", {"padding": ((9, 1), (0, 6))}), convolution()), (3, 14)),
        (lambda: keras_net(convolution(9, "valid")), (5, 11)),
        (
            lambda: keras_net(convolution(), ("AveragePooling2D", {"pool_size": 7, "strides": 1}), convolution()),
            (5, 11),
        ),
        (lambda: keras_net(resizing(16, 8, crop=True), convolution()), (4, 6)),
        (lambda: keras_net(resizing(12, 24, pad=True), convolution()), (4, 14)),
        (lambda: keras_net(("Permute", {"dims": (2, 1, 3)}), convolution()), (14, 4)),
        (lambda: linen(Turned()), (8, 4)),
        (lambda: linen(Wrapped(lambda x: jnp.rot90(x, 1, (1, 2)))), (14, 4)),
        (lambda: linen(Wrapped(lambda x: jnp.roll(x, 5, 1))), (21, 16)),
        (lambda: linen(Wrapped(lambda x: jnp.roll(x, (12, 5), (1, 2)))), (1, 9)),
        (lambda: linen(Wrapped(lambda x: x, "CIRCULAR")), (21, 17)),
    ],
    ids=[
        "usual",
        "crop",
        "centre",
        "padding",
        "valid",
        "pool",
        "resize and crop",
        "resize and pad",
        "permute",
        "flax",
        "rot90",
        "roll",
        "two rolls",
        "circular",
    ],
)
def test_a_lone_square_is_where_it_is(model, corner):
    model, (y, x) = model(), corner
    image = np.zeros(SHAPE, np.float32)
    image[y : y + 3, x : x + 3] = 1
    last = "last" if "last" in model.layers else model.layers[-3]
    cell = max(1, *(np.abs(each.first[1] - each.first[0]) for each in windows(model, last)))
    np.testing.assert_allclose(centre(jv.grad_cam(model, image, 0).values), (y + 1, x + 1), atol=cell)


def test_methods_agree_on_where_a_lone_square_is():
    model, image = (
        keras_net(("Cropping2D", {"cropping": ((10, 0), (0, 4))}), convolution()),
        np.zeros(SHAPE, np.float32),
    )
    image[14:17, 4:7] = 1
    occlusion = functools.partial(jv.occlusion, window=3, stride=1, fill=0)
    for method in (jv.grad_cam, jv.score_cam, jv.eigen_cam, jv.tf_explain.grad_cam, occlusion, jv.input_x_gradient):
        values = np.abs(method(model, image, 0).values)
        found = centre(values.sum(-1) if values.ndim == 3 else values)
        np.testing.assert_allclose(found, (15, 5), atol=1, err_msg=str(method))


def resizing(height, width, crop=False, pad=False):
    return "Resizing", {"height": height, "width": width, "crop_to_aspect_ratio": crop, "pad_to_aspect_ratio": pad}


def test_a_map_is_zero_where_the_network_does_not_look():
    model = keras_net(("Cropping2D", {"cropping": ((10, 0), (0, 4))}), convolution())
    values = jv.hires_cam(model, np.ones((2, *SHAPE), np.float32), 0).values
    assert not values[:, :10].any()
    assert not values[:, :, 16:].any()
    inner = jv.hires_cam(keras_net(convolution()), np.ones(SHAPE, np.float32), 0).values[5, 5] * 24 * 20
    np.testing.assert_allclose(values[:, 12:-2, 2:14] * 14 * 16, inner, rtol=1e-5)


class Mixer(nn.Module):
    """Its dense layer mixes the rows of the image."""

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(24, name="mixer")(x.swapaxes(1, 3)).swapaxes(1, 3)
        x = nn.Conv(3, (3, 3), name="last")(x)
        return nn.Dense(2)(x.mean((1, 2)))


def test_a_place_that_is_not_known_is_a_warning_with_the_reason():
    with pytest.warns(UserWarning, match="the map of last is stretched .* because mixer mixes the positions"):
        jv.grad_cam(linen(Mixer()), np.ones(SHAPE, np.float32), 0, relu=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x + x[:, ::-1],
        lambda x: x[:, :20] + x[:, :20].swapaxes(1, 2),
        lambda x: jnp.roll(x, 3, 1),  # all positions that see the last rows see the first rows, too
        lambda x: jnp.take(x, np.random.default_rng(0).permutation(24), 1),
    ],
    ids=["both ways", "symmetric", "a short roll", "shuffle"],
)
def test_a_map_whose_positions_see_several_places_is_a_warning(change):
    with pytest.warns(UserWarning, match="the map of last is stretched .* each of them sees several parts"):
        jv.grad_cam(linen(Wrapped(change)), np.ones(SHAPE, np.float32), 0, relu=False)


def test_a_padding_that_wraps_around_leaves_the_map_stretched():
    network = structure(linen(Wrapped(lambda x: x, "CIRCULAR")), ["last"], SHAPE[:2])
    assert place(network, "last", SHAPE[:2]) == (None, "")


def test_the_usual_maps_are_stretched(cats_and_dogs):
    """Small kernels with valid padding, too: their maps are compared with TensorFlow's in `test_cams`."""
    names = cats_and_dogs.handles[: cats_and_dogs.handles.index("conv2d_14") + 1]
    assert place(structure(cats_and_dogs, names, (256, 256)), "conv2d_14", (256, 256)) == (None, "")


class Padded(nn.Module):
    """It makes a picture of its input, and pads it."""

    @nn.compact
    def __call__(self, x):
        x = jnp.pad(x.reshape(len(x), *SHAPE), ((0, 0), (9, 1), (0, 6), (0, 0)))
        x = nn.relu(nn.Conv(3, (3, 3), name="last", kernel_init=lambda key, shape, dtype: bell(shape))(x))
        return nn.Dense(2, kernel_init=nn.initializers.ones)(x.mean((1, 2)))


@pytest.mark.parametrize("shape", [SHAPE[:2], (24 * 20,)], ids=["without channels", "flat"])
def test_an_image_without_channels_has_a_place_too(shape):
    model, image = linen(Padded(), shape), np.zeros(SHAPE, np.float32)
    image[3:6, 14:17] = 1
    values = jv.grad_cam(model, image.reshape(shape), 0).values
    np.testing.assert_allclose(centre(values), (4, 15), atol=1)
    assert jv.receptive_field(model, "last") == ((3, 3), (1, 1), (-10, -1))
    assert jv.receptive_field(model, "image") == ((1, 1), (1, 1), (0, 0))


class Row(nn.Module):
    """A signal `[t c]` as a row of pixels, whose beginning is cut off."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(3, (1, 3), name="last", kernel_init=lambda key, shape, dtype: bell(shape))(x[:, None, 16:]))
        return nn.Dense(2, kernel_init=nn.initializers.ones)(x.mean((1, 2)))


def test_a_signal_that_is_a_row_of_pixels_has_a_place_too():
    signal = np.zeros((40, 2), np.float32)
    signal[30:33] = 1
    assert jv.grad_cam(linen(Row(), (40, 2)), signal, 0).values.argmax() == 31

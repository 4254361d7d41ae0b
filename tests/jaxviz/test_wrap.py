"""How a module is called: its results, its further arguments, its order of axes, its precision and its errors.

Law: a wrapped module computes what the module computes when it is called so by hand. For the caller, images and
activations are float32 `[n h w c]`, and an error is an InputError that quotes the module.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, struct
from networks import SHAPE, filled, images

import jaxviz as jv


@struct.dataclass
class Result:
    logits: jax.Array
    name: str = struct.field(pytree_node=False, default="result")


class Pair(NamedTuple):
    logits: jax.Array
    others: dict


RESULTS = [
    (lambda y: (2 * y, y), 1),
    (lambda y: (2 * y, y), -1),
    (lambda y: [y, None], 0),
    (lambda y: {"features": 2 * y, "logits": y}, "logits"),
    (lambda y: Result(y), "logits"),
    (lambda y: Pair(y, {}), "logits"),
    (lambda y: Pair(y, {}), 0),
    (lambda y: Pair(2 * y, {"heads": [2 * y, y]}), ("others", "heads", 1)),
]


@pytest.mark.parametrize(("returned", "output"), RESULTS)
def test_output_names_one_result(returned, output):
    class Linen(nn.Module):
        @nn.compact
        def __call__(self, x):
            return returned(nn.Dense(2, name="dense")(x.mean((1, 2))))

    class Nnx(nnx.Module):
        def __init__(self):
            self.dense = nnx.eval_shape(lambda: nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
            nnx.update(self.dense, filled(nnx.state(self.dense)))

        def __call__(self, x):
            return returned(self.dense(x.mean((1, 2))))

    variables = filled(jax.eval_shape(Linen().init, jax.random.key(0), images(1)))
    for module in ((Linen(), variables), (Nnx(), None)):
        model = jv.wrap(*module, SHAPE, output=output)
        assert model.layers == ("dense", "output")
        assert model.table[-1].kind in ("Linen", "Nnx")
        found = model(jnp.asarray(images(2)), model.layers)
        np.testing.assert_array_equal(found["output"], found["dense"])
    function = jv.wrap(lambda _, x: returned(x.mean((1, 2))), None, SHAPE, output=output)
    np.testing.assert_allclose(function(jnp.asarray(images(2)))[function.output], images(2).mean((1, 2)), rtol=1e-6)


@pytest.mark.parametrize(
    ("result", "output", "sentence"),
    [
        (
            lambda y: {"a": y, "b": [y]},
            None,
            r"output='a'; given: a dict with 'a' \[1, 3\], \('b', 0\) \[1, 3\]",
        ),
        (
            lambda y: {"a": y},
            "logits",
            r"'logits' names no array of the result; given: a dict with 'a' \[1, 3\]",
        ),
        (lambda y: (y, y), 2, "output=2 names no array of the result; given: a tuple with 0 "),
        (lambda y: y, 0, "returns one array, so leave output out; given: output=0"),
        (lambda y: {"a": None}, "a", "returns no array"),
    ],
)
def test_an_output_that_is_not_there_lists_those_that_are(result, output, sentence):
    class Module(nnx.Module):
        def __call__(self, x):
            return result(x.mean((1, 2)))

    with pytest.raises(jv.InputError, match=sentence):
        jv.wrap(Module(), image_shape=SHAPE, output=output)


def test_a_function_of_many_results_has_all_of_them_and_the_output_last():
    function = lambda scale, x: {"scores": scale * x.mean((1, 2)), "half": x / 2, "pair": (x, x)}  # noqa: E731
    model = jv.wrap(function, 3.0, SHAPE, output="scores")
    assert (model.layers, model.output) == (("mean", "scale", "half", "scores"), "scores")
    assert jv.wrap(function, 3.0, SHAPE, output=("pair", 0)).layers == ("mean", "scores", "half", "output")


class Two(nn.Module):
    """An image, and numbers about it."""

    @nn.compact
    def __call__(self, x, numbers, mask=None, *, train=True):
        x = nn.relu(nn.Conv(4, (3, 3), name="conv")(x)).mean((1, 2))
        x = x if mask is None else x * mask
        noise = jax.random.normal(self.make_rng("noise"), (2,)) if train else jnp.ones(2)
        return nn.Dense(2, name="dense")(jnp.concatenate([x, numbers * noise], -1))


def test_further_arguments_are_bound_by_keyword(relative):
    module, numbers, mask = Two(), np.float32([[3, 4]]), np.float32([1, 0, 1, 1])
    variables = filled(jax.eval_shape(lambda: module.init(jax.random.key(0), images(1), numbers, train=False)))
    key = {"noise": jax.random.key(5)}
    for bound in ({}, {"mask": mask}, {"mask": mask, "train": True, "rngs": key}):
        model = jv.wrap(module, variables, SHAPE, numbers=numbers, **bound)
        assert model.layers == ("conv", "dense", "output")
        expected = module.apply(variables, images(1), numbers, **{"train": False, **bound})
        assert relative(jax.jit(model)(images(1))["output"], expected) < 1e-6
    maps = jv.grad_cam(model, images(2), 1).values  # a batch of images, each with the same numbers
    assert maps.shape == (2, *SHAPE[:2])


class Noisy(nnx.Module):
    def __call__(self, x, *, rngs):
        return x.mean((1, 2)) + jax.random.normal(rngs.noise(), (3,))


def test_the_random_numbers_of_an_nnx_call_are_the_same_in_each_call():
    model = jv.wrap(Noisy(), image_shape=SHAPE, rngs=nnx.Rngs(3))
    first, second = jv.predict(model, images(2)), jv.predict(model, images(2))
    np.testing.assert_allclose(first, Noisy()(images(2), rngs=nnx.Rngs(3)), rtol=1e-5)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("bound", "sentence"),
    [
        ({}, r"needs more than images: numbers\. Bind it, wrap\(…, numbers=…\)"),
        ({"number": 1}, "no argument 'number': did you mean numbers.*beside the images it takes numbers, mask, train"),
        ({"numbers": np.ones((1, 2), np.float32), "train": True}, r"needs PRNG for .noise.*rngs={name:"),
        ({"numbers": np.ones((2, 1, 1), np.float32)}, r"does not run on a batch of one image, \[1, 12, 12, 3\]"),
    ],
)
def test_an_argument_that_is_missing_or_wrong(bound, sentence):
    variables = {"params": {"conv": {"kernel": jnp.ones((3, 3, 3, 4)), "bias": jnp.ones(4)}}}
    with pytest.raises(jv.InputError, match=sentence):
        jv.wrap(Two(), variables, SHAPE, **bound)


class First(nn.Module):
    """A convolution `[n c h w]`, or the same `[n h w c]`."""

    first: bool

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.normal(), (3, 3, x.shape[1 if self.first else -1], 4))
        bias = self.param("bias", nn.initializers.normal(), (4,))
        layout = "NCHW" if self.first else "NHWC"
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=(layout, "HWIO", layout))
        return nn.relu(y + (bias[:, None, None] if self.first else bias))


class Layout(nn.Module):
    first: bool

    @nn.compact
    def __call__(self, x):
        x = First(self.first, name="conv")(x)
        x = nn.BatchNorm(use_running_average=True, axis=1 if self.first else -1, name="norm")(x)
        x = First(self.first, name="second")(x)
        # Most Flax modules that take images [n c h w] turn them before a layer of Flax.
        x = nn.Dense(5, name="dense")(x.transpose(0, 2, 3, 1) if self.first else x)
        return nn.Dense(3, name="head")(x.mean((1, 2)))


def test_a_module_of_images_with_channels_first_is_one_with_channels_last(relative):
    variables = filled(jax.eval_shape(Layout(False).init, jax.random.key(0), images(1)))
    variables["batch_stats"]["norm"]["var"] = jnp.ones(4)
    first = jv.wrap(Layout(True), variables, SHAPE, channels_first=True)
    last = jv.wrap(Layout(False), variables, SHAPE)
    assert first.shapes() == last.shapes()
    ours, theirs = (jax.jit(lambda x, model=model: model(x, model.layers))(images(2)) for model in (first, last))
    for name in last.layers:
        assert relative(ours[name], theirs[name]) < 1e-6
    edits = {"conv": lambda a: a.at[..., 0].set(0)}
    edited = (jax.jit(lambda x, model=model: model(x, ["head"], edits)["head"])(images(1)) for model in (first, last))
    assert relative(*edited) < 1e-6
    maps = jv.grad_cam(first, images(1)[0], 1, relu=False).values
    assert relative(maps, jv.grad_cam(last, images(1)[0], 1, layer="second", relu=False).values) < 1e-5


def test_a_layer_whose_order_of_axes_is_not_known_is_refused():
    class Shuffled(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(12, name="dense")(x.reshape(len(x), 12, -1, 4)).mean((1, 2))

    module = Shuffled()
    variables = filled(jax.eval_shape(module.init, jax.random.key(0), images(1).transpose(0, 3, 1, 2)))
    model = jv.wrap(module, variables, SHAPE, channels_first=True)
    assert model.layers == ("output",)
    with pytest.raises(jv.InputError, match=r"dense cannot be read: .* which of its axes has the channels"):
        jv.activations(model, images(2), "dense")


def test_a_bfloat16_module_has_float32_activations_and_every_cam():
    class Half(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(4, (3, 3), dtype=jnp.bfloat16, name="conv")(x))
            return nn.Dense(2, dtype=jnp.bfloat16, name="head")(x.mean((1, 2)))

    variables = filled(jax.eval_shape(Half().init, jax.random.key(0), images(1)))
    model = jv.wrap(Half(), variables, SHAPE)
    single = Half().apply(variables, images(2))
    found = jv.activations(model, images(2))
    assert {name: each.dtype for name, each in found.items()} == dict.fromkeys(model.layers, np.float32)
    np.testing.assert_allclose(found["output"], single.astype(jnp.float32), atol=2e-2)
    for method in (jv.eigen_cam, jv.grad_cam):  # without a layer: the last convolution is found, too
        cam = method(model, images(1)[0], 1).values
        assert cam.dtype == np.float32
        assert np.isfinite(cam).all()
        assert cam.any()


def test_a_linen_module_may_have_lists_and_its_call_arrays_as_defaults(relative):
    scales = np.float32([1, 2, 3])

    class Listed(nn.Module):
        widths: list

        @nn.compact
        def __call__(self, x, scale=scales):
            x = scale * x.mean((1, 2))
            for width in self.widths:
                x = nn.Dense(width)(x)
            return x

    variables = filled(jax.eval_shape(Listed([4, 2]).init, jax.random.key(0), images(1)))
    first, second = (jv.wrap(Listed(widths), variables, SHAPE) for widths in ([4, 2], [4, 2]))
    assert first.forward == second.forward  # so both share a compiled program
    expected = Listed([4, 2]).apply(variables, images(2))
    assert relative(first(jnp.asarray(images(2)))["output"], expected) < 1e-5
    assert jv.wrap(Listed([4]), variables, SHAPE).layers == ("Dense_0", "output")


class OwnError(Exception):
    pass


@pytest.mark.parametrize("error", [AssertionError("12 only"), OwnError("12 only"), KeyError("12 only")], ids=repr)
def test_an_error_of_the_module_is_quoted(error):
    class Sized(nnx.Module):
        def __call__(self, x):
            if x.shape[1] != 12:
                raise error
            return x.mean((1, 2))

    model = jv.wrap(Sized(), image_shape=SHAPE)
    quoted = rf"does not run on a batch of one image, \[1, 8, 8, 3\]: {type(error).__name__}: .*12 only"
    for call in (
        lambda: jv.wrap(Sized(), image_shape=(8, 8, 3)),
        lambda: jv.wrap(lambda _, x: Sized()(x), None, (8, 8, 3)),
        lambda: model.shapes(8),
        lambda: model(jnp.zeros((8, 8, 3))),
        lambda: str(model.replace(image_shape=(8, 8, 3))),
    ):
        with pytest.raises(jv.InputError, match=quoted) as caught:
            call()
        assert caught.value.__cause__ is error


def test_another_method_of_a_linen_module_is_the_network():
    """Its switches for evaluation are its own, and its result is the output."""

    class Encoder(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)

        def __call__(self, x, train):
            return self.dense(x.mean((1, 2)))

        def encode(self, x):
            return -self.dense(x.mean((1, 2)))

    variables = filled(jax.eval_shape(lambda: Encoder().init(jax.random.key(0), images(1), False)))
    expected = Encoder().apply(variables, images(2), method="encode")
    for method in ("encode", Encoder.encode):
        model = jv.wrap(Encoder(), variables, SHAPE, method=method)
        assert model.layers == ("dense", "output")
        np.testing.assert_allclose(model(jnp.asarray(images(2)))["output"], expected, rtol=1e-5)

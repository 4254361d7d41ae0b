"""A model.

Law: a network has the same activations however it is written (Keras file, nnx, linen); an edit changes everything
downstream; new parameters and images compile nothing.
"""

import gc
import weakref

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from networks import SHAPE, image, images, keras_model, three_of_a_kind

import jaxviz as jv
from jaxviz.model import compute
from jaxviz.structure import structure


def test_the_same_network_has_the_same_activations_however_it_is_written(relative):
    keras, nnx_model, linen, _ = three_of_a_kind()
    batch = images(2)
    ours = jv.activations(keras, batch, ["first/pre", "second/pre", "head/pre"])
    theirs = jv.activations(nnx_model, batch, ["first", "blocks/0", "head"])
    others = jv.activations(linen, batch, ["first", "second", "output"])
    for a, b, c in zip(ours.values(), theirs.values(), others.values(), strict=True):
        assert relative(b, a) < 1e-6
        assert relative(c, a) < 1e-6


def test_names_are_paths_in_execution_order():
    keras, nnx_model, linen, _ = three_of_a_kind()
    assert keras.layers == ("first", "pool", "second", "flat", "head")
    assert keras.handles == ("first/pre", "first", "pool", "second/pre", "second", "flat", "head/pre", "head")
    assert nnx_model.layers == ("first", "blocks/0", "dropout", "head/dense", "head", "output")
    assert linen.layers == ("first", "second", "head", "output")


def test_wrap_leaves_the_module_as_it_was():
    _, model, _, module = three_of_a_kind()
    assert module.dropout.deterministic is False
    assert type(module.head).__name__ == "InheritedHead"
    before = jax.tree.map(np.asarray, nnx.state(module, nnx.Param))
    jv.activations(model, image())
    after = jax.tree.map(np.asarray, nnx.state(module, nnx.Param))
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_a_linen_module_whose_calls_need_a_switch_runs_as_in_evaluation(relative):
    class Switched(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
            return nn.Dropout(0.5, deterministic=not train)(x.reshape(len(x), -1))

    module, batch = Switched(), images(2)
    variables = module.init(jax.random.key(0), batch, train=False)
    variables["batch_stats"]["norm"]["mean"] += 0.5
    model = jv.wrap(module, variables, image_shape=SHAPE)
    assert relative(jv.predict(model, batch), module.apply(variables, batch, train=False)) < 1e-6


def test_a_switch_that_a_linen_module_was_built_with_is_left_to_it(relative):
    class Built(nn.Module):
        deterministic: bool | None = None

        @nn.compact
        def __call__(self, x, deterministic=None):
            off = nn.merge_param("deterministic", self.deterministic, deterministic)
            return nn.Dropout(0.5)(x.reshape(len(x), -1), deterministic=off)

    batch = images(2)
    for module in (Built(deterministic=True), Built()):
        model = jv.wrap(module, {}, image_shape=SHAPE)
        np.testing.assert_array_equal(jv.predict(model, batch), batch.reshape(2, -1))


def test_a_switch_by_position_is_left_at_its_default():
    class Positional(nnx.Module):
        def __call__(self, x, train=False, /):
            return jnp.zeros((len(x), 1)) if train else x.reshape(len(x), -1)

    class Uncalled(nnx.Module):
        pass

    batch = images(2)
    np.testing.assert_array_equal(jv.predict(jv.wrap(Positional(), image_shape=SHAPE), batch), batch.reshape(2, -1))
    with pytest.raises(jv.InputError, match="does not run on a batch of one image"):
        jv.wrap(Uncalled(), image_shape=SHAPE)


def test_an_nnx_module_whose_calls_train_by_default_runs_as_in_evaluation():
    class Deterministic(nnx.Module):
        def __call__(self, x, *, deterministic=False):
            return x.reshape(len(x), -1) if deterministic else jnp.zeros((len(x), 1))

    class Train(nnx.Module):
        def __call__(self, x, train=True):
            return jnp.zeros((len(x), 1)) if train else x.reshape(len(x), -1)

    batch = images(2)
    for module in (Deterministic(), Train()):
        np.testing.assert_array_equal(jv.predict(jv.wrap(module, image_shape=SHAPE), batch), batch.reshape(2, -1))


class Inner(nnx.Module):
    """Ten times off in training, by an attribute or by an argument of the call."""

    def __init__(self, **settings):
        vars(self).update(settings)

    def __call__(self, x):
        training = [vars(self).get(name) is value for name, value in [("training", True), ("inference", False)]]
        return x.mean((1, 2)) * (10 if any(training) or vars(self).get("mode") == "train" else 1)


class Outer(nnx.Module):
    def __init__(self, inner):
        self.layers = nnx.List([inner])

    def __call__(self, x, is_eval=False):
        return self.layers[0](x) * (1 if is_eval else 10)


class Words(nnx.Module):
    def __call__(self, x, mode="train"):
        return x.mean((1, 2))


class Built(nn.Module):
    train: bool = True

    def __call__(self, x):
        return x.mean((1, 2)) * (10 if self.train else 1)


def test_switches_of_any_name_are_set_to_evaluation():
    plain = image().mean((0, 1))
    for module in (Inner(), Inner(training=True), Inner(inference=False), Inner(mode="bilinear"), Inner(mode="eval")):
        np.testing.assert_allclose(jv.predict(jv.wrap(Outer(module), image_shape=SHAPE), image()), plain, rtol=1e-6)
        assert vars(module).get("training", True)  # the user's own module is as it was
    np.testing.assert_allclose(jv.predict(jv.wrap(Built(), {}, SHAPE), image()), plain, rtol=1e-6)
    for module, name in ((Outer(Inner(mode="train")), "Inner.mode = 'train'"), (Words(), "mode='train'")):
        with pytest.raises(
            jv.InputError, match=f"in training mode, {name}, and which word means evaluation is not known"
        ):
            jv.wrap(module, image_shape=SHAPE)


class ChannelsFirst(nnx.Module):
    def __call__(self, x):
        layout = ("NCHW", "OIHW", "NCHW")
        return jax.lax.conv_general_dilated(x, jnp.ones((2, 3, 3, 3)), (1, 1), "SAME", dimension_numbers=layout)


def test_a_shape_with_the_channels_first_is_no_image_three_pixels_high():
    with pytest.raises(
        jv.InputError, match=r"takes its images as \[n c h w\]; given: \(3, 32, 48\). Give .*\(32, 48, 3\)"
    ):
        jv.wrap(ChannelsFirst(), image_shape=(3, 32, 48))
    flat = nnx.Conv(48, 2, (3, 3), rngs=nnx.Rngs(0))
    assert jv.wrap(flat, image_shape=(3, 32, 48)).image_shape == (3, 32, 48)  # an image that is really so


@pytest.mark.parametrize("which", [0, 1, 2])
def test_an_edit_changes_everything_downstream_and_is_returned(which):
    model = three_of_a_kind()[which]
    layer = "first"
    plain = model(jnp.asarray(image()), [layer, model.output])
    edited = model(jnp.asarray(image()), [layer, model.output], {layer: jnp.zeros_like})
    assert float(jnp.abs(edited[layer]).max()) == 0 < float(jnp.abs(plain[layer]).max())
    assert not np.allclose(edited[model.output], plain[model.output])
    same = model(jnp.asarray(image()), [model.output], {layer: lambda a: a})
    np.testing.assert_array_equal(same[model.output], plain[model.output])


@pytest.mark.parametrize("which", [0, 1, 2])
def test_only_ancestors_run(which):
    """A head built for 12 × 12 does not stop the first layer from seeing 20 × 20."""
    model = three_of_a_kind()[which]
    assert model(jnp.zeros((20, 20, 3)), ["first"])["first"].shape == (20, 20, 4)
    with pytest.raises(jv.InputError, match=r"Flatten.*12 × 12"):
        model.shapes(20, [model.output])


def test_a_layer_called_twice_has_two_names():
    class Twice(nnx.Module):
        def __init__(self):
            self.dense = nnx.Linear(4, 4, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.dense(self.dense(x.mean((1, 2))))

    model = jv.wrap(Twice(), image_shape=(2, 2, 4))
    assert model.layers == ("dense", "dense#2", "output")
    assert [layer.parameters for layer in model.table] == [20, 0, 0]
    acts = jv.activations(model, np.ones((2, 2, 4), np.float32))
    np.testing.assert_array_equal(acts["dense#2"], acts["output"])
    assert not np.allclose(acts["dense"], acts["dense#2"])


@pytest.mark.parametrize("returned", [lambda x: (x, x), lambda x: {"logits": x}])
def test_a_module_that_returns_no_array_is_refused(returned):
    class Linen(nn.Module):
        @nn.compact
        def __call__(self, x):
            return returned(nn.Dense(2)(x.mean((1, 2))))

    class Nnx(nnx.Module):
        def __init__(self, rngs):
            self.dense = nnx.Linear(3, 2, rngs=rngs)

        def __call__(self, x):
            return returned(self.dense(x.mean((1, 2))))

    variables = Linen().init(jax.random.key(0), images(1))
    for module in ((Linen(), variables), (Nnx(nnx.Rngs(0)),)):
        with pytest.raises(jv.InputError, match=r"must return one array \[n …\].*given: a (tuple|dict)"):
            jv.wrap(*module, image_shape=SHAPE)


def test_a_function_has_the_names_that_it_returns():
    def function(scale, batch):
        half = batch / 2
        return {"half": half, "scores": scale * (2 * half).sum((1, 2))}

    model = jv.wrap(function, jnp.float32(3), (2, 2, 1))
    acts = jv.activations(model, np.ones((2, 2, 1), np.float32))
    assert list(acts) == ["half", "scale", "scores"]  # the product with the scale has no other name
    np.testing.assert_allclose(acts["scores"], [12])
    # After jax.jit, the names are sorted, so that the last of them may be any.
    with pytest.raises(jv.InputError, match=r"name the one to explain, such as output='half'; given: a dict"):
        jv.wrap(jax.jit(function), jnp.float32(3), (2, 2, 1))
    assert jv.wrap(jax.jit(function), jnp.float32(3), (2, 2, 1), output="half").output == "half"


def test_a_value_that_a_function_returns_by_name_is_edited_where_it_is_computed():
    def function(scale, batch):
        half = jax.nn.relu(batch / 2)
        return {"image": batch, "half": half, "same": half, "scores": scale * half.sum((1, 2))}

    model = jv.wrap(function, jnp.float32(3), (2, 2, 1))
    assert model.layers == ("half", "scale", "image", "same", "scores")
    found = model(jnp.ones((2, 2, 1)), ["half", "same", "scores"], {"half": lambda a: 4 * a})
    np.testing.assert_allclose(found["same"], np.full((2, 2, 1), 2.0))
    np.testing.assert_allclose(found["scores"], [24])


def test_new_parameters_and_new_images_compile_nothing():
    model = keras_model()
    jv.activations(model, image(), ["second"])
    traces = compute.compiled()._cache_size()
    changed = model.replace(params=jax.tree.map(lambda leaf: leaf + 1, model.params))
    first = jv.activations(model, image(1), ["second"])["second"]
    second = jv.activations(changed, image(1), ["second"])["second"]
    assert not np.allclose(first, second)
    assert compute.compiled()._cache_size() == traces


def test_table_and_repr():
    model = keras_model()
    assert repr(model) == "<Model 5 layers, 1,419 parameters, image 12 × 12 × 3, inputs unit>"
    lines = str(model).splitlines()
    assert lines[1].split() == ["layer", "kind", "output", "parameters"]
    assert lines[2].split() == ["first", "Conv2D", "12×12×4", "112"]
    assert lines[6].split() == ["head", "Dense", "5", "1,085"]


def test_parameters_of_wrapped_modules_are_counted_where_they_are():
    _, nnx_model, linen, _ = three_of_a_kind()
    counts = {layer.name: layer.parameters for layer in nnx_model.table}
    assert counts == {"first": 112, "blocks/0": 222, "dropout": 0, "head/dense": 1085, "head": 0, "output": 0}
    assert sum(layer.parameters for layer in linen.table) == 112 + 222 + 1085


def test_shapes(vgg):
    assert vgg.shapes()["block5_pool"] == (7, 7, 512)
    assert vgg.shapes(64, ["block3_conv1"]) == {"block3_conv1": (16, 16, 256)}
    with pytest.raises(jv.InputError, match=r"3 × 3 does not fit block3_conv1: it needs at least 4 × 4"):
        vgg.shapes(3, ["block3_conv1"])


def test_unknown_layer_says_what_is_near_and_what_there_is(vgg):
    with pytest.raises(jv.InputError, match=r"no layer 'block3_conv' .*did you mean block3_conv\d.*block1_conv1, "):
        vgg.check_layer("block3_conv")


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (np.zeros((12, 12), np.float32), r"an image is \[12 12 3\].*given: \[12, 12\]"),
        (np.zeros((12, 12, 1), np.float32), r"takes images \[12 12 3\]; given: \[12, 12, 1\]"),
        (
            np.zeros((2, 9, 12, 3), np.float32),
            r"given: \[2, 9, 12, 3\]: jv.read_image\(path, size=\(12, 12\)",
        ),
        ("cat.jpg", r"an array, as jv.read_image\(path\) returns it; given: 'cat.jpg'"),
        (np.zeros((0, 12, 12, 3), np.float32), "no image in an array"),
        (np.zeros(SHAPE, np.uint8), r"floats in \[0, 1\]; given: uint8 .*image / 255"),
        (np.full(SHAPE, 200.0), r"values in \[0, 1\]; given: 200 to 200 .*image / 255"),
        (np.full(SHAPE, -1.0), r"given: -1 to -1$"),
        (np.full(SHAPE, np.nan), "given: nan to nan"),
        ([[0.5, 0.5], [0.5]], "lists of unequal lengths"),
    ],
)
def test_an_image_that_does_not_fit_is_one_sentence(bad, sentence):
    with pytest.raises(jv.InputError, match=sentence):
        jv.activations(keras_model(), bad)


def test_wrap_says_what_it_needs():
    _, _, linen, module = three_of_a_kind()
    with pytest.raises(jv.InputError, match=r"image_shape=\(32, 32, 3\)"):
        jv.wrap(module)
    with pytest.raises(jv.InputError, match="linen module keeps its weights outside"):
        jv.wrap(linen.forward.module, image_shape=SHAPE)
    with pytest.raises(jv.InputError, match="no input convention 'bgr': there are unit, raw255, caffe, torch, tf"):
        jv.wrap(module, image_shape=SHAPE, inputs="bgr")
    with pytest.raises(jv.InputError, match="given: int"):
        jv.wrap(3, image_shape=SHAPE)
    with pytest.raises(jv.InputError, match="holds its own weights"):
        jv.wrap(module, {"params": {}}, SHAPE)
    with pytest.raises(jv.InputError, match="given: the class InheritedHead itself"):
        jv.wrap(type(module.head), None, SHAPE)


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda _, x: None, "it returns no array"),
        (lambda _, x: (), "it returns no array"),
        (lambda _, x: (x, x), "must return one array .*such as output=0; given: a tuple with 0 .*, 1 "),
        (lambda _, x: x.sum(), r"output is \[\] for a batch of one image"),
        (lambda _, x: x.sum((0, 1, 2)), r"output is \[3\] for a batch of one image"),
        (lambda x: x, r"does not run on a batch of one image, \[1, 12, 12, 3\]: .*takes 1 positional argument"),
        (lambda _, x: x.reshape(7, -1), r"does not run on a batch of one image, .*reshape"),
    ],
)
def test_a_function_that_is_none_of_images(function, sentence):
    with pytest.raises(jv.InputError, match=sentence):
        jv.wrap(function, None, SHAPE)


def test_a_module_of_other_images_says_so_and_keeps_the_cause():
    _, _, linen, module = three_of_a_kind()
    for wrapped, variables in ((module, None), (linen.forward.module, linen.params), (linen.forward.module, {})):
        with pytest.raises(jv.InputError, match=r"does not run on a batch of one image, \[1, 12, 12, 4\]") as caught:
            jv.wrap(wrapped, variables, (12, 12, 4))
        assert caught.value.__cause__ is not None
    with pytest.raises(jv.InputError, match="each number of image_shape is a whole number, 1 or more; given: 0"):
        jv.wrap(module, image_shape=(0, 12, 3))


def test_shapes_are_found_once_for_each_model(monkeypatch):
    asked, find = [], jv.Model._traced_shapes
    monkeypatch.setattr(jv.Model, "_traced_shapes", lambda *args: asked.append(args) or find(*args))
    model = jv.wrap(lambda params, images: images.mean((1, 2)), {}, image_shape=(8, 8, 3))
    model.shapes().clear()  # the caller's own
    before = len(asked)
    assert model.shapes()["mean"] == (3,)
    assert len(asked) == before
    assert model.replace(image_shape=(None, None, 3)).shapes(9) == model.shapes()
    assert len(asked) > before


def test_what_is_found_in_a_program_is_forgotten_with_the_model():
    model = jv.wrap(lambda params, images: jax.nn.relu(images) @ params, jnp.ones((3, 2)), image_shape=(8, 8, 3))
    model.shapes()
    first = structure(model, model.handles, (8, 8))
    assert first is structure(model, model.handles, (8, 8))
    assert first.sights
    known = weakref.ref(model)
    del model
    gc.collect()
    assert known() is None


def spectral() -> jv.Model:
    """A network with a layer of complex numbers, `gain`, and one of whole numbers, the output."""

    def network(params, x):
        layout = ("NHWC", "HWIO", "NHWC")
        x = jax.nn.relu(jax.lax.conv_general_dilated(x, params["kernel"], (1, 1), "SAME", dimension_numbers=layout))
        x = jnp.fft.irfft2(jnp.fft.rfft2(x, axes=(1, 2)) * params["gain"], axes=(1, 2))
        return x.mean((1, 2)).argmax(-1)

    random = np.random.default_rng(0)
    real, imaginary = random.normal(size=(2, 12, 7, 4))
    gain, kernel = jnp.complex64(real + 1j * imaginary), jnp.float32(random.normal(size=(3, 3, 3, 4)))
    return jv.wrap(network, {"kernel": kernel, "gain": gain}, SHAPE)


REAL = "is of a layer of real floating-point numbers; given: "


def test_a_layer_that_is_not_real_can_only_be_read():
    model, picture = spectral(), image()
    found = jv.activations(model, picture, ["gain", "output"])
    assert found["gain"].dtype == np.complex64
    assert found["output"].dtype == np.int32

    channel, number = jv.Channel("gain", 0), jv.Neuron("output", ())
    for call in (
        lambda: jv.grad_cam(model, picture, jv.Channel("kernel", 0), layer="gain"),
        lambda: jv.eigen_cam(model, picture, jv.Channel("kernel", 0), layer="gain"),
        lambda: jv.gradient(model, picture, channel),
        lambda: jv.occlusion(model, picture, 2 * channel),
        lambda: jv.sweep(model, [channel], steps=2),
        lambda: jv.top_filters(model, picture, "gain"),
        lambda: jv.top_images(model, picture[None], "gain"),
        lambda: jv.expanded_weights(model, "gain/mean", 0, source="gain"),
        lambda: jv.plan(model, "gain"),
        lambda: jv.lrp(model, picture, lambda acts: jnp.abs(acts["gain"]).mean()),
    ):
        with pytest.raises(
            jv.InputError, match=rf"{REAL}gain, which is complex64.*before or after it; .*jnp.abs\(acts"
        ):
            call()
    for call in (
        lambda: jv.gradient(model, picture),
        lambda: jv.gradient(model, picture, number),
        lambda: jv.sweep(model, [number], steps=2),
        lambda: jv.classes(model),
    ):
        with pytest.raises(jv.InputError, match=rf"{REAL}output, which is int32. Take a layer before or after it$"):
            call()
    with pytest.raises(jv.InputError, match=r"a score is one real number.* returns complex64"):
        jv.gradient(model, picture, lambda acts: acts["gain"].mean())


def test_a_function_of_layers_that_are_not_real_is_a_target(relative):
    """It gets their own numbers: complex ones have a magnitude, and whole ones are indices."""
    model, picture = spectral(), image()
    found = jv.activations(model, picture, ["kernel", "gain", "output"])
    score = jv.gradient(model, picture, lambda acts: jnp.abs(acts["gain"]).mean()).score
    assert relative(score, np.abs(found["gain"]).mean()) < 1e-5
    score = jv.gradient(model, picture, lambda acts: acts["kernel"].mean((0, 1))[acts["output"]]).score
    assert relative(score, found["kernel"].mean((0, 1))[found["output"]]) < 1e-5

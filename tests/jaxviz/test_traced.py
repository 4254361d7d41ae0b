"""Networks that are functions, Equinox modules or Haiku functions: their layers are found in the traced program.

Law: the same weights give the same handles, maps and sweeps, in whatever library the network is written. What is not
read costs nothing: the program that runs has the operations of the author's.
"""

from collections import Counter

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import SHAPE, filled, function_network, image, images, six_of_a_kind

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


def test_an_output_that_cannot_be_read_is_refused():
    """Of the first image only, or with channels that may be on several axes."""
    with pytest.raises(jv.InputError, match=r"output cannot be read: none of its axes is that of the images"):
        jv.wrap(lambda weights, x: x[:1].mean((1, 2)) @ weights, jnp.ones((3, 4)), (8, 8, 3))

    def network(kernel, x):
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME")
        return x.reshape(len(x), 2, 2, 8, 8).sum(2)

    with pytest.raises(jv.InputError, match=r"output cannot be read: .* which of its axes has the channels"):
        jv.wrap(network, jnp.ones((4, 3, 3, 3)), (8, 8, 3), channels_first=True)


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


def weights(*shape):
    return filled(jax.ShapeDtypeStruct(shape, jnp.float32))


def convolve(params, x):
    return jax.lax.conv_general_dilated(x, params["w"], (1, 1), "SAME", None, None, ("NHWC", "HWIO", "NHWC"))


@jax.custom_jvp
def twice_tanh(x):
    return 2 * jnp.tanh(x)


twice_tanh.defjvp(lambda primals, tangents: (twice_tanh(*primals), tangents[0]))


def block(params, x):
    return x + twice_tanh(convolve(params["conv"], x) * params["scale"])


def deep(params, x):
    """A convolution in `jit`, three blocks in a `scan` of `remat`, and a head that is known by its scope."""
    x = jax.jit(convolve)(params["stem"], x)
    x, _ = jax.lax.scan(lambda x, params: (jax.checkpoint(block)(params, x), None), x, params["blocks"])
    with jax.named_scope("pooled"):
        x = x.mean((1, 2))
    return jax.nn.softmax(x @ params["head"])


DEEP = {
    "stem": {"w": weights(3, 3, 3, 4)},
    "blocks": {"conv": {"w": weights(3, 3, 3, 4, 4)}, "scale": weights(3, 4)},
    "head": weights(4, 5),
}


def test_layers_in_jit_remat_and_scan_are_read_and_edited(relative):
    model, x = jv.wrap(deep, DEEP, SHAPE), jnp.asarray(images(2))
    layers = [f"blocks[{i}]/{name}" for i in range(3) for name in ("conv", "scale", "scale/twice_tanh", "scale/add")]
    assert model.layers == ("stem", *layers, "pooled/mean", "head", "head/softmax", "output")
    assert {layer.name: layer.parameters for layer in model.table}["blocks[1]/conv"] == 144
    found = model(x, model.layers)
    y = convolve(DEEP["stem"], x)
    assert relative(found["stem"], y) < 1e-5
    for i in range(3):
        params = jax.tree.map(lambda leaf, i=i: leaf[i], DEEP["blocks"])
        product = convolve(params["conv"], y) * params["scale"]
        y = block(params, y)
        assert relative(found[f"blocks[{i}]/scale"], product) < 1e-5
        assert relative(found[f"blocks[{i}]/scale/twice_tanh"], twice_tanh(product)) < 1e-5
        assert relative(found[f"blocks[{i}]/scale/add"], y) < 1e-5
    assert relative(found["pooled/mean"], y.mean((1, 2))) < 1e-5
    assert relative(found["head"], y.mean((1, 2)) @ DEEP["head"]) < 1e-5
    edited = model(x, ["output"], {"blocks[2]/scale/add": jnp.zeros_like})["output"]
    np.testing.assert_allclose(edited, np.full((2, 5), 0.2), rtol=1e-6)
    ours = jax.grad(lambda x: model(x, ["blocks[1]/conv", "output"])["output"][:, 1].sum())(x)
    assert relative(ours, jax.grad(lambda x: deep(DEEP, x)[:, 1].sum())(x)) < 1e-4  # also of twice_tanh


def norm(x, scale):
    """Layer normalisation, written out. Its mean and its variance are no pools."""
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-6) * scale


def various(params, x):
    y = norm(jax.nn.gelu(convolve(params["layers"][0], x)), params["norm"]["scale"])
    y = jnp.maximum(convolve(params["layers"][1], y), 0)
    y = jnp.concatenate([y, convolve(params["layers"][1], y)], -1)
    y = jax.nn.silu(y)
    y = y * jax.nn.sigmoid(y.max((1, 2)) @ params["gate"])[:, None, None]
    return y.mean((1, 2)) @ params["w"] + params["b"]


def test_layers_are_known_by_what_they_do(relative):
    """Layers of a list, a normalisation, a layer that is called twice, and parameters without a module."""
    params = {
        "layers": [{"w": weights(3, 3, 3, 4)}, {"w": weights(1, 1, 4, 4)}],
        "norm": {"scale": weights(4)},
        "gate": weights(8, 8),
        "w": weights(8, 3),
        "b": weights(3),
    }
    model, x = jv.wrap(various, params, SHAPE), jnp.asarray(images(2))
    names = ("layers/0", "layers/0/gelu", "norm", "layers/1", "layers/1/relu", "layers/1#2", "layers/1/concatenate")
    last = ("layers/1/silu", "layers/1/max", "gate", "gate/sigmoid", "gate/mean", "w", "output")
    assert model.layers == (*names, *last)
    kinds = [layer.kind for layer in model.table]
    assert kinds[:4] == ["Conv", "gelu", "Scale", "Conv"]
    assert sum(layer.parameters for layer in model.table) == 108 + 4 + 16 + 64 + 24 + 3
    found = model(x, names)
    assert relative(found["layers/0/gelu"], jax.nn.gelu(found["layers/0"])) < 1e-5
    assert relative(found["norm"], norm(found["layers/0/gelu"], params["norm"]["scale"])) < 1e-5
    assert relative(found["layers/1/relu"], jax.nn.relu(convolve(params["layers"][1], found["norm"]))) < 1e-5
    assert relative(found["layers/1#2"], convolve(params["layers"][1], found["layers/1/relu"])) < 1e-5


@pytest.mark.parametrize("curve", [jax.nn.sigmoid, jnp.tanh])
def test_a_gated_linear_unit_is_no_silu(curve, relative):
    def gated(params, x):
        value, gate = jnp.split(x @ params["w"], 2, -1)
        return (value * curve(gate)).mean((1, 2))

    model = jv.wrap(gated, {"w": weights(3, 8)}, SHAPE)
    name = "w/sigmoid" if curve is jax.nn.sigmoid else "w/tanh"
    assert model.layers == ("w", name, "w/mean", "output")
    found = model(jnp.asarray(images(1)), ["w", name])
    assert relative(found[name], curve(found["w"][..., 4:])) < 1e-6


def test_a_layer_under_the_name_of_another_or_of_a_result_has_its_kind_and_parameters():
    def function(params, x):
        y = x @ params["a"]["w"]
        z = jax.nn.relu(y) @ params["a/relu"]["w"]
        return {"first": y, "scores": z.mean((1, 2))}

    model = jv.wrap(function, {"a": {"w": weights(3, 4)}, "a/relu": {"w": weights(4, 5)}}, SHAPE)
    rows = [(layer.name, layer.kind, layer.parameters) for layer in model.table]
    assert rows[:3] == [("first", "Linear", 12), ("a/relu", "relu", 0), ("a/relu#2", "Linear", 20)]
    assert [name for name, *_ in rows[3:]] == ["a/relu/mean", "scores"]


def written_out(params, x):
    """Attention in a scope, whose softmax is written out. `@` leaves out the axis of the images if it is 1 long."""
    x = x.reshape(len(x), -1, 3)
    with jax.named_scope("attention"):
        query, key, value = (x @ params[name] for name in ("query", "key", "value"))
        weights = jnp.exp(query @ key.swapaxes(-1, -2))
        x = (weights / weights.sum(-1, keepdims=True)) @ value
    return x.mean(1) @ params["head"]


def test_one_image_has_the_layers_of_two(relative):
    params = {name: weights(3, 3) for name in ("query", "key", "value", "head")}
    model, x = jv.wrap(written_out, params, (4, 4, 3)), jnp.asarray(images(2)[:, :4, :4])
    layers = ("query", "key", "value", "key/softmax", "key/mean", "head", "output")
    assert model.layers == layers
    assert [layer.name for layer in jv.wrap(written_out, params, (1, 4, 3)).table] == [*layers]
    two, one = model(x, layers), model(x[:1], layers)
    for name in layers:
        assert relative(one[name], two[name][:1]) < 1e-6, name
    assert two["query"].shape == (2, 16, 3)
    assert two["key/softmax"].shape == (2, 16, 16)


def test_a_layer_that_is_another_one_for_two_images_is_not_read():
    def joined(params, x):
        y = x @ params["w"]
        return (jax.nn.relu(y[0] if len(y) == 1 else y) @ params["head"]).reshape(len(x), -1, 2).mean(1)

    model = jv.wrap(joined, {"w": weights(3, 4), "head": weights(4, 2)}, SHAPE)
    assert model.layers == ("w", "head/mean", "output")
    with pytest.raises(jv.InputError, match="w/relu cannot be read: none of its axes is that of the images"):
        model.check_layer("w/relu")


def test_weights_that_the_function_holds_have_names_by_what_they_do():
    kernel = {"w": weights(3, 3, 3, 4)}
    model = jv.wrap(lambda _, x: jax.nn.relu(convolve(kernel, x)).mean((1, 2)), None, SHAPE)
    assert model.layers == ("conv", "relu", "mean", "output")


def test_a_layer_before_one_that_fails_is_read(models):
    for kind in TRACED:
        assert models[kind].shapes(20, ["second/relu"]) == {"second/relu": (10, 10, 6)}
        with pytest.raises(jv.InputError, match=r"20 × 20 does not fit head"):
            models[kind].shapes(20, ["head"])


def test_layers_in_a_branch_are_refused_by_name():
    def branches(params, x):
        return jax.lax.cond(
            x.sum() > 0, lambda x: convolve(params["conv"], x), lambda x: jnp.zeros((*x.shape[:3], 4)), x
        )

    model = jv.wrap(branches, {"conv": {"w": weights(3, 3, 3, 4)}}, SHAPE)
    assert model.layers == ("output",)
    with pytest.raises(jv.InputError, match="conv cannot be read: it runs inside cond"):
        model.check_layer("conv")


def test_layers_in_a_loop_of_unknown_length_are_refused_by_name():
    kernel = weights(3, 3, 3, 3)

    def loop(params, x):
        step = lambda state: (state[0] + 1, jax.nn.relu(convolve(params["conv"], state[1])))  # noqa: E731
        return jax.lax.while_loop(lambda state: state[0] < 3, step, (0, x))[1]

    model = jv.wrap(loop, {"conv": {"w": kernel}}, SHAPE)
    assert model.layers == ("output",)
    for name in ("conv", "conv/relu"):
        with pytest.raises(jv.InputError, match=f"{name} cannot be read: it runs inside while"):
            model.check_layer(name)


def test_a_part_that_is_spread_over_devices_is_one_layer():
    mesh = jax.make_mesh((1,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    place = jax.sharding.PartitionSpec("rows")

    def network(params, x):
        part = jax.shard_map(lambda x: jax.nn.relu(x - 0.5), mesh=mesh, in_specs=place, out_specs=place)
        return part(convolve(params["conv"], x)).mean((1, 2))

    model = jv.wrap(network, {"conv": {"w": weights(3, 3, 3, 4)}}, SHAPE)
    assert model.layers == ("conv", "conv/shard_map", "conv/mean", "output")
    found = jv.activations(model, image(), ["conv", "conv/shard_map"])
    np.testing.assert_allclose(found["conv/shard_map"], np.maximum(found["conv"] - 0.5, 0), atol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda _, x: x[x > 0.5],
        lambda _, x: x.mean((1, 2)) if x.sum() > 0 else x.sum((1, 2)),
        lambda _, x: np.asarray(x).mean((1, 2)),
        lambda _, x: jnp.zeros((1, int(x.sum()))),
    ],
)
def test_a_function_that_needs_the_values_of_images_is_one_sentence(function):
    with pytest.raises(
        jv.InputError, match=r"\w+Error. A shape, a branch or a conversion to NumPy depends on the values"
    ):
        jv.wrap(function, None, SHAPE)


def test_a_function_that_holds_a_traced_value_is_one_sentence():
    def score(scale):
        model = jv.wrap(lambda _, x: scale * x.mean((1, 2)), None, SHAPE)
        return model(jnp.asarray(image()))["output"].sum()

    for traced in (jax.jit(score), jax.grad(score)):
        with pytest.raises(jv.InputError, match=r"holds a value that JAX is tracing outside of it.*in `variables`"):
            traced(2.0)


def test_a_function_that_prints_prints_what_it_did(capfd):
    def printing(params, x):
        x = convolve(params, x)
        jax.debug.print("{} channels", x.shape[-1])
        return jax.nn.relu(x).mean((1, 2))

    model = jv.wrap(printing, {"w": weights(3, 3, 3, 4)}, SHAPE)
    assert model.layers == ("w", "w/relu", "w/mean", "output")
    jax.block_until_ready(model(jnp.asarray(image()))["output"])
    jax.effects_barrier()
    assert "4 channels" in capfd.readouterr().out


class TwoHeads(eqx.Module):
    weight: jax.Array

    def __call__(self, x):
        return {"scores": self.weight * x.mean((1, 2)), "pooled": x.mean((1, 2))}


def test_a_module_with_several_results_needs_the_name_of_one():
    module = TwoHeads(jnp.arange(3.0))
    haiku = hk.without_apply_rng(hk.transform(lambda x: jax.vmap(module)(jnp.moveaxis(x, -1, 1))))
    for network, variables in ((module, None), (haiku, {})):
        with pytest.raises(jv.InputError, match=r"name the one to explain, such as output='.*; given: a dict with"):
            jv.wrap(network, variables, SHAPE)
        model = jv.wrap(network, variables, SHAPE, output="scores")
        assert model.output == "scores"
        np.testing.assert_allclose(jv.predict(model, image()), np.arange(3) * image().mean((0, 1)), rtol=1e-5)


class Stateful(eqx.Module):
    """A batch normalisation with state, a dropout, and a call that needs a key."""

    convs: list
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    pool: eqx.nn.AvgPool2d
    head: eqx.nn.Linear

    def __init__(self, key):
        self.convs = [eqx.nn.Conv2d(3, 4, 3, use_bias=False, key=key)]
        self.norm = eqx.nn.BatchNorm(4, "batch", mode="batch")
        self.dropout = eqx.nn.Dropout(0.5)
        self.pool = eqx.nn.AvgPool2d(2, 2)
        self.head = eqx.nn.Linear(4, 2, use_bias=False, key=key)

    def __call__(self, x, state, key):
        x, state = self.norm(self.convs[0](x), state)
        x = self.pool(self.dropout(jax.nn.relu(x), key=jax.random.split(key)[0]))
        return self.head(x.mean((1, 2))), state


def test_an_equinox_module_with_state_runs_in_inference_mode(relative):
    module, state = eqx.nn.make_with_state(Stateful)(jax.random.key(0))
    state = filled(state)
    state = jax.tree.map(lambda leaf: jnp.abs(leaf) + 0.5 if leaf.ndim else leaf, state)
    model = jv.wrap(module, state, image_shape=SHAPE)
    names = ("convs/0", "norm", "norm/relu", "norm/avg_pool", "norm/mean", "head", "output")
    assert model.layers == names
    assert [layer.kind for layer in model.table][:2] == ["Conv2d", "BatchNorm"]
    assert [layer.parameters for layer in model.table] == [108, 8, 0, 0, 0, 8, 0]
    quiet = eqx.nn.inference_mode(module)
    x = np.moveaxis(images(2), -1, 1)
    expected = jax.vmap(lambda x: quiet(x, state, jax.random.key(1))[0])(x)
    found = model(jnp.asarray(images(2)), names)
    assert relative(found["output"], expected) < 1e-5
    assert relative(found["head"], expected) < 1e-5  # `vmap` puts the images last there
    first = jax.vmap(lambda x: quiet.norm(quiet.convs[0](x), state)[0])(x)
    assert relative(found["norm"], np.moveaxis(first, 1, -1)) < 1e-5
    assert found["norm/avg_pool"].shape == (2, 5, 5, 4)
    for variables in (None, {}):
        with pytest.raises(jv.InputError, match=r"has state, so pass it: wrap\(module, state, …\); given: .*type"):
            jv.wrap(module, variables, image_shape=SHAPE)
    with pytest.raises(jv.InputError, match=r"holds its own weights: wrap\(module, …\); given: .*type State"):
        jv.wrap(eqx.nn.Linear(3, 2, key=jax.random.key(0)), state, image_shape=SHAPE)


def test_a_haiku_function_with_state_is_called_as_its_init_was(relative):
    def function(x, is_training):
        x = jax.nn.relu(hk.BatchNorm(True, True, 0.9)(hk.Conv2D(4, 3)(x), is_training))
        x = hk.dropout(hk.next_rng_key(), 0.5, x) if is_training else x
        return hk.nets.MLP([3, 2])(x.mean((1, 2)))

    transformed = hk.transform_with_state(function)
    shapes = jax.eval_shape(lambda: transformed.init(jax.random.key(0), images(1), True))
    params, state = jax.tree.map(lambda leaf: jnp.abs(leaf) + 0.5, filled(shapes))
    model = jv.wrap(transformed, (params, state), SHAPE)
    dense = ("mlp/~/linear_0", "mlp/~/linear_0/relu", "mlp/~/linear_1", "output")
    assert model.layers == ("conv2_d", "batch_norm", "batch_norm/relu", "batch_norm/mean", *dense)
    expected = transformed.apply(params, state, None, images(2), False)[0]
    assert relative(model(jnp.asarray(images(2)))["output"], expected) < 1e-5
    drawn = jv.wrap(transformed, (params, state), SHAPE, is_training=True, rng=jax.random.key(1))
    expected = transformed.apply(params, state, jax.random.key(1), images(1), True)[0]
    assert relative(drawn(jnp.asarray(images(1)))["output"], expected) < 1e-5
    plain = hk.without_apply_rng(hk.transform(lambda x: hk.Linear(2)(x.mean((1, 2)))))
    linear = {"linear": {"w": weights(3, 2), "b": weights(2)}}
    assert jv.wrap(plain, linear, SHAPE).layers == ("mean", "linear", "output")
    for variables, needs in ((None, "params"), (params, "params")):
        with pytest.raises(jv.InputError, match=rf"pass what its init returned: wrap\(transformed, \({needs}, state\)"):
            jv.wrap(transformed, variables, SHAPE)
    with pytest.raises(jv.InputError, match="wrap\\(transformed, params, image_shape=…\\); given"):
        jv.wrap(plain, None, SHAPE)

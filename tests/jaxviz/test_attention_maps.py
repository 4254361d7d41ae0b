"""Attention: the maps of a transformer's heads as handles, rollout and relevance, and tokens as maps.

Law: an attention is what the formula says, in nnx, in linen and in a Keras file, and an edit of it changes everything
after it. Rollout and relevance are their authors' formulas in NumPy. Each CAM of a layer of tokens is the CAM of the
map that the tokens are.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import vits
from flax import nnx
from networks import filled, keras_model
from networks import image as picture

import jaxviz as jv
from jaxviz.attribution.layer_maps import last_convolution
from jaxviz.networks.keras import from_net
from jaxviz.objectives import Unit
from weights_convert import Graph, KerasNet
from weights_convert.layers import node


@pytest.fixture(scope="module")
def net() -> vits.Vit:
    return vits.module()


@pytest.fixture(scope="module")
def models() -> tuple[jv.Model, jv.Model]:
    return vits.models()


@pytest.fixture(scope="module")
def model(models) -> jv.Model:
    return models[0]


def handles(model: jv.Model) -> list[str]:
    return [name for name in model.handles if name.endswith("/attention")]


def test_attention_by_the_formula(net, models):
    for each, first in zip(models, ("blocks/0/attn/attention", "blocks_0/attn/attention"), strict=True):
        seen = jv.with_attention(each)
        assert handles(seen)[0] == first
        assert seen.handles.index(first) == seen.handles.index(first.replace("attention", "out")) - 2
        assert seen.shapes(names=[first])[first] == (2, 7, 7)
        pictures = np.stack([vits.image(0), vits.image(1)])
        found = jv.activations(seen, pictures, handles(seen))
        for one, pixels in enumerate(pictures):
            for values, expected in zip(found.values(), vits.attention_in_numpy(net, pixels), strict=True):
                np.testing.assert_allclose(values[one], expected, atol=1e-6)
        np.testing.assert_array_equal(jv.predict(seen, pictures), jv.predict(each, pictures))
        assert jv.with_attention(seen) is seen


def heads(model: jv.Model) -> list[str]:
    return [name for name in model.handles if name.endswith("/heads")]


def test_the_heads_are_the_values_by_the_attention(net, models):
    """However the network lays out the axes of its product, and of several images."""
    pictures = np.stack([vits.image(0), vits.image(1)])
    for each in models:
        seen = jv.with_attention(each)
        names = [name.replace("attention", "heads") for name in handles(seen)]
        assert heads(seen) == names
        values = [name.replace("attention", "value") for name in handles(seen)]
        found = jv.activations(seen, pictures, [*handles(seen), *names, *values])
        for name, value in zip(names, values, strict=True):
            attention = found[name.replace("heads", "attention")]
            expected = np.einsum("nhts,nshc->nhtc", attention, found[value])
            np.testing.assert_allclose(found[name], expected, atol=1e-5)
            assert found[name].shape == (2, *seen.shapes(names=[name])[name])


def test_a_head_can_be_climbed_ablated_and_explained(net, model):
    seen, pixels = jv.with_attention(model), vits.image()
    name = heads(seen)[1]
    units = jv.heads(seen, name)
    assert units == [jv.Head(name, 0), jv.Head(name, 1)]
    found = jv.sweep(seen, units, **jv.recipes.chollet(size=vits.SHAPE[:2], steps=4))
    assert (found.scores[:, -1] > found.scores[:, 0]).all()
    score = jv.gradient(model=seen, image=pixels, target=units[1]).score
    values = jv.activations(seen, pixels, name)[name]
    assert score == pytest.approx((values[1] ** 2).mean(), rel=1e-5)
    # A head that reads nothing adds nothing but the bias of the projection.
    mask = np.zeros(values.shape[:2], bool)
    mask[1] = True
    without = jv.edited(seen, jv.ablate(seen, name, places=mask))
    out = net.blocks[1].attn.out
    expected = np.asarray(values[0] @ np.asarray(out.kernel[...])[0] + np.asarray(out.bias[...]))
    layer = name.replace("heads", "out")
    np.testing.assert_allclose(jv.activations(without, pixels, layer)[layer], expected, atol=1e-5)
    with pytest.raises(jv.InputError, match=r"blocks/1/attn/heads has 2 heads, 0 to 1; given: 2"):
        jv.heads(seen, name, [2])
    for layer in ("head", "patches"):
        with pytest.raises(jv.InputError, match=rf"heads are those of a layer \[heads t c\], .*given: {layer}, \["):
            jv.heads(seen, layer)


def test_numbers_beside_an_attention_and_two_products_of_one():
    """A number on the left is no attention. Of two products, neither is all that a head reads."""

    def network(table, x):
        x = x.reshape(len(x), -1, 12)
        weights = jax.nn.softmax(x @ x.swapaxes(1, 2))
        places = jnp.einsum("nts,tsc->ntc", weights, table)
        return (0.5 * weights @ x + places + np.float32([2]) * x).mean(1)

    model = jv.wrap(network, jnp.ones((24, 24, 12)), vits.SHAPE)
    assert {*jv.with_attention(model).handles} - {*model.handles} == {"softmax/attention"}


def test_an_edited_attention_changes_what_comes_after_it(net, model):
    seen, pixels = jv.with_attention(model), vits.image()
    name = handles(seen)[0]
    own = jv.activations(seen, pixels, name)[name]
    same = jv.edited(seen, jv.ablate(seen, name, by=own))
    np.testing.assert_allclose(jv.predict(same, pixels), jv.predict(model, pixels), atol=1e-6)
    # A head that reads nothing adds nothing but the bias of the projection.
    heads = np.zeros((2, 7), bool)
    heads[1] = True
    without = jv.edited(seen, jv.ablate(seen, name, places=heads))
    value = jv.activations(model, pixels, "blocks/0/attn/value")["blocks/0/attn/value"]
    out = net.blocks[0].attn.out
    expected = np.einsum("ts,sk,kd->td", own[0], value[:, 0], np.asarray(out.kernel[...])[0]) + np.asarray(
        out.bias[...]
    )
    found = jv.activations(without, pixels, ["blocks/0/attn", "patches"])
    np.testing.assert_allclose(found["blocks/0/attn"], expected, atol=1e-5)
    np.testing.assert_array_equal(found["patches"], jv.activations(model, pixels, "patches")["patches"])


def test_rollout_by_its_formula(net, model):
    expected = np.eye(7)
    for attention in vits.attention_in_numpy(net, vits.image()):
        expected = (attention.mean(0) / 2 + np.eye(7) / 2) @ expected
    assert expected[0].sum() == pytest.approx(1)
    row = expected[0, 1:].reshape(vits.GRID)
    found = jv.attention_rollout(model, vits.image(), 2)
    assert found.score == pytest.approx(jv.predict(model, vits.image())[2], rel=1e-6)
    np.testing.assert_allclose(found.values, jax.image.resize(row, vits.SHAPE[:2], "bilinear"), atol=1e-6)
    np.testing.assert_array_equal(found.values, jv.attention_rollout(model, vits.image(), 1).values)


def logit(net, target, moves):
    """The logit of a class, as a function of what is added to the attention of each block; and the attentions."""
    pixels, found = vits.image(), []
    x = net.patches(pixels[None]).reshape(-1, vits.WIDTH)
    x = jnp.concatenate([net.start[...][0], x]) + net.places[...][0]
    for block, move in zip(net.blocks, moves, strict=True):
        y, attn = block.before(x), block.attn
        q, k, v = (
            jnp.einsum("td,dhk->htk", y, p.kernel[...]) + p.bias[...][:, None]
            for p in (attn.query, attn.key, attn.value)
        )
        attention = jax.nn.softmax(jnp.einsum("htk,hsk->hts", q, k) / 2) + move
        found.append(attention)
        x = x + jnp.einsum("hts,hsk,hkd->td", attention, v, attn.out.kernel[...]) + attn.out.bias[...]
        x = x + block.down(nnx.gelu(block.up(block.between(x))))
    return net.head(net.norm(x)[0])[target], found


def test_relevance_by_its_formula(net, models):
    still = [jnp.zeros((2, 7, 7))] * 2
    with jax.default_matmul_precision("highest"):
        explained = jax.jit(jax.value_and_grad(lambda moves: logit(net, 1, moves), has_aux=True))
        (score, attentions), gradients = explained(still)
    expected = np.eye(7)
    for attention, gradient in zip(attentions, gradients, strict=True):
        expected = expected + np.maximum(np.asarray(attention * gradient), 0).mean(0) @ expected  # equations 5 and 6
    row = np.asarray(expected)[0, 1:].reshape(vits.GRID)
    linen = models[1]
    found = jv.attention_relevance(linen, vits.image(), 1)
    assert found.score == pytest.approx(float(score), rel=1e-5)
    large = jax.image.resize(row, vits.SHAPE[:2], "bilinear")
    np.testing.assert_allclose(found.values, large, atol=1e-5 * row.max())
    batch = np.stack([vits.image(1), vits.image(0)])
    together = jv.attention_relevance(linen, batch, [2, 1], batch=1)  # the program of the single image
    np.testing.assert_array_equal(together.values[1], found.values)
    assert not np.allclose(together.values[0], found.values)


def test_a_blank_relevance_says_whether_the_score_moves(model):
    """A score of 0 does not move. The opposite of an attention is lowered by that attention, and raised by none."""
    seen = jv.with_attention(model)
    for target, reason in (
        (0 * jv.Unit("output", 0), "the score does not move"),
        (-1 * jv.L1(handles(seen)[0]), "lowers the score"),
    ):
        with pytest.warns(jv.BlankMap, match=reason):
            assert not jv.attention_relevance(seen, vits.image(), target).values.any()


CAMS = [jv.grad_cam, jv.score_cam]  # all others have the frame of the first


class Folded(nnx.Module):
    """The same network, whose first block is also read as a map `[h w c]` on the way."""

    def __init__(self, net: vits.Vit):
        self.net = net
        self.map = Identity()

    def __call__(self, x):
        net = self.net
        x = net.patches(x).reshape(len(x), -1, vits.WIDTH)
        x = jnp.concatenate([jnp.broadcast_to(net.start[...], (len(x), 1, vits.WIDTH)), x], 1) + net.places[...]
        x = net.blocks[0](x)
        folded = self.map(x[:, 1:].reshape(len(x), *vits.GRID, vits.WIDTH))
        x = jnp.concatenate([x[:, :1], folded.reshape(len(x), -1, vits.WIDTH)], 1)
        return net.head(net.norm(net.blocks[1](x))[:, 0])


class Identity(nnx.Module):
    def __call__(self, x):
        return x + 0


@pytest.mark.parametrize("cam", CAMS)
def test_a_cam_of_tokens_is_that_of_their_map(cam, net, model):
    folded = jv.wrap(Folded(net), image_shape=vits.SHAPE)
    found = cam(model, vits.image(), 3, layer="blocks/0", relu=False)
    with pytest.warns(jv.JaxvizWarning, match="is stretched over the whole image"):
        expected = cam(folded, vits.image(), 3, layer="map", relu=False)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-5 * np.abs(expected.values).max())
    assert found.values.any()


def test_the_default_layer_is_what_the_last_attention_reads(models):
    for each, name in zip(models, ("blocks/1/before", "blocks_1/before"), strict=True):
        assert last_convolution(each, Unit(each.output, 0)) == name


def test_tokens_are_drawn_as_maps(model):
    acts = jv.activations(model, vits.image(), ["patches", "blocks/1", "head"])
    maps = jv.token_maps(model, acts)
    assert [each.shape for each in maps.values()] == [(2, 3, 8), (2, 3, 8), (4,)]
    np.testing.assert_array_equal(maps["blocks/1"].reshape(6, 8), acts["blocks/1"][1:])
    batch = jv.token_maps(model, jv.activations(model, np.stack([vits.image()] * 2), "blocks/1"))
    np.testing.assert_array_equal(batch["blocks/1"][1], maps["blocks/1"])
    jv.show_activations(maps)


class Mixer(nn.Module):
    """Patches by a reshape and a dense layer, registers in front, a mean over tokens; attention written by hand."""

    front: int = 0
    known: bool = True

    @nn.compact
    def __call__(self, x):
        n, h, w, c = x.shape
        x = x.reshape(n, h // 4, 4, w // 4, 4, c)
        if not self.known:
            x = jnp.roll(x, 1, 1)
        x = nn.Dense(6, name="patches")(x.transpose(0, 1, 3, 2, 4, 5).reshape(n, h // 4 * w // 4, -1))
        if self.front:
            registers = self.param("registers", nn.initializers.zeros, (1, self.front, 6))
            x = jnp.concatenate([jnp.broadcast_to(registers, (n, self.front, 6)), x], 1)
        for number in range(2):
            x = x + Hand(name=f"hand_{number}")(x)
        return nn.Dense(3, name="head")(x.mean(1))


class Hand(nn.Module):
    @nn.compact
    def __call__(self, x):
        weights = jnp.exp(nn.Dense(6, name="query")(x) @ nn.Dense(6, name="key")(x).swapaxes(1, 2))
        return (weights / weights.sum(-1, keepdims=True)) @ nn.Dense(6, name="value")(x)


def mixer(front: int, known: bool = True) -> jv.Model:
    module = Mixer(front, known)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, *vits.SHAPE))))
    return jv.wrap(module, filled(shapes), vits.SHAPE)


def keras_vit() -> jv.Model:
    """Patches, attention and a mean over tokens, as a Keras file has them."""
    rows = [
        ("patches", "Conv2D", {"filters": 6, "kernel_size": (4, 4), "strides": (4, 4)}, "image"),
        ("rows", "Reshape", {"target_shape": (6, 6)}, "patches"),
        ("attn", "MultiHeadAttention", {"num_heads": 2, "key_dim": 3}, "rows", "rows"),
        ("add", "Add", {}, "rows", "attn"),
        ("mean", "GlobalAveragePooling1D", {}, "add"),
        ("head", "Dense", {"units": 3, "activation": "softmax"}, "mean"),
    ]
    nodes = tuple(node(name, kind, config, tuple(inputs)) for name, kind, config, *inputs in rows)
    return from_net(KerasNet(Graph.of_image(vits.SHAPE, nodes), rngs=nnx.Rngs(0)))


def test_a_transformer_from_a_keras_file():
    model, pixels = keras_vit(), vits.image()
    seen = jv.with_attention(model)
    assert handles(seen) == ["attn/attention"]
    found = jv.activations(seen, pixels, ["rows", "attn/attention"])
    weights = {name: np.asarray(weight[...]) for name, weight in model.params["layers"]["attn"].items()}
    query, key = (np.einsum("td,dhk->htk", found["rows"], weights[f"{name}_kernel"]) for name in ("query", "key"))
    expected = np.asarray(jax.nn.softmax(np.einsum("htk,hsk->hts", query, key) / np.sqrt(3)))
    np.testing.assert_allclose(found["attn/attention"], expected, atol=1e-6)
    row = (expected.mean(0) / 2 + np.eye(6) / 2).mean(0).reshape(2, 3)
    rolled = jv.attention_rollout(model, pixels, 0)
    np.testing.assert_allclose(rolled.values, jax.image.resize(row, (8, 12), "bilinear"), atol=1e-6)
    assert last_convolution(model, Unit("head/pre", 0)) == "rows"
    assert jv.token_maps(model, jv.activations(model, pixels, "add"))["add"].shape == (2, 3, 6)


@pytest.mark.parametrize("front", [0, 4])
def test_tokens_are_found_without_a_convolution(front):
    each = mixer(front)
    assert handles(jv.with_attention(each)) == ["hand_0/attention", "hand_1/attention"]
    acts = jv.activations(each, vits.image(), ["patches", "hand_1"])
    maps = jv.token_maps(each, acts)
    np.testing.assert_array_equal(maps["hand_1"].reshape(6, 6), acts["hand_1"][front:])
    found = jv.attention_rollout(each, vits.image(), 0)
    attention = jv.activations(jv.with_attention(each), vits.image(), ["hand_0/attention", "hand_1/attention"])
    first, second = (each[0] / 2 + np.eye(6 + front) / 2 for each in attention.values())
    row = (second @ first)[0] if front else (second @ first).mean(0)
    expected = jax.image.resize(row[front:].reshape(2, 3), (8, 12), "bilinear")
    np.testing.assert_allclose(found.values, expected, atol=1e-6)


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, (4, 4), (4, 4), padding="VALID", name="patches")(x).reshape(len(x), -1, 6)
        blocks = nn.scan(nn.remat(Step), variable_axes={"params": 0}, split_rngs={"params": True}, length=2)
        return nn.Dense(3, name="head")(blocks(name="blocks")(x, None)[0].mean(1))


class Step(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return x + nn.MultiHeadDotProductAttention(2, name="attn")(x), None


def test_attention_within_scan_and_remat_and_in_a_plain_function():
    module = Scanned()
    variables = filled(jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, *vits.SHAPE)))))
    scanned = jv.with_attention(jv.wrap(module, variables, vits.SHAPE))
    function = jv.with_attention(jv.wrap(lambda held, x: module.apply(held, x), variables, vits.SHAPE))
    assert handles(scanned) == ["blocks[0]/attn/attention", "blocks[1]/attn/attention"]
    assert len(handles(function)) == 2
    ours = jv.activations(scanned, vits.image(), handles(scanned)).values()
    theirs = jv.activations(function, vits.image(), handles(function)).values()
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
        np.testing.assert_allclose(one.sum(-1), 1, rtol=1e-6)
    rolled = [jv.attention_rollout(each, vits.image(), 0).values for each in (scanned, function)]
    np.testing.assert_allclose(rolled[0], rolled[1], atol=1e-6)


class Alike(nn.Module):
    """Attention of its own, beside a layer that has the name of its handle."""

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4, name="attention")(x.reshape(len(x), -1, 12))
        return (jax.nn.softmax(x @ x.swapaxes(1, 2)) @ x).mean(1)


def test_a_layer_that_has_the_name_of_an_attention():
    module = Alike()
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, *vits.SHAPE))))
    seen = jv.with_attention(jv.wrap(module, filled(shapes), vits.SHAPE))
    assert seen.handles == ("attention", "attention#2", "heads", "output")
    found = jv.activations(seen, vits.image(), ["attention", "attention#2"])
    expected = jax.nn.softmax(found["attention"] @ found["attention"].T)
    np.testing.assert_allclose(found["attention#2"][0], expected, atol=1e-6)


def test_tokens_that_are_not_found_are_given():
    each = mixer(4, known=False)
    for call in (jv.attention_rollout, lambda m, x: jv.grad_cam(m, x, layer="hand_0", relu=False)):
        with pytest.raises(jv.InputError, match=r"model.replace\(tokens=\(rows, columns"):
            call(each, vits.image())
    given = each.replace(tokens=(2, 3, 4))
    assert jv.attention_rollout(given, vits.image()).values.shape == (8, 12)
    assert jv.grad_cam(given, vits.image(), layer="hand_0", relu=False).values.shape == (8, 12)
    for wrong in ((0, 3, 4), (2, 3, -1)):
        with pytest.raises(jv.InputError, match=r"tokens.* is a whole number, [01] or more; given: (0|-1)"):
            jv.token_maps(each.replace(tokens=wrong), {"hand_0": np.zeros((10, 6), np.float32)})
    with pytest.raises(jv.InputError, match=r"how the 10 tokens of hand_0 lie in the image is not known"):
        jv.token_maps(each.replace(tokens=(3, 3, 0)), jv.activations(each, vits.image(), "hand_0"))


class Columns(nn.Module):
    """A transformer whose tokens are the patches, row by row, or in another order."""

    order: Callable
    front: int

    @nn.compact
    def __call__(self, x):
        x = self.order(nn.Conv(6, (4, 4), (4, 4), name="patches")(x)).reshape(len(x), -1, 6)
        x = nn.LayerNorm(name="rows")(jnp.concatenate([jnp.zeros((len(x), self.front, 6)), x], 1))
        x = nn.LayerNorm(name="last")(x + nn.MultiHeadDotProductAttention(2, name="attn")(x))
        return nn.Dense(2, name="head")(x.mean(1))


@pytest.mark.parametrize("front", [0, 1])
def test_tokens_in_another_order_are_not_shown_row_by_row(front):
    def wrapped(order):
        module = Columns(order, front)
        shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, *vits.SHAPE))))
        return jv.wrap(module, filled(shapes), vits.SHAPE)

    assert jv.grad_cam(wrapped(lambda x: x), vits.image(), layer="last", relu=False).values.shape == (8, 12)
    for order in (lambda x: x.swapaxes(1, 2), lambda x: x[:, ::-1], lambda x: jnp.roll(x, 1, 1)):
        for layer in ("rows", "last"):
            with pytest.raises(jv.InputError, match=r"model.replace\(tokens=\(rows, columns"):
                jv.grad_cam(wrapped(order), vits.image(), layer=layer, relu=False)


def test_a_network_without_attention():
    model = keras_model()
    assert jv.with_attention(model) is model
    # One that takes one image at a time, since an argument of its call is for one.
    alone = jv.wrap(lambda age, x: jnp.concatenate([x.mean((1, 2)), age], -1), jnp.ones((1, 2)), vits.SHAPE)
    assert jv.with_attention(alone) is alone
    with pytest.raises(jv.InputError, match="no attention before the target"):
        jv.attention_rollout(model, picture())

"""Layers inside `jit`, `remat` and `scan`.

Law: a module with these transforms has the activations, gradients and maps of the same module without them, under the
same names; a `scan` over layers has one name for each iteration. What is not asked for stays as the module wrote it.
"""

from collections import Counter

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from networks import SHAPE, filled, images

import jaxviz as jv
from jaxviz.attribution.cams import last_convolution
from jaxviz.compiling.jaxprs import bodies, nn_function
from jaxviz.compiling.marks import MARK
from jaxviz.compiling.workarounds import REMAT


def weights(module):
    return filled(jax.eval_shape(module.init, jax.random.key(0), images(1)))


class Block(nn.Module):
    pair: bool = False

    @nn.compact
    def __call__(self, x, _=None):
        y = x + nn.relu(nn.Conv(4, (3, 3), name="conv")(x))
        return (y, None) if self.pair else y


JitBlock = nn.jit(Block)
Blocks = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=2)


class Linen(nn.Module):
    lifted: bool

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), name="stem")(x)
        if self.lifted:
            x = JitBlock(name="second")(JitBlock(name="first")(x))
            x, _ = Blocks(True, name="blocks")(nn.remat(Block)(name="third")(x), None)
        else:
            for name in ("first", "second", "third", "blocks0", "blocks1"):
                x = Block(name=name)(x)
        return nn.Dense(3, name="head")(x.mean((1, 2)))


def linen_pair():
    """The module with transforms, its model, and the model of the module without them, of the same weights."""
    module = Linen(lifted=True)
    params = weights(module)["params"]  # JAX keeps this trace, which has no marks
    apart = {f"blocks{i}": jax.tree.map(lambda leaf, i=i: leaf[i], params["blocks"]) for i in range(2)}
    plain = {**{name: part for name, part in params.items() if name != "blocks"}, **apart}
    return (
        lambda x: module.apply({"params": params}, x),
        jv.wrap(module, {"params": params}, SHAPE),
        jv.wrap(Linen(lifted=False), {"params": plain}, SHAPE),
    )


class NnxBlock(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(4, 4, (3, 3), rngs=rngs)

    def __call__(self, x):
        return x + nnx.relu(self.conv(x))


class NnxJit(NnxBlock):
    @nnx.jit
    def __call__(self, x):
        return x + nnx.relu(self.conv(x))


rematted = nnx.remat(lambda block, x: block(x))


class Nnx(nnx.Module):
    def __init__(self, lifted, rngs):
        self.lifted = lifted
        self.stem = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        kind = NnxJit if lifted else NnxBlock
        self.first, self.second, self.third = kind(rngs), kind(rngs), NnxBlock(rngs)
        if lifted:
            self.blocks = nnx.vmap(NnxBlock)(rngs.split(2))
        else:
            self.blocks0, self.blocks1 = NnxBlock(rngs), NnxBlock(rngs)
        self.head = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        x = self.second(self.first(self.stem(x)))
        if self.lifted:
            x = rematted(self.third, x)
            x = nnx.scan(lambda x, block: block(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(x, self.blocks)
        else:
            x = self.blocks1(self.blocks0(self.third(x)))
        return self.head(x.mean((1, 2)))


def nnx_pair():
    lifted, plain = (nnx.eval_shape(lambda lifted=lifted: Nnx(lifted, nnx.Rngs(0))) for lifted in (True, False))
    nnx.update(lifted, filled(nnx.state(lifted, nnx.Param)))
    for name in ("stem", "first", "second", "third", "head"):
        nnx.update(getattr(plain, name), nnx.state(getattr(lifted, name)))
    for i, block in enumerate((plain.blocks0, plain.blocks1)):
        nnx.update(block, jax.tree.map(lambda leaf, i=i: leaf[i], nnx.state(lifted.blocks)))
    graphdef, state = nnx.split(lifted)
    return (
        lambda x: nnx.merge(graphdef, jax.tree.map(jnp.asarray, state))(x),
        jv.wrap(lifted, image_shape=SHAPE),
        jv.wrap(plain, image_shape=SHAPE),
    )


@pytest.mark.parametrize("pair", [linen_pair, nnx_pair], ids=["linen", "nnx"])
def test_transforms_change_no_layer(pair, relative):
    run, lifted, plain = pair()
    batch = images(2)
    # A block of linen's `scan` returns a pair, so it has no activation of its own.
    names = {name.replace("blocks[", "blocks").replace("]", ""): name for name in lifted.layers}
    assert [name for name in plain.layers if name in names] == list(names)
    assert {"first/conv", "second", "third/conv", "blocks0/conv", "blocks1/conv", "output"} <= set(names)
    counts = {layer.name: layer.parameters for layer in plain.table}
    assert {layer.name: layer.parameters for layer in lifted.table} == {names[name]: counts[name] for name in names}

    def everything(model, own):
        """All activations, and an output and its gradient while an edit doubles the first convolution of the scan."""

        def score(x, factor):
            edits = {own("blocks0/conv"): lambda a: factor * a}
            output = model(x, ["output"], edits)["output"]
            return output[:, 1].sum(), output

        def both(x):
            found = model(x, [own(name) for name in names])
            return {name: found[own(name)] for name in names}, jax.grad(score, (0, 1), has_aux=True)(x, 2.0)

        return jax.jit(both)(batch)

    ours, theirs = everything(lifted, names.get), everything(plain, str)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, theirs)
    assert relative(ours[0]["output"], jax.jit(run)(batch)) < 1e-6 < relative(ours[1][1], theirs[0]["output"])
    assert names[last_convolution(plain, jv.Unit("output", 0))] == last_convolution(lifted, jv.Unit("output", 0))
    every = jv.activations(lifted, batch[0], "blocks[:]/conv")
    assert list(every) == ["blocks[0]/conv", "blocks[1]/conv"]
    np.testing.assert_allclose(every["blocks[1]/conv"], ours[0]["blocks1/conv"][0], atol=1e-5)
    maps = jv.grad_cam(lifted, batch, 1, layer="blocks[0]/conv", relu=False).values
    assert relative(maps, jv.grad_cam(plain, batch, 1, layer="blocks0/conv", relu=False).values) < 1e-5


def test_what_is_not_asked_for_stays_as_the_module_wrote_it():
    _, model, _ = linen_pair()

    def operations(names):
        """The primitives of the traced model and of the functions in it; of `jax.nn`, the functions' names."""
        found = []

        def walk(jaxpr):
            for equation in filter(lambda each: each.outvars, jaxpr.eqns):  # flax leaves a call without outputs
                found.append(nn_function(equation) or equation.primitive.name)
                if not nn_function(equation):
                    for body in bodies(equation):
                        walk(body.jaxpr)

        walk(jax.make_jaxpr(lambda x: model(x, names))(images(2)))
        return Counter(found)

    whole, inner, first = operations(["output"]), operations(["blocks[1]/conv"]), operations(["first/conv"])
    assert (whole["scan"], whole[REMAT], whole["conv_general_dilated"], whole["relu"]) == (1, 1, 5, 4)
    assert (inner["scan"], inner["conv_general_dilated"], inner["relu"]) == (0, 6, 4)
    assert (first["scan"], first["conv_general_dilated"], first["relu"]) == (0, 2, 0)
    assert not any(each[MARK] for each in (whole, inner, first))


def test_a_module_is_traced_once_for_each_size():
    class Counted(nn.Module):
        @nn.compact
        def __call__(self, x):
            traced.append(x.shape)
            return nn.Dense(2)(nn.relu(nn.Conv(2, (3, 3), name="conv")(x)).mean((1, 2)))

    traced = []
    module = Counted()
    variables = weights(module)
    traced.clear()
    model = jv.wrap(module, variables, SHAPE)
    for names in (["conv"], ["output"], ["conv", "output"]):
        jax.eval_shape(lambda x, names=names: jax.grad(lambda x: model(x, names)[names[0]].sum())(x), images(1)[0])
    assert traced == [(1, *SHAPE)]


class Closed(nn.Module):
    """Layers in a branch, in a loop over images, and in a function with a derivative of its own."""

    @nn.compact
    def __call__(self, x):
        conv, other, last = (nn.Conv(3, (3, 3), name=name) for name in ("conv", "other", "last"))
        if self.is_initializing():
            conv(x), other(x), last(x)
        x = nn.cond(x.sum() > 0, lambda module, x: conv(x), lambda module, x: x, self, x)
        x = nn.vmap(lambda module, x: module(x), variable_axes={"params": None}, split_rngs={"params": False})(other, x)
        x = nn.custom_vjp(
            lambda module, x: module(x),
            forward_fn=lambda module, x: nn.vjp(lambda module, x: module(x), module, x),
            backward_fn=lambda back, g: jax.tree.map(lambda leaf: 2 * leaf, back(g)),
        )(last, x)
        return x.mean((1, 2))


def test_layers_that_cannot_be_read_are_refused_by_name(relative):
    module, batch = Closed(), images(2)
    variables = weights(module)
    model = jv.wrap(module, variables, SHAPE)
    assert model.layers == ("last", "output")
    assert "252 parameters" in repr(model)
    assert "other   Conv    hidden: it runs inside vmap" in str(model)
    for name, where in (("conv", "cond"), ("other", "vmap")):
        with pytest.raises(jv.InputError, match=rf"{name} cannot be read: it runs inside {where}\. .*; there are last"):
            jv.activations(model, batch, name)
    found = jax.jit(lambda x: model(x, ["last", "output"]))(batch)
    assert relative(found["last"].mean((1, 2)), found["output"]) < 1e-6
    found = jax.jit(jax.grad(lambda x: model(x)["output"][:, 1].sum()))(batch)
    own = jax.jit(jax.grad(lambda x: module.apply(variables, x)[:, 1].sum()))(batch)
    assert relative(found, own) < 1e-5  # twice the derivative of the convolution
    with pytest.raises(jv.InputError, match=r"last can be read, not edited.*a layer before or after"):
        model(jnp.asarray(batch), ["output"], {"last": jnp.zeros_like})


def test_a_layer_before_one_that_fails_is_read_and_another_is_not():
    class Sized(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.remat(Block)(name="block")(nn.Conv(4, (3, 3))(x))
            assert x.shape[1] == SHAPE[0], "the position codes are for 12 × 12"
            return nn.Dense(2, name="head")(x.mean((1, 2)))

    module = Sized()
    model = jv.wrap(module, weights(module), SHAPE)
    assert model.shapes(20, ["block/conv", "block"]) == {"block/conv": (20, 20, 4), "block": (20, 20, 4)}
    with pytest.raises(jv.InputError, match=r"20 × 20 does not fit head.*12 × 12.*the position codes") as caught:
        model.shapes(20, ["head"])
    assert isinstance(caught.value.__cause__, AssertionError)

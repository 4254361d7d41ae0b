"""Law: whatever version of JAX is installed, rewriting a traced function changes neither its values nor its gradients.

Each entry of `compiling/workarounds.py` has the test here that its docstring names. The tests run on every supported
version of JAX; where versions differ, each tests its own case.
"""

import itertools
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, struct
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

import jaxviz
from jaxviz.compiling import one_channel, one_window, rewrite, workarounds
from jaxviz.compiling.jaxprs import bind, nn_function, with_rules
from jaxviz.compiling.jit import jit
from jaxviz.compiling.workarounds import UnknownEquationError, parameters, scan_split

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
TABLE = np.arange(12, dtype=np.float32).reshape(3, 4)


def equations(function, *args):
    return jax.make_jaxpr(function)(*args).eqns


def texts(function, *args):
    return str(jax.make_jaxpr(function)(*args))


def test_only_workarounds_reads_the_parameters_of_equations():
    files = Path(jaxviz.__file__).parent.rglob("*.py")
    assert {path.name for path in files if "equation.params" in path.read_text(encoding="utf-8")} == {"workarounds.py"}


@pytest.mark.parametrize(("constants", "carried", "scanned"), list(itertools.product(range(3), repeat=3)))
def test_the_inputs_of_a_scan(constants, carried, scanned):
    def function(constants, carried, scanned):
        def body(state, items):
            total = sum([*constants, *items], start=jnp.zeros(()))
            return [value + total for value in state], total

        return lax.scan(body, carried, scanned, length=5)

    args = [[jnp.ones(())] * constants, [jnp.ones(())] * carried, [jnp.ones(5)] * scanned]
    (scan,) = [equation for equation in equations(function, *args) if equation.primitive.name == "scan"]
    assert scan_split(scan) == (constants, carried)
    assert len(scan.invars) == constants + carried + scanned
    ours, theirs = rewrite.rewrite(function)(*args), function(*args)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def unknown(equation, *inputs):
    """A rule that was written for another version of JAX."""
    return parameters(equation)["renamed"]


def test_an_unknown_parameter_is_named_with_its_primitive_and_the_version():
    (equation,) = equations(jnp.tanh, X)
    with pytest.raises(UnknownEquationError) as error:
        unknown(equation)
    for part in ("'renamed'", "tanh", jax.__version__, *equation.params):
        assert part in str(error.value)


def test_an_equation_with_unknown_parameters_runs_as_it_is():
    def function(x):
        return lax.scan(lambda state, item: (jnp.tanh(state * item), jnp.sum(state)), x, TABLE[:, None])

    rules = dict.fromkeys(("scan", "tanh", "jit"), unknown)
    jax.tree.map(np.testing.assert_array_equal, with_rules(function, rules)(X), function(X))
    assert texts(with_rules(function, rules), X) == texts(function, X)


def test_a_loop_with_unknown_parameters_is_still_rewritten_inside(monkeypatch):
    """The rule of `scan` declines, and the convolution in its body gets the fast layout all the same."""
    kernel = jnp.ones((2, 2, 3, 3)) / 9

    def function(x):  # NCHW, which XLA:CPU computes slowly
        return lax.scan(lambda x, _: (lax.conv(x, kernel, (1, 1), "SAME"), None), x, None, length=3)[0]

    def refuse(equation):
        raise UnknownEquationError("another version of JAX")

    monkeypatch.setattr(rewrite, "scan_split", refuse)
    x = jnp.ones((1, 2, 4, 4))
    assert "lhs_spec=(0, 1, 2, 3)" not in texts(rewrite.rewrite(function), x)
    np.testing.assert_allclose(rewrite.rewrite(function)(x), function(x), rtol=1e-6)


def small_network(image):
    return nn.relu(lax.conv_general_dilated(image[None], KERNEL, (1, 1), "SAME", dimension_numbers=LAYOUT))


KERNEL, LAYOUT = np.linspace(-1, 1, 3 * 3 * 3 * 5, dtype=np.float32).reshape(3, 3, 3, 5), ("NHWC", "HWIO", "NHWC")
IMAGE = jnp.asarray(np.random.default_rng(0).random((12, 12, 3), np.float32))


@pytest.mark.parametrize("primitive", ["conv_general_dilated", "custom_jvp_call", "add"])
def test_one_channel_of_an_equation_with_unknown_parameters(monkeypatch, primitive):
    def score(image):
        return small_network(image)[..., jnp.array(2)].sum()

    monkeypatch.setitem(one_channel._RULES, primitive, unknown)
    ours, theirs = (jax.value_and_grad(each)(IMAGE) for each in (one_channel.narrow(score), score))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours, theirs)


def test_one_window_of_an_equation_with_unknown_parameters(monkeypatch):
    monkeypatch.setitem(one_window._RULES, "conv_general_dilated", unknown)
    changed = IMAGE.at[2:4, 3:5].set(0)
    ours = one_window.within(small_network, IMAGE, changed, jnp.array([2, 3]), (2, 2))
    np.testing.assert_allclose(ours, small_network(changed), atol=1e-6)


def bodies():
    """A layer with an array as its constant, inside every kind of equation that has a function for a parameter."""
    table = jnp.asarray(TABLE) / 10

    def layer(x):
        return jnp.sin(x) * table

    return {
        "jit": jax.jit(layer),
        "scan": lambda x: lax.scan(lambda state, _: (layer(state), None), x, None, length=3)[0],
        "while": lambda x: lax.while_loop(lambda state: state[0] < 3, lambda s: (s[0] + 1, layer(s[1])), (0, x))[1],
        "cond": lambda x: lax.cond(x.sum() > -99, layer, lambda x: x, x),
        "remat": jax.checkpoint(layer),
        "remat of jit": jax.checkpoint(jax.jit(layer)),
        "gradient of remat": jax.grad(lambda x: jax.checkpoint(layer)(x).sum()),
    }


@pytest.mark.parametrize("name", list(bodies()))
@pytest.mark.parametrize("adds_constants", [False, True])
def test_bodies_with_constants(name, adds_constants):
    """A rule is applied in every body. If it adds constants, a body that must not have any is left as it is."""
    function, more = bodies()[name], jnp.asarray(TABLE)

    def rule(equation, x):
        (output,) = bind(equation, x)
        return [jnp.where(more > 99, 7, output) if adds_constants else jnp.where(x > 99, 7, output)]

    primitive = "cos" if name.startswith("gradient") else "sin"
    other = with_rules(function, {primitive: rule})
    refuses = adds_constants and name in ("remat", "gradient of remat")
    assert ("select_n" in texts(other, X)) == (not refuses)
    np.testing.assert_allclose(jax.jit(other)(X), function(X), rtol=1e-6)
    if name != "while":  # which has no gradient
        ours, theirs = (jax.grad(lambda x, f=f: (f(x) ** 2).sum())(X) for f in (other, function))
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@jax.custom_jvp
def with_jvp(x):
    return x * 2


with_jvp.defjvp(lambda primals, tangents: (with_jvp(*primals), 7 * tangents[0]))


@jax.custom_vjp
def with_vjp(x):
    return x * 2


with_vjp.defvjp(lambda x: (x * 2, None), lambda _, gradient: (7 * gradient,))


AGAIN = {"tanh": jnp.tanh, "qr": jnp.linalg.qr, "jit": jax.jit(jnp.sin), "jvp": with_jvp, "vjp": with_vjp}


@pytest.mark.parametrize("function", AGAIN.values(), ids=AGAIN)
def test_an_equation_runs_again(function):
    """With one result or several, and with a derivative of its own, which it keeps."""
    jaxpr = jax.make_jaxpr(function)(X)
    (equation,) = jaxpr.eqns
    found = workarounds.bind(equation, [X], dict(equation.params))
    jax.tree.map(np.testing.assert_array_equal, found, jax.tree.leaves(function(X)))
    again = jax.grad(lambda x: workarounds.bind(equation, [x], dict(equation.params))[0].sum())(X)
    np.testing.assert_allclose(again, jax.grad(lambda x: jax.tree.leaves(function(x))[0].sum())(X), rtol=1e-6)


def test_an_equation_keeps_its_metadata():
    """What a user told XLA of an operation holds in a rewritten function, also in the body of a loop."""

    def function(x):
        with set_xla_metadata(note="here"):
            return jnp.tanh(x)

    looped = rewrite.rewrite(lambda x: lax.fori_loop(0, 3, lambda _, y: function(y), x))
    for each in (rewrite.rewrite(function), looped):
        assert 'note = "here"' in jax.jit(each).lower(X).as_text()


@pytest.mark.parametrize("loop", [False, True])
def test_what_several_operations_read_is_computed_once(loop):
    """The taps of a depthwise convolution, which a LayerNorm reads three times, are multiplied once."""
    rng = np.random.default_rng(0)
    images, kernel = rng.standard_normal((1, 12, 12, 16), np.float32), rng.standard_normal((7, 7, 1, 16), np.float32)
    layout, taps = ("NHWC", "HWIO", "NHWC"), 49 * images.size

    def function(x):
        y = lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=layout, feature_group_count=kernel.shape[-1]
        )
        centred = y - y.mean(-1, keepdims=True)
        return centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-6)

    several = (
        rewrite.rewrite(lambda x: lax.fori_loop(0, 3, lambda _, y: function(y), x))
        if loop
        else rewrite.rewrite(function)
    )
    cost = jax.jit(several).lower(images).compile().cost_analysis()
    assert 2 * taps <= cost["flops"] < 3 * taps  # a product and a sum for each tap; a step of a loop is counted once
    np.testing.assert_allclose(jax.jit(rewrite.rewrite(function))(images), function(images), atol=1e-5)


def relu(x):
    return jnp.maximum(x, 0)


@pytest.mark.parametrize(
    ("function", "name"),
    [(jax.nn.relu, "relu"), (nnx.relu, "relu"), (nn.relu, "relu"), (jax.nn.relu6, "relu6"), (jax.jit(relu), "")],
)
def test_functions_of_jax_nn_are_recognised(function, name):
    (equation,) = equations(function, X)
    assert nn_function(equation) == name


def test_classes_with_the_same_fields_have_programs_of_their_own():
    """`jax.jit` alone takes one class for the other, about once in a hundred pairs."""

    def pair():
        return [struct.dataclass(type("Factor", (), {"__annotations__": {"x": Any}, "by": by})) for by in (1, 10)]

    def times(factor):
        return factor.x * factor.by

    one, ten = pair()
    assert hash(jax.tree.structure(one(1.0))) != hash(jax.tree.structure(ten(1.0)))  # what `classes_of` relies on
    traced = with_rules(times, {})
    for _ in range(100):
        jitted = jit()(times)
        for factor, by in zip(pair(), (1, 10), strict=True):
            assert float(jitted(factor(1.0))) == by
            assert float(traced(factor(1.0))) == by


def test_one_class_has_one_program():
    traces = []

    @jit()
    def function(factor):
        traces.append(factor)
        return factor.x + 1

    factor = struct.dataclass(type("Factor", (), {"__annotations__": {"x": Any}}))
    assert [float(function(factor(x))) for x in (1.0, 2.0)] == [2, 3]
    assert len(traces) == 1


def test_a_compiled_function_has_no_wrong_sums_and_keeps_nan():
    """jax#39103: with YNNPACK, jaxlib 0.10.2 returns 1065369600 on some machines, and loses NaN in a maximum."""
    matrix = jnp.ones((1024, 1024))
    norm = jit()(lambda m: jax.vmap(lambda row: jnp.sum((m @ row) ** 2))(m))
    np.testing.assert_array_equal(norm(matrix), np.full(1024, 1024.0**3))
    assert np.isnan(jit()(jnp.max)(jnp.full((8, 8), jnp.nan)))


def test_the_compiler_knows_the_options():
    options = workarounds.compiler_options()
    assert options is None or set(options) == {"xla_cpu_experimental_ynn_fusion_type"}
    assert jax.jit(lambda x: x + 1, compiler_options=options)(1) == 2


def test_a_gradient_through_python():
    """The network can be read, and a sentence says why it cannot be differentiated."""

    def network(scale, x):
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        x = jax.pure_callback(lambda x: 2 * np.asarray(x), shape, x, vmap_method="expand_dims")
        return (scale * x).mean((1, 2))

    model, image = jaxviz.wrap(network, jnp.float32(3), (8, 8, 3)), np.full((8, 8, 3), 0.25, np.float32)
    np.testing.assert_allclose(jaxviz.predict(model, image), [1.5, 1.5, 1.5], rtol=1e-6)
    assert jaxviz.occlusion(model, image, 1).values.shape == (8, 8)
    for call in (jaxviz.gradient, lambda model, *_: jaxviz.sweep(model, jaxviz.classes(model, [1]), steps=2)):
        with pytest.raises(jaxviz.InputError, match="no gradient through such a call: give it one"):
            call(model, image, 1)


def test_a_gradient_through_a_loop_of_any_length():
    def network(scale, x):
        _, x = lax.while_loop(lambda state: state[0] < 3, lambda state: (state[0] + 1, scale * state[1]), (0, x))
        return x.mean((1, 2))

    model, image = jaxviz.wrap(network, jnp.float32(2), (8, 8, 3)), np.full((8, 8, 3), 0.25, np.float32)
    np.testing.assert_allclose(jaxviz.predict(model, image), [2, 2, 2], rtol=1e-6)
    for call in (
        jaxviz.gradient,
        lambda model, *_: jaxviz.sweep(model, jaxviz.classes(model, [1]), steps=2),
        lambda model, *_: jaxviz.plan(model, "output"),
    ):
        with pytest.raises(jaxviz.InputError, match=r"no gradient through it: use lax\.scan"):
            call(model, image, 1)

"""Layer-wise relevance propagation through the operations of any network.

Law: with a small epsilon, the relevance is input × gradient of the network in which gates and divisors are constants.
So without biases it sums to the score. It is the same for every kind of module, and wherever its operations stand.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.lax import stop_gradient
from jax.sharding import SingleDeviceSharding
from networks import image, six_of_a_kind

import jaxviz as jv
from jaxviz.attribution.lrp_rules import ADDING, COMPOSITES, LINEAR, PRODUCT, SOFTMAX, Epsilon, Uniform

SHAPE = (6, 6, 3)
EXACT = {**COMPOSITES["epsilon_plus"], **dict.fromkeys((*LINEAR, *ADDING), Epsilon(1e-12)), PRODUCT: Uniform(1e-12)}
LAYOUT = ("NHWC", "HWIO", "NHWC")


def pixels() -> np.ndarray:
    return np.random.default_rng(1).random(SHAPE, np.float32)


def weights(*shapes: tuple[int, ...]) -> list[jax.Array]:
    random = np.random.default_rng(0)
    return [jnp.asarray(random.normal(0, 0.5, shape), jnp.float32) for shape in shapes]


def convolution(x, kernel, **options):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT, **options)


# Networks without biases; `fix` marks what counts as a constant.


def squeeze_and_excitation(params, x, fix):
    kernel, down, up, head = params
    x = jax.nn.relu(convolution(x, kernel))
    gate = jax.nn.sigmoid(jax.nn.relu(x.mean((1, 2)) @ down) @ up)
    return (x * fix(gate)[:, None, None]).mean((1, 2)) @ head


def layer_norm(x, scale, fix):
    centred = x - x.mean(-1, keepdims=True)
    return centred * fix(jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-6)) * scale


def transformer(params, x, fix):
    """A token of its own before the patches, as a ViT has it, which is read through `gather`."""
    patch, scale, query, key, value, up, down, head = params
    x = jax.lax.conv_general_dilated(x, patch, (2, 2), "VALID", dimension_numbers=LAYOUT).reshape(len(x), 9, -1)
    x = jnp.concatenate([x.mean(1, keepdims=True), x], 1)
    y = layer_norm(x, scale, fix)
    logits = jnp.einsum("nqc,nkc->nqk", y @ query, y @ key) / 2
    x = x + fix(jax.nn.softmax(logits)) @ (y @ value)
    x = x + jax.nn.relu(layer_norm(x, scale, fix) @ up) @ down
    return x[:, jnp.array([0, 3])].sum(1) @ head


def decoder(params, x, fix):
    """A strided and a transposed convolution, and a connection past both."""
    small, large, head = params
    y = jax.nn.relu(jax.lax.conv_general_dilated(x, small, (2, 2), "SAME", dimension_numbers=LAYOUT))
    y = jax.lax.conv_transpose(y, large, (2, 2), "SAME", dimension_numbers=LAYOUT)
    joined = jnp.concatenate([jax.nn.leaky_relu(y), x], -1)
    return jnp.einsum("nhwc,hwck->nk", joined, head)


def blocks(params, x, fix):
    """The same block, again and again, in a scan."""
    kernel, repeated, head = params

    @jax.remat
    def block(x, kernel):
        return x + jax.nn.relu(convolution(x, kernel))

    x = jax.jit(jax.nn.relu)(convolution(x, kernel))
    x, _ = jax.lax.scan(lambda x, kernel: (block(x, kernel), None), x, repeated)
    return x.max((1, 2)) @ head


def one_by_one(params, x, fix):
    """The network of `blocks` without a scan, remat or jit."""
    kernel, repeated, head = params
    x = jax.nn.relu(convolution(x, kernel))
    for each in repeated:
        x = x + jax.nn.relu(convolution(x, each))
    return x.max((1, 2)) @ head


def moves(params, x, fix):
    """Numbers that change their places only, by operations that differ between versions of JAX."""
    kernel, head = params
    x = jax.lax.with_sharding_constraint(jax.device_put(x), SingleDeviceSharding(jax.devices()[0]))
    x, y = jax.lax.optimization_barrier((convolution(x, kernel), x.mean(-1, keepdims=True)))
    first, *_, last = jnp.moveaxis(jnp.stack([x, jnp.tile(y, (1, 1, 1, 4))], 1), 2, 0)
    return jnp.einsum("nawc,awck->nk", first - 2 * jax.nn.relu(last), head)


BLOCKS = [(3, 3, 3, 4), (3, 3, 3, 4, 4), (4, 2)]
NETWORKS = {
    squeeze_and_excitation: [(3, 3, 3, 4), (4, 2), (2, 4), (4, 2)],
    transformer: [(2, 2, 3, 4), (4,), (4, 4), (4, 4), (4, 4), (4, 8), (8, 4), (4, 2)],
    decoder: [(3, 3, 3, 4), (3, 3, 4, 4), (6, 6, 7, 2)],
    blocks: BLOCKS,
    moves: [(3, 3, 3, 4), (2, 6, 4, 2)],
}


def model(network, shapes) -> jv.Model:
    return jv.wrap(lambda params, x: network(params, x, lambda value: value), weights(*shapes), SHAPE)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_relevance_is_input_times_gradient_with_constant_gates(network, relative):
    shapes, picture = NETWORKS[network], pixels()
    found = jv.lrp(model(network, shapes), picture, 1, composite=EXACT)

    def score(x):
        return network(weights(*shapes), x[None], stop_gradient)[0, 1]

    assert relative(found.score, score(picture)) < 1e-5
    assert relative(found.values, picture * jax.grad(score)(picture)) < 1e-3
    np.testing.assert_allclose(found.values.sum(), found.score, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", [squeeze_and_excitation, blocks], ids=lambda network: network.__name__)
def test_relevance_is_conserved(network):
    found = jv.lrp(model(network, NETWORKS[network]), pixels(), 1)
    np.testing.assert_allclose(found.values.sum(), found.score, rtol=1e-4)


@pytest.mark.parametrize("function", ["silu", "gelu", "hard_silu", "leaky_relu", "mish", "elu", "softplus"])
def test_an_activation_function_passes_relevance_on(function, relative):
    """However it is written: with products and choices of values before and after a bias, of which one takes all."""
    kernel, bias, head = params = weights((6, 6, 3, 5), (5,), (5, 2))

    def network(params, x):
        kernel, bias, head = params
        return getattr(jax.nn, function)(jnp.einsum("nhwc,hwck->nk", x, kernel) + bias) @ head

    picture = pixels()
    found = jv.lrp(jv.wrap(network, params, SHAPE), picture, 0, composite=EXACT)
    x, kernel, bias, head = (np.asarray(each, np.float64) for each in (picture, kernel, bias, head))
    parts = x[..., None] * kernel
    z = parts.sum((0, 1, 2)) + bias
    after = np.asarray(getattr(jax.nn, function)(z), np.float64)
    assert relative(found.values, (parts / z * after * head[:, 0]).sum(-1)) < 1e-4


@pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon_gamma_box"])
def test_every_way_of_writing_a_network_has_the_same_relevance(composite, relative):
    wanted, *others = (jv.lrp(each, image(), 2, composite=composite).values for each in six_of_a_kind().values())
    assert len(others) == 5
    for found in others:
        assert relative(found, wanted) < 1e-4


@pytest.mark.parametrize("method", ["lrp", "guided_gradient", "deconvnet"])
def test_a_loop_over_layers_is_its_layers(method, relative):
    looped, plain = (getattr(jv, method)(model(each, BLOCKS), pixels(), 1).values for each in (blocks, one_by_one))
    assert relative(looped, plain) < 1e-4


def test_the_rules_of_attnlrp(relative):
    """Achtibat et al. 2024: each factor of a product has half of its relevance, and a softmax passes on eq. 13."""
    query, key, value, head = params = weights((4, 4), (4, 4), (4, 4), (4, 2))

    def attention(params, x, fix):
        logits = jnp.einsum("nqc,nkc->nqk", x @ params[0], x @ params[1])
        return (jax.nn.softmax(logits) @ (x @ params[2])).sum(1) @ params[3]

    tokens = np.random.default_rng(2).random((5, 4), np.float32)
    rules = {**EXACT, SOFTMAX: Epsilon(1e-12)}
    network = jv.wrap(lambda params, x: attention(params, x, None), params, tokens.shape)
    found = jv.lrp(network, tokens, 0, composite=rules)

    x, query, key, value, head = (np.asarray(each, np.float64) for each in (tokens, query, key, value, head))
    q, k, v = x @ query, x @ key, x @ value
    weighed = np.exp(q @ k.T)
    weighed /= weighed.sum(-1, keepdims=True)
    out = weighed @ v
    r = out * head[:, 0]
    half = r / (2 * out)
    r_weights, r_values = weighed * (half @ v.T), v * (weighed.T @ half)
    r_logits = q @ k.T * (r_weights - weighed * r_weights.sum(-1, keepdims=True))
    half = r_logits / (2 * (q @ k.T))
    r_q, r_k = q * (half @ k), k * (half.T @ q)
    wanted = sum(x * ((r / z) @ w.T) for r, z, w in ((r_q, q, query), (r_k, k, key), (r_values, v, value)))
    assert relative(found.values, wanted) < 1e-4


def test_an_operation_without_a_rule_is_named_with_its_place():
    def network(params, x):
        with jax.named_scope("strange"):
            x = jnp.cumprod(x.sum((2, 3)), 1)
        return x @ params

    with pytest.raises(jv.InputError, match="no rule for the operation cumprod in strange"):
        jv.lrp(jv.wrap(network, weights((6, 2))[0], SHAPE), pixels(), 1)


def filtered(params, x):
    return jnp.fft.irfft2(jnp.fft.rfft2(x, axes=(1, 2)) * params, axes=(1, 2))


def filtered_by_an_operator_of_complex_numbers(params, x):
    return jnp.fft.ifft2(jnp.fft.fft2(x, axes=(1, 2)) * 2, axes=(1, 2)).real


def in_bits(params, x):
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    return jax.lax.bitcast_convert_type(bits ^ jnp.uint32(1 << 31), jnp.float32)


def turned(params, x):
    return (x.astype(jnp.complex64) * params[:, :1]).real


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (filtered, "fft"),
        (filtered_by_an_operator_of_complex_numbers, "fft"),
        (in_bits, "bitcast_convert_type"),
        (turned, "mul of complex64"),
        (lambda params, x: abs(jax.lax.complex(x, x)), "complex"),
    ],
)
def test_no_rule_reads_complex_numbers_or_bits(function, name):
    """They carry the signal nevertheless, so the operation that makes or changes them is named."""

    def network(params, x):
        return function(params[1], jax.nn.relu(convolution(x, params[0]))).mean((1, 2))

    kernel, real, imaginary = weights((3, 3, 3, 4), (6, 4, 4), (6, 4, 4))
    model = jv.wrap(network, [kernel, jax.lax.complex(real, imaginary)], SHAPE)
    with pytest.raises(jv.InputError, match=f"no rule for the operation {name} in "):
        jv.lrp(model, pixels(), 1)


def test_an_operation_without_a_rule_is_named_in_a_layer_of_a_class():
    class Spectrum(nn.Module):
        def __call__(self, x):
            return jnp.fft.rfft(x, axis=1).real.mean((1, 2))

    module = nn.Sequential([Spectrum(), nn.Dense(3)])
    model = jv.wrap(module, module.init(jax.random.key(0), pixels()[None]), SHAPE)
    with pytest.raises(jv.InputError, match=f"no rule for the operation fft in {model.layers[0]}:"):
        jv.lrp(model, pixels(), 1)


def test_a_sign_is_a_constant_however_it_is_read(relative):
    """`jnp.copysign` looks at the bits of its second argument."""

    def network(kernel, x, copysign=jnp.copysign):
        return copysign(convolution(x, kernel), x.mean(-1, keepdims=True) - 0.5).mean((1, 2))

    def by_hand(x, sign):
        return jnp.where((x < 0) != (sign < 0), -x, x)

    (kernel,) = weights((3, 3, 3, 4))
    found = jv.lrp(jv.wrap(network, kernel, SHAPE), pixels(), 1)
    wanted = jv.lrp(jv.wrap(lambda kernel, x: network(kernel, x, by_hand), kernel, SHAPE), pixels(), 1)
    assert np.abs(found.values).max() > 0
    assert relative(found.values, wanted.values) < 1e-5


def test_softmax_written_by_hand_is_one():
    def network(params, x):
        x = jnp.exp(x.sum((1, 2)) @ params)
        return x / x.sum(-1, keepdims=True)

    with pytest.raises(jv.InputError, match="softmax mixes all classes"):
        jv.lrp(jv.wrap(network, weights((3, 2))[0], SHAPE), pixels(), 1)


def test_a_rule_for_a_layer_is_found_by_its_name(relative):
    """In a network that has no modules, too."""
    models = six_of_a_kind()
    wanted, found = (
        jv.lrp(models[kind], image(), 2, composite={**COMPOSITES["epsilon_plus"], "second": Epsilon(0.1)}).values
        for kind in ("keras", "function")
    )
    assert relative(found, wanted) < 1e-4
    assert relative(found, jv.lrp(models["keras"], image(), 2).values) > 1e-2

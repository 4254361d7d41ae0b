"""A vision transformer of transformers, read from the file that it saves, against PyTorch and captum.

Laws: the same weights give the same class scores, attention of each head, gradient, input × gradient and integrated
gradients. Rollout and relevance are those of their authors' formulas, on PyTorch's attentions and on their gradients by
PyTorch.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxviz as jv

pytestmark = [pytest.mark.zoo, pytest.mark.filterwarnings("ignore")]

SIZE, PATCH, HEADS, CLASS = 32, 8, 4, 1
TOKENS = (SIZE // PATCH) ** 2


def dense(held, x):
    return x @ held["weight"].T + held["bias"]


def normalised(held, x):
    x = x - x.mean(-1, keepdims=True)
    return x / jnp.sqrt((x**2).mean(-1, keepdims=True) + 1e-12) * held["weight"] + held["bias"]


def attended(held, x):
    split = (dense(held["attention"][name], x) for name in ("query", "key", "value"))
    query, key, value = (each.reshape(*x.shape[:2], HEADS, -1) for each in split)
    weights = jax.nn.softmax(jnp.einsum("nthc,nshc->nhts", query, key) / np.sqrt(query.shape[-1]))
    return dense(held["output"]["dense"], jnp.einsum("nhts,nshc->nthc", weights, value).reshape(x.shape))


def network(held, x):
    """The network that transformers has as ViTForImageClassification, over the tree of its parameters."""
    vit, kernel = held["vit"], held["vit"]["embeddings"]["patch_embeddings"]["projection"]
    x = jax.lax.conv_general_dilated(
        x, kernel["weight"], (PATCH, PATCH), "VALID", dimension_numbers=("NHWC", "OIHW", "NHWC")
    )
    x = (x + kernel["bias"]).reshape(len(x), TOKENS, -1)
    token = jnp.broadcast_to(vit["embeddings"]["cls_token"], (len(x), 1, x.shape[-1]))
    x = jnp.concatenate([token, x], 1) + vit["embeddings"]["position_embeddings"]
    for block in vit["encoder"]["layer"].values():
        x = x + attended(block["attention"], normalised(block["layernorm_before"], x))
        inner = dense(block["intermediate"]["dense"], normalised(block["layernorm_after"], x))
        x = x + dense(block["output"]["dense"], jax.nn.gelu(inner, approximate=False))
    return dense(held["classifier"], normalised(vit["layernorm"], x)[:, 0])


@pytest.fixture(scope="module")
def theirs():
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=HEADS,
        intermediate_size=48,
        image_size=SIZE,
        patch_size=PATCH,
        num_labels=5,
        initializer_range=0.3,
        attn_implementation="eager",  # the others do not return their attention
    )
    return ViTForImageClassification(config).eval()


@pytest.fixture(scope="module")
def model(theirs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    theirs.save_pretrained(folder)
    return jv.wrap(network, folder, (SIZE, SIZE, 3))


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).random((SIZE, SIZE, 3), np.float32)


def in_torch(image):
    import torch

    return torch.tensor(image.transpose(2, 0, 1)[None])


def shown(values):
    """A value for each patch, at the size of the image."""
    return np.asarray(jax.image.resize(values.reshape(SIZE // PATCH, -1), (SIZE, SIZE), "bilinear"))


def test_scores_and_attentions(theirs, model, image):
    expected = theirs(in_torch(image), output_attentions=True)
    np.testing.assert_allclose(jv.predict(model, image), expected.logits[0].detach(), atol=1e-5)
    seen = jv.with_attention(model)
    names = [name for name in seen.handles if name.endswith("/attention")]
    assert len(names) == len(expected.attentions) == 3
    found = jv.activations(seen, image, names)
    for ours, attention in zip(found.values(), expected.attentions, strict=True):
        np.testing.assert_allclose(ours, attention[0].detach(), atol=1e-6)


def test_rollout_and_relevance(theirs, model, image):
    found = theirs(in_torch(image), output_attentions=True)
    for attention in found.attentions:
        attention.retain_grad()
    found.logits[0, CLASS].backward()
    rolled = related = np.eye(TOKENS + 1)
    for attention in found.attentions:
        weights, gradient = (each[0].detach().numpy() for each in (attention, attention.grad))
        rolled = (weights.mean(0) + np.eye(TOKENS + 1)) / 2 @ rolled
        related = related + np.maximum(weights * gradient, 0).mean(0) @ related
    for method, rows in ((jv.attention_rollout, rolled), (jv.attention_relevance, related)):
        np.testing.assert_allclose(method(model, image, CLASS).values, shown(rows[0, 1:]), rtol=1e-4, atol=1e-6)


def test_gradients_against_captum(theirs, model, image, relative):
    from captum import attr

    def scores(images):
        return theirs(images).logits

    x = in_torch(image)
    ways = [
        (attr.Saliency(scores).attribute(x, CLASS, abs=False), jv.gradient),
        (attr.InputXGradient(scores).attribute(x, CLASS), jv.input_x_gradient),
    ]
    for expected, method in ways:
        assert relative(method(model, image, CLASS).values, expected[0].detach().numpy().transpose(1, 2, 0)) < 1e-4
    expected = attr.IntegratedGradients(scores).attribute(x, target=CLASS, n_steps=20)[0]
    found = jv.integrated_gradients(model, image, CLASS, steps=20).values
    assert relative(found, expected.detach().numpy().transpose(1, 2, 0)) < 1e-4

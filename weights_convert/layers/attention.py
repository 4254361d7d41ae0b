"""Attention: each place of a sequence reads all others, with weights that depend on both. And tables of embeddings."""

from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from . import options as o
from .kind import Config, Kind, Shape, Weighted, kernel, length, ones, training, zeros
from .options import Option

Weights = dict[str, Any]


def _multi_head(config: Config, shapes: Sequence[Shape], rngs: nnx.Rngs) -> nnx.Module:
    query, value = shapes[:2]
    key = shapes[2] if len(shapes) > 2 else value
    heads, size, bias = config["num_heads"], config["key_dim"], config["use_bias"]
    outer = config["value_dim"] or size
    width = config["output_shape"] or length(query)
    return Weighted(
        _run_multi_head,
        config,
        query_kernel=kernel(rngs, length(query), heads, size),
        query_bias=zeros(heads, size, wanted=bias),
        key_kernel=kernel(rngs, length(key), heads, size),
        key_bias=zeros(heads, size, wanted=bias),
        value_kernel=kernel(rngs, length(value), heads, outer),
        value_bias=zeros(heads, outer, wanted=bias),
        output_kernel=kernel(rngs, heads, outer, width),
        output_bias=zeros(width, wanted=bias),
    )


def _run_multi_head(config: Config, weights: Weights, *xs: Array) -> tuple[Array, Array]:
    """(the output [n t… d], the attention [n … heads t… s…]); Vaswani et al. 2017, section 3.2.2."""
    given = {"query": xs[0], "key": xs[-1], "value": xs[1]}  # without a key, the value is the key
    rank = xs[0].ndim
    axes = config["attention_axes"] or range(1, rank - 1)
    along = [axis % rank for axis in axes]
    others = [axis for axis in range(1, rank - 1) if axis not in along]
    order = (0, *others, rank - 1, *along, rank)  # of [n … heads size]

    def projected(name: str) -> Array:
        """[n others heads places size]."""
        x = jnp.einsum("...d,dhk->...hk", given[name], weights[f"{name}_kernel"])
        x = x if weights[f"{name}_bias"] is None else x + weights[f"{name}_bias"]
        x = x.transpose(order)
        places = 2 + len(others)
        return x.reshape(x.shape[0], -1, x.shape[places - 1], prod(x.shape[places:-1]), x.shape[-1])

    query, key, value = (projected(name) for name in ("query", "key", "value"))
    scores = jnp.einsum("nohtk,nohsk->nohts", query * config["key_dim"] ** -0.5, key)
    if config["use_causal_mask"]:
        if rank != 3:
            raise ValueError("a causal mask is for sequences [n t features]")
        scores = _causal(scores)
    attention = jax.nn.softmax(scores)
    x = jnp.einsum("nohts,nohsv->nohtv", attention, value)
    shape = xs[0].shape
    lengths = [[each.shape[axis] for axis in along] for each in (xs[0], xs[1])]
    kept = [shape[axis] for axis in others]
    x = x.reshape(shape[0], *kept, x.shape[2], *lengths[0], x.shape[-1])
    back = [order.index(axis) for axis in range(rank + 1)]
    x = jnp.einsum("...hv,hvd->...d", x.transpose(back), weights["output_kernel"])
    x = x if weights["output_bias"] is None else x + weights["output_bias"]
    return x, attention.reshape(shape[0], *kept, attention.shape[2], *lengths[0], *lengths[1])


def _causal(scores: Array) -> Array:
    """The scores [… t s], so low after the diagonal that a softmax gives 0 there: no place reads a later one."""
    return jnp.where(jnp.tri(scores.shape[-2], scores.shape[-1], dtype=bool), scores, scores - 1e9)


def _attention(config: Config, shapes: Sequence[Shape], rngs: nnx.Rngs) -> nnx.Module:
    concat = config["score_mode"] == "concat"
    return Weighted(
        _run_attention,
        config,
        scale=ones(wanted=config["use_scale"]),
        concat_score_weight=ones(wanted=concat),
    )


def _run_attention(config: Config, weights: Weights, *xs: Array) -> tuple[Array, Array]:
    query, key, scale = xs[0], xs[-1], 1.0 if weights["scale"] is None else weights["scale"]
    if config["score_mode"] == "dot":
        scores = scale * (query @ jnp.swapaxes(key, -1, -2))
    else:
        pairs = query[..., :, None, :] + key[..., None, :, :]
        scores = weights["concat_score_weight"] * jnp.tanh(scale * pairs).sum(-1)
    return _weighted(config, scores, xs[1])


def _additive(config: Config, shapes: Sequence[Shape], rngs: nnx.Rngs) -> nnx.Module:
    return Weighted(_run_additive, config, scale=ones(length(shapes[0]), wanted=config["use_scale"]))


def _run_additive(config: Config, weights: Weights, *xs: Array) -> tuple[Array, Array]:
    """Bahdanau et al. 2014."""
    pairs = jnp.tanh(xs[0][..., :, None, :] + xs[-1][..., None, :, :])
    scores = (pairs if weights["scale"] is None else weights["scale"] * pairs).sum(-1)
    return _weighted(config, scores, xs[1])


def _weighted(config: Config, scores: Array, value: Array) -> tuple[Array, Array]:
    attention = jax.nn.softmax(_causal(scores) if config["use_causal_mask"] else scores)
    return attention @ value, attention


def _embedding(config: Config, shape: Shape, rngs: nnx.Rngs) -> nnx.Module:
    return Weighted(_run_embedding, config, embeddings=kernel(rngs, config["input_dim"], config["output_dim"]))


def _run_embedding(config: Config, weights: Weights, x: Array) -> Array:
    return jnp.take(weights["embeddings"], x.astype(jnp.int32), axis=0, mode="fill")  # NaN outside of the table


def _width(value: object) -> int:
    """The reader of the number of features that a MultiHeadAttention returns."""
    return o.size(value[0] if isinstance(value, list | tuple) and len(value) == 1 else value)


CALLED = ("use_causal_mask", "return_attention_scores")
CALL = {"use_causal_mask": Option(o.flag, False), "return_attention_scores": Option(o.flag, False)}
OUTPUT = {"output": Option(o.margin, 0)}
PARTS = {"query": "query_dense", "key": "key_dense", "value": "value_dense", "attention_output": "output_dense"}

KINDS: dict[str, Kind] = {
    "MultiHeadAttention": Kind(
        {
            "num_heads": Option(o.size),
            "key_dim": Option(o.size),
            "value_dim": Option(o.optional(o.size), None),
            "use_bias": Option(o.flag, True),
            "output_shape": Option(o.optional(_width), None),
            "attention_axes": Option(o.optional(o.axes), None),
            "use_gate": Option(o.off, False),
            "arguments": Option(o.tensors(2, 3), (None, None)),
            **CALL,
            **OUTPUT,
        },
        module=_multi_head,
        weights={
            f"{part}/{weight}": f"{name}_{weight}"
            for part, name in (("query", "query"), ("key", "key"), ("value", "value"), ("attention_output", "output"))
            for weight in ("kernel", "bias")
        },
        # Keras 2 repeats shapes; its masks are of another sort if they are robust, and there are none here.
        harmless=training("kernel", "bias")
        | {"seed", "flash_attention", "query_shape", "key_shape", "value_shape", "softmax_robust_masking"},
        training={"dropout": None},
        operands=("query", "value", "key"),
        called=CALLED,
        several=True,
        parts=PARTS,
    ),
    "Attention": Kind(
        {
            "use_scale": Option(o.flag, False),
            "score_mode": Option(o.one_of("dot", "concat"), "dot"),
            **CALL,
            **OUTPUT,
        },
        module=_attention,
        weights={"scale": "scale", "concat_score_weight": "concat_score_weight"},
        harmless=frozenset({"seed"}),
        training={"dropout": None},
        called=CALLED,
        several=True,
    ),
    "AdditiveAttention": Kind(
        {"use_scale": Option(o.flag, True), **CALL, **OUTPUT},
        module=_additive,
        weights={"scale": "scale"},
        harmless=frozenset({"seed"}),
        training={"dropout": None},
        called=CALLED,
        several=True,
    ),
    "Embedding": Kind(
        {"input_dim": Option(o.size), "output_dim": Option(o.size), "mask_zero": Option(o.off, False)},
        module=_embedding,
        weights={"embeddings": "embeddings"},
        harmless=training("embeddings") | {"input_length", "lora_rank"},
    ),
}

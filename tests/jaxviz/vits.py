"""A small vision transformer for other tests; there is no test here.

It is written in nnx and in linen, with the same weights. Images are 8 × 12 pixels, patches 4 × 4, so the tokens are 2
rows of 3, after one class token.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import nnx
from networks import filled

import jaxviz as jv

SHAPE = (8, 12, 3)
GRID = (2, 3)
WIDTH, HEADS, DEPTH, CLASSES = 8, 2, 2, 4


class Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.before = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.attn = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
        self.between = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.up = nnx.Linear(WIDTH, 16, rngs=rngs)
        self.down = nnx.Linear(16, WIDTH, rngs=rngs)

    def __call__(self, x):
        x = x + self.attn(self.before(x))
        return x + self.down(nnx.gelu(self.up(self.between(x))))


class Vit(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.patches = nnx.Conv(3, WIDTH, (4, 4), (4, 4), padding="VALID", rngs=rngs)
        self.start = nnx.Param(jnp.zeros((1, 1, WIDTH)))
        self.places = nnx.Param(jnp.zeros((1, 7, WIDTH)))
        self.blocks = nnx.List([Block(rngs) for _ in range(DEPTH)])
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, CLASSES, rngs=rngs)

    def __call__(self, x):
        x = self.patches(x).reshape(len(x), -1, WIDTH)
        x = jnp.concatenate([jnp.broadcast_to(self.start[...], (len(x), 1, WIDTH)), x], 1) + self.places[...]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def module() -> Vit:
    graph, state = nnx.split(nnx.eval_shape(lambda: Vit(nnx.Rngs(0))))
    return nnx.merge(graph, filled(state))


class LinenBlock(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x + nn.MultiHeadDotProductAttention(HEADS, name="attn")(nn.LayerNorm(name="before")(x))
        y = nn.gelu(nn.Dense(16, name="up")(nn.LayerNorm(name="between")(x)))
        return x + nn.Dense(WIDTH, name="down")(y)


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(WIDTH, (4, 4), (4, 4), padding="VALID", name="patches")(x).reshape(len(x), -1, WIDTH)
        start = self.param("start", nn.initializers.zeros, (1, 1, WIDTH))
        places = self.param("places", nn.initializers.zeros, (1, 7, WIDTH))
        x = jnp.concatenate([jnp.broadcast_to(start, (len(x), 1, WIDTH)), x], 1) + places
        for number in range(DEPTH):
            x = LinenBlock(name=f"blocks_{number}")(x)
        return nn.Dense(CLASSES, name="head")(nn.LayerNorm(name="norm")(x)[:, 0])


def variables(module: Vit) -> dict:
    """The weights of the nnx module as linen has them."""
    pure = nnx.to_pure_dict(nnx.state(module, nnx.Param))
    blocks = pure.pop("blocks")
    return {"params": {**pure, **{f"blocks_{number}": block for number, block in blocks.items()}}}


def models() -> tuple[jv.Model, jv.Model]:
    """The network as a model of the nnx module and of the linen module."""
    net = module()
    return jv.wrap(net, image_shape=SHAPE), jv.wrap(Linen(), variables(net), SHAPE)


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(SHAPE, np.float32)


def attention_in_numpy(net: Vit, pixels: np.ndarray) -> list[np.ndarray]:
    """The attention `[heads t s]` of each block for one image, by the formula."""
    x = np.asarray(net.patches(pixels[None])).reshape(-1, WIDTH)
    x = np.concatenate([np.asarray(net.start[...])[0], x]) + np.asarray(net.places[...])[0]
    found = []
    for block in net.blocks:
        y = np.asarray(block.before(x))
        query, key = (
            np.einsum("td,dhk->htk", y, np.asarray(part.kernel[...])) + np.asarray(part.bias[...])[:, None]
            for part in (block.attn.query, block.attn.key)
        )
        weights = np.exp(np.einsum("htk,hsk->hts", query, key, dtype=np.float64) / np.sqrt(WIDTH // HEADS))
        found.append(weights / weights.sum(-1, keepdims=True))
        x = np.asarray(block(x[None]))[0]
    return found

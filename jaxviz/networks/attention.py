"""The attentions of a network as handles: its weights, `layer/attention`, and what each head reads, `layer/heads`.

    with_attention(model) -> the model with both handles for each attention

Law: an attention `[heads t s]` is what the layer computes: token t reads token s with this weight, and each row adds up
to 1. The heads `[heads t c]` are the sums over s of the values, each times its weight. An edit changes everything after
it. A forward pass that asks for none of them is the one that it was.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxviz.compiling.attention import VALUE, Attention, Place, attentions, run_seen
from jaxviz.compiling.jit import jit
from jaxviz.compiling.workarounds import ClosedJaxpr
from jaxviz.model import Activations, Edits, Forward, Model
from jaxviz.structure import dependent, handle_at

__all__ = ["with_attention"]

ATTENTION, HEADS = "attention", "heads"  # the last parts of the names of handles


def with_attention(model: Model) -> Model:
    """The model with two handles for each of its attentions: `block/attn/attention` and `block/attn/heads`.

    The first has shape `[heads t s]`: token t reads token s with this weight. The second has shape `[heads t c]`: what
    each head reads, the sum of the values, each times its weight, before a dense layer joins the heads. The handles are
    found in the traced network, whoever wrote it, and can be read, edited and explained as any other; `jv.heads` makes
    objectives of the second. A model that has no attention stays as it is.

        seen = jv.with_attention(model)
        jv.activations(seen, image, "block_11/attn/attention")
        jv.sweep(seen, jv.heads(seen, "block_11/attn/heads"))

    There is no `heads` where the network joins the axes of images and heads before it weighs the values, or weighs
    several values by the same attention. Attention in windows of the image has another leading axis than the images,
    and is left out; so is what runs within `cond` or `while`, and within a `scan` whose layers have no handles.
    """
    if isinstance(model.forward, AttentionForward):
        return model
    handles = tuple(dict.fromkeys((*model.handles, *model.outputs)))
    one = _trace(model, 1, handles)
    found = attentions(one)
    if not found:
        return model
    others = attentions(_trace(model, 2, handles))  # the axis that is longer for two images is the batch axis
    if [(each.stack, len(each.shape)) for each in found] != [(each.stack, len(each.shape)) for each in others]:
        return model
    seen: list[Seen] = []
    order = list(model.handles)
    variables = dict(zip(sorted(handles), one.jaxpr.outvars, strict=True))
    parts = _parts(found, handles)
    for each, other in zip(found, others, strict=True):
        rank = len(each.shape)
        grown = [axis for axis, (n, m) in enumerate(zip(each.shape, other.shape, strict=True)) if n != m]
        if len(grown) != 1 or grown[0] > rank - 3 or each.shape[grown[0]] != 1 or each.axis != rank - 1:
            continue
        (batch,) = grown
        after, end = (
            dependent(one.jaxpr.eqns, one.jaxpr.eqns[place[0]].outvars, variables)
            for place in (each.place, each.product)
        )
        until = next((handle for handle in order if handle in end), model.output)
        for place, later in ((each.place, after), (each.product, end)):
            name, word, _ = parts[place]
            if _laid(each, word, batch) and _laid(other, word, batch):
                order.insert(next(at for at, handle in enumerate(order) if handle in {*later, model.output}), name)
                seen.append(Seen(name, until, batch))
    if not seen:
        return model
    return replace(model, forward=AttentionForward(model.forward, tuple(seen), handles), handles=tuple(order))


def _trace(model: Model, count: int, handles: tuple[str, ...]) -> ClosedJaxpr:
    images = jax.ShapeDtypeStruct((count, *model.image_size()), jnp.float32)
    return _whole.trace(replace(model, interventions=()), images, names=handles).jaxpr


@jit(static=("names",))
def _whole(model: Model, images: jax.Array, names: tuple[str, ...]) -> Activations:
    """Traced, never run."""
    return model(images, names)


def _parts(found: list[Attention], handles: tuple[str, ...]) -> dict[Place, tuple[str, str, Attention]]:
    """{place: (name, ATTENTION or HEADS, the attention)} of attentions and of their heads.

    A name has the module that they are in, and their number in one module.
    """
    paths = [handle.split("/") for handle in handles]
    modules = {"/".join(each[:count]) for each in paths for count in range(1, len(each) + 1)}  # also those without one
    calls = Counter(handles)
    parts = {}
    for each in found:
        for place, word in ((each.place, ATTENTION), (each.product, HEADS)):
            name = "/".join(filter(None, (handle_at(each.stack, modules), word)))
            calls[name] += 1
            parts[place] = name if calls[name] == 1 else f"{name}#{calls[name]}", word, each
    return parts


def _laid(attention: Attention, word: str, batch: int) -> tuple[int, tuple[int, ...]] | None:
    """How the value of an attention or its heads becomes `[n heads t …]`; None if that is not known.

    Returns:
        The number of axes to put in front, since axes of length 1 may be left out; and then the order of all axes.
    """
    tokens = len(attention.shape) - 2
    heads = (axis for axis in range(tokens) if axis != batch)
    if word == ATTENTION:
        return 0, (batch, *heads, tokens, tokens + 1)
    left_out = [axis for axis in range(tokens + 1) if axis not in attention.written and attention.shape[axis] == 1]
    axes = (*left_out, *attention.written)
    if sorted(axes) != [VALUE, *range(tokens + 1)]:
        return None
    return len(left_out), tuple(axes.index(axis) for axis in (batch, *heads, tokens, VALUE))


class Seen(NamedTuple):
    """A handle in an attention.

    Attributes:
        name: of the handle.
        until: the first layer that depends on what the attention weighs.
        batch: the axis of the images in the attention.
    """

    name: str
    until: str
    batch: int


@dataclass(frozen=True)
class AttentionForward:
    """A forward whose attentions are activations, too.

    Attributes:
        forward: of the network itself.
        seen: the handles of its attentions and their heads, in execution order.
        handles: of the network itself.
    """

    forward: Forward
    seen: tuple[Seen, ...]
    handles: tuple[str, ...]

    @property
    def attentions(self) -> tuple[str, ...]:
        """The handles of the attentions, in execution order."""
        return tuple(each.name for each in self.seen if _word(each.name) == ATTENTION)

    @property
    def channels_first(self) -> bool:
        """Whether the network takes images `[n c h w]`."""
        return getattr(self.forward, "channels_first", False)

    def __call__(self, params: Any, images: jax.Array, names: tuple[str, ...] | None, edits: Edits) -> Activations:
        known = {each.name: each for each in self.seen}
        asked = [name for name in (*(names or ()), *edits) if name in known]
        if not asked:
            return self.forward(params, images, names, edits)
        # The layers after the attentions are computed as well: the program must reach them.
        after = (known[name].until for name in asked)
        inner = tuple(dict.fromkeys((*(name for name in names or () if name not in known), *after)))
        others = {name: edit for name, edit in edits.items() if name not in known}

        def run(params: Any, images: jax.Array) -> Activations:
            return self.forward(params, images, inner, others)

        jaxpr, shapes = jax.make_jaxpr(run, return_shape=True)(params, images)
        found: Activations = {}
        places, laid = {}, {}
        for place, (name, word, each) in _parts(attentions(jaxpr), self.handles).items():
            if name in asked and (how := _laid(each, word, known[name].batch)):
                places[place], laid[name] = name, how

        def see(name: str, value: jax.Array) -> jax.Array:
            front, order = laid[name]
            moved = jnp.transpose(value[(None,) * front], order)
            heads = moved.reshape(len(moved), -1, *moved.shape[-2:])
            found[name] = edits[name](heads) if name in edits else heads
            return jnp.transpose(found[name].reshape(moved.shape), np.argsort(order).tolist()).reshape(value.shape)

        values = run_seen(jaxpr, jax.tree.leaves((params, images)), places, see)
        return {**jax.tree.unflatten(jax.tree.structure(shapes), values), **found}


def _word(name: str) -> str:
    """The last part of the name of a handle, without the number of a call."""
    return name.rpartition("/")[2].partition("#")[0]

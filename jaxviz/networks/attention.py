"""The attention maps of a network as handles, `layer/attention`.

    with_attention(model) -> the model with a handle for each attention

Law: an attention `[heads t s]` is what the layer computes: token t reads token s with this weight, and each row adds up
to 1. An edit of it changes everything after it. A forward pass that asks for no attention is the one that it was.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from jaxviz.compiling.attention import Attention, Place, attentions, run_seen
from jaxviz.compiling.jit import jit
from jaxviz.compiling.workarounds import ClosedJaxpr
from jaxviz.model import Activations, Edits, Forward, Model
from jaxviz.structure import dependent, handle_at

__all__ = ["with_attention"]

ATTENTION = "attention"  # the last part of the name of a handle


def with_attention(model: Model) -> Model:
    """The model with a handle for each of its attentions: `block/attn/attention`, of shape `[heads t s]`.

    Token t reads token s with this weight. The handle is found in the traced network, whoever wrote it, and can be
    read, edited and explained as any other. A model that has no attention stays as it is.

        seen = jv.with_attention(model)
        jv.activations(seen, image, "block_11/attn/attention")

    Attention in windows of the image has another leading axis than the images, and is left out; so is what runs within
    `cond` or `while`, and within a `scan` whose layers have no handles.
    """
    if isinstance(model.forward, AttentionForward):
        return model
    handles = tuple(dict.fromkeys((*model.handles, *model.outputs)))
    # Of one and of two images, since the axis that grows is the batch axis.
    one, two = (_trace(model, count, handles) for count in (1, 2))
    found, others = attentions(one), attentions(two)
    if [(each.stack, len(each.shape)) for each in found] != [(each.stack, len(each.shape)) for each in others]:
        return model
    names = _names(found, handles)
    seen: dict[str, tuple[str, int]] = {}
    order = list(model.handles)
    variables = dict(zip(sorted(handles), one.jaxpr.outvars, strict=True))
    for each, other in zip(found, others, strict=True):
        rank = len(each.shape)
        grown = [axis for axis, (n, m) in enumerate(zip(each.shape, other.shape, strict=True)) if n != m]
        if len(grown) != 1 or grown[0] > rank - 3 or each.shape[grown[0]] != 1 or each.axis != rank - 1:
            continue
        name = names[each.place]
        after, end = (
            dependent(one.jaxpr.eqns, one.jaxpr.eqns[place[0]].outvars, variables)
            for place in (each.place, each.product)
        )
        until = next((handle for handle in order if handle in end), model.output)
        order.insert(next(at for at, handle in enumerate(order) if handle in {*after, model.output}), name)
        seen[name] = until, grown[0]
    if not seen:
        return model
    forward = AttentionForward(model.forward, tuple((name, *each) for name, each in seen.items()), handles)
    return replace(model, forward=forward, handles=tuple(order))


def _trace(model: Model, count: int, handles: tuple[str, ...]) -> ClosedJaxpr:
    images = jax.ShapeDtypeStruct((count, *model.image_size()), jnp.float32)
    return _whole.trace(replace(model, interventions=()), images, names=handles).jaxpr


@jit(static=("names",))
def _whole(model: Model, images: jax.Array, names: tuple[str, ...]) -> Activations:
    """Traced, never run."""
    return model(images, names)


def _names(found: list[Attention], handles: tuple[str, ...]) -> dict[Place, str]:
    """{place: name} of attentions: the module that they are in, and the number of those in one module."""
    parts = [handle.split("/") for handle in handles]
    modules = {"/".join(each[:count]) for each in parts for count in range(1, len(each) + 1)}  # also those without one
    calls = Counter(handles)
    names = {}
    for each in found:
        name = "/".join(filter(None, (handle_at(each.stack, modules), ATTENTION)))
        calls[name] += 1
        names[each.place] = name if calls[name] == 1 else f"{name}#{calls[name]}"
    return names


@dataclass(frozen=True)
class AttentionForward:
    """A forward whose attentions are activations, too.

    Attributes:
        forward: of the network itself.
        attentions: (name, the first layer that depends on what it weighs, the batch axis) of each.
        handles: of the network itself.
    """

    forward: Forward
    attentions: tuple[tuple[str, str, int], ...]
    handles: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The handles of the attentions, in execution order."""
        return tuple(name for name, *_ in self.attentions)

    @property
    def channels_first(self) -> bool:
        """Whether the network takes images `[n c h w]`."""
        return getattr(self.forward, "channels_first", False)

    def __call__(self, params: Any, images: jax.Array, names: tuple[str, ...] | None, edits: Edits) -> Activations:
        known = {name: (until, axis) for name, until, axis in self.attentions}
        asked = [name for name in (*(names or ()), *edits) if name in known]
        if not asked:
            return self.forward(params, images, names, edits)
        # The layers after the attentions are computed as well: the program must reach them.
        after = (known[name][0] for name in asked)
        inner = tuple(dict.fromkeys((*(name for name in names or () if name not in known), *after)))
        others = {name: edit for name, edit in edits.items() if name not in known}

        def run(params: Any, images: jax.Array) -> Activations:
            return self.forward(params, images, inner, others)

        jaxpr, shapes = jax.make_jaxpr(run, return_shape=True)(params, images)
        found: Activations = {}

        def see(name: str, value: jax.Array) -> jax.Array:
            moved = jnp.moveaxis(value, known[name][1], 0)
            heads = moved.reshape(len(moved), -1, *moved.shape[-2:])
            found[name] = edits[name](heads) if name in edits else heads
            return jnp.moveaxis(found[name].reshape(moved.shape), 0, known[name][1])

        places = {place: name for place, name in _names(attentions(jaxpr), self.handles).items() if name in asked}
        values = run_seen(jaxpr, jax.tree.leaves((params, images)), places, see)
        return {**jax.tree.unflatten(jax.tree.structure(shapes), values), **found}

"""Writes `docs/zoo.md`, what works with networks that others wrote: python tests/zoo/zoo_page.py

Each row comes from a run of the network. The packages are in `tests/zoo/requirements.txt`.
"""

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from zoo_networks import NETWORKS, SIZE, Entry, images

import jaxviz as jv

PAGE = Path(__file__).parents[2] / "docs" / "zoo.md"
HEAD = """# Networks that others wrote

`tests/zoo/zoo_page.py` wrote this page; `tests/zoo/test_zoo.py` runs each network again and compares. The networks are
built by the code of their packages, small and with random weights, and wrapped without a change.

**Checked** for each: the prediction and the gradient are those of the network itself, to 1e-4 and 1e-3 of the greatest
value. So are the values of the layers, as the library itself shows them (`capture_intermediates` of linen,
`intercept_methods` of Haiku, calls of nnx and Equinox without a compiler); those of activation functions, means,
pools, sums of two paths and attentions are computed again from the layers before. Grad-CAM of the default layer and of
a named one works, and so does an ascent of four units, each of which scores more than its start. A Monitor writes the
picture of the parameters that it is given. The last two columns are `guided_gradient` and `deconvnet`, which change
ReLUs alone, and `lrp`, or the reason why it has no answer.

| network | package | written in | layers | of which compared | default layer of a CAM | guided | LRP |
|---|---|---|---|---|---|---|---|
"""
TAIL = """
Not here: eqxvision 0.2.8 imports `equinox.experimental`, which Equinox no longer has.
"""


def _mean(x: jax.Array) -> jax.Array:
    return x.mean(tuple(range(1, x.ndim - 1)))


AGAIN: dict[str, tuple[Callable, ...]] = {
    "relu": (jax.nn.relu,),
    "silu": (jax.nn.silu,),
    "hard_silu": (jax.nn.hard_silu,),
    "sigmoid": (jax.nn.sigmoid,),
    "gelu": (jax.nn.gelu, lambda x: jax.nn.gelu(x, approximate=False)),
    "max_pool": (lambda x: nn.max_pool(x, (3, 3), (2, 2), "SAME"),),  # of ResNets
    "mean": (_mean, lambda x: _mean(x[:, 1:])),  # or without a class token
}


def wrapped(entry: Entry) -> jv.Model:
    return jv.wrap(*entry.arguments, image_shape=(SIZE, SIZE, 3), **entry.keywords)


def differences(entry: Entry, model: jv.Model) -> dict[str, float]:
    """{layer: how far its values are from those that the library shows, relative to their greatest}."""
    found, own = jv.activations(model, images(2)), entry.parts(images(2))
    own["output"] = entry.call(images(2))
    before = None
    for layer in model.table:
        if layer.name not in own and before is not None and layer.kind in AGAIN:
            again = [function(jnp.asarray(found[before])) for function in AGAIN[layer.kind]]
            own[layer.name] = min(again, key=lambda each: float(np.abs(each - found[layer.name]).max()))
        if layer.name not in own and layer.kind == "add":  # of the layer that it follows, and of one before that
            last, shape = found[before], found[before].shape
            names = list(found)
            others = (found[each] for each in names[: names.index(before)])
            sums = [last + each for each in others if each.shape == shape]
            own[layer.name] = min(sums, key=lambda each: float(np.abs(each - found[layer.name]).max()))
        if layer.name not in own and layer.kind == "softmax":  # of queries and keys, which one layer makes
            own[layer.name] = _attention(found[before], found[layer.name].shape[1])
        before = layer.name
    return {name: _difference(found[name], own[name]) for name in found if name in own}


def _attention(joined: np.ndarray, heads: int) -> jax.Array:
    """The attention `[n heads t s]` of queries, keys and values in one array `[n t 3·heads·c]`."""
    query, key, _ = jnp.moveaxis(joined.reshape(*joined.shape[:2], 3, heads, -1), 2, 0)
    return jax.nn.softmax(jnp.einsum("nthc,nshc->nhts", query, key) / np.sqrt(query.shape[-1]))


def _difference(ours: Any, theirs: Any) -> float:
    if ours.shape != np.shape(theirs):
        return np.inf
    return float(np.abs(ours - np.asarray(theirs)).max() / np.abs(theirs).max())


def default_layer(model: jv.Model) -> str:
    """The layer of a CAM that names none; or why there is none."""
    from jaxviz.attribution.layer_maps import last_convolution

    try:
        return f"`{last_convolution(model, jv.Unit(model.output, 1))}`"
    except jv.InputError:
        return "none: there is no convolution, so a layer is named"


def answer(method: Callable[..., Any], model: jv.Model) -> str:
    """ "yes", if a method of attribution has finite values that are not all 0; or why there are none."""
    try:
        found = method(model, images(1)[0], 1).values
    except jv.InputError as error:
        return "no ReLU" if "need a ReLU" in str(error) else str(error)
    return "yes" if np.isfinite(found).all() and found.any() else "blank"


def guided(model: jv.Model) -> str:
    both = {answer(method, model) for method in (jv.guided_gradient, jv.deconvnet)}
    return " or ".join(sorted(both))


def row(name: str, entry: Entry, model: jv.Model, compared: int) -> str:
    """The row of a network, some of whose layers are compared. No number in it depends on the processor."""
    retyped = entry.package == "flax"
    package = "an example of flax" if retyped else f"{entry.package} {importlib.metadata.version(entry.package)}"
    shown = (name, package, entry.library, str(len(model.layers)), str(compared))
    return f"| {' | '.join((*shown, default_layer(model), guided(model), answer(jv.lrp, model)))} |"


def page() -> str:
    rows = []
    for make in NETWORKS:
        entry = make()
        model = wrapped(entry)
        rows.append(row(make.__name__, entry, model, len(differences(entry, model))))
    return HEAD + "\n".join(rows) + "\n" + TAIL


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

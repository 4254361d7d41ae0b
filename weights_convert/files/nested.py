"""The weights of a nested model, which a legacy file holds in one group → the weights of each of its layers.

The group of a nested model lists the trained weights of all its layers, and then all other weights. So freezing a layer
moves its weights. The names of the weights can be trusted: `conv/kernel` or `base/conv/kernel` for the layer
`base/conv`; the names of some of the outer models may be missing on the left. If the names do not tell the layers apart
(because the layers were renamed later), the order decides: the weights are in the order in which Keras lists them.
"""

from collections.abc import Mapping
from typing import Any

from flax import nnx

from ..config.listing import entries
from .h5 import meanings
from .saved import Weight, Weights

Needed = Mapping[str, Mapping[str, nnx.Variable]]


def unnest(saved: Weights, needed: Needed, config: Mapping[str, Any] | None) -> Weights:
    """`saved` with the layers of each nested model in place of its group, if it is clear which weight is whose.

    Args:
        saved: the weights of each group of the file.
        needed: the weights of each layer of the network; layers of nested models are called "outer/inner".
        config: Keras' description of the network, None if the file has none.
    """
    found: dict[str, Mapping[str, Weight]] = {}
    for group, weights in saved.items():
        inner = {name: needed[name] for name in needed if name.startswith(f"{group}/") and name not in saved}
        opened = None
        if inner and weights and group not in needed:
            opened = _by_name(weights, inner, config) or _by_order(weights, inner, config)
        found |= opened or {group: weights}
    return found


def _by_name(weights: Mapping[str, Weight], layers: Needed, config: Mapping[str, Any] | None) -> Weights | None:
    """The weights of each of `layers`, told apart by their names; None if the names are not enough."""
    parts: dict[str, list[Weight]] = {}
    for weight in weights.values():
        parts.setdefault(weight.name.rpartition("/")[0], []).append(weight)
    under_names = {part: dict(zip(meanings([w.name for w in some]), some, strict=True)) for part, some in parts.items()}
    settings = (config or {}).get("config")
    root = settings.get("name") if isinstance(settings, dict) else None
    fitting = {
        part: [
            layer
            for layer, wanted in layers.items()
            if f"/{root}/{layer}".endswith(f"/{part}") and _fit(wanted, under_names[part])
        ]
        for part in parts
    }
    found: dict[str, Mapping[str, Weight]] = {}
    while fitting:  # a part that fits only one layer belongs to it, and no other part does
        part = next((part for part, fits in fitting.items() if len(fits) == 1), None)
        if part is None:
            return None
        (layer,) = fitting.pop(part)
        found[layer] = under_names[part]
        fitting = {part: [fit for fit in fits if fit != layer] for part, fits in fitting.items()}
    return found if len(found) == len(layers) else None


def _by_order(weights: Mapping[str, Weight], layers: Needed, config: Mapping[str, Any] | None) -> Weights | None:
    """The weights of each of `layers`, told apart by Keras' order (trained weights first); None if it does not fit."""
    trained = {name: trained for name, _, trained in entries(config)} if config else dict.fromkeys(layers, True)
    slots = [(layer, weight) for layer in trained if layer in layers for weight in layers[layer]]
    slots.sort(key=lambda slot: not trained[slot[0]] or not isinstance(layers[slot[0]][slot[1]], nnx.Param))
    if len(slots) != len(weights):
        return None
    found: dict[str, dict[str, Weight]] = {layer: {} for layer in layers}
    for (layer, name), weight in zip(slots, weights.values(), strict=True):
        found[layer][name] = weight
        if weight.shape != layers[layer][name].shape:
            return None
    named = all(
        [name.rpartition("/")[2] for name in found[layer]] == meanings([w.name for w in found[layer].values()])
        for layer in found
    )
    return found if named else None


def _fit(wanted: Mapping[str, Any], found: Mapping[str, Weight]) -> bool:
    """Whether a layer can have these weights; if it has only one, its name does not matter."""
    shapes = [weight.shape for weight in found.values()], [weight.shape for weight in wanted.values()]
    return shapes[0] == shapes[1] if len(found) == 1 else _shapes(wanted) == _shapes(found)


def _shapes(weights: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: weight.shape for name, weight in weights.items()}

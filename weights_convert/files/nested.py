"""The weights of models in a model, which a legacy file holds in one group → those of their layers.

The group of a nested model lists the trained weights of all its layers and then all others, so freezing a layer moves
its weights. Their names are what can be trusted: `conv/kernel` or `base/conv/kernel` for the layer `base/conv`, where
the names of some of the models around may be missing from the left. Only where the names do not tell the layers apart
(they were made under other names, and the layers renamed) does the order decide, as Keras would have it.
"""

from collections.abc import Mapping
from typing import Any

from flax import nnx

from ..config.listing import entries
from .h5 import meanings
from .saved import Weight

Weights = Mapping[str, Mapping[str, Weight]]
Needed = Mapping[str, Mapping[str, nnx.Variable]]

NOT_TRAINED = ("moving_mean", "moving_variance")


def unnest(saved: Weights, needed: Needed, config: Mapping[str, Any] | None) -> Weights:
    """`saved` with the layers of nested models in place of these, in so far as it tells what belongs to which.

    `needed` has the weights of the network's layers, those of nested models as "outer/inner".
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
    """None unless the names tell which weights are those of which layer."""
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
    while fitting:  # a part that fits one layer only takes it away from the others
        part = next((part for part, fits in fitting.items() if len(fits) == 1), None)
        if part is None:
            return None
        (layer,) = fitting.pop(part)
        found[layer] = under_names[part]
        fitting = {part: [fit for fit in fits if fit != layer] for part, fits in fitting.items()}
    return found if len(found) == len(layers) else None


def _by_order(weights: Mapping[str, Weight], layers: Needed, config: Mapping[str, Any] | None) -> Weights | None:
    """None unless the file has, in this order, what Keras would write for these layers: the trained weights first."""
    trained = {name: trained for name, _, trained in entries(config)} if config else dict.fromkeys(layers, True)
    slots = [(layer, weight) for layer in trained if layer in layers for weight in layers[layer]]
    slots.sort(key=lambda slot: not trained[slot[0]] or slot[1] in NOT_TRAINED)
    if len(slots) != len(weights):
        return None
    found: dict[str, dict[str, Weight]] = {layer: {} for layer in layers}
    for (layer, name), weight in zip(slots, weights.values(), strict=True):
        found[layer][name] = weight
        if weight.shape != layers[layer][name].shape:
            return None
    named = all(list(found[layer]) == meanings([w.name for w in found[layer].values()]) for layer in found)
    return found if named else None


def _fit(wanted: Mapping[str, Any], found: Mapping[str, Weight]) -> bool:
    """Whether a layer can have these weights; one alone needs no name."""
    shapes = [weight.shape for weight in found.values()], [weight.shape for weight in wanted.values()]
    return shapes[0] == shapes[1] if len(found) == 1 else _shapes(wanted) == _shapes(found)


def _shapes(weights: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: weight.shape for name, weight in weights.items()}

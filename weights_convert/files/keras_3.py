"""The layout of Keras 3's files of weights: a tree of groups, which have the name of a class and a number.

The layers of a model are in `layers/<class in snake case>[_<n>]`, and the weights of a layer in its `vars/0`, `vars/1`,
…; a nested model has `layers` of its own. Such a file need not hold the names of the layers. The n-th layer of a class
in the description of the model is the n-th group of that class. The number of a weight is its place in the order in
which Keras makes the weights.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..errors import NotReadable, UnsafeFile
from .hdf5 import MAX_DEPTH, MAX_OBJECTS, Dataset, Group, Source, members, opened, weight
from .saved import Weight, dequantized

LAYERS = "layers"
# TensorFlow 2.12 and 2.13 wrote this instead. They count a layer with weights twice: conv2d, conv2d_2, conv2d_4.
LAYERS_COUNTED_TWICE = "_layer_checkpoint_dependencies"
# The random state of dropout and augmentation, which is not a weight.
GENERATORS = ("seed_generator", "generator")

Weights = Mapping[str, Mapping[str, Weight]]


def in_containers(root: Group) -> bool:
    """Whether a file is in this layout."""
    return LAYERS in root or LAYERS_COUNTED_TWICE in root


def read_containers(*sources: Source) -> Weights:
    """{path of a layer, such as "/layers/functional/layers/conv2d_1": {number of a weight: Weight}}.

    The files are shards of one tree: the weights of a layer may be in several files.

    Raises:
        NotReadable: a file is damaged, or two files have the same weight.
        UnsafeFile: a file leads out of itself, claims more than it stores, or has groups without end.
    """
    whole: dict[str, dict[str, Weight]] = {}
    visited = 0

    def inside(group: Group, depth: int) -> dict[str, Group | Dataset]:
        nonlocal visited
        inner = dict(members(group, source))
        visited += len(inner)
        if depth > MAX_DEPTH or visited > MAX_OBJECTS:  # a group may be its own member
            raise UnsafeFile(
                f"{source}: holds more than {MAX_OBJECTS:,} groups and arrays, or {MAX_DEPTH} in each other"
            )
        return inner

    def model(inner: Mapping[str, Group | Dataset], path: str, depth: int) -> None:
        for key in (LAYERS, LAYERS_COUNTED_TWICE):
            counts: Counter[str] = Counter()
            groups = inside(inner[key], depth) if isinstance(inner.get(key), Group) else {}
            for name in sorted(groups, key=_class_and_number):
                group, (kind, _) = groups[name], _class_and_number(name)
                if not isinstance(group, Group):
                    continue
                place = f"{path}/{LAYERS}/{nth(kind, counts) if key == LAYERS_COUNTED_TWICE else name}"
                layer = inside(group, depth + 1)
                found[place] = dict(variables(layer, "", depth + 1))
                model(layer, place, depth + 2)
                if isinstance(layer.get("layer"), Group):  # a TimeDistributed, perhaps of a model
                    model(inside(layer["layer"], depth + 2), place, depth + 3)

    def variables(layer: Mapping[str, Group | Dataset], path: str, depth: int) -> Iterator[tuple[str, Weight]]:
        for name, group in layer.items():
            if not isinstance(group, Group) or name in (LAYERS, LAYERS_COUNTED_TWICE, *GENERATORS):
                continue
            inner = inside(group, depth + 1)
            if name == "vars":
                yield from ((path + number, weight(dataset, source)) for number, dataset in inner.items())
            else:  # a layer that is an attribute of this one, under the attribute's name
                yield from variables(inner, f"{path}{name}/", depth + 1)

    for source in sources:
        found: dict[str, dict[str, Weight]] = {}
        with opened(source) as root:
            model(inside(root, 0), "", 1)
        for place, group in found.items():
            if twice := whole.setdefault(place, {}).keys() & group:
                raise NotReadable(f"{source}: {place} has a weight {min(twice)!r}, and so has another shard")
            whole[place] |= group
    return {place: dequantized(dict(sorted(group.items(), key=_place))) for place, group in whole.items()}


def _place(weight: tuple[str, Weight]) -> tuple[list[str], int, str]:
    """A key that sorts the weights of a layer: its own by number, and those of a layer in it by that layer's name."""
    *path, number = weight[0].split("/")
    return [*path, "vars"], len(number), number


def named(weights: Weights, model: Mapping[str, Any]) -> Weights:
    """`weights` under the names of the layers instead of their paths, in the order in which `model` lists the layers.

    A layer of a nested model is called "outer/inner". A group without a layer in `model` keeps its path as its name.

    Args:
        weights: {path of a group: its weights}.
        model: Keras' description of the network.
    """
    names = dict(_names(model, "", ""))
    ordered = {name: weights[path] for path, name in names.items() if path in weights}
    return ordered | {path: group for path, group in weights.items() if path not in names and group}


def shared(weights: Weights, model: Mapping[str, Any]) -> Weights:
    """`weights`, in which a layer that is part of several models of `model` has its weights in each of them.

    Keras writes the group of such a layer only once. So if a file was written together with `model`, and a layer has no
    group, its weights are in the group of the layer with the same name and class.
    """
    names = dict(_names(model, "", ""))
    stored: dict[tuple[str, str], list[Mapping[str, Weight]]] = {}
    for path, name in names.items():
        if path in weights:
            stored.setdefault(_object(path, name), []).append(weights[path])
    same = {path: stored.get(_object(path, name), []) for path, name in names.items() if path not in weights}
    return {**weights, **{path: groups[0] for path, groups in same.items() if len(groups) == 1}}


def _object(path: str, name: str) -> tuple[str, str]:
    """(class, name) of a layer, without the models around it."""
    return _class_and_number(path.rpartition("/")[2])[0], name.rpartition("/")[2]


def _names(model: Mapping[str, Any], path: str, outer: str) -> Iterator[tuple[str, str]]:
    """(path of a group, name of the layer) of all layers. Invalid descriptions are skipped: the parser reports them."""
    config = model.get("config")
    layers = config.get("layers") if isinstance(config, Mapping) else config
    counts: Counter[str] = Counter()
    for layer in layers if isinstance(layers, list) else []:
        if not isinstance(layer, Mapping) or not isinstance(layer.get("class_name"), str):
            continue
        settings = layer.get("config")
        name = layer.get("name") or (settings.get("name") if isinstance(settings, Mapping) else None)
        place = f"{path}/{LAYERS}/{nth(snake_case(layer['class_name']), counts)}"
        if isinstance(name, str):
            yield place, outer + name
            yield from _names(layer, place, f"{outer}{name}/")
            inner = settings.get("layer") if isinstance(settings, Mapping) else None
            if isinstance(inner, Mapping):
                yield from _names(inner, place, f"{outer}{name}/")


def numbers(names: Iterable[str], parts: Mapping[str, str]) -> list[str]:
    """Where Keras 3 stores the weights of a layer: `query_dense/1` for `query/bias`, if `parts` has that attribute."""
    counts: Counter[str] = Counter()
    found = []
    for name in names:
        part = name.rpartition("/")[0]
        attribute = parts.get(part, part)
        found.append(f"{attribute}/{counts[attribute]}" if attribute else str(counts[attribute]))
        counts[attribute] += 1
    return found


def snake_case(kind: str) -> str:
    """How Keras writes the name of a class: Conv2DTranspose → conv2d_transpose, PReLU → p_re_lu."""
    return re.sub(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", re.sub(r"\W", "", kind)).lower()


def nth(kind: str, counts: Counter[str]) -> str:
    """The name of the next group of a class: conv2d, conv2d_1, conv2d_2."""
    counts[kind] += 1
    return kind if counts[kind] == 1 else f"{kind}_{counts[kind] - 1}"


def _class_and_number(name: str) -> tuple[str, int]:
    """The inverse of `nth`."""
    kind, _, number = name.rpartition("_")
    return (kind, int(number)) if kind and re.fullmatch(r"[0-9]{1,9}", number) else (name, 0)

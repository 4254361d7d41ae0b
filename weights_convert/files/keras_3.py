"""The layout of Keras 3's files of weights: a tree of groups, which have the name of a class and a number.

The layers of a model are in `layers/<class in snake case>[_<n>]`, and the weights of a layer in its `vars/0`, `vars/1`,
…; a nested model has `layers` of its own. Such a file need not hold the names of the layers. The n-th layer of a class
in the description of the model is the n-th group of that class. The number of a weight is its place in the order in
which Keras makes the weights.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..errors import NotReadable, UnsafeFile
from .hdf5 import MAX_DEPTH, MAX_OBJECTS, Group, Source, members, opened, weight, word
from .saved import Weight, Weights, dequantized

LAYERS = "layers"
# TensorFlow 2.12 and 2.13 wrote this instead. They count a layer with weights twice: conv2d, conv2d_2, conv2d_4.
LAYERS_COUNTED_TWICE = "_layer_checkpoint_dependencies"
# The random state of dropout and augmentation, which is not a weight.
GENERATORS = ("seed_generator", "generator")
TRAINING = ("optimizer", "metrics")  # groups that only training reads
WINDOWS = "\\"  # between the names of groups in files that Keras 2 wrote on Windows

Shape = tuple[int, ...]
Tree = dict[str, Any]  # {name: another tree, or the Dataset of an array}


def in_containers(root: Group) -> bool:
    """Whether a file is in this layout."""
    return any(name.split(WINDOWS)[0] in (LAYERS, LAYERS_COUNTED_TWICE) for name in root)


def read_containers(*sources: Source) -> tuple[Weights, Mapping[str, Shape]]:
    """(weights, rest): what the files have for layers, and all other arrays, so that none is passed over in silence.

    `weights` is {path of a layer, such as "/layers/functional/layers/conv2d_1": {number of a weight: Weight}}, and
    `rest` is {path of an array: its shape}. The state of an optimizer or a metric is left out.

    The files are shards of one tree: the weights of a layer may be in several files.

    Raises:
        NotReadable: a file is damaged, or two files have the same weight.
        UnsafeFile: a file leads out of itself, claims more than it stores, or has groups without end.
    """
    whole: dict[str, dict[str, Weight]] = {}
    rest: dict[str, Shape] = {}
    visited = itertools.count(1)

    def model(inner: Tree, path: str) -> None:
        for key in (LAYERS, LAYERS_COUNTED_TWICE):
            counts: Counter[str] = Counter()
            groups = _groups(inner.get(key))
            for name in sorted(groups, key=_class_and_number):
                layer, (kind, _) = groups[name], _class_and_number(name)
                place = f"{path}/{LAYERS}/{nth(kind, counts) if key == LAYERS_COUNTED_TWICE else name}"
                found[place] = dict(variables(layer, ""))
                model(layer, place)
                model(_groups(layer).get("layer", {}), place)  # a TimeDistributed, perhaps of a model

    def variables(layer: Tree, path: str) -> Iterator[tuple[str, Weight]]:
        for name, inner in _groups(layer).items():
            if name == "vars":
                del layer[name]  # what is left in the tree at the end is the rest
                for number, each in inner.items():
                    if isinstance(each, dict):
                        raise NotReadable(f"{source}: {number!r} in a group of weights is not an array")
                    yield path + number, weight(each, source)
            elif name in GENERATORS and _is_random_state(inner):
                del layer[name]
            elif name not in (LAYERS, LAYERS_COUNTED_TWICE):
                # a layer that is an attribute of this one, under the attribute's name
                yield from variables(inner, f"{path}{name}/")

    for source in sources:
        found: dict[str, dict[str, Weight]] = {}
        with opened(source) as root:
            tree = _tree(root, source, visited)
            model(tree, "")
            rest |= _arrays(tree, "")
        for place, group in found.items():
            if twice := whole.setdefault(place, {}).keys() & group:
                raise NotReadable(f"{source}: {place} has a weight {min(twice)!r}, and so has another shard")
            whole[place] |= group
    ordered = {place: dequantized(dict(sorted(group.items(), key=_place))) for place, group in whole.items()}
    return ordered, rest


def _tree(root: Group, source: Source, visited: Iterator[int]) -> Tree:
    """The groups of a file as dictionaries, with its arrays, which are not read yet. What training left is skipped.

    On Windows, Keras 2 joined the names of groups with a backslash: "layers\\conv2d" is the group "conv2d" in "layers".
    """

    def inside(group: Group, tree: Tree, depth: int) -> Tree:
        for name, each in members(group, source):
            *outer, last = word(name).split(WINDOWS)
            if depth + len(outer) > MAX_DEPTH or next(visited) > MAX_OBJECTS:  # a group may be its own member
                raise UnsafeFile(
                    f"{source}: holds more than {MAX_OBJECTS:,} groups and arrays, or {MAX_DEPTH} in each other"
                )
            if depth == 0 and [*outer, last][0] in TRAINING:
                continue
            place = tree
            for part in outer:
                place = _below(place, part, source)
            if isinstance(each, Group):
                inside(each, _below(place, last, source), depth + 1 + len(outer))
            elif place.setdefault(last, each) is not each:
                raise NotReadable(f"{source}: {name!r} in {group.name} is there twice")
        return tree

    return inside(root, {}, 0)


def _below(tree: Tree, name: str, source: Source) -> Tree:
    below = tree.setdefault(name, {})
    if not isinstance(below, dict):
        raise NotReadable(f"{source}: {name!r} is a group and an array")
    return below


def _groups(tree: Any) -> dict[str, Tree]:
    """The groups in a group, without the arrays."""
    inner = tree.items() if isinstance(tree, dict) else ()
    return {name: each for name, each in inner if isinstance(each, dict)}


def _is_random_state(tree: Tree) -> bool:
    """Whether all arrays in a tree are of whole numbers: no weights are."""
    return all(_is_random_state(each) if isinstance(each, dict) else each.dtype.kind in "iu" for each in tree.values())


def _arrays(tree: Tree, path: str) -> dict[str, Shape]:
    """{path: shape} of all arrays in a tree."""
    found: dict[str, Shape] = {}
    for name, each in tree.items():
        found |= _arrays(each, f"{path}/{name}") if isinstance(each, dict) else {f"{path}/{name}": each.shape or ()}
    return found


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
        kind = snake_case(layer["class_name"].rpartition(">")[2])  # of "package>Name", as an own class is registered
        place = f"{path}/{LAYERS}/{nth(kind, counts)}"
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


def with_names(model: dict[str, Any]) -> dict[str, Any]:
    """`model`, in which a layer without a name has the name that Keras gives it when it loads the file.

    Keras 3 leaves the name of an own class in a Sequential model out, if the class takes it as one of `**kwargs`.
    """
    config = model.get("config")
    layers = config.get("layers") if isinstance(config, Mapping) else config
    layers = [layer for layer in layers if isinstance(layer, dict)] if isinstance(layers, list) else []
    settings = [layer.get("config") if isinstance(layer.get("config"), dict) else {} for layer in layers]
    taken = {str(layer.get("name", own.get("name"))) for layer, own in zip(layers, settings, strict=True)}
    counts: Counter[str] = Counter()
    for layer, own in zip(layers, settings, strict=True):
        if "name" not in layer and "name" not in own and isinstance(layer.get("class_name"), str):
            kind = snake_case(layer["class_name"].rpartition(">")[2])
            name = nth(kind, counts)
            while name in taken:
                name = nth(kind, counts)
            layer["name"] = name
        with_names(layer)
    return model


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

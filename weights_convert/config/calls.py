"""The calls of a layer in a Keras description (`inbound_nodes`) → `Call`. There are two ways to write them.

In Keras 1 and 2 a call lists the tensors of its first argument, each as `[layer, call, output, keywords]`; the keywords
may hold more tensors. Keras 3 writes positional arguments and keywords separately, and every tensor as a JSON object.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Tensor(NamedTuple):
    """Output number `output` of call number `call` of a layer."""

    layer: str
    call: int
    output: int


@dataclass(frozen=True)
class Call:
    """The arguments of one call: tensors, constants, and lists and dictionaries of them. `today`: Keras 3 wrote it."""

    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    today: bool = True

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors that the call reads, in order."""
        return [leaf for leaf in leaves([*self.arguments, *self.keywords.values()]) if isinstance(leaf, Tensor)]


def read_call(call: Any) -> Call:
    """The call that one entry of `inbound_nodes` describes."""
    if isinstance(call, dict) and "args" in call:
        keywords = {key: _today(item) for key, item in call["kwargs"].items()}
        return Call(tuple(map(_today, call["args"])), keywords)
    others: dict[str, Any] = {}
    argument = _legacy(call, others)
    return Call((argument,), keywords={key: _legacy(item, {}) for key, item in others.items()}, today=False)


def read_tensors(ends: Any) -> Any:
    """The tensors in `input_layers` or `output_layers`: a list, a dictionary, or a single tensor."""
    return _legacy(ends, {})


def constants(value: Any) -> Any:
    """An option of an operation of Keras 3: arrays become lists, and tuples too."""
    return _today(value)


def leaves(value: Any) -> Iterator[Any]:
    """The items of nested lists and dictionaries; those of a dictionary sorted by key, as Keras numbers outputs."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield from leaves(value[key])
    elif isinstance(value, list) or type(value) is tuple:
        for item in value:
            yield from leaves(item)
    else:
        yield value


def _today(item: Any) -> Any:
    if isinstance(item, list):
        return [_today(each) for each in item]
    if not isinstance(item, dict):
        return item
    config: Any = item.get("config")
    match item.get("class_name"):
        case "__keras_tensor__":
            return Tensor(*config["keras_history"])
        case "__tensor__" | "__numpy__":
            return config["value"]
        case "__tuple__":
            return [_today(each) for each in config["value"]]
        case "__ellipsis__":
            return ...
        case "__slice__":
            return slice(config["start"], config["stop"], config["step"])
    return {key: _today(each) for key, each in item.items()}


def _legacy(item: Any, keywords: dict[str, Any]) -> Any:
    if _is_tensor(item):
        name, call, output, *others = item  # Keras 1 has no others
        for each in others:
            keywords.update(each)
        return output if (name, call) == ("_CONSTANT_VALUE", -1) else Tensor(name, call, output)
    if isinstance(item, list):
        return [_legacy(each, keywords) for each in item]
    if isinstance(item, dict):
        if item.get("class_name") == "__ellipsis__":
            return ...
        if set(item) == {"start", "stop", "step"}:
            return slice(item["start"], item["stop"], item["step"])
        return {key: _legacy(each, keywords) for key, each in item.items()}
    return item


def _is_tensor(item: Any) -> bool:
    return isinstance(item, list) and len(item) >= 3 and isinstance(item[0], str) and type(item[1]) is int

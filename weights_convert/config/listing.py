"""How Keras lists the layers of a model, Sequential or Functional, of Keras 1 to 3 → `Listing`.

Pure reading: what is listed may be unsupported, read what there is not, or make no sense as a network.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ..errors import KerasFileError, NotReadable, UnsupportedLayer
from .calls import Call, Tensor, leaves, read_call, read_tensors
from .versions import modern

MODELS = ("Sequential", "Functional", "Model")  # the third is Keras 2's word for the second, until 2.3
DEEPEST = 32  # models in each other


@dataclass(frozen=True)
class Entry:
    """One layer as a file lists it, in today's spelling, with its calls, which are numbered from `first`."""

    name: str
    kind: str
    config: Mapping[str, Any]
    calls: tuple[Call, ...] = ()
    first: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not isinstance(self.kind, str):
            raise TypeError(f"the name of layer {self.name!r} is not text")

    @property
    def shape(self) -> Any:
        """What an InputLayer takes: [n, h, w, c], None if the file does not say."""
        return self.config.get("batch_shape", self.config.get("batch_input_shape"))


@dataclass(frozen=True)
class Listing:
    """The layers of one model, the tensors that it takes, each under the key that names it in a dict, and gives."""

    entries: tuple[Entry, ...]
    inputs: tuple[tuple[str, Tensor], ...]
    outputs: tuple[Tensor, ...]


def entries(model: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """(name, kind, whether it was trained) of every layer, in the order in which Keras lists them, supported or not.

    Raises:
        NotReadable: it does not describe a model.
    """

    def walk(kind: str, config: Any, path: str, trained: bool) -> Iterator[tuple[str, str, bool]]:
        for entry in listed(kind, config).entries:
            name, learns = f"{path}{entry.name}", trained and entry.config.get("trainable") is not False
            if entry.kind in MODELS and name.count("/") < DEEPEST:
                yield from walk(entry.kind, entry.config, f"{name}/", learns)
            elif entry.kind != "InputLayer":
                yield name, entry.kind, learns

    with walking():
        return list(walk(model["class_name"], model["config"], "", True))


@contextmanager
def walking() -> Iterator[None]:
    """JSON is walked as if it were what Keras writes; where it turns out not to be, this says so."""
    try:
        yield
    except KerasFileError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, StopIteration, RecursionError) as error:
        raise NotReadable(
            f"`model_config` does not describe a Keras model ({type(error).__name__}: {error})"
        ) from error


def listed(kind: str, config: Any) -> Listing:
    """What the `config` of a model of this kind lists.

    Raises:
        NotReadable: a subclassed model.
        KeyError, TypeError …: it is not what Keras writes; `walking` makes one error of them.
    """
    if kind not in MODELS and "layers" not in config:
        raise NotReadable(
            f"the model is of class {kind!r}, and what it computes is code, which is in no file; supported are "
            "Sequential and Functional"
        )
    return _sequential(config) if kind == "Sequential" else _functional(config)


def _sequential(config: Any) -> Listing:
    layers = config if isinstance(config, list) else config["layers"]  # a bare list until Keras 2.2
    if layers[0]["class_name"] != "InputLayer":
        by_the_model = None if isinstance(config, list) else config.get("build_input_shape")
        shape = by_the_model or _first_shape(layers[0])
        layers = [{"class_name": "InputLayer", "config": {"name": "the input", "batch_shape": shape}}, *layers]
    entries: list[Entry] = []
    for layer in layers:
        calls = [Call((Tensor(entries[-1].name, 0, 0),), {})] if entries else []
        entries.append(_entry(layer, calls))
    first, last = entries[0].name, entries[-1].name
    return Listing(tuple(entries), ((first, Tensor(first, 0, 0)),), (Tensor(last, 0, 0),))


def _entry(layer: Any, calls: Iterable[Call]) -> Entry:
    config = layer["config"]
    kind, config = modern(layer["class_name"], {"layers": config} if isinstance(config, list) else config)
    return Entry(layer["name"] if "name" in layer else config["name"], kind, config, tuple(calls))


def _first_shape(layer: Any) -> Any:
    """What the first layer takes, [n ...]; of a model, what its own first layer takes."""
    config = layer["config"]
    if layer["class_name"] in MODELS:
        return _first_shape((config if isinstance(config, list) else config["layers"])[0])
    return config.get("batch_shape", config.get("batch_input_shape"))


def _functional(config: Any) -> Listing:
    entries = [_entry(layer, map(read_call, layer["inbound_nodes"])) for layer in config["layers"]]
    inputs, outputs = read_tensors(config["input_layers"]), list(leaves(read_tensors(config["output_layers"])))
    entries, outputs = _numbered(entries, outputs)
    named = inputs.items() if isinstance(inputs, dict) else [(tensor.layer, tensor) for tensor in leaves(inputs)]
    return Listing(tuple(entries), tuple(sorted(named) if isinstance(inputs, dict) else named), tuple(outputs))


def _numbered(entries: list[Entry], outputs: list[Tensor]) -> tuple[list[Entry], list[Tensor]]:
    """Entries that know the number of their first call, and outputs that go by it.

    The making of a model counts as its call 0. Keras 2 leaves it out of the file without numbering the others anew,
    unless it is a Sequential model that was made without an input. Keras 3 does so with a Functional model where it
    lists outputs, and numbers anew where it lists calls.
    """
    calls = [call for entry in entries for call in entry.calls]
    today = any(call.today for call in calls)
    later = {entry.name for entry in entries if entry.kind in MODELS and entry.kind != "Sequential"} if today else ()
    outputs = [end._replace(call=end.call - (end.layer in later)) for end in outputs]
    if today:
        return entries, outputs
    used = {tensor[:2] for call in calls for tensor in call.tensors} | {end[:2] for end in outputs}
    numbered = []
    for entry in entries:
        if entry.kind in MODELS and entry.calls:
            numbers = {number for name, number in used if name == entry.name}
            entry = replace(entry, first=min(numbers, default=0))
            if numbers != set(range(entry.first, entry.first + len(entry.calls))) or entry.first > 1:
                raise UnsupportedLayer([f"{entry.name}: its calls are not numbered as Keras does"])
        numbered.append(entry)
    return numbered, outputs

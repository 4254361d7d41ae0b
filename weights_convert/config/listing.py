"""The list of layers in Keras' description of a model, Sequential or Functional, of Keras 1 to 3 → `Listing`.

This only reads the list. It does not check that the layers are supported, that the tensors they read exist, or that
they form a network.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ..errors import KerasFileError, NotReadable, UnsupportedLayer
from ..layers import CUSTOM, KINDS, TIME_DISTRIBUTED
from .calls import Call, Tensor, leaves, read_call, read_tensors
from .operations import kind_of
from .versions import RENAMED, modern

CONTRIBUTED = ("InstanceNormalization",)  # a class that is known without being one of Keras
PACKAGES = ("keras", "tf_keras", "tensorflow")  # whose classes are those of Keras

MODELS = ("Sequential", "Functional", "Model")  # Keras 2 called a Functional model "Model" until version 2.3
SEQUENTIAL = {"name", "trainable", "dtype", "layers", "build_input_shape"}  # all that Keras writes of a Sequential
AS_FUNCTIONAL = (
    'In Keras, `image = keras.Input((h, w, c)); keras.Model(image, model.call(image)).save("m.keras")` saves a '
    "subclassed model as a Functional one, if its `call` uses layers and operations of Keras only"
)
DEEPEST = 32  # the most levels of nested models


@dataclass(frozen=True)
class Entry:
    """One layer in a list, with the names of Keras 3, and its calls, which are numbered from `first` on.

    `kind` is "Functional" or "Sequential" for a model of an own class that is one. `classes` are the names under which
    a caller may give a function for the class: "package>Name", if Keras registered it so, and "Name".
    """

    name: str
    kind: str
    config: Mapping[str, Any]
    calls: tuple[Call, ...] = ()
    first: int = 0
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not isinstance(self.kind, str):
            raise TypeError(f"the name of layer {self.name!r} is not text")

    @property
    def shape(self) -> Any:
        """The shape that an InputLayer takes, [n, h, w, c]; None if the file does not say it."""
        return self.config.get("batch_shape", self.config.get("batch_input_shape"))


@dataclass(frozen=True)
class Listing:
    """The layers of one model and the tensors that it takes and returns.

    `inputs` has each tensor with its key, which is its name if the model is called with a dictionary.
    """

    entries: tuple[Entry, ...]
    inputs: tuple[tuple[str, Tensor], ...]
    outputs: tuple[Tensor, ...]


def entries(model: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """(name, kind, whether it was trained) of every layer in Keras' order, also of layers that are not supported.

    Raises:
        NotReadable: `model` does not describe a model.
    """

    def walk(kind: str, config: Any, path: str, trained: bool) -> Iterator[tuple[str, str, bool]]:
        for entry in listed(model_kind(kind, config), config).entries:
            name, learns = f"{path}{entry.name}", trained and entry.config.get("trainable") is not False
            if entry.kind == TIME_DISTRIBUTED and inner(entry).kind in MODELS:
                entry = inner(entry)
            if entry.kind in MODELS and name.count("/") < DEEPEST:
                yield from walk(entry.kind, entry.config, f"{name}/", learns)
            elif entry.kind != "InputLayer":
                yield name, entry.kind, learns

    with walking():
        return list(walk(model["class_name"], model["config"], "", True))


@contextmanager
def walking() -> Iterator[None]:
    """A context for code that reads JSON as if Keras had written it: its errors become one `NotReadable`."""
    try:
        yield
    except KerasFileError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, StopIteration, RecursionError) as error:
        raise NotReadable(
            f"`model_config` does not describe a Keras model ({type(error).__name__}: {error})"
        ) from error


def model_kind(kind: object, config: Any) -> Any:
    """What a class is, from its config: "Functional" or "Sequential", also for an own class; else the class itself.

    Keras writes these configs for the models alone. An own layer may have a list of layers, but not the rest of it.
    """
    if kind in MODELS or not isinstance(config, Mapping) or not isinstance(config.get("layers"), list):
        return kind
    if "input_layers" in config and "output_layers" in config:
        return "Functional"
    first = config["layers"][0] if config["layers"] else None
    if set(config) <= SEQUENTIAL and isinstance(first, Mapping) and isinstance(first.get("config"), Mapping):
        shaped = config.get("build_input_shape") or {"batch_shape", "batch_input_shape"} & set(first["config"])
        return "Sequential" if shaped else kind
    return kind


def listed(kind: str, config: Any) -> Listing:
    """The list of layers in the `config` of a model of this kind.

    Raises:
        NotReadable: it is a subclassed model.
        KeyError, TypeError …: Keras did not write it; `walking` makes one error of these.
    """
    if kind not in MODELS and "layers" not in config:
        raise NotReadable(
            f"the model is of class {kind!r}; what it computes is Python code, which is not in the file; supported are "
            f"Sequential and Functional. {AS_FUNCTIONAL}"
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
    return Listing(entries=tuple(entries), inputs=((first, Tensor(first, 0, 0)),), outputs=(Tensor(last, 0, 0),))


def _entry(layer: Any, calls: Iterable[Call]) -> Entry:
    config = layer["config"]
    kind, config = modern(_class(layer), {"layers": config} if isinstance(config, list) else config)
    name = layer["name"] if "name" in layer else config["name"]
    names = [layer.get("registered_name"), kind, config.get("of") if kind == CUSTOM else None]
    names = [each for each in names if isinstance(each, str)]
    classes = dict.fromkeys(each for full in names for each in (full, full.rpartition(">")[2]))
    return Entry(name=name, kind=model_kind(kind, config), config=config, calls=tuple(calls), classes=tuple(classes))


def _class(layer: Mapping[str, Any]) -> Any:
    """The class of a layer: the name that it is registered with, if only this tells it from a class of Keras.

    An own class may have the name of a class of Keras, which it need not compute. Keras 3 and Keras' `.keras` files say
    which of them it is: an own class has a registered name, and no module of Keras.
    """
    kind, registered, module = layer["class_name"], layer.get("registered_name"), layer.get("module")
    if not isinstance(registered, str) or "module" not in layer:
        return kind_of(layer)
    if isinstance(module, str) and module.split(".")[0] in PACKAGES:
        return kind_of(layer)
    if (">" in registered and (registered in KINDS or registered in RENAMED)) or registered in CONTRIBUTED:
        return registered
    return kind if kind not in KINDS else registered if ">" in registered else f"own>{kind}"


def inner(entry: Entry) -> Entry:
    """The layer or model in a TimeDistributed, under the name and with the calls of that."""
    layer = entry.config["layer"]
    kind, config = modern(_class(layer), layer["config"])
    return replace(entry, kind=model_kind(kind, config), config=config)


def _first_shape(layer: Any) -> Any:
    """The shape [n ...] that the first layer takes; if it is a model, the shape that its own first layer takes."""
    config = layer["config"]
    if model_kind(layer["class_name"], config) in MODELS:
        return _first_shape((config if isinstance(config, list) else config["layers"])[0])
    return config.get("batch_shape", config.get("batch_input_shape"))


def _functional(config: Any) -> Listing:
    entries = [_entry(layer, map(read_call, layer["inbound_nodes"])) for layer in config["layers"]]
    inputs, outputs = read_tensors(config["input_layers"]), list(leaves(read_tensors(config["output_layers"])))
    entries, outputs = _numbered(entries, outputs)
    named = inputs.items() if isinstance(inputs, dict) else [(tensor.layer, tensor) for tensor in leaves(inputs)]
    ordered = sorted(named) if isinstance(inputs, dict) else named
    return Listing(entries=tuple(entries), inputs=tuple(ordered), outputs=tuple(outputs))


def _numbered(entries: list[Entry], outputs: list[Tensor]) -> tuple[list[Entry], list[Tensor]]:
    """(the entries with the number of their first call; the outputs with the same numbering).

    Keras counts the construction of a model as its call 0. Keras 2 leaves this call out of the file, but does not
    renumber the others (except for a Sequential model that was made without an input). Keras 3 renumbers the calls of a
    Functional model in its list of calls, but not in its list of outputs.
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

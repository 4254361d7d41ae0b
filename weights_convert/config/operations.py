"""A call in a Keras description → the kind, the options and the tensors of a node; and back.

This matters for operations outside of layers, such as `x / 127.5 - 1` or `tf.reduce_mean(x, -1)`, and for layers that
take several tensors one by one, such as MultiHeadAttention. Keras 3 saves the class of an operation; Keras 2 saves a
layer of kind TFOpLambda with the name of TensorFlow's function. The rows of `KINDS` say which ones are supported, and
how they are spelled.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ..errors import UnsupportedLayer
from ..layers import KINDS, LIST, TENSORFLOW, Kind
from .calls import Call, Tensor, constants, leaves

PREFIX = "ops."  # the name of an operation in KINDS is that of its class, after this
PACKAGE = re.compile(r"keras\b.*\.(ops|activations)\b")  # where Keras 3 has the classes of its operations

TENSOR = None
"""Stands for an operand of an operation that is a tensor; any other operand is a constant."""

# Functions whose tensors Keras 2 does not write to the file.
UNSAVED = {
    "einsum": "Keras 2 does not save the tensors that tf.einsum reads, and cannot load the file either; write it with "
    "tf.matmul and tf.transpose"
}


class Read(NamedTuple):
    """A call, read: `call` has the tensors in the order of the row, and the keywords that are left over."""

    kind: str
    config: Mapping[str, Any]
    call: Call


def kind_of(layer: Mapping[str, Any]) -> str:
    """The kind of a layer in a list of layers: its class, after "ops." if Keras 3 has it among its operations."""
    kind, module = layer["class_name"], layer.get("module")
    return f"{PREFIX}{kind}" if isinstance(module, str) and PACKAGE.match(module) else kind


def read(name: str, kind: str, config: Mapping[str, Any], call: Call) -> Read:
    """The kind, the options and the tensors of a call of a layer or an operation.

    Raises:
        UnsupportedLayer: the operation is not supported.
    """
    if kind in ("TFOpLambda", "SlicingOpLambda"):
        return _of_tensorflow(name, config, call)
    if _is_operation(kind, config, call):
        kind = f"{PREFIX}{kind}"
    row = KINDS.get(kind)
    if row is None or not (kind.startswith(PREFIX) or row.operands or row.called or row.several):
        return Read(kind, config, call)
    given = {key: value for key, value in config.items() if key != "name"}
    if kind.startswith(PREFIX):
        given = {key: constants(value) for key, value in given.items()}
    given = {key: value for key, value in given.items() if value is not None}
    if row.operands and row.operands != LIST and not call.today:  # Keras 2 wraps the only argument in a list
        call = replace(call, arguments=tuple(leaves([*call.arguments])))
    places = (*_operands(row), *row.called)
    if len(call.arguments) > len(places):
        raise UnsupportedLayer([f"{name}: {kind} with {len(call.arguments)} arguments; supported are {len(places)}"])
    return _bound(kind, given, dict(zip(places, call.arguments, strict=False)), call.keywords)


def _is_operation(kind: str, config: Mapping[str, Any], call: Call) -> bool:
    """Whether a class of this name is meant as an operation, where the description does not say its module (in an .h5).

    Layers of these names take one argument, and other options: Reshape has `target_shape`, the operation `newshape`.
    An own layer may have the name of an operation: all layers write whether they are trainable, and no operation does.
    Keras 2 writes no operation under the name of a class.
    """
    layer, row = KINDS.get(kind), KINDS.get(f"{PREFIX}{kind}")
    if row is None or "trainable" in config or not call.today:
        return False
    if layer is None:
        return True
    return len(call.arguments) > 1 or any(key in row.options and key not in layer.options for key in config)


def _operands(row: Kind) -> tuple[str, ...]:
    """The names of the tensors of a call; of one tensor or list, `x`."""
    return row.operands if row.operands and row.operands != LIST else ("x",)


def _of_tensorflow(name: str, config: Mapping[str, Any], call: Call) -> Read:
    function = config.get("function")
    if function in UNSAVED:
        raise UnsupportedLayer([f"{name}: {UNSAVED[function]}"])
    if function not in TENSORFLOW:
        raise UnsupportedLayer([f"{name}: calls tf.{function}, which is not supported"])
    kind, spelling = TENSORFLOW[function]
    row = KINDS[kind]
    first = call.arguments[0]
    keywords = {key: value for key, value in call.keywords.items() if key != "name" and value is not None}
    keywords = dict(spelling.assumed) | {spelling.names[0]: first} | keywords
    for key, value in spelling.assumed.items():
        if key not in spelling.names and keywords[key] == value:
            del keywords[key]
    ours = (*_operands(row), *(key for key in row.options if key not in ("arguments", "output")))
    names = dict(zip(spelling.names, (*ours, *spelling.names[len(ours) :]), strict=False))
    given = {names[key]: keywords.pop(key) for key in [*keywords] if key in names}
    given = spelling.translate(given)
    kind = given.pop("kind", kind)
    operands = {key: given.pop(key) for key in _operands(KINDS[kind]) if key in given}
    return _bound(kind, given, operands, keywords)


def _bound(kind: str, config: Mapping[str, Any], given: Mapping[str, Any], keywords: Mapping[str, Any]) -> Read:
    """The call, from its arguments by name: tensors to operands, and all else to the options of the row."""
    row, config, left = KINDS[kind], dict(config), dict(keywords)
    given = dict(given) | {key: left.pop(key) for key in (*_operands(row), *row.called, *row.options) if key in left}
    config |= {key: given.pop(key) for key in [*given] if key in row.options}
    if row.operands in ((), LIST):
        return Read(kind, config, Call((given.get("x"),), left))
    present = [given.get(key) for key in row.operands]
    while present and present[-1] is None:
        present.pop()
    template = [TENSOR if isinstance(each, Tensor) else _constant(each) for each in present]
    return Read(kind, config | {"arguments": template}, Call(tuple(e for e in present if isinstance(e, Tensor)), left))


def _constant(value: Any) -> Any:
    # None stands for a tensor. So a missing argument becomes a string, which the option's reader refuses.
    return "nothing" if value is None else value


def written(kind: str, config: Mapping[str, Any], tensors: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
    """(the arguments, the keywords) of a call, as Keras 3 writes them. This is the inverse of `read`."""
    row = KINDS[kind]
    keywords = {key: config[key] for key in row.called if config[key] != row.options[key].default}
    if row.operands == LIST:
        return [list(tensors)], keywords
    if row.operands:
        rest = iter(tensors)
        return [next(rest) if each is TENSOR else _written(each) for each in config["arguments"]], keywords
    if kind == "ops.GetItem":
        return [*tensors, [_written_item(item) for item in config["key"]]], {}
    return list(tensors) if len(tensors) == 1 else [list(tensors)], keywords


def _written(value: Any) -> Any:
    if isinstance(value, tuple):
        return {"class_name": "__tensor__", "config": {"value": value, "dtype": "float32"}}
    return value


def _written_item(item: Any) -> Any:
    if item == "...":
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(item, tuple):
        return {"class_name": "__slice__", "config": dict(zip(("start", "stop", "step"), item, strict=True))}
    return item

"""Arithmetic with tensors outside of layers, such as `x / 127.5 - 1`, `tf.nn.relu(x)`, `x[..., ::-1]` → a layer.

Keras 2 saves such a call as a layer of kind TFOpLambda with the name of the function, and Keras 3 saves the class of
the operation. The lists here say which ones are supported: those in the networks of `keras.applications` and in their
`preprocess_input`, and activation functions. All others are refused by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import UnsupportedLayer
from .calls import Call, Tensor

ARITHMETIC = {
    "Add",
    "Subtract",
    "Multiply",
    "TrueDivide",
}  # classes of keras.ops; the kinds of their nodes are "ops.Add" …

# TensorFlow's functions of two arguments: (operation, names of the arguments).
FUNCTIONS = {
    "__operators__.add": ("Add", ("x", "y")),
    "math.add": ("Add", ("x", "y")),
    "nn.bias_add": ("Add", ("value", "bias")),
    "math.subtract": ("Subtract", ("x", "y")),
    "math.multiply": ("Multiply", ("x", "y")),
    "math.truediv": ("TrueDivide", ("x", "y")),
    "math.divide": ("TrueDivide", ("x", "y")),
}
# TensorFlow's functions, and Keras' operations, of one argument: activation functions under another name.
ACTIVATION_FUNCTIONS = {
    "nn.relu": "relu",
    "nn.relu6": "relu6",
    "nn.elu": "elu",
    "nn.selu": "selu",
    "nn.silu": "silu",
    "nn.softmax": "softmax",
    "math.sigmoid": "sigmoid",
    "math.tanh": "tanh",
}
ACTIVATION_OPERATIONS = {
    "Relu": "relu",
    "Relu6": "relu6",
    "Elu": "elu",
    "Selu": "selu",
    "Silu": "silu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
}

TENSOR = None
"""Stands for an argument of an operation that is a tensor; any other argument is a constant."""


def operation(name: str, kind: str, config: Mapping[str, Any], call: Call) -> tuple[str, Mapping[str, Any], Call]:
    """(kind, config, call) of a layer. An operation becomes a layer whose config holds the constants.

    Raises:
        UnsupportedLayer: the operation is not supported.
    """
    if kind in ("TFOpLambda", "SlicingOpLambda"):
        return _of_tensorflow(name, config, call)
    if kind in ARITHMETIC and len(call.arguments) == 2:  # the layer of this name has one argument, a list
        return _arithmetic(kind, call.arguments, call.keywords)
    if kind == "GetItem" and len(call.arguments) == 2:
        return _item(call.arguments[0], call.arguments[1], call.keywords)
    if kind == "Stack" and len(call.arguments) == 1:
        return "ops.Stack", _without_name(config), call
    if kind in ACTIVATION_OPERATIONS:
        options = {
            key: value for key, value in _without_name(config).items() if (key, value) != ("alpha", 1.0)
        }  # elu's
        return "Activation", {"activation": ACTIVATION_OPERATIONS[kind], **options}, call
    return kind, config, call


def _of_tensorflow(name: str, config: Mapping[str, Any], call: Call) -> tuple[str, Mapping[str, Any], Call]:
    function, keywords = config.get("function"), dict(call.keywords)
    keywords.pop("name", None)
    if function in FUNCTIONS:
        kind, (_, second) = FUNCTIONS[function]
        if keywords.get("data_format") == "NHWC":  # of bias_add: its default
            del keywords["data_format"]
        return _arithmetic(kind, (*call.arguments, keywords.pop(second, None)), keywords)
    if function == "__operators__.getitem":
        return _item(call.arguments[0], keywords.pop("slice_spec", None), keywords)
    if function in ACTIVATION_FUNCTIONS:
        return "Activation", {"activation": ACTIVATION_FUNCTIONS[function]}, replace(call, keywords=keywords)
    raise UnsupportedLayer([f"{name}: calls tf.{function}, which is not supported"])


def _arithmetic(
    kind: str, arguments: Sequence[Any], keywords: Mapping[str, Any]
) -> tuple[str, Mapping[str, Any], Call]:
    template = [TENSOR if isinstance(each, Tensor) else _constant(each) for each in arguments]
    tensors = tuple(each for each in arguments if isinstance(each, Tensor))
    return f"ops.{kind}", {"arguments": template}, Call(tensors, keywords)


def _constant(value: Any) -> Any:
    # None stands for a tensor. So a missing argument becomes a string, which the option's reader refuses.
    return "nothing" if value is None else value


def _item(tensor: Any, key: Any, keywords: Mapping[str, Any]) -> tuple[str, Mapping[str, Any], Call]:
    return "ops.GetItem", {"key": key if isinstance(key, list) else [key]}, Call((tensor,), keywords)


def _without_name(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "name"}


def arguments(kind: str, config: Mapping[str, Any], tensors: Sequence[Any]) -> list[Any]:
    """The arguments of a call, as Keras 3 writes them. This is the inverse of `operation`."""
    if kind == "ops.GetItem":
        return [*tensors, [_written_item(item) for item in config["key"]]]
    if kind == "ops.Stack":
        return [list(tensors)]
    if "arguments" not in config:
        return list(tensors) if len(tensors) == 1 else [list(tensors)]
    rest = iter(tensors)
    return [next(rest) if each is TENSOR else _written(each) for each in config["arguments"]]


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

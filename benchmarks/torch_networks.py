"""Keras networks as PyTorch modules with the same weights, in the memory format channels last.

`converted(network)` converts a functional Keras model, layer by layer, to the modules that users of PyTorch choose, as
in torchvision: a symmetric zero padding is part of the layer after it, and a ReLU works in place where nobody else
reads its input. `torch.save` saves the result, and `torch.load` loads it without Keras. Values are
`[n c h w]`.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

IMAGE = "image"


class Step(NamedTuple):
    """A module and the names of the values that it reads; its result has a name, too."""

    name: str
    module: nn.Module
    reads: tuple[str, ...]


class Network(nn.Module):
    """Steps in their order, from the value `first` to that of the last step. A value is let go after its last reader.

    The name of the value of a step is the name of its layer in Keras.
    """

    def __init__(self, steps: list[Step], first: str = IMAGE):
        super().__init__()
        self.steps, self.first = steps, first
        self.layers = nn.ModuleList(step.module for step in steps)  # so that PyTorch finds the parameters
        last = {name: step.name for step in steps for name in step.reads}
        self.done = [[name for name in dict.fromkeys(step.reads) if last[name] == step.name] for step in steps]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        known = {self.first: x}
        for (name, module, reads), done in zip(self.steps, self.done, strict=True):
            values = [known[each] for each in reads]
            for each in done:
                del known[each]
            known[name] = module(*values)
        return known[name]

    def part(self, first: str, last: str) -> "Network":
        """The steps from the value `first` to the value `last`, with the same modules."""
        needed, found = {last}, []
        for step in reversed(self.steps):
            if step.name in needed and step.name != first:
                needed.update(step.reads)
                found.append(step)
        return Network(found[::-1], first)


def converted(network: Any) -> Network:
    """A functional Keras model as a PyTorch network for inference; an activation function of its last layer is kept.

    Raises:
        KeyError: a layer or an activation function that has no conversion.
    """
    raw = list(_walk(network.operations, {}))
    readers = Counter(name for step in raw for name in step.reads)
    steps: dict[str, Step] = {}
    for name, module, reads in raw:
        before = steps.get(reads[0])
        alone = before is not None and readers[before.name] == 1
        if alone and isinstance(before.module, nn.ZeroPad2d) and _pads_alike(before, module, steps):
            left, _, top, _ = before.module.padding
            module.padding, reads = (top, left), before.reads
            del steps[before.name]
        elif alone and isinstance(module, nn.ReLU | nn.ReLU6):
            module.inplace = True
        steps[name] = Step(name, module, reads)
    found = Network(list(steps.values())).eval().requires_grad_(False)
    return found.to(memory_format=torch.channels_last)


def _pads_alike(before: Step, module: nn.Module, steps: dict[str, Step]) -> bool:
    """Whether a convolution can do the zero padding before it itself; or a maximum, of values that are not negative."""
    left, right, top, bottom = before.module.padding
    source = steps.get(before.reads[0])
    alike = isinstance(module, nn.Conv2d) or (
        isinstance(module, nn.MaxPool2d) and source is not None and isinstance(source.module, nn.ReLU)
    )
    return left == right and top == bottom and alike and module.padding == (0, 0)


def _walk(operations: list[Any], names: dict[str, str]) -> Iterator[Step]:
    """The steps of Keras' operations; `names` has what stands for a value that has no step: {its name: another}."""
    for each in operations:
        kind, given = type(each).__name__, each.input
        tensors = given if isinstance(given, list | tuple) else [given]
        reads = [_name(tensor) for tensor in tensors]
        reads = [names.get(name, name) for name in reads]
        if kind == "InputLayer":
            names[each.name] = IMAGE
        elif kind == "Sequential":
            names[_name(each.layers[0].input)] = reads[0]
            yield from _walk(each.layers, names)
            names[each.name] = names.get(each.layers[-1].name, each.layers[-1].name)
        else:
            modules = list(LAYERS[kind](each))
            if not modules:
                names[each.name] = reads[0]
            for number, module in enumerate(modules, 1):
                name = each.name if number == len(modules) else f"{each.name}/{number}"
                yield Step(name, module, tuple(reads))
                reads = [name]


def _name(tensor: Any) -> str:
    """The name of the operation that a symbolic tensor of Keras comes from."""
    return tensor._keras_history.operation.name


# Each yields the modules of a Keras layer, which follow each other; none if the layer changes nothing here.


def _convolution(layer: Any) -> Iterator[nn.Module]:
    kernel, *bias = layer.get_weights()
    channels = layer.input.shape[-1]
    if type(layer).__name__ == "DepthwiseConv2D":
        kernel, groups = kernel.reshape(*kernel.shape[:2], 1, -1), channels
    else:
        groups = layer.groups
    size, strides, dilation = kernel.shape[:2], layer.strides, layer.dilation_rate
    before, padding = _padding(layer, [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)], 0.0)
    yield from before
    options = {"padding": padding, "dilation": dilation, "groups": groups, "bias": bool(bias)}
    found = nn.Conv2d(channels, kernel.shape[-1], size, strides, **options)
    yield _filled(found, weight=kernel.transpose(3, 2, 0, 1), **({"bias": bias[0]} if bias else {}))
    yield from _activation(layer)


def _dense(layer: Any) -> Iterator[nn.Module]:
    kernel, *bias = layer.get_weights()
    yield from _channels_last(
        layer,
        _filled(nn.Linear(*kernel.shape, bias=bool(bias)), weight=kernel.T, **({"bias": bias[0]} if bias else {})),
    )
    yield from _activation(layer)


def _batch_normalization(layer: Any) -> Iterator[nn.Module]:
    values = {"running_mean": layer.moving_mean, "running_var": layer.moving_variance}
    values |= {"weight": layer.gamma} if layer.scale else {}
    values |= {"bias": layer.beta} if layer.center else {}
    found = nn.BatchNorm2d(
        layer.input.shape[-1], eps=layer.epsilon
    )  # its weight is 1 and its bias 0 where Keras has none
    yield _filled(found, **{name: np.asarray(value) for name, value in values.items()})


def _layer_normalization(layer: Any) -> Iterator[nn.Module]:
    gamma, beta = layer.get_weights()
    found = nn.LayerNorm(len(gamma), eps=layer.epsilon)
    yield from _channels_last(layer, _filled(found, weight=gamma, bias=beta))


def _pool(layer: Any) -> Iterator[nn.Module]:
    size, strides, largest = layer.pool_size, layer.strides, type(layer).__name__ == "MaxPooling2D"
    before, padding = _padding(layer, size, -np.inf if largest else None)
    yield from before
    yield (
        nn.MaxPool2d(size, strides, padding)
        if largest
        else nn.AvgPool2d(size, strides, padding, count_include_pad=False)
    )


def _padding(layer: Any, size: Any, value: float | None) -> tuple[list[nn.Module], tuple[int, int]]:
    """The modules that pad before a layer with windows of `size`, and the padding that the layer does itself."""
    if layer.padding == "valid":
        return [], (0, 0)
    shape = layer.input.shape[1:3]
    total = [max((-(-n // s) - 1) * s + k - n, 0) for n, s, k in zip(shape, layer.strides, size, strict=True)]
    low = [each // 2 for each in total]
    if total == [2 * each for each in low]:
        return [], tuple(low)
    if value is None:
        raise KeyError(f"{layer.name}: a mean that leaves out an unequal padding")
    (top, left), (below, right) = low, [a - b for a, b in zip(total, low, strict=True)]
    return [nn.ConstantPad2d((left, right, top, below), value)], (0, 0)


def _activation(layer: Any) -> Iterator[nn.Module]:
    if layer.activation.__name__ != "linear":
        yield ACTIVATIONS[layer.activation.__name__]()


def _relu(layer: Any) -> Iterator[nn.Module]:
    yield {None: nn.ReLU, 6.0: nn.ReLU6}[layer.max_value]()


def _zero_padding(layer: Any) -> Iterator[nn.Module]:
    (top, below), (left, right) = layer.padding
    yield nn.ZeroPad2d((left, right, top, below))


def _normalization(layer: Any) -> Iterator[nn.Module]:
    mean, variance = (np.asarray(each).reshape(-1) for each in (layer.mean, layer.variance))
    yield Affine(scale=1 / np.maximum(np.sqrt(variance), 1e-7), shift=-mean / np.maximum(np.sqrt(variance), 1e-7))


def _channels_last(layer: Any, module: nn.Module) -> Iterator[nn.Module]:
    """A module that works on the last axis, for the layout of Keras."""
    if len(layer.input.shape) != 4:
        yield module
        return
    yield Function(torch.permute, (0, 2, 3, 1))
    yield module
    yield Function(torch.permute, (0, 3, 1, 2))


def _reshape(layer: Any) -> Iterator[nn.Module]:
    if len(layer.input.shape) == 4:
        yield Function(torch.permute, (0, 2, 3, 1))
    yield Function(torch.Tensor.reshape, (-1, *layer.output.shape[1:]))
    if len(layer.output.shape) == 4:
        yield Function(torch.permute, (0, 3, 1, 2))


def _filled(module: nn.Module, **values: np.ndarray) -> nn.Module:
    """The module with these parameters and buffers."""
    with torch.no_grad():
        for name, value in values.items():
            getattr(module, name).copy_(torch.tensor(np.ascontiguousarray(value)))
    return module


class Function(nn.Module):
    """A function of the values that are read, with more arguments after them."""

    def __init__(self, function: Callable, *more: Any):
        super().__init__()
        self.function, self.more = function, more

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        return self.function(*values, *self.more)


class Affine(nn.Module):
    """Scale and shift of each channel."""

    def __init__(self, scale: np.ndarray, shift: np.ndarray):
        super().__init__()
        for name, value in (("scale", scale), ("shift", shift)):
            self.register_buffer(name, torch.tensor(np.float32(value).reshape(-1, 1, 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale + self.shift


def concatenated(*values: torch.Tensor) -> torch.Tensor:
    return torch.cat(values, 1)


ACTIVATIONS = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "softmax": lambda: nn.Softmax(1),
}

# The class of a Keras layer → what yields its modules.
LAYERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("Conv2D", "DepthwiseConv2D"), _convolution),
    **dict.fromkeys(("MaxPooling2D", "AveragePooling2D"), _pool),
    **dict.fromkeys(("Dropout", "StochasticDepth"), lambda layer: []),
    **dict.fromkeys(("Flatten", "Reshape"), _reshape),
    "Activation": _activation,
    "Add": lambda layer: [Function(torch.add)],
    "BatchNormalization": _batch_normalization,
    "Concatenate": lambda layer: [Function(concatenated)],
    "Dense": _dense,
    "GlobalAveragePooling2D": lambda layer: [Function(torch.mean, (2, 3))],
    "LayerNormalization": _layer_normalization,
    "LayerScale": lambda layer: [Affine(layer.get_weights()[0], np.zeros(1))],
    "Multiply": lambda layer: [Function(torch.mul)],
    "Normalization": _normalization,
    "ReLU": _relu,
    "Rescaling": lambda layer: [Affine(np.array(layer.scale), np.array(layer.offset))],
    "ZeroPadding2D": _zero_padding,
}

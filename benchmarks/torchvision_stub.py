"""zennit imports torchvision, which the project does not need. This takes its place."""

import sys
import types


def stub_torchvision() -> None:
    """Make empty classes for those of torchvision that zennit imports; no network here uses them."""
    for module, classes in {
        "torchvision": (),
        "torchvision.ops": ("FrozenBatchNorm2d",),
        "torchvision.models": (),
        "torchvision.models.resnet": ("Bottleneck", "BasicBlock"),
    }.items():
        stub = types.ModuleType(module)
        for each in classes:
            setattr(stub, each, type(each, (), {}))
        sys.modules[module] = stub
    sys.modules["torchvision"].ops = sys.modules["torchvision.ops"]

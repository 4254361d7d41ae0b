"""The table of known architectures.

Law: each graph in the table is the one that real Keras builds under that name, and writing it down loses nothing.
"""

import inspect
import json
import re
import time

import keras
import pytest

from weights_convert import ARCHITECTURES, CAFFE, RAW255, TF, TORCH
from weights_convert.architectures import APPLICATIONS, compact, expand

MODES = {"caffe": CAFFE, "tf": TF, "torch": TORCH}


def test_every_application_is_known():
    names = {name.lower() for name in vars(keras.applications) if name[0].isupper()}
    assert set(APPLICATIONS) == names
    assert len(ARCHITECTURES) == len(list(ARCHITECTURES)) == 2 * len(names) + 2
    assert "resnet50_notop" in ARCHITECTURES
    assert "resnet51" not in ARCHITECTURES
    assert "cats_dogs_notop" not in ARCHITECTURES
    with pytest.raises(KeyError, match="resnet51"):
        ARCHITECTURES["resnet51"]


@pytest.mark.parametrize("name", [name for name in vars(keras.applications) if name[0].isupper()])
def test_networks_were_fed_as_keras_says(name):
    """By the mode in the source of its `preprocess_input`, which is the identity where the network does it itself."""
    module = inspect.getmodule(inspect.unwrap(getattr(keras.applications, name)))
    source = inspect.getsource(module.preprocess_input)
    mode = re.search(r'mode="(\w+)"', source)
    assert APPLICATIONS[name.lower()] == (MODES[mode[1]] if mode else RAW255)
    assert ("return x" in source) == (mode is None)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_graphs_hold_together(name):
    known = ARCHITECTURES[name]
    names = [node.name for node in known.graph.nodes]
    assert len({*names}) == len(names)
    [(image, shape)] = known.graph.inputs
    assert shape[-1] == 3
    assert (shape[0] is None) == (name.endswith("_notop") or "mobilenetv3" in name)
    seen = {image}
    for node in known.graph.nodes:
        assert seen.issuperset(node.inputs)
        seen.add(node.name)


@pytest.mark.parametrize("name", ["vgg19", "resnet50v2", "mobilenetv3small", "efficientnetv2b0", "convnexttiny"])
def test_compact_and_expand_are_inverse(name):
    whole, base = ARCHITECTURES[name].graph, ARCHITECTURES[f"{name}_notop"].graph
    assert expand(json.loads(json.dumps(compact(whole, base)))) == (whole, base)
    assert set(base.nodes[:-1]) < set(whole.nodes)


def test_shapes_tell_networks_apart():
    shapes = [(3, 3, 1, 32), (32,), (3, 3, 32, 64), (64,), (3, 3, 64, 128), (128,), (3, 3, 128, 128), (128,)]
    shapes += [(6272, 512), (512,), (512, 1), (1,)]
    assert ARCHITECTURES.fitting([(3, 3, 3, 32), *shapes[1:]]) == ["cats_dogs"]
    assert ARCHITECTURES.fitting(reversed([(3, 3, 3, 32), *shapes[1:]])) == ["cats_dogs"]
    assert ARCHITECTURES.fitting(shapes) == []


def test_telling_them_apart_takes_no_time():
    begin = time.perf_counter()
    for _ in range(10):
        ARCHITECTURES.fitting([(3, 3, 3, 32)] * 1000)
    assert time.perf_counter() - begin < 1  # building all of them takes a minute

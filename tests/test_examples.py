"""Law: each example runs as its docstring says, and writes the pictures that it promises, none of them blank."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def example(tmp_path):
    """A function that runs the `main` of an example in a temporary folder, and returns the pictures that it wrote."""

    def run(name, *arguments) -> dict[str, np.ndarray]:
        script = runpy.run_path(str(EXAMPLES / f"{name}.py"))
        main = script["main"]
        main.__globals__["OUT"] = tmp_path / "out"
        main(*arguments)
        return {path.name: opened(path) for path in (tmp_path / "out").iterdir()}

    return run


def opened(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def assert_not_blank(pictures):
    for name, picture in pictures.items():
        assert picture.std() > 5, name


def test_intermediate_activations(example, capsys):
    pictures = example("intermediate_activations")
    layers = [f"{kind}_{i}" for i in (12, 13, 14) for kind in ("conv2d", "max_pooling2d")]
    # The first layer has 16 channels: there is a channel 3, but no channel 30.
    assert set(pictures) == {"conv2d_12_3.png", *(f"activations_{layer}.png" for layer in layers)}
    assert_not_blank(pictures)
    assert "3,696,337 parameters" in capsys.readouterr().out


def test_decision_attribution(example, capsys):
    pictures = example("decision_attribution")
    assert set(pictures) == {"map.png", "decision.png"}
    assert_not_blank(pictures)
    assert "0.8723  class 1" in capsys.readouterr().out


# Some filters of the first layer are inactive on the start image, and `sweep` says so.
@pytest.mark.filterwarnings("ignore:.* objectives do not move:jaxviz.JaxvizWarning")
def test_filter_essence(example, capsys):
    pictures = example("filter_essence", "vgg16_demo", "block1_conv1")  # block3_conv1, the default, takes a minute
    kinds = [f"{kind}_{source}" for kind in ("filter", "scores") for source in ("book", "article")]
    assert set(pictures) == {f"{name}.png" for name in (*kinds, "filters_block1_conv1")}
    assert_not_blank(pictures)
    assert "filter 27" in capsys.readouterr().out


# The climb of two steps is too short for some of them to move.
@pytest.mark.filterwarnings("ignore:.* objectives do not move:jaxviz.JaxvizWarning")
def test_deep_filters(example, capsys):
    pictures = example("deep_filters", "vgg16_demo", "2", "block1_conv1")
    assert set(pictures) == {"deep_block1_conv1.png", "filters.jpg"}
    assert_not_blank(pictures)
    assert pictures["filters.jpg"].shape == (2 * 96 + 5, 6 * 96 + 5 * 5, 3)
    assert "block1_conv1, lucid: " in capsys.readouterr().out


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda script: script.stem)
def test_help(script):
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"python examples/{script.name}" in done.stdout

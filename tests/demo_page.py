"""What a run of `jaxviz demo` must have made."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from jaxviz.cli.demo import Extent
from jaxviz.cli.methods import GENERAL


def check(folder: Path, printed: str, extent: Extent):
    """Two pages show all of `extent`, every picture once or more, and load nothing from elsewhere."""
    page = (folder / "index.html").read_text(encoding="utf-8")
    explanations = (folder / "methods.html").read_text(encoding="utf-8")
    assert 'href="methods.html"' in page
    assert 'href="index.html"' in explanations
    shown = re.findall(r'<img src="(.*?)"', page)
    compared = re.findall(r'<img src="(.*?)"', explanations)
    names = extent.methods or GENERAL
    assert compared == ["photograph.png", *(f"{name}.png" for name in names)]
    assert sorted({*shown, *compared}) == sorted(path.name for path in folder.glob("*.png"))
    assert len(shown) == 1 + len(extent.activations) + len(extent.filters) + 1 + len(extent.deep) + extent.channels
    pictures = {name: np.asarray(Image.open(folder / name)) for name in (*shown, *compared)}
    for layer in extent.filters:
        assert f"filters of {layer}" in printed
        assert pictures[f"filters_{layer}.png"].shape == (69 * (extent.filters_each // 8) - 5, 547, 3)
    for layer in extent.deep:
        assert f"filters of {layer} by chollet and lucid" in printed
    for name, picture in pictures.items():
        assert picture.std() > 10, name
    assert "block5_conv3  Conv2D" in page
    assert "http" not in page + explanations

"""Writes `docs/layers.md`, the table of what loads: python tests/weights_convert/layers_page.py

The rows come from `KINDS`. Real Keras says which of its versions have a layer.
"""

from pathlib import Path

import keras
import tf_keras
from keras.src.applications import convnext, inception_resnet_v2
from tf_keras.src.applications import convnext as convnext_2
from tf_keras.src.applications import inception_resnet_v2 as inception_resnet_v2_2

from weights_convert.layers import CUSTOM, WITH_WEIGHTS
from weights_convert.layers.table import FAMILIES

PAGE = Path(__file__).parents[2] / "docs" / "layers.md"
HEAD = """# Layers and operations that load

`tests/weights_convert/layers_page.py` wrote this page from the table `weights_convert.layers.KINDS`.

**How each is checked.** Every layer, with each of its options, computes what Keras 3 computes, to 1e-5 of the greatest
value; it was saved as `.h5` or read from Keras' description, loaded, saved as `.keras`, and loaded by Keras again
(`tests/weights_convert/test_layers.py`). Files of Keras 2 have the same layers under the names that
`weights_convert/config/versions.py` lists; `test_h5.py`, `test_keras_2.py` and the whole networks of
`test_applications.py` check them. Every operation is saved by Keras 3 as `.keras` and by Keras 2 as `.h5`, loaded, and
compared in the same way (`test_operations.py`). An option that a row does not list, and that changes the result, is
refused by name.

Every method of jaxviz works with every layer.

A network whose layers have `data_format="channels_first"` is loaded as the same network of images `[h w c]`. Layers
that Keras 3 has quantised to int8 are loaded with the numbers that their whole numbers stand for; the rounding of their
inputs is left out. Of a class of your own, and of a layer that is not here: `custom={"its name": function}`.
"""
MODULES = {
    3: (keras.layers, convnext, inception_resnet_v2),
    2: (tf_keras.layers, convnext_2, inception_resnet_v2_2),
}
FUNCTIONS = """
## Operations outside of layers

What a network computes with tensors outside of layers: operators such as `x / 2`, functions of `keras.ops` and
`keras.activations` (Keras 3), and functions of TensorFlow (Keras 2, which saves them as `TFOpLambda`, and an index as
`SlicingOpLambda`). None of them may mix the images of a batch: an axis of 0 is refused.
"""


def versions(kind: str) -> str:
    return " and ".join(str(number) for number in (2, 3) if any(hasattr(module, kind) for module in MODULES[number]))


def cells(*row: str) -> str:
    return f"| {' | '.join(row)} |"


def page() -> str:
    lines = [HEAD]
    for family in FAMILIES[:-1]:
        title = family.__name__.rpartition(".")[2].capitalize()
        lines += [f"## {title}\n", cells("layer", "of Keras", "options"), cells(*["---"] * 3)]
        for kind, row in family.KINDS.items():
            options = ", ".join(f"`{key}`" for key in row.options if key not in ("arguments", "output"))
            lines.append(cells(f"`{kind}`", versions(kind), options))
        lines.append("")
    lines += [FUNCTIONS, cells("Keras 3", "Keras 2: `tf.…`", "options"), cells(*["---"] * 3)]
    for kind, row in FAMILIES[-1].KINDS.items():
        if kind not in (CUSTOM, WITH_WEIGHTS):
            module = (row.package or "").removeprefix("keras.src.")
            name = f"`{kind.removeprefix('ops.')}` of `{module}`" if row.package else ""
            options = ", ".join(f"`{key}`" for key in row.options if key not in ("arguments", "output"))
            lines.append(cells(name, ", ".join(f"`{function}`" for function in row.tensorflow), options))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

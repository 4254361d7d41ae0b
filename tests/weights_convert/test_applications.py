"""The applications of Keras, from every kind of file; the benchmark of the same name does it for all of them."""

import json

import keras_applications
import pytest
from keras_applications import FORMATS, NAMES

# The cheap families, and each kind of file.
SAMPLE = {
    "VGG16": ["weights"],
    "ResNet50V2": ["weights.h5"],
    "MobileNet": ["h5", "keras", "keras 2 h5", "weights.h5", "weights"],
    "MobileNetV3Small": ["keras 2 h5"],
    "EfficientNetV2B0": ["weights"],
    "ConvNeXtTiny": ["weights.h5", "weights"],
}
TOLERANCE, DEEPEST = 1e-5, 2e-5

# Keras on the small images; what it builds for published weights is the same for all sizes.
pytestmark = pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square:UserWarning")


def check(name, formats):
    found = keras_applications.row(name, tuple(formats), float64=False)
    assert {*formats} == {*FORMATS} & {*found}
    assert all(error <= TOLERANCE for key in formats for error in found[key].values()), found


@pytest.mark.parametrize("name", SAMPLE)
def test_an_application(name):
    check(name, SAMPLE[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_application_from_every_file(name):
    within(keras_applications.row(name))


def test_the_committed_table():
    devices = json.loads((keras_applications.RESULTS / "keras_applications.json").read_text(encoding="utf-8"))
    assert devices
    for device in devices.values():
        for row in device["results"].values():
            within(row)


def within(row):
    """1e-5 at most; 2e-5 where float32 costs Keras itself at least half of the difference."""
    assert row["float64"]["keras"] <= DEEPEST
    assert {*FORMATS} <= {*row}
    for key in FORMATS:
        limit = DEEPEST if 2 * row["float64"]["keras"] >= row[key]["output"] else TOLERANCE
        assert max(row[key].values()) <= limit, (key, row)

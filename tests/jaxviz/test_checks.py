"""Checks of arguments.

Law: a check returns the argument in the one form that the code uses, or raises an InputError with what was given.
"""

import numpy as np
import pytest
from networks import image, images, keras_model

import jaxviz as jv
from jaxviz.checks import finite, height_width, near, numbers, whole


@pytest.mark.parametrize("value", [3, np.int64(3), np.array(3)], ids=repr)
def test_a_whole_number_comes_back_as_python_has_it(value):
    assert type(whole("steps", value)) is int
    assert whole("steps", value) == 3
    assert whole("margin", 0, 0) == 0


@pytest.mark.parametrize("value", [0, -1, 2.0, 2.5, True, "3", None, [3], float("nan")], ids=repr)
def test_what_is_no_whole_number(value):
    with pytest.raises(jv.InputError, match=r"^steps is a whole number, 1 or more; given: "):
        whole("steps", value)


@pytest.mark.parametrize("value", [(3, 4), [3, 4], np.array([3, 4]), (np.int64(3), 4)], ids=repr)
def test_height_and_width(value):
    assert height_width("size", value) == (3, 4)
    assert height_width("size", value[0]) == (3, 3)


@pytest.mark.parametrize("value", [0, (3, 0), (3,), (3, 4, 3), 2.5, (3, 2.5), "ab", None, {}, [[3, 4]]], ids=repr)
def test_what_is_no_height_and_width(value):
    with pytest.raises(jv.InputError, match=r"^size is a whole number of pixels, 1 or more, or \(height, width\); "):
        height_width("size", value)


@pytest.mark.parametrize("value", [1, True, 0.5, np.float32(2), [[1, 2], [3, 4]], np.arange(3)], ids=repr)
def test_numbers_are_float64(value):
    found = numbers(value)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize("value", ["1", None, "x", 1j, [1, "2"], [1, None], [[1], [1, 2]], {}, object], ids=repr)
def test_what_holds_anything_else_is_nan(value):
    assert np.isnan(numbers(value))
    with pytest.raises(jv.InputError, match=r"^decay is a finite number; given: "):
        finite("decay", value)


def test_names_that_are_near():
    assert near("conv", ["conv_1", "conv_2", "dense"]) == "did you mean conv_2 or conv_1? "
    assert near(3, ["conv_1"]) == ""


BATCHED = {
    "activations": lambda model, batch: jv.activations(model, images(2), batch=batch),
    "gradient": lambda model, batch: jv.gradient(model, images(2), batch=batch),
    "grad_cam": lambda model, batch: jv.grad_cam(model, images(2), batch=batch),
    "lrp": lambda model, batch: jv.lrp(model, images(2), batch=batch),
    "integrated_gradients": lambda model, batch: jv.integrated_gradients(model, image(), batch=batch),
    "occlusion": lambda model, batch: jv.occlusion(model, image(), window=4, batch=batch),
    "rise": lambda model, batch: jv.rise(model, image(), samples=2, batch=batch),
    "smooth": lambda model, batch: jv.smooth(lambda x: jv.gradient(model, x, 1), image(), batch=batch),
}


@pytest.mark.parametrize("batch", [0, -1])
@pytest.mark.parametrize("name", BATCHED)
def test_no_batch_is_empty(name, batch):
    with pytest.raises(jv.InputError, match=f"batch is a whole number, 1 or more; given: {batch}"):
        BATCHED[name](keras_model(), batch)


def test_a_sweep_of_a_negative_number_at_a_time():
    model = keras_model()
    with pytest.raises(jv.InputError, match="batch is a whole number, 1 or more; given: -1"):
        jv.sweep(model, jv.channels(model, "first"), **jv.recipes.chollet(size=12, steps=1), batch=-1)

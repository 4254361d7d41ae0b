"""Networks with several inputs, all but one of which have a fixed value.

Law: `fix(net, values)(image)` equals `net({**values, input: image})`.
"""

import keras
import numpy as np
import pytest
from keras import layers as L  # noqa: N812
from keras_oracle import TOLERANCE, error, randomize

import weights_convert
from weights_convert import fix

SHAPES = {"left": (8, 8, 3), "right": (8, 8, 3), "extra": (4,)}


@pytest.fixture(scope="module")
def model():
    """Two images and a vector; the same convolution looks at both images."""
    left, right, extra = (
        keras.Input(s, name=n) for s, n in [((8, 8, 3), "left"), ((8, 8, 3), "right"), ((4,), "extra")]
    )
    conv = L.Conv2D(3, 3, activation="relu", name="conv")
    both = L.Concatenate(name="both")([L.GlobalAveragePooling2D()(conv(left)), L.Flatten()(conv(right)), extra])
    heads = [L.Dense(2, activation="softmax", name="head")(both), L.Dense(1, name="value")(both)]
    return randomize(keras.Model([left, right, extra], heads))


@pytest.fixture(scope="module")
def net(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("fix") / "m.h5"
    model.save(path)
    return weights_convert.load(path)


def given(n=2, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal((n, *shape)).astype(np.float32) for name, shape in SHAPES.items()}


def test_several_inputs_and_outputs(model, net):
    arrays = given()
    found = net(arrays)
    assert isinstance(found, tuple)
    for ours, theirs in zip(found, model(list(arrays.values())), strict=True):
        assert error(ours, theirs) <= TOLERANCE
    names = ["left", "conv/pre", "conv#2", "head/pre", "extra"]
    assert list(net.activations(arrays, names)) == names
    assert net.classes == 2


def test_ancestors_only_and_edits_of_shared_calls(net):
    arrays = given()
    plain = net.activations(arrays, ["conv", "conv#2", "value"])
    edited = net.activations(arrays, ["conv", "conv#2", "value"], {"conv#2": lambda x: 0 * x})
    np.testing.assert_array_equal(edited["conv"], plain["conv"])
    assert not edited["conv#2"].any()
    assert (edited["value"] != plain["value"]).all()
    changed = {**arrays, "left": arrays["left"][:, :5]}  # of another size, which only the right one may not be
    np.testing.assert_array_equal(net.activations(changed, ["conv#2"])["conv#2"], plain["conv#2"])


def test_settled_inputs(model, net):
    arrays = given()
    fixed = fix(net, {"right": arrays["right"][0], "extra": arrays["extra"][0]})
    assert fixed.open_inputs == {"image": (8, 8, 3)}
    wanted = model([arrays["left"], *(np.repeat(arrays[name][:1], 2, axis=0) for name in ("right", "extra"))])
    for ours, theirs in zip(fixed(arrays["left"]), wanted, strict=True):
        assert error(ours, theirs) <= TOLERANCE
    assert net.open_inputs == {"left": (8, 8, 3), "right": (8, 8, 3), "extra": (4,)}  # as it was


def test_the_same_image_twice(model, net):
    arrays = given()
    fixed = fix(net, {"right": "image", "extra": arrays["extra"][0]})
    wanted = model([arrays["left"], arrays["left"], np.repeat(arrays["extra"][:1], 2, axis=0)])
    assert error(fixed(arrays["left"])[0], wanted[0]) <= TOLERANCE


def test_a_fixed_network_is_not_saved(net, tmp_path):
    arrays = given()
    fixed = fix(net, {"right": "image", "extra": arrays["extra"][0]})
    with pytest.raises(ValueError, match="the inputs extra are fixed; save the network as it was before `fix`"):
        weights_convert.save(fixed, tmp_path / "m.safetensors")
    weights_convert.save(net, tmp_path / "m.safetensors")
    again = weights_convert.load(tmp_path / "m.safetensors")
    assert again.graph == net.graph
    np.testing.assert_array_equal(again(arrays)[1], net(arrays)[1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"one input is left for the image, the others are given; the inputs are left \[8 8 3\], right"),
        (
            {"up": "image", "right": "image"},
            r"no input 'up'; its inputs are left \[8 8 3\], right .*, extra \[4\]",
        ),
        ({"right": "image", "extra": "image"}, r"'extra' takes an array, or .* if it takes what 'left' does"),
        ({"right": "left", "extra": np.zeros(4)}, "'right' takes an array, or"),
        ({"right": "image", "extra": np.zeros(5)}, r"the input 'extra' takes \[4\]; given: \[5\]"),
    ],
)
def test_values_that_do_not_fit(values, message, net):
    with pytest.raises(ValueError, match=message):
        fix(net, values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["left"], r"takes \{input: array\} of left, right, extra; given: image"),
        (lambda a: {"left": a["left"]}, "of left, right, extra; given: left"),
        (
            lambda a: {**a, "extra": a["extra"][:, :3]},
            r"this network takes \[n c\] with c = 4; given: 'extra' of shape \(2, 3\)",
        ),
        (lambda a: {**a, "extra": a["extra"][:1]}, "all inputs must have the same batch size; given: 1, 2"),
    ],
)
def test_arrays_that_do_not_fit(change, message, net):
    with pytest.raises(ValueError, match=message):
        net(change(given()))

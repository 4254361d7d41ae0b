"""The same numbers by other means."""

import jax
import numpy as np
import pytest

import jaxviz as jv
from jaxviz.compiling.execution import Execution


@pytest.mark.parametrize("settings", [{"winograd": "3x3"}, {"precision": "most"}, {"dtype": "float16"}])
def test_a_value_that_is_none_is_refused_with_those_that_are(settings):
    ((name, value),) = settings.items()
    with pytest.raises(jv.InputError, match=f"{name} is one of .*; given: {value!r}"):
        Execution(**settings)


@pytest.fixture(scope="module")
def images(photograph):
    return jv.read_image(photograph, size=64)[None] * np.linspace(0.3, 1, 8, dtype=np.float32)[:, None, None, None]


@pytest.mark.parametrize("settings", [{}, {"winograd": "2x2"}, {"winograd": None}])
def test_activations_do_not_depend_on_it(vgg, images, settings, relative):
    plain = vgg.replace(execution=Execution(rewrite=False))
    ours = vgg.replace(execution=Execution(**settings))
    theirs = jv.activations(plain, images, ["block2_conv2", "block4_conv3"])
    for name, values in jv.activations(ours, images, list(theirs)).items():
        assert relative(values, theirs[name]) < 1e-5


def test_in_bfloat16_the_network_alone_loses_digits(vgg, images, relative):
    half = vgg.replace(execution=Execution(dtype="bfloat16"))
    ours, theirs = (
        jv.grad_cam(m, images[:2], jv.Channel("block3_conv1", 3), layer="block2_conv2") for m in (half, vgg)
    )
    assert ours.values.dtype == ours.score.dtype == np.float32
    assert 1e-4 < relative(ours.score, theirs.score) < 3e-2
    assert relative(ours.values, theirs.values) < 0.1


def test_attributions_ask_for_float32_and_ascents_for_speed(vgg, images):
    def asked(model):
        return "HIGHEST" in str(jax.make_jaxpr(lambda image: model(image, ("block1_conv2",)))(images[0]))

    assert asked(vgg)
    assert not asked(vgg.replace(execution=Execution(precision="default")))

"""The functions of `jaxviz.tf_explain`.

Law: their numbers are those of tf-explain's own functions, before it makes pictures of them.
"""

import cv2
import jax
import keras
import numpy as np
import pytest
from networks import image as small_image
from networks import keras_model
from tf_explain import core as theirs

import jaxviz as jv
from jaxviz.attribution import tf_explain as ours

CLASS, LAYER = 2, "second"
SIDE = 22  # no multiple of the window
WINDOW = 5


@pytest.fixture(scope="module", params=[1, 255])
def scale(request) -> int:
    """The upper end of the range that the network is fed with."""
    return request.param


@pytest.fixture(scope="module")
def network(scale) -> keras.Model:
    """As VanillaGradients asks for it, the softmax is a layer of its own."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    network = keras.Sequential(
        [
            layers.Input((SIDE, SIDE, 3)),
            layers.Conv2D(6, 3, activation="relu", bias_initializer="normal"),
            layers.MaxPooling2D(),
            layers.Conv2D(7, 3, padding="same", activation="relu", name=LAYER),
            layers.Flatten(),
            layers.Dense(5),
            layers.Activation("softmax"),
        ]
    )
    kernel, bias = network.layers[0].get_weights()
    network.layers[0].set_weights([kernel / scale, bias])
    return functional(network)


@pytest.fixture(scope="module")
def model(network, scale, tmp_path_factory) -> jv.Model:
    file = tmp_path_factory.mktemp("keras") / "network.h5"
    network.save(file)
    return jv.load(file, inputs="unit" if scale == 1 else "raw255")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((2, SIDE, SIDE, 3), np.float32)


def functional(network: keras.Sequential) -> keras.Model:
    """A copy with one call of each layer, and with an output: a Sequential of Keras 3 has several calls, and none."""
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    return keras.Model(copy.inputs[0], copy.outputs[0])


def summed(gradients) -> np.ndarray:
    """What tf-explain does to all gradients before it standardises them."""
    return np.abs(np.asarray(gradients)).sum(-1)


def test_vanilla_gradients(model, network, images, scale, relative):
    scores = theirs.VanillaGradients().get_score_model(network)
    expected = theirs.VanillaGradients.compute_gradients(scale * images, scores, CLASS)
    found = ours.vanilla_gradients(model, images, CLASS)
    assert relative(found.values, scale * summed(expected)) < 1e-4


def test_gradients_inputs(model, network, images, scale, relative):
    scores = theirs.GradientsInputs().get_score_model(network)
    expected = theirs.GradientsInputs.compute_gradients(scale * images, scores, CLASS)
    assert relative(ours.gradients_inputs(model, images, CLASS).values, summed(expected)) < 1e-4


def test_smooth_grad(model, network, images, scale, relative):
    key, samples, noise = jax.random.key(3), 4, 0.1
    copies = []

    def remember(some):
        copies.append(some)
        return jv.gradient(model, some, CLASS)

    jv.smooth(remember, images, key=key, samples=samples, noise=noise)
    noisy = scale * np.concatenate(copies)
    expected = theirs.SmoothGrad.get_averaged_gradients(noisy, network, CLASS, samples)
    found = ours.smooth_grad(model, images, CLASS, key=key, samples=samples, noise=noise)
    assert relative(found.values, scale * summed(expected)) < 1e-4


def test_integrated_gradients(model, network, images, scale, relative):
    path = theirs.IntegratedGradients.generate_interpolations(scale * images, 7)
    expected = theirs.IntegratedGradients.get_integrated_gradients(path, network, CLASS, 7)
    found = ours.integrated_gradients(model, images, CLASS, steps=7)
    assert relative(found.values, scale * summed(expected)) < 1e-4
    assert relative(found.score, network.predict(scale * images, verbose=0)[:, CLASS]) < 1e-4


def test_occlusion_sensitivity(model, network, images, scale, relative):
    method = theirs.OcclusionSensitivity()
    expected = [method.get_sensitivity_map(network, scale * image, CLASS, WINDOW) for image in images]
    found = ours.occlusion_sensitivity(model, images, CLASS, window=WINDOW, fill=127.5 / scale)
    assert relative(found.values, expected) < 1e-4


@pytest.mark.parametrize("guided", [True, False])
def test_grad_cam(model, network, images, scale, relative, guided):
    method = theirs.GradCAM
    maps = method.generate_ponderated_output(
        *method.get_gradients_and_filters(network, scale * images, LAYER, CLASS, guided)
    )
    expected = [cv2.resize(values.numpy(), (SIDE, SIDE)) for values in maps]
    assert relative(ours.grad_cam(model, images, CLASS, layer=LAYER, guided=guided).values, expected) < 1e-4


def test_extract_activations(model, network, images, scale):
    expected = theirs.ExtractActivations().explain((scale * images[:1], None), network, [LAYER])
    found = ours.extract_activations(model, images[0], LAYER)
    assert found.shape == expected.shape == (30, 30)
    assert np.abs(found.astype(int) - expected).max() <= 1  # cut, not rounded, to whole levels
    assert (ours.extract_activations(model, images, LAYER)[0] == found).all()


def test_the_sigmoid_unit_of_a_real_file(cats_and_dogs, cats_and_dogs_file, pets, relative):
    network, dog = functional(keras.models.load_model(cats_and_dogs_file, compile=False)), 1
    dogs = pets[1:]
    layer = "conv2d_14"
    maps = theirs.GradCAM.generate_ponderated_output(
        *theirs.GradCAM.get_gradients_and_filters(network, dogs, layer, 0, True)
    )
    expected = cv2.resize(maps[0].numpy(), (256, 256))
    assert relative(ours.grad_cam(cats_and_dogs, dogs[0], dog, layer=layer).values, expected) < 1e-4
    path = theirs.IntegratedGradients.generate_interpolations(dogs, 4)
    expected = theirs.IntegratedGradients.get_integrated_gradients(path, network, 0, 4)
    found = ours.integrated_gradients(cats_and_dogs, dogs, dog, steps=4)
    assert relative(found.values, summed(expected)) < 1e-4


def test_a_sigmoid_unit_has_two_classes(relative):
    model, image = keras_model("sigmoid", units=1), small_image()
    cat, dog = (ours.occlusion_sensitivity(model, image, target, window=6) for target in (0, 1))
    assert cat.score + dog.score == pytest.approx(1)
    assert cat.values + dog.values == pytest.approx(1)
    slope = ours.vanilla_gradients(model, image, 1).values
    for target, other in ((0, dog), (1, cat)):  # of -log p, it is 1 - p times the logit's
        found = ours.smooth_grad(model, image, target, noise=0, samples=1)
        assert relative(found.values, other.score * slope) < 1e-5


@pytest.mark.parametrize(
    "method",
    [
        ours.integrated_gradients,
        lambda *args: ours.occlusion_sensitivity(*args, window=WINDOW),
        ours.grad_cam,
    ],
    ids=["integrated_gradients", "occlusion_sensitivity", "grad_cam"],
)
def test_a_batch_is_a_loop(method, relative):
    model, images, targets = keras_model(), np.stack([small_image(0), small_image(1)]), [3, 0]
    found = method(model, images, targets)
    assert found.values.shape == images.shape[:3]
    for i, target in enumerate(targets):
        alone = method(model, images[i], target)
        assert relative(found.values[i], alone.values) < 1e-5
        assert found.score[i] == pytest.approx(alone.score)


def test_errors_in_a_sentence():
    model, image = keras_model(), small_image()
    for target in (None, jv.Unit("head", 0)):
        with pytest.raises(jv.InputError, match="tf-explain explains a class, by its number or name"):
            ours.grad_cam(model, image, target)
    with pytest.raises(jv.InputError, match="steps is a whole number, 2 or more; given: 1"):
        ours.integrated_gradients(model, image, 0, steps=1)
    with pytest.raises(jv.InputError, match=r"one class for all images, .*given: \[0, 1\]"):
        ours.smooth_grad(model, np.stack([image, image]), [0, 1], noise=0.1)
    with pytest.raises(jv.InputError, match=r"a grid needs a layer with maps \[h w c\]; given: head, \[5\]"):
        ours.extract_activations(model, image, "head")
    with pytest.raises(jv.InputError, match="head/pre has 5 units"):
        ours.occlusion_sensitivity(model, image, 5, window=4)

import jax
import numpy as np
import pytest
from networks import image, images, keras_model, linear_model, three_of_a_kind

import jaxviz as jv
from jaxviz import cam


def test_against_tensorflow_on_the_real_files(cats_and_dogs, cats_and_dogs_file, pets, relative):
    """The book's formula, with the score before the sigmoid, computed by TensorFlow on Keras' own model."""
    import keras
    import tensorflow as tf

    theirs = keras.models.load_model(cats_and_dogs_file, compile=False)
    theirs.layers[-1].activation = keras.activations.linear
    layers = [theirs.get_layer(name) for name in cats_and_dogs.layers]
    before = keras.Model(theirs.inputs, theirs.get_layer("conv2d_14").output)
    ours = jv.grad_cam(cats_and_dogs, pets, 1)
    with tf.GradientTape() as tape:
        maps = score = before(pets)
        tape.watch(maps)
        for layer in layers[cats_and_dogs.layers.index("conv2d_14") + 1 :]:
            score = layer(score)
        total = tf.reduce_sum(score)
    weights = tf.reduce_mean(tape.gradient(total, maps), (1, 2), keepdims=True)
    wanted = tf.image.resize(tf.nn.relu(tf.reduce_sum(maps * weights, -1, keepdims=True)), (256, 256))[..., 0]
    assert relative(ours.score, score[:, 0]) < 1e-5
    assert relative(ours.values, wanted) < 1e-4


def test_against_tensorflow_on_a_vgg16_classifier(tumor, photograph, relative):
    import keras
    import tensorflow as tf

    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(240, 240, 3))
    params = tumor.params["layers"]
    layers = keras.layers
    top = [layers.Flatten(), layers.Dense(64, "relu", name="dense"), layers.BatchNormalization(epsilon=0)]
    top += [layers.Dense(128, "relu", name="dense_1"), layers.BatchNormalization(epsilon=0)]
    top += [layers.Dense(256, "relu", name="dense_2"), layers.Dense(4, name="dense_3")]
    theirs = keras.Sequential([base, *top])
    theirs.build((None, 240, 240, 3))
    names = {
        "BatchNormalization": ("scale", "bias", "mean", "var"),
        "Conv2D": ("kernel", "bias"),
        "Dense": ("kernel", "bias"),
    }
    targets = [layer for layer in (*base.layers, *theirs.layers[1:]) if layer.weights]
    ours = [layer for layer in tumor.table if layer.parameters]
    for layer, mine in zip(targets, ours, strict=True):
        layer.set_weights([np.asarray(params[mine.name][name][...]) for name in names[type(layer).__name__]])
    photo = jv.read_image(photograph, 240)
    inner = keras.Model(base.inputs, [base.get_layer("block5_conv3").output, base.outputs[0]])
    with tf.GradientTape() as tape:
        maps, x = inner(photo[None])
        for layer in theirs.layers[1:]:
            x = layer(x)
        score = x[0, 1]
    weights = tf.reduce_mean(tape.gradient(score, maps), (1, 2), keepdims=True)
    wanted = tf.image.resize(tf.nn.relu(tf.reduce_sum(maps * weights, -1, keepdims=True)), (240, 240))[0, ..., 0]
    ours = jv.grad_cam(tumor, photo, 1)
    assert float(ours.score) == pytest.approx(float(score), rel=1e-4)
    assert relative(ours.values, wanted) < 1e-4


def test_a_batch_is_a_loop_with_one_target_for_each():
    model = keras_model()
    batch = images(5)
    targets = [0, 4, 2, 2, 1]
    together = jv.grad_cam(model, batch, targets, batch=2)
    assert together.values.shape == (5, 12, 12)
    assert together.score.shape == (5,)
    for i in range(5):
        alone = jv.grad_cam(model, batch[i], targets[i])
        assert alone.values.shape == (12, 12)
        np.testing.assert_allclose(together.values[i], alone.values, atol=1e-6)
        np.testing.assert_allclose(together.score[i], alone.score, rtol=1e-5)


def test_the_score_is_the_logit_of_the_decision():
    model = keras_model()
    logits = jv.activations(model, image(), ["head/pre"])["head/pre"]
    assert jv.grad_cam(model, image()).score == pytest.approx(logits.max(), rel=1e-5)
    assert jv.grad_cam(model, image(), 3).score == pytest.approx(logits[3], rel=1e-5)
    best = jv.grad_cam(model, image(), int(logits.argmax()))
    np.testing.assert_allclose(jv.grad_cam(model, image()).values, best.values, atol=1e-7)


def test_a_sigmoid_unit_has_two_classes():
    model = keras_model("sigmoid", units=1)
    logit = jv.activations(model, image(), ["head/pre"])["head/pre"][0]
    zero, one = jv.grad_cam(model, image(), 0), jv.grad_cam(model, image(), 1)
    assert (zero.score, one.score) == (pytest.approx(-logit), pytest.approx(logit))
    decided = jv.grad_cam(model, image())
    np.testing.assert_allclose(decided.values, (one if logit > 0 else zero).values, atol=1e-7)


def test_another_class_or_image_compiles_nothing():
    model = keras_model()
    jv.grad_cam(model, image(), 0)
    compiled = cam._cams.compiled()._cache_size()
    jv.grad_cam(model, image(1), 3)
    jv.grad_cam(model, image(1), np.int64(2))
    assert cam._cams.compiled()._cache_size() == compiled


def test_the_layer_is_the_last_convolution_before_the_target():
    for model, name in zip(three_of_a_kind()[:3], ("second", "blocks/0", "second"), strict=True):
        assert cam.last_convolution(model, jv.Unit(model.output, 0)) == name
    assert cam.last_convolution(keras_model(), jv.Channel("pool", 0)) == "first"


def test_an_objective_is_a_target(relative):
    """Explained at its own layer, a channel's mean is its own positive map, divided by the number of pixels."""
    model = keras_model()
    channel = jv.activations(model, image(), ["second"])["second"].mean((0, 1)).argmax()
    found = jv.grad_cam(model, image(), jv.Channel("second", int(channel)), layer="second")
    maps = jv.activations(model, image(), ["second"])["second"]
    wanted = jax.image.resize(maps[..., channel] / 36, (12, 12), "bilinear")
    assert relative(found.values, wanted) < 1e-5


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"target": 5}, "head/pre has 5 units, 0 to 4; given: 5"),
        ({"target": -1}, "0 to 4; given: -1"),
        ({"target": 1.5}, "a class number, a class name, an Objective or None; given: 1.5"),
        ({"target": "cornet"}, "carries no class names to find 'cornet' in"),
        ({"target": [1, 2]}, "one for each of 1; given: 2"),
        ({"layer": "secund"}, "no layer 'secund' .*did you mean second"),
        ({"layer": "flat"}, r"flat has shape \[216\]: a CAM needs a layer with maps"),
        ({"target": jv.Channel("second", 9)}, "second has 6 channels"),
    ],
)
def test_what_cannot_be_explained_is_one_sentence(settings, sentence):
    with pytest.raises(jv.InputError, match=sentence):
        jv.grad_cam(keras_model(), image(), **settings)


def test_targets_of_a_batch_are_of_one_kind():
    with pytest.raises(jv.InputError, match="of one kind"):
        jv.grad_cam(keras_model(), images(2), [1, jv.Channel("second", 0)])


def test_class_names():
    model = keras_model().replace(labels=("ant", "bee", "cat", "dog", "eel"))
    np.testing.assert_array_equal(jv.grad_cam(model, image(), "cat").values, jv.grad_cam(model, image(), 2).values)
    with pytest.raises(jv.InputError, match="no class named 'cot' among 5: did you mean cat"):
        jv.grad_cam(model, image(), "cot")


def test_a_network_without_classes_needs_an_objective(vgg):
    with pytest.raises(jv.InputError, match=r"ends in block5_pool, .* has no classes: give the target as an Objective"):
        jv.grad_cam(vgg, np.zeros((64, 64, 3), np.float32))


def test_a_function_has_no_convolution_to_look_at():
    model = linear_model(np.ones((3, 3, 1), np.float32))
    with pytest.raises(jv.InputError, match="no convolution before the target"):
        jv.grad_cam(model, np.zeros((3, 3, 1), np.float32))

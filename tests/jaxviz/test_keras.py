"""Keras files and known networks as models.

Laws:
- A loaded network predicts what Keras predicts, and converted weights load back as the same numbers.
- The preprocessing (`inputs`) is the network's own unless the user says otherwise.
- The score that is explained is the output before a softmax or sigmoid.
"""

import hashlib
import json
import tempfile

import numpy as np
import pytest
from networks import keras_graph

import jaxviz as jv
import weights_convert
from jaxviz.networks import fetch


def test_inputs_default_to_what_the_network_was_fed_with(cats_and_dogs_file):
    assert jv.load("vgg16_demo").inputs.name == "caffe"
    assert jv.load("vgg16_demo", inputs="raw255").inputs.name == "raw255"
    assert jv.load("vgg16_tumor").inputs.name == "unit"
    assert jv.load(cats_and_dogs_file).inputs.name == "unit"


def test_a_network_takes_what_keras_took(vgg, photograph, relative):
    """`preprocess_input` and the first layer in Keras, against an image in [0, 1] here."""
    import keras

    image = jv.read_image(photograph, 64)
    fed = keras.applications.vgg16.preprocess_input(255 * image[None].copy())
    model = jv.load("vgg16_demo")
    assert relative(model.inputs(image), fed[0]) < 1e-6


def test_every_layer_of_the_real_vgg16_against_keras(vgg_in_keras, photograph, relative):
    import keras

    model = jv.load("vgg16_demo")
    image = jv.read_image(photograph, 224)
    fed = keras.applications.vgg16.preprocess_input(255 * image[None].copy())
    layers = [vgg_in_keras.get_layer(name) for name in model.layers]
    theirs = keras.Model(vgg_in_keras.inputs, [layer.output for layer in layers])(fed)
    for ours, wanted in zip(jv.activations(model, image).values(), theirs, strict=True):
        assert relative(ours, wanted[0]) < 1e-5


def test_every_layer_of_the_real_cats_and_dogs_file_against_keras(cats_and_dogs, cats_and_dogs_file, pets, relative):
    import keras

    x = pets
    theirs = keras.models.load_model(cats_and_dogs_file, compile=False)
    for name, ours in jv.activations(cats_and_dogs, pets).items():
        x = theirs.get_layer(name)(x)
        assert relative(ours, x) < 1e-5


def test_repr_says_where_it_comes_from(cats_and_dogs, cats_and_dogs_file):
    digits = hashlib.sha256(cats_and_dogs_file.read_bytes()).hexdigest()
    assert cats_and_dogs.sha256 == digits
    assert repr(cats_and_dogs) == (
        f"<Model model.h5: 9 layers, 3,696,337 parameters, image 256 × 256 × 1, inputs unit, sha256 {digits[:12]}…>"
    )


def test_predictions_on_the_real_photographs(cats_and_dogs, pets):
    cat, dog = jv.predict(cats_and_dogs, pets)
    assert cat.shape == (1,)
    assert cat < 0.5 < dog
    np.testing.assert_allclose(jv.predict(cats_and_dogs, pets[1]), dog, rtol=1e-5)


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(
        jv.InputError, match=r"no known network 'vgg61': did you mean .*vgg16.*known are vgg16_demo, vgg16_tumor, v"
    ):
        jv.load("vgg61")
    with pytest.raises(FileNotFoundError, match=r"gone.h5"):
        jv.load("gone.h5")


def test_arguments_that_do_not_fit_the_file(cats_and_dogs_file):
    with pytest.raises(jv.InputError, match="unknown architecture 'vgg61'; did you mean"):
        jv.load(cats_and_dogs_file, architecture="vgg61")
    with pytest.raises(jv.InputError, match="custom functions for lambda_1: there is no such layer"):
        jv.load(cats_and_dogs_file, custom={"lambda_1": abs})


def test_inputs_that_do_not_fit_the_channels(cats_and_dogs_file):
    with pytest.raises(jv.InputError, match="'caffe' is for images of 3 channels; given: 1 channels"):
        jv.load(cats_and_dogs_file, inputs="caffe")


def test_converted_weights_load_back(tmp_path, cats_and_dogs, cats_and_dogs_file, pets):
    weights_convert.save(weights_convert.load(cats_and_dogs_file), tmp_path / "net.safetensors")
    again = jv.load(tmp_path / "net.safetensors")
    assert again.layers == cats_and_dogs.layers
    np.testing.assert_array_equal(jv.predict(again, pets), jv.predict(cats_and_dogs, pets))


@pytest.fixture
def class_index(tmp_path, monkeypatch):
    """A class index in Keras' cache, in the form of ImageNet's."""
    index = {str(i): [f"n{i:08}", f"class_{i}"] for i in range(1000)}
    index["513"] = ["n03110669", "cornet"]
    file = tmp_path / "models" / "imagenet_class_index.json"
    file.parent.mkdir()
    file.write_text(json.dumps(index))
    known = fetch.FILES["imagenet_class_index"]._replace(hash=hashlib.md5(file.read_bytes()).hexdigest())
    monkeypatch.setitem(fetch.FILES, "imagenet_class_index", known)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return file


def test_predictions_are_decoded_as_keras_does(class_index):
    scores = np.full(1000, 1e-5, np.float32)
    scores[[513, 7, 9]] = 0.9629, 0.02, 0.01
    assert jv.decode_predictions(scores, top=2) == [
        ("n03110669", "cornet", pytest.approx(0.9629)),
        ("n00000007", "class_7", pytest.approx(0.02)),
    ]
    batch = jv.decode_predictions(np.stack([scores, scores]))
    assert [len(one) for one in batch] == [5, 5]
    with pytest.raises(jv.InputError, match=r"need scores \[1000\] or \[n 1000\]; given: \[4\]"):
        jv.decode_predictions(np.zeros(4))


def test_a_class_index_of_another_hash_is_not_believed(class_index, monkeypatch, tmp_path):
    class_index.write_text(class_index.read_text().replace("cornet", "trumpet"))
    monkeypatch.setenv("JAXVIZ_CACHE", str(tmp_path / "empty"))
    nowhere = fetch.FILES["imagenet_class_index"]._replace(url="http://127.0.0.1:9/imagenet_class_index.json")
    monkeypatch.setitem(fetch.FILES, "imagenet_class_index", nowhere)
    with pytest.raises(jv.InputError, match=r"could not download imagenet_class_index\.json"):
        jv.decode_predictions(np.zeros(1000))


def test_graphs_of_equal_networks_are_equal():
    assert keras_graph() == keras_graph()
    assert hash(keras_graph()) == hash(keras_graph())


def test_gradients_through_every_kind_of_convolution(tmp_path, relative):
    """What gradient methods are made of, through the rewriting of XLA's slow paths, against TensorFlow's."""
    import keras
    import tensorflow as tf

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((16, 14, 3)),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="swish"),
            layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, activation="tanh"),
            layers.SeparableConv2D(8, 3, dilation_rate=2, padding="same"),
            layers.GroupNormalization(groups=4),
            layers.Conv2DTranspose(8, 3, strides=2, activation="elu"),
            layers.Conv2D(8, 3, groups=4, activation="gelu"),
            layers.UpSampling2D(2, interpolation="bilinear"),
            layers.Resizing(9, 9),
            layers.LayerNormalization(),
            layers.PReLU(),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(4, name="scores"),
        ]
    )
    model.save(tmp_path / "m.h5")
    images = np.random.default_rng(0).random((2, 16, 14, 3), np.float32)
    with tf.GradientTape() as tape:
        fed = tf.constant(images)
        tape.watch(fed)
        score = tf.reduce_sum(model(fed, training=False)[:, 2])
    found = jv.gradient(jv.load(tmp_path / "m.h5"), images, 2).values
    assert relative(found, tape.gradient(score, fed)) < 1e-5


@pytest.fixture(scope="module")
def siamese(tmp_path_factory):
    """Two images through one base, a vector, two heads; and the file that Keras writes."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((12, 12, 3))
    conv = layers.Conv2D(4, 3, activation="relu", name="conv")(image)
    base = keras.Model(image, layers.Conv2D(5, 3, activation="relu", name="last")(conv), name="base")
    left, right = (keras.Input((12, 12, 3), name=name) for name in ("left", "right"))
    extra = keras.Input((2,), name="extra")
    pooled = [layers.GlobalAveragePooling2D(name=f"pool_{i}")(base(each)) for i, each in enumerate((left, right))]
    both = layers.Concatenate(name="both")([*pooled, extra])
    wide = layers.Reshape((1, 1, 12), name="wide")(both)
    wide = layers.Flatten(name="flat")(layers.Conv2D(3, 1, name="narrow")(wide))
    heads = [layers.Dense(3, activation="softmax", name="kind")(wide), layers.Dense(1, name="size")(pooled[0])]
    model = keras.Model([left, right, extra], heads)
    path = tmp_path_factory.mktemp("siamese") / "siamese.h5"
    model.save(path)
    return model, path


def test_one_image_of_several_inputs_is_explained(siamese, relative):
    model, path = siamese
    rng = np.random.default_rng(0)
    image, right, vector = rng.random((12, 12, 3)), rng.random((12, 12, 3)), rng.random(2)
    image = image.astype(np.float32)
    explained = jv.load(path, others={"right": right, "extra": vector})
    kind, size = model([image[None], right[None], vector[None]])
    assert explained.outputs == ("kind", "size")
    assert relative(jv.predict(explained, image), kind[0]) < 1e-5
    found = jv.activations(explained, image, ["size", "base/last", "base/last#2"])
    assert relative(found["size"], size[0]) < 1e-5
    assert found["base/last"].shape == found["base/last#2"].shape == (8, 8, 5)

    same = jv.load(path, others={"right": "image", "extra": vector})
    np.testing.assert_array_equal(*(jv.activations(same, image)[name] for name in ("base/last", "base/last#2")))
    assert relative(jv.predict(same, image), model([image[None], image[None], vector[None]])[0][0]) < 1e-5


def test_every_method_works_on_shared_layers_and_several_heads(siamese):
    _, path = siamese
    model = jv.load(path, others={"right": "image", "extra": np.ones(2)})
    image = np.random.default_rng(1).random((12, 12, 3), np.float32)
    target = jv.Unit("size", 0)
    # "narrow" sees one pixel, and the second call of "last" is not what the size was read from
    for explained, last in ((target, "base/last"), (1, "base/last#2")):
        found, named = (jv.grad_cam(model, image, explained, layer=layer, relu=False) for layer in (None, last))
        np.testing.assert_array_equal(found.values, named.values)
    # without biases, an LRP that lets all contributions count is input × gradient
    exact = jv.rules.Epsilon(1e-12)
    rules = {
        kind: exact if rule == jv.rules.Epsilon() else rule
        for kind, rule in jv.rules.COMPOSITES["epsilon_plus"].items()
    }
    rules |= dict.fromkeys(("base/conv", "base/last", "narrow"), exact)
    for explained in (target, jv.Unit("kind/pre", 2)):
        gradient = jv.input_x_gradient(model, image, explained)
        relevance = jv.lrp(model, image, explained, composite=rules)
        np.testing.assert_allclose(relevance.values, gradient.values, atol=2e-4 * np.abs(gradient.values).max())


def test_inputs_that_are_not_given(siamese):
    _, path = siamese
    with pytest.raises(jv.InputError, match=r"give all other inputs.*; given: .*takes left \[12, 12, 3\], right "):
        jv.load(path)
    with pytest.raises(jv.InputError, match="one input is left for the image"):
        jv.load(path, others={"right": "image"})
    # What is left may also be a vector, which is then explained.
    model = jv.load(path, others={"right": np.zeros((12, 12, 3)), "left": np.zeros((12, 12, 3))})
    assert model.image_shape == (2,)
    assert jv.gradient(model, np.full(2, 0.5, np.float32)).values.shape == (2,)


def test_custom_functions_reach_the_file(tmp_path):
    import keras

    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Lambda(lambda x: 2 * x, name="double")])
    model.save(tmp_path / "m.h5")
    image = np.random.default_rng(0).random((8, 8, 3), np.float32)
    found = jv.predict(jv.load(tmp_path / "m.h5", custom={"double": lambda x: 2 * x}), image)
    np.testing.assert_array_equal(found, 2 * image)


def test_a_strangers_file_is_read_in_a_process_of_its_own(cats_and_dogs_file, monkeypatch):
    model, isolated = jv.load(cats_and_dogs_file), jv.load(cats_and_dogs_file, isolated=True)
    assert isolated.table == model.table
    assert isolated.sha256 == model.sha256
    monkeypatch.setattr("weights_convert.files.isolated.PROGRAM", "import sys; sys.exit(3)")
    with pytest.raises(weights_convert.UnsafeFile, match="the process that read it crashed"):
        jv.load(cats_and_dogs_file, isolated=True)


def keras_head(*layers) -> jv.Model:
    """A convolution, and then these layers of real Keras, as they come back from a file."""
    import keras

    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, activation="relu", name="conv")])
    for layer in (keras.layers.GlobalAveragePooling2D(), *layers):
        network.add(layer)
    with tempfile.TemporaryDirectory() as folder:
        network.save(f"{folder}/model.keras")
        return jv.load(f"{folder}/model.keras")


@pytest.mark.parametrize("function", ["softplus", "relu", "tanh", "exponential", "linear"])
def test_a_single_unit_is_two_classes_only_behind_a_sigmoid(function):
    from keras import layers

    image = np.random.default_rng(0).random((8, 8, 3), np.float32)
    model = keras_head(layers.Dense(1, activation=function, kernel_initializer="ones", bias_initializer="ones"))
    assert model.scores == model.output
    assert jv.gradient(model, image).score == pytest.approx(jv.predict(model, image)[0], rel=1e-6)
    with pytest.raises(jv.InputError, match="has 1 units, 0 to 0; given: 1"):
        jv.gradient(model, image, 1)
    logistic = keras_head(layers.Dense(1, activation="sigmoid", name="head"))
    assert logistic.scores == "head/pre"
    assert jv.gradient(logistic, image, 0).score == -jv.gradient(logistic, image, 1).score


def test_what_is_explained_is_before_the_softmax_whatever_follows_it():
    from keras import layers

    image = np.random.default_rng(0).random((8, 8, 3), np.float32)
    dense = layers.Dense(3, activation="softmax", name="head")
    for after in ([], [layers.Activation("linear")], [layers.Dropout(0.5), layers.Activation("linear")]):
        assert keras_head(dense, *after).scores == "head/pre"
    apart = keras_head(layers.Dense(3, name="head"), layers.Softmax(name="softmax"))
    assert apart.scores == "softmax/pre"
    assert jv.lrp(apart, image, 1).score == jv.gradient(apart, image, 1).score
    assert keras_head(dense, layers.Reshape((1, 3))).scores == "reshape/pre"
    assert keras_head(dense, layers.ReLU(threshold=0.5)).scores == "re_lu"  # probabilities that are changed


@pytest.mark.parametrize("units", [3, 1])
def test_logits_have_the_shape_of_the_output(units):
    """MobileNet of early Keras 2 ends in a convolution, a softmax and a Reshape; other networks in a Flatten."""
    from keras import layers

    image = np.random.default_rng(0).random((8, 8, 3), np.float32)
    ending = "softmax" if units > 1 else "sigmoid"
    head = [layers.Reshape((1, 1, 4)), layers.Conv2D(units, 1, name="head"), layers.Activation(ending)]
    for after in (
        [layers.Reshape((units,))],
        [layers.Dropout(0.5), layers.Flatten(), layers.Activation("linear")],
        [layers.GlobalAveragePooling2D()],  # of one place
    ):
        model = keras_head(*head, *after)
        assert model.is_binary == (units == 1)
        logits = jv.activations(model, image, "head")["head"].ravel()
        assert jv.gradient(model, image).score == abs(logits[0]) if units == 1 else logits.max()
        found = jv.gradient(model, image, 1)
        expected = jv.gradient(model, image, jv.Neuron("head", (0, 0), min(1, units - 1)))
        assert found.score == expected.score
        np.testing.assert_allclose(found.values, expected.values, rtol=1e-6)
        assert jv.lrp(model, image, 1).score == found.score
        np.testing.assert_allclose(
            jv.grad_cam(model, image, 1, layer="conv", relu=False).values,
            jv.grad_cam(model, image, jv.Neuron("head", (0, 0), min(1, units - 1)), layer="conv", relu=False).values,
            atol=1e-7,
        )

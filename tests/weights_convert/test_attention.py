"""Attention layers and embeddings, of Keras 2 and 3, in both formats.

Law: they compute what Keras computes, for each of their options, also after they were saved and loaded again.
"""

import json

import keras
import numpy as np
import pytest
import tf_keras
from keras_oracle import TOLERANCE, error, randomize

import jaxviz as jv
import weights_convert
from weights_convert import UnsupportedLayer
from weights_convert.config.parsing import parse


def attention(layers):
    """Every option of the attention layers: the outputs of a network of a sequence and an image."""
    i, j, image = layers.Input((4, 8)), layers.Input((3, 6)), layers.Input((3, 4, 8))
    both = layers.MultiHeadAttention(2, 5, value_dim=3, name="cross")(i, j, use_causal_mask=True)
    one, scores = layers.MultiHeadAttention(2, 4, use_bias=False)(both, both, key=i, return_attention_scores=True)
    far, wide = layers.MultiHeadAttention(2, 5, attention_axes=(2,))(image, image, return_attention_scores=True)
    return [i, j, image], [
        *(one, scores, far, wide),
        layers.MultiHeadAttention(2, 5, output_shape=7)(image, image),
        layers.MultiHeadAttention(2, 5, attention_axes=(1,))(image, image),
        layers.Attention(use_scale=True)([one, i]),
        layers.Attention(score_mode="concat")([one, i, both], use_causal_mask=True),
        layers.AdditiveAttention()([one, i]),
        layers.AdditiveAttention(use_scale=False)([one, i, both]),
        layers.Embedding(20, 3)(layers.Flatten()(j)),
    ]


def arrays(model):
    rng = np.random.default_rng(0)
    return [1 + rng.random((2, *each.shape[1:]), np.float32) for each in model.inputs]


def worst(found, wanted):
    return max(error(f, w) for f, w in zip(found, wanted, strict=True))


@pytest.mark.parametrize(("package", "end"), [(keras, "keras"), (keras, "h5"), (tf_keras, "keras"), (tf_keras, "h5")])
def test_attention_against_keras(package, end, tmp_path):
    model = randomize(package.Model(*attention(package.layers)))
    model.save(tmp_path / f"m.{end}")
    net, images = weights_convert.load(tmp_path / f"m.{end}"), arrays(model)
    wanted = [np.asarray(each) for each in model(images, training=False)]
    named = dict(zip(net.open_inputs, images, strict=True))
    assert worst(net(named), wanted) <= TOLERANCE
    if end == "keras":
        weights_convert.save(net, tmp_path / f"again.{end}")
        assert weights_convert.load(tmp_path / f"again.{end}").graph == net.graph
        again = keras.models.load_model(tmp_path / f"again.{end}", compile=False)
        assert worst(again(images, training=False), wanted) <= TOLERANCE


@pytest.mark.parametrize(("package", "end"), [(keras, "keras"), (tf_keras, "h5")])
def test_a_vision_transformer(package, end, tmp_path):
    """Patches, an embedding of positions, and blocks in a nested model. A layer called `query` is a layer as others."""
    layers = package.layers
    tokens = layers.Input((16, 8))
    x = layers.LayerNormalization(epsilon=1e-6)(tokens)
    x = layers.Add()([layers.MultiHeadAttention(2, 4, dropout=0.1)(x, x), tokens])
    y = layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x))
    block = package.Model(tokens, layers.Add()([x, layers.Dense(8, name="query")(y)]), name="block")
    image = layers.Input((16, 16, 3))
    x = layers.Reshape((16, 8))(layers.Conv2D(8, 4, strides=4, name="patch")(image))
    x = x + np.random.default_rng(0).random((16, 8), np.float32)
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(block(block(x))))
    model = randomize(package.Model(image, layers.Dense(3, activation="softmax")(layers.Dropout(0.5)(x))))
    model.save(tmp_path / f"m.{end}")
    loaded, picture = jv.load(tmp_path / f"m.{end}"), np.random.default_rng(1).random((16, 16, 3), np.float32)
    assert error(jv.predict(loaded, picture), model(picture[None], training=False)[0]) <= TOLERANCE
    assert jv.lrp(loaded, picture).values.any()


def test_a_mask_is_refused_by_name():
    x, mask = keras.Input((4, 8)), keras.Input((4, 4))
    model = keras.Model([x, mask], keras.layers.MultiHeadAttention(2, 4, name="m")(x, x, attention_mask=mask))
    with pytest.raises(UnsupportedLayer, match="m: is called with attention_mask=a tensor, which is not supported"):
        parse(json.loads(model.to_json()))

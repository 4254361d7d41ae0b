"""Networks of frames [t h w c]: TimeDistributed, and what follows it.

Law: a TimeDistributed computes each frame as its layer or model computes an image, under the names of a nested model.
"""

import keras
import numpy as np
import pytest
import tf_keras
from keras_oracle import TOLERANCE, error

import weights_convert
from weights_convert import UnsupportedLayer


def network(package):
    layers = package.layers
    frames = layers.Input((3, 8, 8, 2))
    x = layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu"), name="td")(frames)
    cnn = package.Sequential([layers.Input((6, 6, 4)), layers.Conv2D(2, 3, name="inner"), layers.BatchNormalization()])
    x = layers.TimeDistributed(cnn, name="cnn")(layers.TimeDistributed(layers.Dropout(0.3))(x))
    x = layers.TimeDistributed(layers.Dense(3, activation="softmax"))(layers.TimeDistributed(layers.Flatten())(x))
    return package.Model(frames, layers.GlobalAveragePooling1D()(x))


@pytest.mark.parametrize(("package", "end"), [(keras, "keras"), (keras, "h5"), (tf_keras, "keras"), (tf_keras, "h5")])
def test_time_distributed(package, end, tmp_path):
    model, rng = network(package), np.random.default_rng(0)
    model.set_weights(
        [rng.random(weight.shape, np.float32) - 0.3 * (weight.ndim > 1) for weight in model.get_weights()]
    )
    model.save(tmp_path / f"m.{end}")
    net, frames = weights_convert.load(tmp_path / f"m.{end}"), rng.random((2, 3, 8, 8, 2), np.float32)
    wanted = model(frames, training=False)
    assert error(net(frames), wanted) <= TOLERANCE
    found = net.activations(frames, ["td", "cnn/inner"])
    assert [each.shape for each in found.values()] == [(2, 3, 6, 6, 4), (2, 3, 4, 4, 2)]
    assert error(found["td"][:, 1], model.get_layer("td").layer(frames[:, 1])) <= TOLERANCE
    weights_convert.save(net, tmp_path / f"again.{end}")
    assert weights_convert.load(tmp_path / f"again.{end}").graph == net.graph
    again = keras.models.load_model(tmp_path / f"again.{end}", compile=False)
    assert error(again(frames, training=False), wanted) <= TOLERANCE


def test_a_recurrent_layer_is_refused_with_a_way_on(tmp_path):
    frames = keras.Input((3, 8))
    keras.Model(frames, keras.layers.LSTM(4, name="memory")(frames)).save(tmp_path / "m.h5")
    with pytest.raises(UnsupportedLayer, match=r"memory: layers of kind LSTM are not supported; .*get_layer\(NAME\)"):
        weights_convert.load(tmp_path / "m.h5")

"""Random networks with shared layers, nested models, several inputs and outputs, in Keras 2 and Keras 3.

Law: a network that was loaded from any file that Keras saved computes the same as in Keras.
"""

import itertools
import json

import keras
import numpy as np
import pytest
import tf_keras
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from keras_dags import SIZE, Draft, randomize
from keras_oracle import TOLERANCE, error

import weights_convert
from weights_convert.config.describe import describe
from weights_convert.config.parsing import parse


@pytest.mark.parametrize(
    ("package", "file"),
    [(keras, "m.h5"), (keras, "m.keras"), (tf_keras, "m.h5")],
    ids=["keras 3 .h5", "keras 3 .keras", "keras 2 .h5"],
)
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.generate],  # shrinking builds thousands of models, and TensorFlow forgets none of them
    suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow],
)
@given(data=st.data(), seed=st.integers(0, 99))
def test_any_graph(package, file, data, seed, tmp_path_factory):
    draft = Draft(data, package, itertools.count(), depth=2)
    inputs = [package.Input((SIZE, SIZE, c), name=f"input_{c}") for c in range(1, data.draw(st.integers(1, 3)) + 1)]
    model = randomize(draft.model(inputs, "net", outputs=data.draw(st.integers(1, 3))), seed)
    path = tmp_path_factory.mktemp("dag") / file
    model.save(path)
    net = weights_convert.load(path)

    rng = np.random.default_rng(seed)
    images = [rng.standard_normal((2, *tensor.shape[1:])).astype(np.float32) for tensor in inputs]
    found = net(dict(zip(net.open_inputs, images, strict=True)))
    wanted = model(images if len(images) > 1 else images[0], training=False)
    for ours, theirs in zip(*(x if isinstance(x, list | tuple) else [x] for x in (found, wanted)), strict=True):
        assert error(ours, theirs) <= TOLERANCE
    assert parse(json.loads(json.dumps(describe(net.graph)))) == net.graph

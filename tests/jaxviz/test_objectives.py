"""Objectives.

Law: `(a + 2 * b)(acts) == a(acts) + 2 * b(acts)`; numbers are leaves and names are static. The class with the highest
score is the decision, and its probability is the highest.
"""

import jax
import numpy as np
import pytest
from networks import image, keras_model

import jaxviz as jv
from jaxviz.objectives import Scaled, class_score, decision, probabilities


@pytest.fixture(scope="module")
def acts():
    return jv.activations(keras_model(), image(), ["first", "second", "head/pre", "head"])


def test_values(acts):
    assert jv.Channel("second", 2)(acts) == pytest.approx(acts["second"][..., 2].mean(), rel=1e-6)
    assert jv.Channel("first", 1, border=2)(acts) == pytest.approx(acts["first"][2:-2, 2:-2, 1].mean(), rel=1e-6)
    assert jv.Unit("head", 3)(acts) == acts["head"][3]
    assert jv.Highest("head/pre")(acts) == acts["head/pre"].max()


def test_the_highest_of_one_logit_is_the_decision():
    for logit in (-2.0, 3.0):
        assert jv.Highest("x")({"x": np.array([logit])}) == abs(logit)


@pytest.mark.parametrize(("head", "units"), [("softmax", 5), ("sigmoid", 1)])
def test_scores_decision_and_probabilities_agree(head, units):
    model = keras_model(head, units)
    assert model.is_binary == (units == 1)
    for seed in range(5):
        found = jv.activations(model, image(seed), [model.scores, model.output])
        shares = probabilities(found[model.output], model.is_binary)
        each = [float(class_score(model.scores, i, model.is_binary)(found)) for i in range(len(shares))]
        assert len(shares) == max(2, units)
        assert shares.sum() == pytest.approx(1)
        assert decision(found[model.scores], model.is_binary) == np.argmax(each) == np.argmax(shares)
        assert jv.Highest(model.scores)(found) == max(each)


def test_algebra(acts):
    a, b = jv.Channel("first", 0), jv.Unit("head", 1)
    assert (a + b)(acts) == a(acts) + b(acts)
    assert (a - b)(acts) == a(acts) - b(acts)
    assert (2.5 * a)(acts) == (a * 2.5)(acts) == 2.5 * a(acts)
    assert (-a)(acts) == -a(acts)
    assert (a + b).layers == ("first", "head")
    assert (a, b) == (jv.Channel("first", 0), jv.Unit("head", 1))  # unchanged by what was made of them


def test_objectives_only_combine_with_objectives_and_numbers():
    a = jv.Channel("first", 0)
    with pytest.raises(TypeError):
        a + 1
    with pytest.raises(TypeError):
        a * a


def test_names_are_static_and_numbers_are_leaves():
    assert jax.tree.leaves(Scaled(3.0, jv.Channel("first", 7))) == [3.0, 7]
    assert jax.tree.structure(jv.Channel("a", 1)) == jax.tree.structure(jv.Channel("a", 2))
    assert jax.tree.structure(jv.Channel("a", 1)) != jax.tree.structure(jv.Channel("b", 1))


def test_channels_of_a_layer():
    model = keras_model()
    assert jv.channels(model, "first") == [jv.Channel("first", i) for i in range(4)]
    assert jv.channels(model, "first", [2, 0], border=1) == [jv.Channel("first", 2, 1), jv.Channel("first", 0, 1)]
    with pytest.raises(jv.InputError, match="first has 4 channels, 0 to 3; given: 4"):
        jv.channels(model, "first", [0, 4])
    with pytest.raises(jv.InputError, match="for its units use Unit"):
        jv.channels(model, "head")
    with pytest.raises(jv.InputError, match="no layer 'third'"):
        jv.channels(model, "third")
    with pytest.raises(jv.InputError, match="border is a whole number, 0 or more; given: -1"):
        jv.channels(model, "first", border=-1)

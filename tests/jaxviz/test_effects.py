"""The effect of interventions on a score.

Law: the effect is the score of the edited model less that of the model itself, for many interventions as for one, for a
batch as for single images. Where the network is linear after the layer, it is the weight times the change.
"""

import numpy as np
import pytest
from flax import struct
from networks import image, images, keras_model

import jaxviz as jv
from jaxviz.attribution.effects import _changes


@pytest.fixture(scope="module")
def model() -> jv.Model:
    return keras_model()


@pytest.fixture(scope="module")
def last(model) -> tuple[np.ndarray, np.ndarray]:
    """The last layer: its input for the image, and its weights for class 3, both [6 6 6]."""
    kernel = np.asarray(model.params["layers"]["head"]["kernel"][...])[:, 3].reshape(6, 6, 6)
    return jv.activations(model, image(), "second")["second"], kernel


def test_closed_forms_before_a_linear_layer(model, last, relative):
    maps, kernel = last
    other = jv.activations(model, image(1), "second")["second"]
    direction = np.linspace(-1, 1, 6).astype(np.float32)
    each = [
        *(jv.ablate(model, "second", unit) for unit in range(6)),
        jv.ablate(model, "second", [unit for unit in range(6) if unit != 4]),
        jv.ablate(model, "second", 1, by=maps.mean((0, 1))),
        *(jv.patch(model, "second", image(1), unit) for unit in range(6)),
        *(jv.steer(model, "second", direction, strength) for strength in (-1, 0, 2)),
        (jv.ablate(model, "second", 0), jv.ablate(model, "second", 5)),
    ]
    channels = -(maps * kernel).sum((0, 1))
    steered = (direction * kernel).sum()
    expected = [
        *channels,
        channels.sum() - channels[4],
        ((maps.mean((0, 1)) - maps) * kernel).sum((0, 1))[1],
        *((other - maps) * kernel).sum((0, 1)),
        *(strength * steered for strength in (-1, 0, 2)),
        channels[0] + channels[5],
    ]
    found = jv.effects(model, image(), each, 3, batch=4)
    assert relative(found.values, expected) < 1e-5
    logits = jv.activations(model, image(), "head/pre")["head/pre"]
    assert found.score == pytest.approx(logits[3], rel=1e-6)


@struct.dataclass
class Reversed(jv.Intervention):
    """An intervention without numbers of its own."""

    layer: str = struct.field(pytree_node=False)

    def __call__(self, activation):
        return -activation


def test_interventions_without_numbers(model, last, relative):
    maps, kernel = last
    each = [Reversed("second"), (), Reversed("second"), jv.ablate(model, "second")]
    whole = (maps * kernel).sum()
    assert relative(jv.effects(model, image(), each, 3, batch=1).values, [-2 * whole, 0, -2 * whole, -whole]) < 1e-5


def test_a_batch_gives_what_single_images_and_single_interventions_give(model, relative):
    batch = images(3)
    each = [jv.ablate(model, "first", unit) for unit in range(4)]
    found = jv.effects(model, batch, each, batch=3)
    assert found.values.shape == (3, 4)
    for one, values, score in zip(batch, found.values, found.score, strict=True):
        alone = [jv.effects(model, one, [intervention]).values[0] for intervention in each]
        np.testing.assert_allclose(values, alone, atol=1e-6)
        assert score == pytest.approx(jv.activations(model, one, "head/pre")["head/pre"].max(), rel=1e-6)
        edited = [jv.activations(jv.edited(model, own), one, "head/pre")["head/pre"] for own in each]
        best = jv.predict(model, one).argmax()  # the class is settled without interventions
        np.testing.assert_allclose(values, [logits[best] - score for logits in edited], atol=1e-6)


def test_the_effect_on_any_objective(model):
    ours, theirs = images(2)
    patched = [jv.patch(model, "pool", theirs)]
    for objective in (jv.Channel("second", 1), jv.Energy("second"), lambda acts: acts["head"][0] * acts["head"][1]):
        scores = [jv.gradient(model, one, objective).score for one in (ours, theirs)]
        found = jv.effects(model, ours, patched, objective)
        assert found.values[0] == pytest.approx(scores[1] - scores[0], abs=1e-6)


def test_effects_in_an_edited_model(model):
    without = jv.edited(model, jv.ablate(model, "second", 0))
    found = jv.effects(without, image(), [jv.ablate(model, "second", unit) for unit in (0, 1)], 3)
    both = jv.effects(model, image(), [jv.ablate(model, "second", units) for units in (0, [0, 1])], 3)
    np.testing.assert_allclose(found.values, [0, both.values[1] - both.values[0]], atol=1e-6)


def test_other_units_and_images_compile_nothing(model):
    program = _changes.compiled()
    jv.effects(model, image(), [jv.patch(model, "pool", image(1), unit) for unit in range(4)], 0)
    before = program._cache_size()
    jv.effects(model, image(2), [jv.patch(model, "pool", image(3), units) for units in (3, 2, [0, 1], None)], 4)
    assert program._cache_size() == before


WRONG = {
    "one": (lambda m: jv.effects(m, image(), jv.ablate(m, "first")), r"interventions are a list of one or more"),
    "none": (lambda m: jv.effects(m, image(), []), r"interventions are a list of one or more.*given: \[\]"),
    "after the target": (
        lambda m: jv.effects(m, image(), [jv.ablate(m, "second")], jv.Channel("first", 0)),
        r"the target, first, does not depend on second",
    ),
    "no intervention": (lambda m: jv.effects(m, image(), [[jv.Channel("first", 0)]]), r"an intervention is a value"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_get_a_sentence(model, case):
    call, message = WRONG[case]
    with pytest.raises(jv.InputError, match=message):
        call(model)

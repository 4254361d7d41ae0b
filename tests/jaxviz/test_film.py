"""Film of an ascent.

Laws:
- Frame k is the image of an ascent of k times `every` steps, and the last one that of `ascend`.
- A sweep shows each of its objectives, whatever the chunks, and another `every` compiles nothing.
"""

import numpy as np
import optax
import pytest
from jax.tree_util import Partial
from networks import convolutions

import jaxviz as jv
from jaxviz.ascent import slots
from jaxviz.rendering import rgb

SETTINGS = {"canvas": jv.Pixels((8, 8)), "optimizer": Partial(optax.adam, learning_rate=0.05)}


@pytest.fixture(scope="module")
def model():
    return convolutions()


def test_frames_are_those_of_shorter_ascents(model):
    objective = jv.Channel("second", 1)
    found = jv.film(model, objective, every=3, steps=7, **SETTINGS)
    assert found.image.shape == (4, 8, 8, 3)  # after 0, 3, 6 and 7 steps
    for frame, steps in zip(found.image[1:], (3, 6, 7), strict=True):
        alone = jv.ascend(model, objective, steps=steps, **SETTINGS)
        np.testing.assert_array_equal(frame, alone.image)
    assert found.steps.tolist() == [0, 3, 6, 7]
    before = np.arange(7) < np.maximum(found.steps, 1)[:, None]
    np.testing.assert_array_equal(found.scores, np.where(before, alone.scores, found.scores[:, -1:]))
    np.testing.assert_array_equal(found.scores[:, -1], alone.scores[[0, 2, 5, 6]])
    assert not np.array_equal(found.image[0], found.image[1])


def test_frames_are_drawn_side_by_side(model):
    """They are images, each with its own contrast and title, not the slices of a volume."""
    found = jv.film(model, jv.Channel("second", 1), every=3, steps=7, **SETTINGS)
    axes = jv.show_filters(found, indices=found.steps.tolist()).axes
    assert [each.get_title().split(" · ")[0] for each in axes] == ["0", "3", "6", "7"]
    for each, frame in zip(axes, found.image, strict=True):
        np.testing.assert_array_equal(each.images[0].get_array(), rgb.stretch(frame))
    grid = jv.show_filters(found, columns=4, margin=0).axes[0].images[0].get_array()
    assert grid.shape[:2] == (8, 32)


def test_a_sweep_shows_each_of_its_objectives(model):
    seen = {}

    def watch(positions, done, images):
        assert len(positions) == len(images)
        seen.update({(position, done): image for position, image in zip(positions, images, strict=True)})

    objectives = jv.channels(model, "second", range(3))
    jv.sweep(model, objectives[:1], steps=1, **SETTINGS)
    compiled = slots._climb.compiled()._cache_size()
    found = jv.sweep(model, objectives, batch=1, steps=60, watch=watch, every=55, **SETTINGS)
    assert sorted(seen) == [(position, done) for position in range(3) for done in (0, 55, 60)]
    for position in range(3):
        np.testing.assert_array_equal(seen[position, 60], found.image[position])
    assert slots._climb.compiled()._cache_size() == compiled


def test_watching_has_whole_steps(model):
    with pytest.raises(jv.InputError, match="every is a whole number, 1 or more; given: 0"):
        jv.film(model, jv.Channel("second", 1), every=0, **SETTINGS)

"""What all canvases have in common.

Laws:
- Three steps of a sweep raise the score.
- The same key gives the same image, whatever the chunks, and other keys give others.
- Other numbers of a canvas compile nothing.
- Signals, volumes, and images without channels are drawn, too.
- A canvas that cannot be drawn is one sentence.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial
from networks import keras_model

import jaxviz as jv
from jaxviz.ascent import slots

ADAM = Partial(optax.adam, learning_rate=0.05)


class Example(NamedTuple):
    """A canvas of a class, from its size and any of its numbers, and other numbers."""

    make: type
    other: dict = {}  # noqa: RUF012


CANVASES = {
    "pixels": Example(jv.Pixels, {"low": 0.2, "high": 0.4}),
    "sigmoid": Example(lambda size, **numbers: jv.Pixels(size, bound="sigmoid", **numbers), {"low": 0.2, "high": 0.4}),
    "clip": Example(lambda size, **numbers: jv.Pixels(size, bound="clip", **numbers), {"low": 0.2, "high": 0.4}),
    "fourier": Example(jv.Fourier, {"decay": 0.85, "sd": 0.02, "colors": jv.colors.XPLIQUE}),
}


@pytest.fixture(scope="module")
def model():
    return keras_model()


@pytest.fixture(scope="module", params=CANVASES)
def example(request):
    return CANVASES[request.param]


def climbed(model, canvas, channels, **settings):
    return jv.sweep(model, jv.channels(model, "second/pre", channels), canvas=canvas, optimizer=ADAM, **settings)


def test_three_steps_raise_the_score_and_the_key_decides(model, example):
    canvas = example.make((11, 14))
    found = climbed(model, canvas, [0, 1, 1], steps=4)
    assert found.image.shape == (3, 11, 14, 3)
    assert (np.diff(found.scores) > 0).all()
    assert not np.array_equal(found.image[1], found.image[2])
    compiled = slots._climb.compiled()._cache_size()
    again = climbed(model, example.make((11, 14), **example.other), [0, 1, 1], steps=4, key=jax.random.key(1))
    assert slots._climb.compiled()._cache_size() == compiled
    assert not np.array_equal(found.image, again.image)


def test_chunks_change_nothing(model):
    canvas = jv.Fourier((11, 14))
    found = climbed(model, canvas, [0, 1, 2], steps=4)
    np.testing.assert_allclose(climbed(model, canvas, [0, 1, 2], steps=4, batch=2).image, found.image, atol=1e-5)


@partial(jax.jit, static_argnums=1)
def start(canvas, channels):
    return canvas(canvas.new(jax.random.key(0), channels))


def test_any_axes_and_channels(example):
    """A signal, a volume, a picture without channels, and one of five bands with a side of a single pixel."""
    for size, channels in (((7,), 2), ((3, 4, 5), 1), ((6, 5), None), ((1, 6), 5)):
        canvas = example.make(size)
        image = start(canvas, channels)
        assert image.shape == (size if channels is None else (*size, channels))
        assert image.dtype == jnp.float32
        assert np.isfinite(image).all()
        canvas.check(channels)


class Own(NamedTuple):
    """A canvas of a user's own, who may write any size; ours say its type where types are checked."""

    size: object

    new = of = __call__ = jv.Pixels.new


@pytest.mark.parametrize(
    ("canvas", "sentence"),
    [
        (jv.Pixels, "a canvas is an object such as"),
        (Own(128), r"the size of a canvas is a tuple, such as \(128, 128\); given: 128"),
        (jv.Fourier(()), r"the size of a canvas is a tuple"),
        (jv.Fourier((0, 12)), "size is a whole number of pixels, 1 or more"),
        (Own((12.0, 12)), "size is a whole number of pixels, 1 or more"),
        (jv.Fourier((12, 12, 12)), "so the canvas has a size such as"),
        (jv.Fourier((12, 12), decay=float("nan")), "decay is a finite number; given: nan"),
        (jv.Fourier((12, 12), sd=-1.0), "sd is the deviation of the noise at the start, 0 or more; given: -1"),
        (
            jv.Fourier((12, 12), decay=5.0),
            "with decay=5.0 and sd=0.01, an image of 12 × 12 starts with a deviation of",
        ),
        (jv.Fourier((12, 12), decay=60.0, sd=0.0), "decay=60.0 .* passes no gradient"),
        (jv.Fourier((12, 12), colors=np.eye(2)), r"3 channels needs a colour matrix \[3 3\]; given: \[2, 2\]"),
        (jv.Fourier((12, 12), colors=np.full((3, 3), np.nan)), "a colour matrix is finite and has an inverse"),
        (jv.Fourier((12, 12), colors=np.ones((3, 3))), "a colour matrix is finite and has an inverse"),
        (jv.Pixels((12, 12), 0.5, 0.4), "low ≤ high; given: low=0.5, high=0.4"),
        (jv.Pixels((12, 12), 0.5, float("nan")), "a finite range"),
        (jv.Pixels((12, 12), -0.5, 0.5, bound="clip"), 'with bound="clip", noise is between 0 and 1; given: low=-0.5'),
        (jv.Pixels((12, 12), bound="tanh"), "bound is .* given: 'tanh'"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(model, canvas, sentence):
    with pytest.raises(jv.InputError, match=sentence):
        jv.sweep(model, [jv.Channel("second", 0)], canvas=canvas, steps=1)

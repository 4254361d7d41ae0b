"""What all canvases have in common.

Laws:
- Three steps of a sweep raise the score.
- The same key gives the same image, and other keys give others; chunks change nothing.
- Other numbers of a canvas compile nothing.
- Signals, volumes, and images without channels are drawn, too.
- A canvas that cannot be drawn is one sentence.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial
from networks import linear_model

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
    "cppn": Example(lambda size: jv.CPPN(size, layers=3)),
    "maco": Example(jv.MaCo, {"contrast": 0.5}),
    "pyramid": Example(jv.Pyramid, {"sd": 0.02}),
    "fourier": Example(jv.Fourier, {"decay": 0.85, "sd": 0.02, "colors": jv.colors.XPLIQUE}),
}


@pytest.fixture(scope="module")
def model():
    """f(x) = w · x: all that is compiled is the canvas."""
    return linear_model(np.random.default_rng(0).normal(size=(11, 14, 3)).astype(np.float32))


def climbed(model, canvas, units, **settings):
    objectives = [jv.Unit("output", unit) for unit in units]
    still = {"transform": jv.transforms.Chain(()), **settings}
    return jv.sweep(model, objectives, canvas=canvas, optimizer=ADAM, steps=4, **still)


@pytest.mark.parametrize("name", CANVASES)
def test_three_steps_raise_the_score_and_the_key_decides(model, name):
    example = CANVASES[name]
    canvas = example.make((11, 14))
    found = climbed(model, canvas, [0, 1, 1])
    assert found.image.shape == (3, 11, 14, 3)
    assert (np.diff(found.scores) > 0).all()
    assert not np.array_equal(found.image[1], found.image[2])
    compiled = slots._climb.compiled()._cache_size()
    again = climbed(model, example.make((11, 14), **example.other), [0, 1, 1], key=jax.random.key(1))
    assert slots._climb.compiled()._cache_size() == compiled
    assert not np.array_equal(found.image, again.image)
    if name == "fourier":
        chunks = climbed(model, canvas, [0, 1, 1], batch=2)
        np.testing.assert_allclose(chunks.image, found.image, atol=1e-5)


def test_an_opacity_climbs_with_a_transform_that_lays_it_on_a_background(model):
    def on_black(key, image):
        return image[..., :3] * image[..., 3:]

    found = climbed(model, jv.Alpha(jv.Fourier((11, 14))), [0, 1], transform=on_black)
    assert found.image.shape == (2, 11, 14, 4)
    assert (np.diff(found.scores) > 0).all()


@pytest.mark.parametrize(
    ("shape", "size"),
    [((12, 2), (12,)), ((3, 4, 5, 1), (3, 4, 5)), ((6, 5), (6, 5))],
    ids=["signal", "volume", "plain"],
)
def test_a_sweep_of_other_axes(shape, size):
    """A signal `[t c]`, a volume `[d h w c]` and an image without channels."""
    weights = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    model = jv.wrap(lambda w, x: (x * w).reshape(len(x), -1).sum(-1, keepdims=True), weights, shape)
    found = climbed(model, jv.Fourier(size), [0])
    assert found.image.shape == (1, *shape)
    assert (np.diff(found.scores) > 0).all()


@pytest.mark.parametrize("name", CANVASES)
def test_any_axes_and_channels(name):
    """A signal, a volume, a picture without channels, and one of five bands with a side of a single pixel."""
    for size, channels in (((8,), 2), ((3, 4, 9), 1), ((9, 5), None), ((1, 11), 5)):
        own = () if channels is None else (channels,)
        canvas = CANVASES[name].make(size)
        if name == "maco":
            canvas = canvas.replace(magnitude=np.ones((*own, *size[:-1], size[-1] // 2 + 1)), colors=None)
        canvas.check(channels)

        def start(key, canvas=canvas, channels=channels):
            return canvas(canvas.new(key, channels))

        image = jax.eval_shape(start, jax.random.key(0))
        assert (image.shape, image.dtype) == ((*size, *own), jnp.float32)


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
        (jv.MaCo((12, 12), contrast=0.0), "contrast is a deviation, more than 0; given: 0"),
        (jv.MaCo((12, 12), np.ones((3, 12, 6))), r"have shape \[3, 12, 7\], as from .*given: \[3, 12, 6\]"),
        (jv.MaCo((12, 12), -np.ones((3, 12, 7))), "magnitudes are finite, 0 or more, .*given: -1 to -1"),
        (jv.MaCo((12, 12), np.zeros((3, 12, 7))), "not all 0 besides that of frequency 0; given: 0 to 0"),
        (jv.MaCo((1, 1)), "a single pixel has no phases"),
        (jv.CPPN((12, 12), layers=0), "layers is a whole number, 1 or more; given: 0"),
        (jv.Pyramid((12, 12), levels=5), "a canvas of 12 × 12 is a single pixel after 4 levels; given: levels=5"),
        (jv.Pyramid((12, 12), sd=float("inf")), "sd is a finite number; given: inf"),
        (jv.Alpha(jv.Pixels((12, 12))), r"an opacity is in \[0, 1\], so Alpha wraps a bounded canvas"),
        (jv.Alpha(jv.Fourier((12, 12), sd=-1.0)), "sd is the deviation"),
        (jv.Pixels((12, 12), 0.5, 0.4), "low ≤ high; given: low=0.5, high=0.4"),
        (jv.Pixels((12, 12), 0.5, float("nan")), "a finite range"),
        (jv.Pixels((12, 12), -0.5, 0.5, bound="clip"), 'with bound="clip", noise is between 0 and 1; given: low=-0.5'),
        (jv.Pixels((12, 12), bound="tanh"), "bound is .* given: 'tanh'"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(model, canvas, sentence):
    with pytest.raises(jv.InputError, match=sentence):
        jv.sweep(model, [jv.Unit("output", 0)], canvas=canvas, steps=1)

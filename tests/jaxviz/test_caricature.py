"""Ascents from a photograph: caricature, inversion, accentuation and style.

Laws:
- The photograph is seen through the transform that the image is seen through: it is at distance 0 from itself, with a
  cosine of 1, whatever the draw; without a transform, its activations are those of the plain model.
- Three steps raise each score, and the image comes nearer in the layer, in its Gram matrices, or goes its way.
- Accentuation is weighed by gradients: scaling the objective changes nothing.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial
from networks import convolutions

import jaxviz as jv
from jaxviz.ascent import beside, slots
from jaxviz.ascent.beside import Distance, Likeness
from jaxviz.ascent.step import loss

FAST = {"steps": 3, "optimizer": Partial(optax.adam, learning_rate=0.05)}


@pytest.fixture(scope="module")
def model():
    return convolutions()


@pytest.fixture(scope="module")
def photograph():
    return np.random.default_rng(0).random((12, 12, 3), np.float32) * 0.8 + 0.1


def second(model, image):
    return jv.activations(model, image, "second")["second"]


def test_both_are_seen_through_one_transform(model, photograph):
    """A transform that is drawn anew changes both images alike."""
    canvas = beside._Beside(jv.Pixels((12, 12)), jnp.asarray(photograph))
    both, seen = beside._of_both(model), {"canvas": canvas, "transform": jv.transforms.Roll(5)}
    for objective in (Distance("second"), Likeness("second", 1.0) - Likeness("second", 0.0)):  # the cosine is 1
        for seed in (0, 1):
            found = loss(both, objective, jax.random.key(seed), jnp.asarray(photograph), **seen)
            assert float(found) == pytest.approx(0, abs=1e-6)


def test_the_model_of_both(model, photograph):
    other = photograph[::-1]
    both = beside._of_both(model)
    names = ["first", "photograph:second", "second"]
    found = both(jnp.concatenate([photograph, other], -1), names)
    assert list(found) == names
    plain = model(jnp.asarray(photograph), ["first", "second"])
    for name in plain:
        np.testing.assert_allclose(found[name], plain[name], atol=1e-6)
    np.testing.assert_allclose(found["photograph:second"], second(model, other), atol=1e-6)
    slope = jax.grad(lambda image: both(image, names)["photograph:second"].sum())(jnp.ones((12, 12, 6)))
    assert not slope.any()


def test_a_transform_sees_one_image(model, photograph):
    """Each half is transformed as it would be alone: colours fit, and a function of the user's sees three channels."""
    warm, key = jnp.array([1.0, 0.5, 0.0]), jax.random.key(3)
    padded = jv.transforms.Chain((lambda key, image: image * warm, jv.transforms.Pad(2, warm), jv.transforms.Roll(3)))
    both = beside._Alike(padded)(key, jnp.concatenate([photograph, photograph[::-1]], -1))
    np.testing.assert_array_equal(both[..., :3], padded(key, jnp.asarray(photograph)))
    np.testing.assert_array_equal(both[..., 3:], padded(key, jnp.asarray(photograph[::-1])))
    assert jv.caricature(model, photograph, "second", transform=padded, **FAST).image.shape == photograph.shape


def test_the_image_is_the_one_that_climbs(model, photograph):
    """What is said of the image counts as in a plain ascent, not half of it."""
    objective = jv.Channel("second", 2) - 1.5 * jv.TotalVariation() - jv.L2("image", photograph)
    settings = FAST | {"transform": beside.STILL, "canvas": jv.Pixels((12, 12)), "start": photograph, "relu": "pre"}
    plain = jv.ascend(model, objective, **settings)
    beside_it = jv.accentuate(model, photograph, objective, layer="first", strength=0, **settings)
    np.testing.assert_allclose(beside_it.scores, plain.scores, atol=1e-5)
    np.testing.assert_allclose(beside_it.image, plain.image, atol=1e-5)


def test_a_photograph_is_opaque(model, photograph):
    """On a canvas with opacity, the image keeps its opacity, and the photograph is seen as it is."""
    canvas = jv.Alpha(jv.Pixels((12, 12), 0.4, 0.6, "sigmoid"))
    settings = FAST | {"canvas": canvas, "transform": jv.transforms.Collapse()}
    found = jv.caricature(model, photograph, "second", **settings)
    assert found.image.shape == (12, 12, 4)
    opaque = np.concatenate([photograph, np.ones((12, 12, 1), np.float32)], -1)
    seen = jv.transforms.Collapse()(jax.random.key(0), jnp.asarray(opaque))
    np.testing.assert_allclose(seen, photograph, atol=1e-6)
    # An ascent that starts from the photograph starts opaque.
    styles = {"content": "second", "layers": "first", "weight": 0.1}
    for found in (
        jv.accentuate(model, photograph, jv.Channel("second", 2), layer="first", **settings),
        jv.transfer_style(model, photograph, photograph[::-1], **styles, **settings),
    ):
        assert found.image.shape == (12, 12, 4)
        assert found.image[..., 3].min() > 0.5
    with pytest.raises(jv.InputError, match=r"an alpha channel, \[12, 12, 4\], and the network takes 3 channels"):
        jv.caricature(model, photograph, "second", canvas=canvas, transform=beside.STILL)


def test_what_needs_no_transform_has_none(model, photograph):
    """An inversion compares places, so nothing moves: its scores do not depend on the key of the draws."""
    settings = FAST | {"start": photograph[::-1], "optimizer": optax.sgd(0.1)}
    first, second = (jv.invert(model, photograph, "second", key=jax.random.key(i), **settings) for i in (0, 1))
    np.testing.assert_array_equal(first.scores, second.scores)
    styles = {"content": "second", "layers": "first"}
    first, second = (
        jv.transfer_style(model, photograph, photograph[::-1], key=jax.random.key(i), **styles, **settings)
        for i in (0, 1)
    )
    np.testing.assert_array_equal(first.scores, second.scores)


def test_none_is_not_given(model, photograph):
    found, same = (
        jv.accentuate(model, photograph, jv.Channel("second", 2), layer="first", steps=2, **nothing)
        for nothing in ({}, dict.fromkeys(("key", "canvas", "transform", "optimizer", "start")))
    )
    np.testing.assert_array_equal(found.image, same.image)


@pytest.mark.parametrize("shape", [(40,), (20, 20)])
def test_images_without_channels(shape):
    model = jv.wrap(lambda p, x: jnp.stack([(x**2).reshape(len(x), -1).mean(1)] * 2, -1), jnp.zeros(()), shape)
    photograph = np.random.default_rng(0).random(shape, np.float32)
    for found in (
        jv.caricature(model, photograph, "output", **FAST),
        jv.invert(model, photograph, "output", variation=0, **FAST),
        jv.accentuate(model, photograph, jv.Unit("output", 0), layer="output", **FAST),
    ):
        assert found.image.shape == shape
        assert found.scores[-1] > found.scores[0]


def test_a_caricature_goes_the_way_of_the_photograph(model, photograph):
    found = jv.caricature(model, photograph, "second", **FAST | {"steps": 10})
    assert found.image.shape == photograph.shape
    assert found.scores[-1] > found.scores[0]  # step by step the transform differs, and so does the score
    there = second(model, photograph)
    before = np.vdot(second(model, np.full_like(photograph, 0.5)), there)  # the start is nearly grey
    assert np.vdot(second(model, found.image), there) > before


def test_other_numbers_compile_nothing(model, photograph):
    jv.caricature(model, photograph, "second", **FAST)
    compiled = slots._climb.compiled()._cache_size()
    jv.caricature(model, photograph[::-1], "second", power=2, **FAST)
    assert slots._climb.compiled()._cache_size() == compiled


def test_an_inversion_comes_near_in_its_layer(model, photograph):
    found, smooth = (jv.invert(model, photograph, "second", variation=v, **FAST | {"steps": 40}) for v in (0.0, 10.0))
    assert (np.diff(found.scores[:3]) > 0).all()
    there = second(model, photograph)
    gap = ((second(model, found.image) - there) ** 2).sum() / (there**2).sum()
    assert gap < -0.5 * found.scores[0]
    roughness = [np.abs(np.diff(image, axis=0)).mean() for image in (found.image, smooth.image)]
    assert roughness[1] < roughness[0]


def test_accentuation_is_weighed_by_gradients(model, photograph):
    still = {"steps": 30, "transform": beside.STILL, "layer": "first"}
    objective, settings = 1.0 * jv.Channel("second", 2), FAST | still
    start, near, far = (
        jv.accentuate(model, photograph, objective, **settings | {"strength": strength, "steps": steps})
        for strength, steps in ((1, 3), (3, 30), (0, 30))
    )
    scaled = jv.accentuate(model, photograph, 7.0 * objective.objective, strength=1, **settings | {"steps": 3})
    np.testing.assert_allclose(scaled.image, start.image, atol=1e-4)
    np.testing.assert_allclose(scaled.scores, 7 * start.scores, rtol=1e-3, atol=1e-4)
    score = [second(model, image)[..., 2].mean() for image in (photograph, near.image, far.image)]
    assert score[0] < score[1] < score[2]
    moved = [np.abs(each.image - photograph).mean() for each in (near, far)]
    assert moved[0] < moved[1]


def test_a_style_is_gatys(model, photograph):
    """The Gram matrix of equation 3, with NumPy; and a transfer comes nearer to it."""
    style = np.random.default_rng(1).random((10, 16, 3), np.float32) ** 3
    flat = second(model, style).reshape(-1, 5)
    objective = jv.gram(model, "second", style)
    np.testing.assert_allclose(objective.gram, flat.T @ flat / len(flat), rtol=1e-4)
    assert float(objective({"second": second(model, style)})) == pytest.approx(0, abs=1e-6)
    assert float(objective({"second": np.zeros((3, 3, 5), np.float32)})) == pytest.approx(-1)
    found = jv.transfer_style(
        model, photograph, style, content="second", layers=["first", "second"], weight=5, **FAST | {"steps": 30}
    )
    before, after = (float(objective({"second": second(model, image)})) for image in (photograph, found.image))
    assert after > before
    assert (np.diff(found.scores[:3]) > 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, p: jv.caricature(m, p, "secnd"), "no layer 'secnd' in this model: did you mean second"),
        (lambda m, p: jv.caricature(m, p[None], "second"), r"without a batch axis; given: \[1, 12, 12, 3\]"),
        (lambda m, p: jv.caricature(m, p, "second", power=-1), "power is of the cosine, 0 or more; given: -1"),
        (
            lambda m, p: jv.caricature(m, p, "second", canvas=jv.Pixels((8, 8))),
            r"the canvas has the size of the image, \[12, 12\], since .*; given: \[8, 8\]",
        ),
        (lambda m, p: jv.caricature(m, p, "second", canvas="x"), "a canvas is an object such as .*; given: 'x'"),
        (
            lambda m, p: jv.caricature(m, p, "second", start=p[:5]),
            r"a start is one image \[12, 12, 3\] or .*; given: \[5, 12, 3\]",
        ),
        (lambda m, p: jv.invert(m, p[None], "second"), r"without a batch axis; given: \[1, 12, 12, 3\]"),
        (lambda m, p: jv.invert(m, p, "second", variation=-1), "variation is the weight of .*; given: -1"),
        (lambda m, p: jv.invert(m, 255 * p, "second"), r"images have values in \[0, 1\]"),
        (
            lambda m, p: jv.accentuate(m, p, jv.Channel("second", 0), layer="first", strength=-1),
            "strength is the weight of the distance, 0 or more; given: -1",
        ),
        (
            lambda m, p: jv.accentuate(m, p[None], jv.Channel("second", 0), layer="first"),
            r"without a batch axis; given: \[1, 12, 12, 3\]",
        ),
        (
            lambda m, p: jv.accentuate(m, p, jv.Channel("second", 0), layer="first", canvas=jv.CPPN((12, 12))),
            r"an image has no latent\. What starts from an image needs another canvas",
        ),
        (
            lambda m, p: jv.accentuate(m, p, 0 * jv.Channel("second", 0), layer="first"),
            "accentuation weighs the gradient of the objective, 0 on average",
        ),
        (
            lambda m, p: jv.transfer_style(m, p, p, content="second", layers=[]),
            r"a style has a layer or more, and a weight above 0; given: \[\], 1",
        ),
        (
            lambda m, p: jv.ascend(m, jv.Gram("second", np.ones((4, 4))), canvas=jv.Pixels((12, 12))),
            r"a Gram matrix is of a layer with maps, \[c c\]; given: \[4, 4\] for second, \[6, 6, 5\]",
        ),
    ],
)
def test_what_cannot_be_compared(model, photograph, call, message):
    with pytest.raises(jv.InputError, match=message):
        call(model, photograph)

"""Figures.

Laws:
- A figure shows the pictures of `rgb`, value by value, each a square of whole output pixels.
- Axes, titles, scales and legends are those of the docstrings.
- An array of another shape, of several images, or with NaN is an error that says which.
"""

import io
from typing import NamedTuple

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from jaxviz.errors import InputError
from jaxviz.rendering import figures, rgb
from jaxviz.rendering.figures import show_activations, show_filters, show_maps, show_overlay, show_recipes, show_scores
from jaxviz.rendering.images import resize


class Attribution(NamedTuple):  # the form of jaxviz.Attribution: a tuple, with `values`
    values: np.ndarray
    score: np.ndarray


class Ascent(NamedTuple):  # the form of jaxviz.Ascent
    image: np.ndarray
    scores: np.ndarray


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def pictures(figure: Figure) -> list[np.ndarray]:
    return [axes.images[0].get_array() for axes in figure.axes]


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def rendered(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3]


ACTIVATIONS = {
    "conv2d_5": np.maximum(random(1, 14, 14, 32), 0),
    "max_pooling2d_5": random(7, 7, 20),
    "flatten_2": random(1, 300),
    "dense_4": random(1),
}


def test_activations_are_one_grid_for_each_layer():
    activations = {name: values.copy() for name, values in ACTIVATIONS.items()}
    activations["conv2d_5"][..., [3, 4]] = 0.5
    figure = show_activations(activations)
    assert titles(figure) == [
        "conv2d_5 · 32 channels of 14×14 (2 dead)",
        "max_pooling2d_5 · 20 channels of 7×7",
        "flatten_2 · 300 units",
        "dense_4 · 1 unit",
    ]
    conv, pool, flat, dense = pictures(figure)
    np.testing.assert_array_equal(conv, rgb.activation_grid(activations["conv2d_5"][0])[0])
    np.testing.assert_array_equal(pool, rgb.activation_grid(activations["max_pooling2d_5"])[0])
    assert flat.shape == (3, 128, 3)
    np.testing.assert_array_equal(flat.reshape(-1, 3)[:300], rgb.heat(activations["flatten_2"])[0])
    assert dense.shape == (1, 1, 3)
    assert not any(axes.axison for axes in figure.axes)


def test_layers_lie_below_each_other_in_their_order():
    bottoms = [axes.get_position().y0 for axes in show_activations(ACTIVATIONS).axes]
    assert bottoms == sorted(bottoms, reverse=True)


def test_activations_are_not_changed():
    before = {name: values.copy() for name, values in ACTIVATIONS.items()}
    show_activations(ACTIVATIONS)
    show_activations(ACTIVATIONS, channel=2)
    for name, values in before.items():
        np.testing.assert_array_equal(ACTIVATIONS[name], values)


def test_one_array_and_jax_arrays_are_shown_too():
    activation = random(5, 5, 3)
    expected, _ = rgb.activation_grid(activation, columns=3, cmap="gray")
    for given in (activation, jnp.asarray(activation), {"conv": jnp.asarray(activation)[None]}):
        np.testing.assert_array_equal(pictures(show_activations(given, cmap="gray"))[0], expected)


def test_maps_of_one_value_are_a_vector():
    figure = show_activations({"pool": random(1, 1, 1, 40)})
    assert titles(figure) == ["pool · 40 units"]


def test_one_channel_runs_from_its_minimum_to_its_maximum():
    activations = {**ACTIVATIONS, "still": np.ones((3, 3, 4))}
    figure = show_activations(activations, channel=3)
    assert titles(figure) == [
        "conv2d_5 · channel 3 of 32",
        "max_pooling2d_5 · channel 3 of 20",
        "still · channel 3 of 4 (dead)",
    ]
    values = ACTIVATIONS["max_pooling2d_5"][:, :, 3]
    expected = rgb.heat(values, low=float(values.min()), high=float(values.max()))
    np.testing.assert_array_equal(pictures(figure)[1], expected)


@pytest.mark.parametrize(
    ("activations", "channel", "message"),
    [
        ({"conv": np.zeros((4, 4, 8))}, 8, "layer 'conv' has 8 channels, 0 to 7; given: 8"),
        ({"conv": np.zeros((4, 4, 8))}, -1, "0 to 7; given: -1"),
        ({"dense": np.zeros(8)}, 0, "there is no layer to show that has channels"),
        ({}, None, "activations is empty"),
        (
            {"conv": np.zeros((5, 4, 4, 8))},
            None,
            r"one image: pick one, .*given: 5 images, shape \[5, 4, 4, 8\]",
        ),
        ({"dense": np.zeros((5, 8))}, None, "layer 'dense' must be of one image.*given: 5 images"),
        ({"conv": np.zeros((1, 2, 4, 4, 8))}, None, r"layer 'conv' must be \[h w c\] or \[k\]"),
        ({"conv": np.full((4, 4, 8), np.nan)}, None, "layer 'conv' must be finite; given: 128 of 128 values"),
    ],
)
def test_activations_that_cannot_be_shown(activations, channel, message):
    with pytest.raises(InputError, match=message):
        show_activations(activations, channel=channel)


def test_filters_are_stretched_and_tiled():
    images = random(10, 8, 8, 3)
    expected = rgb.tile(np.stack([rgb.stretch(image, 0.15) for image in images]), 4, margin=2, by="column")
    for given in (images, Ascent(jnp.asarray(images), random(10, 5))):
        figure = show_filters(given, columns=4, margin=2, std=0.15, by="column")
        np.testing.assert_array_equal(pictures(figure)[0], expected)


def test_the_grid_of_the_book_is_547_pixels():
    assert pictures(show_filters(random(64, 64, 64, 3)))[0].shape == (547, 547, 3)


def test_rows_limit_the_grid_and_a_single_image_fills_it():
    images = random(10, 8, 8, 1)
    np.testing.assert_array_equal(
        pictures(show_filters(images, columns=3, rows=2))[0], pictures(show_filters(images[:6], columns=3))[0]
    )
    np.testing.assert_array_equal(pictures(show_filters(images[0]))[0], rgb.stretch(images[0]))


def test_filters_with_titles_have_an_axes_each():
    images = random(5, 8, 8, 3)
    names = [f"block3_conv1 {i}" for i in range(5)]
    figure = show_filters(images, columns=3, rows=2, titles=names)
    assert titles(figure) == names
    np.testing.assert_array_equal(pictures(figure)[4], rgb.stretch(images[4]))
    down = show_filters(images, columns=3, by="column", titles=names)
    assert down.axes[0].get_position().x0 == down.axes[1].get_position().x0


def test_filters_with_their_numbers_and_last_scores():
    images, scores = random(3, 8, 8, 3), np.array([[1, 2], [3, 40.25], [0, -1]], np.float32)
    figure = show_filters(Ascent(images, scores), indices=[7, 100, 2], std="keras_io")
    assert titles(figure) == ["7 · 2", "100 · 40.25", "2 · -1"]
    np.testing.assert_array_equal(pictures(figure)[1], rgb.stretch(images[1], 0.15))
    assert titles(show_filters(images, indices=range(3))) == ["0", "1", "2"]


def test_recipes_are_compared_row_by_row():
    images, drawn = random(3, 8, 8, 3), np.arange(3 * 5 * 6 * 3, dtype=np.uint8).reshape(3, 5, 6, 3)
    figure = show_recipes({"chollet": Ascent(images, random(3, 2)), "lucid": drawn}, indices=[4, 0, 9])
    assert titles(figure) == ["chollet 4", "0", "9", "lucid 4", "0", "9"]
    shown = pictures(figure)
    for i in range(3):
        np.testing.assert_array_equal(shown[i], rgb.stretch(images[i]))
        np.testing.assert_array_equal(shown[3 + i], drawn[i])
    places = [axes.get_position() for axes in figure.axes]
    assert places[0].y0 > places[3].y1  # a row below the other
    for found, message in (
        ({}, "as many images for each; given: none"),
        ({"a": images, "b": images[:2]}, r"as many images for each; given: {'a': 3, 'b': 2}"),
        ({"a": Ascent(random(3, 4, 8, 8, 3), random(3, 2))}, r"on images \[n h w c\]; given: \[3, 4, 8, 8, 3\]"),
    ):
        with pytest.raises(InputError, match=message):
            show_recipes(found)
    with pytest.raises(InputError, match=r"recipes are compared by name, \{name: images\}; given: list"):
        show_recipes.__wrapped__([images])
    with pytest.raises(InputError, match="indices are one for each of the 3 images; given: 2"):
        show_recipes({"a": images}, indices=[1, 2])


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.zeros((2, 4, 4, 3)), {"titles": ["a", "b"], "indices": [1, 2]}, "titles or indices, .*; given: both"),
        (np.zeros((2, 4, 4, 3)), {"indices": [1]}, "indices are one for each of the 2 images; given: 1"),
        (np.zeros((2, 4, 4, 3)), {"std": "grey"}, "std is a number, or one of chollet"),
        (np.zeros((8, 8)), {}, r"images must be \[n h w c\] or \[h w c\]"),
        (np.full((2, 4, 4, 3), np.nan), {}, "the images must be finite; given: 96 of 96 values are NaN"),
        (np.zeros((2, 4, 4, 3)), {"titles": ["a"]}, "titles must be one for each of the 2 images; given: 1"),
        (np.zeros((2, 4, 4, 3)), {"rows": 0}, "columns and rows must be 1 or more"),
        (np.zeros((2, 4, 4, 3)), {"by": "z"}, "by must be"),
    ],
)
def test_filters_that_cannot_be_shown(images, options, message):
    with pytest.raises(InputError, match=message):
        show_filters(images, **options)


def test_an_overlay_has_the_size_of_the_photograph():
    photograph = np.random.default_rng(0).random((30, 45, 3))
    values = random(14, 14)
    expected = rgb.overlay(photograph, resize(values, (30, 45)), "jet", 0.4)
    for given in (values, Attribution(values, np.float32(1)), jnp.asarray(values)[None]):
        figure = show_overlay(photograph, given, cmap="jet", weight=0.4, title="cat")
        np.testing.assert_array_equal(pictures(figure)[0], expected)
        assert titles(figure) == ["cat"]


def test_overlays_on_grey_photographs_and_of_colour_gradients():
    grey = np.random.default_rng(0).random((6, 8))
    values = random(6, 8, 3)
    expected = rgb.overlay(grey[:, :, None], values.sum(axis=2))
    for photograph in (grey, grey[:, :, None], grey[None, :, :, None]):
        np.testing.assert_array_equal(pictures(show_overlay(photograph, values))[0], expected)


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_overlays_on_images_of_any_number_of_channels(channels):
    """Of a CAM, and of a gradient, which has as many channels as the image: an Attribution or an array."""
    image = np.random.default_rng(0).random((6, 8, channels))
    gradient = random(6, 8, channels)
    expected = rgb.overlay(image.mean(2, keepdims=True), gradient.sum(axis=2))
    for given in (gradient, Attribution(gradient, np.float32(1)), gradient.sum(axis=2)):
        np.testing.assert_array_equal(pictures(show_overlay(image, given))[0], expected)
    show_maps(Attribution(gradient, np.float32(1)))


@pytest.mark.parametrize(
    ("photograph", "values", "message"),
    [
        (np.full((4, 4, 3), 255), np.zeros((4, 4)), r"the image must be in \[0, 1\]"),
        (np.zeros((2, 4, 4, 3)), np.zeros((4, 4)), "the image must be of one image.*given: 2 images"),
        (
            np.zeros((4, 4, 3)),
            np.zeros((2, 4, 4)),
            r"map must be of one image: .*given: 2 images, shape \[2, 4, 4\]",
        ),
        (np.zeros((4, 4, 3)), np.zeros(4), r"a map must be \[h w\] or \[h w c\]"),
        (np.zeros((4, 4, 3)), np.full((4, 4), np.nan), "the map must be finite; given: 16 of 16 values are NaN"),
        (np.zeros(4), np.zeros((4, 4)), r"the image must be \[h w c\] or grey \[h w\]"),
        (np.zeros((4, 4, 2)), np.zeros((4, 4, 5)), "the map must be of one image"),
    ],
)
def test_overlays_that_cannot_be_shown(photograph, values, message):
    with pytest.raises(InputError, match=message):
        show_overlay(photograph, values)


def bar(axes):
    """The colour bar's limits."""
    return axes.child_axes[0].get_ylim()


def test_a_signed_map_is_symmetric_about_zero():
    figure = show_maps(np.array([[-1, 0], [0, 2.0]]))
    colours = rgb.colour_table("RdBu_r")
    np.testing.assert_array_equal(pictures(figure)[0], colours[[[63, 127], [127, 255]]])
    assert bar(figure.axes[0]) == (-2, 2)


def test_a_positive_map_starts_at_zero():
    figure = show_maps(np.array([[1, 0], [0, 2.0]]))
    np.testing.assert_array_equal(pictures(figure)[0], rgb.colour_table("viridis")[[[127, 0], [0, 255]]])
    assert bar(figure.axes[0]) == (0, 2)


def test_signed_and_cmap_can_be_chosen():
    values = np.array([[-1, 0], [0, 2.0]])
    np.testing.assert_array_equal(pictures(show_maps(values, signed=False))[0], rgb.heat(np.maximum(values, 0)))
    np.testing.assert_array_equal(
        pictures(show_maps(np.abs(values), signed=True, cmap="bwr"))[0][0, 1], [254, 254, 255]
    )


def test_a_map_of_zeros_keeps_its_zero_in_place():
    zeros = np.zeros((2, 2))
    np.testing.assert_array_equal(pictures(show_maps(zeros))[0], rgb.heat(zeros))
    middle = rgb.colour_table("RdBu_r")[127]
    assert (pictures(show_maps(zeros, signed=True))[0] == middle).all()


def test_a_percentile_keeps_a_spike_from_blanking_the_map():
    values = np.ones((20, 20))
    values[0, 0] = 1000
    assert bar(show_maps(values).axes[0]) == (0, 1)
    assert bar(show_maps(values, percentile=100).axes[0]) == (0, 1000)
    sparse = values - 1  # more zeros than the percentile: the maximum ends the scale
    assert bar(show_maps(sparse, percentile=99).axes[0]) == (0, 999)
    with pytest.raises(InputError, match="percentile must be between 0 and 100; given: 101"):
        show_maps(values, percentile=101)


def test_several_maps_stand_side_by_side():
    one, two = Attribution(random(6, 6), np.float32(0)), random(6, 6, 3)
    figure = show_maps({"Grad-CAM": one, "gradient": two})
    assert titles(figure) == ["Grad-CAM", "gradient"]
    left, right = figure.axes
    assert left.get_position().x1 < right.get_position().x0
    assert left.get_position().y0 == right.get_position().y0
    np.testing.assert_array_equal(pictures(figure)[0], pictures(show_maps(one))[0])
    np.testing.assert_array_equal(pictures(figure)[1], pictures(show_maps(two.sum(axis=2)))[0])
    assert len(show_maps([one, two]).axes) == 2
    with pytest.raises(InputError, match="maps is empty"):
        show_maps([])


def test_many_maps_go_on_in_the_next_row():
    figure = show_maps([random(6, 6) for _ in range(5)], columns=3)
    tops = [round(axes.get_position().y1, 6) for axes in figure.axes]
    assert tops[0] == tops[1] == tops[2] > tops[3] == tops[4]
    assert len({round(axes.get_position().x0, 6) for axes in figure.axes}) == 3


def test_scores_are_lines_over_the_steps():
    scores = random(3, 20)
    figure = show_scores(Ascent(random(3, 4, 4, 3), jnp.asarray(scores)), labels=["a", "b", "c"])
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "score")
    for line, row in zip(axes.lines, scores, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), row)
        np.testing.assert_array_equal(line.get_xdata(), np.arange(20))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b", "c"]
    rendered(figure)


def test_the_scores_of_one_image():
    (axes,) = show_scores(np.arange(5.0)).axes
    assert len(axes.lines) == 1
    assert axes.get_legend() is None


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.zeros((2, 3, 4)), None, r"scores must be \[n steps\] or \[steps\]"),
        (np.array([1, np.nan]), None, "the scores must be finite; given: 1 of 2 values are NaN"),
        (np.zeros((2, 3)), ["a"], "labels must be one for each of the 2 images; given: 1"),
    ],
)
def test_scores_that_cannot_be_shown(scores, labels, message):
    with pytest.raises(InputError, match=message):
        show_scores(scores, labels=labels)


@pytest.mark.parametrize("shape", [(1, 1), (7, 112), (150, 150), (301, 97), (33, 1700)])
def test_every_value_is_a_square_of_whole_pixels(shape):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    figure = show_maps(picture[:, :, 0].astype(float), cmap="gray")
    out = rendered(figure)
    box = figure.axes[0].bbox
    drawn = out[out.shape[0] - round(box.y1) : out.shape[0] - round(box.y0), round(box.x0) : round(box.x1)]
    enlarged = drawn.shape[0] // shape[0]
    np.testing.assert_array_equal(drawn, np.kron(pictures(figure)[0], np.ones((enlarged, enlarged, 1), np.uint8)))


def test_a_saved_figure_has_room_for_every_value():
    with io.BytesIO() as file:
        show_activations({"conv": random(100, 100, 16)}).savefig(file)
        width, height = Image.open(file).size
    assert (width, height) == (1615 + 2 * figures.GAP, 100 + 2 * figures.GAP + figures.TITLE)


def test_a_page_without_end_is_drawn_smaller():
    figure = show_activations({str(i): np.zeros((200, 10, 200)) for i in range(20)})
    out_width, out_height = figure.get_size_inches() * figure.dpi
    assert out_height == pytest.approx(figures.LONGEST)
    assert out_width > 0


def test_pyplot_never_hears_of_a_figure():
    show_activations(ACTIVATIONS)
    show_maps(random(4, 4))
    show_scores(random(2, 4))
    assert plt.get_fignums() == []


SIGNAL, VOLUME = np.random.default_rng(0).random((20, 2)), np.random.default_rng(1).random((5, 4, 6, 1))


@pytest.mark.parametrize("values", [random(20), random(20, 2)])
def test_the_curves_of_a_signal_are_coloured_by_its_map(values):
    figure = show_overlay(SIGNAL, Attribution(values, np.float32(1)), title="ecg")
    first, second, _ = figure.axes  # the last is the colour bar
    assert first.get_title() == "ecg"
    for channel, axes in enumerate((first, second)):
        (lines,) = axes.collections
        pieces = np.array(lines.get_segments())
        np.testing.assert_allclose(pieces[:, 1], np.stack([np.arange(20), SIGNAL[:, channel]], -1), rtol=1e-6)
        shade = values if values.ndim == 1 else values[:, channel]
        np.testing.assert_array_equal(lines.get_array(), np.maximum(shade, 0))
        assert lines.get_clim() == (0, values.max())
    rendered(figure)


def test_the_map_of_a_signal_is_a_curve():
    values = random(20)
    figure = show_maps({"cam": values, "lrp": Attribution(SIGNAL, np.float32(1))}, places=1)
    assert titles(figure) == ["cam", "lrp"]
    for axes, expected in zip(figure.axes, (values, SIGNAL.sum(1)), strict=True):
        np.testing.assert_allclose(axes.lines[-1].get_ydata(), expected, rtol=1e-6)
    assert len(show_maps(values).axes[0].lines) == 2  # with the line of 0
    with pytest.raises(InputError, match="figures of their own"):
        show_maps([values, random(3, 3)])


def sliced(stacked: np.ndarray) -> np.ndarray:
    """Five slices of 4×6, three in a row, with black lines of one pixel between them."""
    return rgb.tile(stacked.reshape(5, 4, 6, 3), 3, margin=1)


@pytest.mark.parametrize("values", [random(5, 4, 6), random(5, 4, 6, 1)])
def test_the_slices_of_a_volume_have_one_scale(values):
    stacked = values.reshape(20, 6)
    expected = sliced(rgb.overlay(VOLUME.reshape(20, 6, 1), stacked))
    assert expected.shape == (9, 20, 3)
    found = show_overlay(VOLUME, Attribution(values, np.float32(1)))
    np.testing.assert_array_equal(pictures(found)[0], expected)
    np.testing.assert_array_equal(pictures(show_overlay(VOLUME, values, places=3))[0], expected)
    (picture,) = pictures(show_maps(values, places=3, percentile=100))
    high = float(np.abs(values).max())
    np.testing.assert_array_equal(picture, sliced(rgb.heat(stacked, "RdBu_r", low=-high, high=high)))
    with pytest.raises(InputError, match=r"one image: pick one, .* or say places=3 for a volume; given: 5 images"):
        show_overlay(VOLUME, values)  # an array may as well be five images
    with pytest.raises(InputError, match=r"places is 1 .* given: 4"):
        show_overlay(VOLUME, values, places=4)


def test_activations_of_signals_and_volumes():
    values = random(20, 3)
    figure = show_activations({"conv": values, "dense": random(1, 7)}, places=1)
    assert titles(figure) == ["conv · 3 channels of 20", "dense · 7 units"]
    np.testing.assert_array_equal(pictures(figure)[0], rgb.activation_grid(values[None], 1)[0])
    values = random(5, 4, 6, 2)
    figure = show_activations({"conv": values}, places=3)
    assert titles(figure) == ["conv · 2 channels of 5×4×6"]
    beside = np.concatenate(list(values), axis=1)
    np.testing.assert_array_equal(pictures(figure)[0], rgb.activation_grid(beside, 1)[0])
    with pytest.raises(InputError, match="places=1 for a signal"):
        show_activations({"conv": random(20, 3)})


def test_filters_of_signals_volumes_and_images_without_channels():
    scores = random(2, 4)
    figure = show_filters(Ascent(np.stack([SIGNAL, SIGNAL]), scores), titles=["a", "b"])
    assert titles(figure) == ["a", "b"]
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_ydata(), SIGNAL[:, 1].astype(np.float32))
    (picture,) = pictures(show_filters(Ascent(VOLUME, scores[0])))
    np.testing.assert_array_equal(picture, sliced(rgb.stretch(VOLUME.reshape(20, 6, 1))))
    grey = random(2, 18, 17)
    (picture,) = pictures(show_filters(Ascent(grey, scores)))
    np.testing.assert_array_equal(picture, rgb.tile([rgb.stretch(each[..., None]) for each in grey], 2))


def test_a_flat_image_is_drawn_in_the_shape_of_its_map():
    flat, values = np.random.default_rng(0).random(24), random(4, 6)
    np.testing.assert_array_equal(
        pictures(show_overlay(flat, Attribution(values, np.float32(1))))[0],
        rgb.overlay(flat.reshape(4, 6, 1), values),
    )

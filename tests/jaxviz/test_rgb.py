"""Arrays to pictures.

Laws:
- A picture is an exact function of the numbers: the levels of the book, the places in a grid, the colours of a map.
- The range that is black and the range that is white are those of the docstring; NaN is an error.
- No function changes its input.
"""

import matplotlib
import numpy as np
import pytest

from jaxviz.errors import InputError
from jaxviz.rendering import rgb


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def table(cmap):
    return matplotlib.colormaps[cmap](np.arange(256), bytes=True)[:, :3]


def the_book_grid(activation, columns=16):
    """Chollet's levels (2017, §5.4.1), in place on a copy, for a number of channels that fills the grid."""
    activation = activation.copy()
    h, w, c = activation.shape
    grid = np.zeros((h * (c // columns), w * columns), np.uint8)
    for i in range(c):
        channel = activation[:, :, i]
        channel -= channel.mean()
        channel /= channel.std()
        channel *= 64
        channel += 128
        row, column = divmod(i, columns)
        grid[row * h : (row + 1) * h, column * w : (column + 1) * w] = np.clip(channel, 0, 255)
    return grid


def test_standardize_by_hand():
    # mean 1, standard deviation 1
    np.testing.assert_array_equal(rgb.standardize([[0, 2], [2, 0]]), [[64, 192], [192, 64]])
    # the first of 101 lies ten deviations up
    spike = rgb.standardize(np.eye(1, 101, dtype=np.float32))
    assert (spike[0, 0], spike[0, 1]) == (255, 121)  # 128 - 64 / 10


@pytest.mark.parametrize("value", [0, 0.1, -3, 1e-30])
def test_a_constant_channel_is_dead(value):
    np.testing.assert_array_equal(rgb.standardize(np.full((17, 13), value, np.float32)), np.zeros((17, 13)))


def test_the_grid_has_the_levels_of_the_book():
    activation = np.maximum(random(37, 37, 32), 0)
    before = activation.copy()
    grid, dead = rgb.activation_grid(activation, margin=0)
    np.testing.assert_array_equal(grid, table("viridis")[the_book_grid(activation)])
    np.testing.assert_array_equal(activation, before)
    assert dead == 0


@pytest.mark.parametrize(("channels", "shape"), [(20, (9, 79)), (3, (4, 79)), (16, (4, 79)), (1, (4, 79))])
def test_every_channel_has_a_cell_and_the_rest_is_black(channels, shape):
    activation = random(4, 4, channels)
    grid, _ = rgb.activation_grid(activation)
    assert grid.shape == (*shape, 3)
    for i in range(channels):
        row, column = divmod(i, 16)
        cell = grid[5 * row :, 5 * column :][:4, :4]
        np.testing.assert_array_equal(cell, table("viridis")[rgb.standardize(activation[:, :, i])])
    used = channels % 16 or 16
    assert not grid[-4:, 5 * used :].any()


def test_dead_channels_are_black_and_counted():
    activation = random(4, 4, 3)
    activation[:, :, 1] = 0.1
    grid, dead = rgb.activation_grid(activation, columns=3)
    assert dead == 1
    assert grid.shape == (4, 14, 3)
    assert not grid[:, 4:10].any()
    assert grid[:, :4].any(axis=-1).all()  # viridis itself is nowhere black


def test_stretch_is_deprocess_image():
    # In levels of 0–255, as the book has it: the epsilon matters for an image that hardly varies.
    for spread in (1e-9, 1e-4, 0.1, 3):
        image = spread * random(16, 16, 3).astype(np.float64) + 0.5
        image = image.astype(np.float32).astype(np.float64)
        for std in (0.1, 0.15):
            x = 255 * image
            x = (x - x.mean()) / (x.std() + 1e-5) * std + 0.5
            expected = (np.clip(x, 0, 1) * 255).astype(np.uint8)
            difference = rgb.stretch(image, std).astype(int) - expected
            assert np.abs(difference).max() <= 1  # a value beside a whole level may round to either side
            assert (difference != 0).mean() < 0.01


def test_contrasts_by_name():
    image = random(16, 16, 3)
    np.testing.assert_array_equal(rgb.stretch(image, "chollet"), rgb.stretch(image))
    np.testing.assert_array_equal(rgb.stretch(image, "keras_io"), rgb.stretch(image, 0.15))
    double = image.astype(np.float64)
    later = np.clip((double - double.mean()) / double.std() * 64 + 128, 0, 255).astype(np.uint8)
    assert np.abs(rgb.stretch(image, "chollet_3rd_edition").astype(int) - later).max() <= 1  # beside a whole level
    levels = np.arange(256).repeat(3).reshape(16, 16, 3)
    np.testing.assert_array_equal(rgb.stretch(levels / 255, "none"), levels)
    np.testing.assert_array_equal(rgb.stretch([[[-0.1], [1.1]]], "none")[0, :, 0], [0, 255])
    with pytest.raises(InputError, match=r"std is a number, or one of chollet, keras_io, .*; given: 'grey'"):
        rgb.stretch(image, "grey")


def test_stretch_of_grey_and_of_nothing():
    image = random(4, 4, 1)
    picture = rgb.stretch(image)
    assert picture.shape == (4, 4, 3)
    np.testing.assert_array_equal(picture[:, :, 0], picture[:, :, 2])
    np.testing.assert_array_equal(rgb.stretch(np.full((2, 2, 3), 0.3)), np.full((2, 2, 3), 127))
    with pytest.raises(InputError, match=r"the image must be \[h w c\]"):
        rgb.stretch(np.zeros((4, 4)))


@pytest.mark.parametrize("channels", [2, 4, 13])
def test_other_numbers_of_channels_are_the_grey_of_their_mean(channels):
    image, values = np.random.default_rng(0).random((4, 5, channels)), random(4, 5)
    grey = image.mean(2, keepdims=True)
    np.testing.assert_array_equal(rgb.overlay(image, values), rgb.overlay(grey, values))
    np.testing.assert_array_equal(rgb.stretch(image), rgb.stretch(grey))


def squares(n, side=1):
    """n squares, the i-th of level i + 1."""
    return np.broadcast_to(np.arange(1, n + 1, dtype=np.uint8)[:, None, None, None], (n, side, side, 3))


def test_tile_by_row_and_by_column():
    by_row = rgb.tile(squares(5), 3, margin=0)[:, :, 0]
    np.testing.assert_array_equal(by_row, [[1, 2, 3], [4, 5, 0]])
    by_column = rgb.tile(squares(5), 3, margin=0, by="column")[:, :, 0]
    np.testing.assert_array_equal(by_column, [[1, 3, 5], [2, 4, 0]])


def test_margins_lie_only_between_tiles():
    grid = rgb.tile(squares(4), 2, margin=1)[:, :, 1]
    np.testing.assert_array_equal(grid, [[1, 0, 2], [0, 0, 0], [3, 0, 4]])
    assert rgb.tile(squares(64, side=64), 8).shape == (547, 547, 3)  # Chollet (2017), §5.4.2


@pytest.mark.parametrize(
    ("pictures", "options", "message"),
    [
        (np.zeros((2, 4, 4, 3)), {}, "pictures must be uint8"),
        (np.zeros((4, 4, 3), np.uint8), {}, "pictures must be uint8"),
        (np.zeros((0, 4, 4, 3), np.uint8), {}, "pictures must be uint8"),
        (squares(2), {"columns": 0}, "columns is a whole number, 1 or more; given: 0"),
        (squares(2), {"margin": -1}, "margin is a whole number, 0 or more; given: -1"),
        (squares(2), {"by": "rows"}, 'by must be "row" or "column"'),
    ],
)
def test_tile_refuses(pictures, options, message):
    with pytest.raises(InputError, match=message):
        rgb.tile(pictures, **{"columns": 2, **options})


def test_heat_reaches_from_zero_to_the_maximum():
    np.testing.assert_array_equal(rgb.heat([[0, 1], [2, 4]], "gray")[:, :, 0], [[0, 63], [127, 255]])
    np.testing.assert_array_equal(rgb.heat([[-1, 0], [0, 1]], "gray")[:, :, 0], [[0, 127], [127, 255]])
    np.testing.assert_array_equal(rgb.heat([[-2, -1]], "gray")[:, :, 0], [[0, 127]])
    np.testing.assert_array_equal(rgb.heat([[1, 2, 3, 9]], "gray", low=2, high=4)[:, :, 0], [[0, 0, 127, 255]])


def test_heat_of_nothing_has_the_lowest_colour():
    np.testing.assert_array_equal(rgb.heat(np.zeros((2, 3))), np.broadcast_to(table("viridis")[0], (2, 3, 3)))


def test_overlay_by_hand():
    image = np.full((2, 2, 3), 100 / 255, np.float32)
    # Negative is 0; half and the whole of the maximum are levels 127 and 255 of grey.
    picture = rgb.overlay(image, [[-9, 0], [1, 2]], "gray", 0.5)
    np.testing.assert_array_equal(picture[:, :, 0], [[100, 100], [164, 228]])  # 163.5, to even; 227.5, to even


def test_overlay_is_cut_off_at_white():
    picture = rgb.overlay(np.ones((2, 2, 3)), [[0, 1], [1, 1]], "gray", 0.4)
    np.testing.assert_array_equal(picture, np.full((2, 2, 3), 255))


def test_overlay_is_the_book_formula():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)) / 255
    values = random(20, 30)
    positive = np.maximum(values, 0)
    levels = np.uint8(255 * (positive / positive.max()))
    expected = np.clip(np.rint(table("jet")[levels] * 0.4 + 255 * image), 0, 255)
    np.testing.assert_allclose(rgb.overlay(image, values, "jet", 0.4), expected, atol=1)  # halves may round either way


def test_an_overlay_of_zeros_with_weight_zero_is_the_image():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    picture = rgb.overlay(levels / np.float32(255), np.zeros((16, 16)), weight=0.0)
    np.testing.assert_array_equal(picture, np.repeat(levels, 3, axis=2))


def test_overlay_refuses_another_size_and_another_unit():
    image = np.zeros((4, 6, 3))
    with pytest.raises(InputError, match=r"must have the image's size \[4, 6\], .*; given: \[6, 4\]"):
        rgb.overlay(image, np.zeros((6, 4)))
    for weight in (-1, float("nan")):
        with pytest.raises(InputError, match=f"weight of the colours must be 0 or more; given: {weight}"):
            rgb.overlay(np.zeros((2, 2, 3)), np.zeros((2, 2)), weight=weight)
    with pytest.raises(InputError, match=r"the image must be in \[0, 1\] \(divide 0–255 by 255\); given: 0 to 200"):
        rgb.overlay(np.pad([[[200.0] * 3]], ((0, 1), (0, 1), (0, 0))), np.zeros((2, 2)))


@pytest.mark.parametrize("cmap", ["viridis", "jet", "gray", "RdBu_r", "tab10"])
def test_a_colour_table_runs_through_the_whole_map(cmap):
    colours = rgb.colour_table(cmap)
    assert colours.shape == (256, 3)
    ends = matplotlib.colormaps[cmap]([0.0, 1.0], bytes=True)[:, :3]
    np.testing.assert_array_equal(colours[[0, -1]], ends)


def test_an_unknown_colour_map_is_refused():
    with pytest.raises(InputError, match=r"no colour map 'virids': did you mean viridis"):
        rgb.heat(np.zeros((2, 2)), "virids")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_never_drawn(bad):
    values = np.zeros((2, 3, 3), np.float32)
    values[1, 2, 0] = bad
    draw = [rgb.stretch, rgb.activation_grid]
    for function in draw:
        with pytest.raises(InputError, match=r"given: 1 of 18 values are NaN or infinite, first at \[1, 2, 0\]"):
            function(values)
    for function in (rgb.standardize, rgb.heat):
        with pytest.raises(InputError, match=r"of 6 values .*first at \[1, 2\]"):
            function(values[:, :, 0])
    with pytest.raises(InputError, match="the heat map must be finite"):
        rgb.overlay(np.zeros((2, 3, 3)), values[:, :, 0])


def test_what_holds_no_numbers_is_refused():
    with pytest.raises(InputError, match="the heat map must be an array of numbers; given: dict"):
        rgb.finite({}, "the heat map")
    with pytest.raises(InputError, match=r"the heat map must be of real numbers, .*; given: complex64"):
        rgb.finite(np.zeros((2, 2), np.complex64), "the heat map")


def test_no_input_is_changed():
    image, values, activation = random(8, 8, 3) * 0 + 0.25, random(8, 8), random(8, 8, 5)
    inputs = (image, values, activation)
    before = [array.copy() for array in inputs]
    rgb.standardize(values)
    rgb.activation_grid(activation)
    rgb.stretch(image)
    rgb.heat(values)
    rgb.overlay(image, values)
    for array, copy in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(array, copy)

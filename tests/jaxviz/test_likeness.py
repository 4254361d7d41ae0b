"""Laws of `page.likeness` and `page.pairs`, by which a site says what stands beside what.

- Likeness is a cosine: 1 for equal weights up to a positive factor. A filter is never its own neighbour.
- A picture that is only shifted has the same texture.
- Each layer of two networks stands in one row, in the order of its network. Layers of one name share a row.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxviz.page.likeness import BLOCK, nearest, texture
from jaxviz.page.pairs import pairs


def all_of(features: np.ndarray) -> np.ndarray:
    return np.ones(len(features), bool)


def test_neighbours_are_those_of_highest_cosine():
    features = np.random.default_rng(0).normal(size=(BLOCK + 9, 5)).astype(np.float32)  # two blocks
    among = np.arange(len(features)) % 7 > 0
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = directions.astype(np.float64) @ directions.T
    cosines[:, ~among] = -2
    np.fill_diagonal(cosines, -2)
    found = nearest(features, among, 4)
    for i, others in enumerate(found):
        if not among[i]:
            assert others == []
            continue
        best = np.argsort(-cosines[i])[:4]
        assert [j for j, _ in others] == best.tolist()
        assert [likeness for _, likeness in others] == pytest.approx(cosines[i, best], abs=1e-6)


def test_a_positive_factor_changes_no_likeness():
    features = np.random.default_rng(1).normal(size=(6, 8)).astype(np.float32)
    features[4] = 3 * features[1]
    assert nearest(features, all_of(features), 1)[1] == [(4, pytest.approx(1, abs=1e-6))]
    features[4] *= -1
    assert nearest(features, all_of(features), 5)[1][-1] == (4, pytest.approx(-1, abs=1e-6))


def test_a_filter_without_weights_is_alike_to_none():
    features = np.eye(3, dtype=np.float32)
    features[2] = 0
    assert {likeness for _, likeness in nearest(features, all_of(features))[2]} == {0}


@pytest.mark.parametrize("n", [0, 1])
def test_few_filters_have_no_neighbours(n):
    features = np.ones((n, 3), np.float32)
    assert nearest(features, all_of(features)) == [[]] * n


def test_a_shifted_picture_has_the_same_texture():
    picture = np.random.default_rng(2).integers(0, 256, (24, 20, 3), np.uint8)
    shifted = np.roll(picture, (5, -3), (0, 1))
    np.testing.assert_allclose(texture(shifted), texture(picture), atol=1e-5)
    turned = np.ascontiguousarray(picture.transpose(1, 0, 2))
    assert np.abs(texture(turned) - texture(picture)).max() > 1e-3


def test_stripes_are_alike_to_stripes_of_one_direction_and_colour():
    y, x = np.mgrid[:32, :32]

    def stripes(along: np.ndarray, colour: list[int], phase: float) -> np.ndarray:
        wave = 0.5 + 0.4 * np.sin(2 * np.pi * along / 8 + phase)
        return (wave[..., None] * np.array(colour)).astype(np.uint8)

    red, blue = [255, 60, 60], [60, 60, 255]
    pictures = [stripes(along, colour, phase) for along in (x, y) for colour in (red, blue) for phase in (0, 2)]
    features = np.stack([texture(picture) for picture in pictures])
    found = nearest(features - features.mean(0), all_of(features), 1)
    assert [others[0][0] for others in found] == [1, 0, 3, 2, 5, 4, 7, 6]


NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True)


@given(NAMES, NAMES)
def test_each_layer_stands_in_one_row_and_in_order(left, right):
    rows = pairs(left, right)
    assert [i for i, _ in rows if i is not None] == list(range(len(left)))
    assert [j for _, j in rows if j is not None] == list(range(len(right)))
    assert (None, None) not in rows


@given(NAMES, st.data())
def test_layers_of_one_name_share_a_row(names, data):
    """Whatever layers one of the networks lacks."""
    right = [name for name in names if data.draw(st.booleans())]
    shared = {(i, right.index(name)) for i, name in enumerate(names) if name in right}
    assert shared == {row for row in pairs(names, right) if None not in row}


def test_networks_that_share_no_name_stand_beside_each_other_by_depth():
    assert pairs("abcd", "xy") == [(0, 0), (1, None), (2, 1), (3, None)]
    assert pairs("ab", "xyz") == [(0, 0), (1, 1), (None, 2)]
    assert pairs("a", "") == [(0, None)]

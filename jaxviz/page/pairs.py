"""Which layers of two networks stand side by side.

    pairs(left, right) -> rows (i, j): the number of a layer on each side, or None where a side has no layer

Law: each layer stands in one row, and the order of each network is kept. Layers of one name share a row.
"""

from collections.abc import Sequence
from difflib import SequenceMatcher

Row = tuple[int | None, int | None]


def pairs(left: Sequence[str], right: Sequence[str]) -> list[Row]:
    """The rows of two networks, from the names of their layers.

    Between layers that share their name, or in all of two networks that share none, the layers of the shorter side are
    spread evenly over those of the longer one: the first stands beside the first, and one of half the depth beside one
    of half the depth.
    """
    rows: list[Row] = []
    for _, i, i_end, j, j_end in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        rows += _spread(range(i, i_end), range(j, j_end))
    return rows


def _spread(left: range, right: range) -> list[Row]:
    longer = max(len(left), len(right))
    rows: list[list[int | None]] = [[None, None] for _ in range(longer)]
    for side, numbers in enumerate((left, right)):
        for k, number in enumerate(numbers):
            rows[k * longer // len(numbers)][side] = number
    return [(i, j) for i, j in rows]

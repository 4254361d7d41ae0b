"""How results print.

Law: a result prints its arrays by shape and range, and single numbers to six digits; never a page of numbers.
"""

import jax
import numpy as np
import pytest

import jaxviz as jv


@pytest.mark.parametrize(
    ("result", "printed"),
    [
        (
            jv.Attribution(np.zeros((3, 4), np.float32), np.float32(3.25)),
            "values=float32[3, 4] from 0 to 0, score=3.25",
        ),
        (jv.Ascent(np.zeros((0, 4, 4, 3)), np.zeros((0, 2))), "image=float64[0, 4, 4, 3], scores=float64[0, 2]"),
        (jv.Attribution(np.array([np.nan, 1]), 1.0), "values=float64[2] from nan to nan, score=1"),
        (jv.Attribution(np.array([True, False]), np.bool_(True)), "values=bool[2], 1 True, score=True"),
        (jv.Attribution(None, "b"), "values=None, score='b'"),
    ],
)
def test_a_result_prints_what_it_is(result, printed):
    assert repr(result) == f"{type(result).__name__}({printed})"


def test_a_result_prints_while_it_is_traced():
    seen = []

    def trace(x):
        found = jv.Attribution(x, x.sum())
        seen.append(repr(found))
        return found

    jax.jit(trace)(np.ones((2, 2), np.float32))
    assert "float32[2,2]" in seen[0]
    assert "shape=(2, 2)" in repr(jax.eval_shape(trace, np.ones((2, 2), np.float32)))

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from transmodal.data.tile import Tile

VALUES = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
PADDED = np.pad(VALUES, [(0, 0), (20, 20), (20, 20), (20, 20)], constant_values=-7)


@given(st.tuples(*[st.integers(-9, 9)] * 3), st.tuples(*[st.integers(1, 9)] * 3))
def test_cut_equals_a_cut_from_the_padded_volume(origin, size):
    where = tuple(slice(20 + o, 20 + o + n) for o, n in zip(origin, size, strict=True))
    np.testing.assert_array_equal(Tile(origin, size).cut(VALUES, fill=-7.0), PADDED[(slice(None), *where)])


def test_a_cut_is_a_copy_and_keeps_the_type():
    cut = Tile((0, 0, 0), (3, 4, 5)).cut(VALUES.astype(np.uint8))
    assert cut.dtype == np.uint8
    copy = VALUES.copy()
    Tile((0, 0, 0), (3, 4, 5)).cut(copy)[:] = 0
    np.testing.assert_array_equal(copy, VALUES)

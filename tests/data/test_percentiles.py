"""Percentiles are numpy's."""

import numpy as np
import pytest

from transmodal.data.percentiles import percentiles

WANTED = (0, 0.5, 5, 25, 50, 75, 99.5, 100)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16, np.uint8])
@pytest.mark.parametrize("shape", [(1,), (2,), (7, 5), (31, 17, 3)])
def test_as_numpy(kind, shape):
    values = np.random.default_rng(0).uniform(0, 200, shape).astype(kind)
    kept = values.copy()
    np.testing.assert_allclose(percentiles(values, WANTED), np.percentile(values, WANTED), rtol=1e-6)
    np.testing.assert_array_equal(values, kept)


def test_no_overflow_between_neighbours():
    values = np.array([-100, 100], dtype=np.int8)
    assert percentiles(values, (50,)) == 0

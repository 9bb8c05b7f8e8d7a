import json

import numpy as np
import pytest

from transmodal.data.fingerprint import collect, describe
from transmodal.data.grid import Grid

GRID = Grid((4, 5, 6), np.diag([-1.0, 2, 3, 1]))


def test_numbers_of_one_image():
    facts = describe(GRID, np.arange(201, dtype=np.float32))
    assert facts["spacing"] == [1, 2, 3]
    assert facts["shape"] == [4, 5, 6]
    assert facts["orientation"] == "LAS"
    np.testing.assert_allclose(facts["percentiles"], [1, 10, 100, 190, 199])
    assert facts["mean"] == 100
    assert facts["sd"] == pytest.approx(np.arange(201).std())


def test_a_large_float32_image_keeps_its_mean():
    assert describe(GRID, np.full(3_000_000, 1000.1, np.float32))["mean"] == pytest.approx(1000.1, rel=1e-6)


def test_cohort_takes_medians_and_counts_what_is_there():
    ras = Grid((8, 5, 6), np.diag([1.0, 2, 3, 1]))
    cases = [
        ("a", {"T1w": describe(GRID, np.array([1.0, 3.0])), "CT": describe(GRID, np.array([0.0, 2.0]))}),
        ("b", {"T1w": describe(ras, np.array([3.0, 5.0]))}),
        ("c", {"T1w": describe(GRID, np.array([99.0, 101.0]))}),
    ]
    found = collect(cases)
    assert found["n"] == 3
    t1, ct = found["modalities"]["T1w"], found["modalities"]["CT"]
    assert (t1["n"], ct["n"]) == (3, 1)
    assert t1["pooled"]["mean"] == 4
    assert t1["pooled"]["shape"] == [4, 5, 6]
    assert t1["pooled"]["orientation"] == {"LAS": 2, "RAS": 1}
    assert t1["cases"]["b"]["mean"] == 4
    assert json.loads(json.dumps(found)) == found

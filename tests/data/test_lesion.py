"""Balls that are put into scans: their volume, where they lie, and the contrast that they make."""

import numpy as np
import pytest

from transmodal.data.grid import Grid
from transmodal.data.lesion import even_tissue, filled, mostly, places, spot

GRID = Grid((40, 42, 44), np.diag([2.0, 2.0, 2.0, 1.0]))
WHOLE = np.ones(GRID.shape, dtype=bool)


@pytest.mark.parametrize("diameter", [8.0, 12.0, 16.0])
def test_a_ball_has_its_volume(diameter: float) -> None:
    one = spot((20, 20, 20), diameter, GRID, WHOLE)
    assert one.share.sum() * 8 == pytest.approx(np.pi / 6 * diameter**3, rel=0.08)
    assert one.core.sum() * 8 == pytest.approx(np.pi / 6 * diameter**3, rel=0.15)


def test_what_is_put_in_is_what_is_measured() -> None:
    """A step of 5 between core and shell, whatever the tissue is; the edge lies between them."""
    one = spot((20, 20, 20), 12.0, GRID, WHOLE)
    scan = np.full(GRID.shape, 3.0) + 5.0 * (filled([one], GRID.shape) > 0)
    assert one.contrast(scan) == pytest.approx(5.0)
    assert not (one.around & (one.share > 0)).any()
    tiny = spot((20, 20, 20), 0.5, GRID, WHOLE)
    assert tiny.core.sum() == 1


def test_a_ball_at_a_face_is_cut() -> None:
    one = spot((0, 20, 43), 12.0, GRID, WHOLE)
    assert filled([one], GRID.shape)[0, 20, 43] == 1
    assert one.around.any()


def test_places_are_in_the_tissue_inside_the_mask_and_apart() -> None:
    tissue = np.zeros(GRID.shape, dtype=bool)
    tissue[5:20], tissue[25:38] = True, True
    mask = WHOLE.copy()
    mask[:, :8] = False
    found = places(tissue, mask, GRID, diameter_mm=6.0, count=6, rng=np.random.default_rng(0))
    assert len(found) == 6
    assert all(tissue[place] and place[1] >= 8 for place in found)
    gaps = [np.linalg.norm(2.0 * (np.array(a) - np.array(b))) for i, a in enumerate(found) for b in found[:i]]
    assert min(gaps) >= 6 + 2 * (5 + 3)
    again = places(tissue, mask, GRID, diameter_mm=6.0, count=6, rng=np.random.default_rng(0))
    assert again == found
    assert places(~WHOLE, WHOLE, GRID, diameter_mm=6.0, count=6, rng=np.random.default_rng(0)) == []


def test_even_tissue_is_where_a_scan_hardly_varies() -> None:
    rng = np.random.default_rng(0)
    scan = np.where(np.arange(44) < 20, 0.01, 1.0) * rng.normal(size=GRID.shape)
    found = even_tissue(scan, WHOLE, GRID, 6.0)
    assert found[..., :16].mean() > 0.8
    assert found[..., 26:].mean() < 0.05


def test_mostly_keeps_away_from_edges_and_thin_sheets() -> None:
    tissue = np.zeros(GRID.shape, dtype=bool)
    tissue[5:20], tissue[30] = True, True
    found = mostly(tissue, 12.0, GRID)
    assert np.flatnonzero(found[:, 20, 20]).tolist() == list(range(5, 20)), (
        "half of a ball at the edge lies inside"
    )
    assert not found[30].any()

"""One body becomes cases that lie apart; no fold of them has near slices in two parts."""

import shutil
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transmodal.data.bring import PrepareSettings
from transmodal.data.grid import Grid
from transmodal.data.prepare import prepare
from transmodal.data.prepared import PreparedDataset
from transmodal.data.slabs import edges
from transmodal.data.volume import Volume, write_volume
from transmodal.errors import InputError, RecipeError

SIZE, SPACING = (10, 12, 60), 2.0


@pytest.fixture
def body(tmp_path: Path) -> Path:
    """A column whose value is the number of its slice, from 5 to 54."""
    grid = Grid(SIZE, np.diag([SPACING, SPACING, SPACING, 1.0]))
    inside = np.zeros(SIZE, dtype=np.float32)
    inside[2:8, 2:9, 5:55] = 1
    numbers = inside * np.arange(SIZE[2], dtype=np.float32)
    folder = tmp_path / "set" / "body"
    for name, data in (("T1w", numbers + 1), ("T2w", numbers * 2), ("mask", inside), ("labels", numbers)):
        dtype = "uint8" if name in ("mask", "labels") else "float32"
        write_volume(Volume(data[None].astype(np.float32), grid), folder / f"{name}.nii.gz", dtype=dtype)
    return tmp_path / "set"


def numbers(dataset: PreparedDataset, name: str) -> set[int]:
    values = dataset.case(name).labels()
    assert values is not None
    return {int(v) for v in np.unique(values)} - {0}


@pytest.mark.parametrize(("count", "gap"), [(4, 10.0), (3, 7.0), (5, 0.0)])
def test_no_fold_has_near_slices_in_two_parts(body: Path, tmp_path: Path, count: int, gap: float) -> None:
    dataset = prepare(body, tmp_path / "out", PrepareSettings(slabs=count, slab_gap=gap))
    assert dataset.names == tuple(f"body_slab-{n}" for n in range(1, count + 1))
    slices = {name: numbers(dataset, name) for name in dataset.names}
    whole = sorted(set.union(*slices.values()))
    assert (whole[0], whole[-1]) == (5, 54)
    between = int(np.ceil(gap / SPACING))
    assert len(whole) == 50 - between * (count - 1)
    assert max(map(len, slices.values())) - min(map(len, slices.values())) <= 1
    tested = []
    for number in range(count):
        split = dataset.split(number, count)
        parts = [[z for name in part for z in slices[name]] for part in (split.train, split.val, split.test)]
        assert sum(map(len, parts)) == len(whole)
        near = min(abs(a - b) for one, two in pairwise([*parts, parts[0]]) for a, b in product(one, two))
        assert near * SPACING > gap
        tested += split.test
    assert sorted(tested) == sorted(dataset.names)


def test_a_slab_is_the_body_there_and_keeps_its_place(body: Path, tmp_path: Path) -> None:
    whole = prepare(body, tmp_path / "whole").case("body")
    cut = prepare(body, tmp_path / "cut", PrepareSettings(slabs=2))
    for name in cut.names:
        slab = cut.case(name)
        first = round((slab.grid.affine[2, 3] - whole.grid.affine[2, 3]) / SPACING)
        here = slice(first, first + slab.grid.shape[2])
        for image in ("T1w", "T2w"):
            np.testing.assert_array_equal(slab.values(image), whole.values(image)[..., here])
            assert slab.fits[image] == whole.fits[image]
        np.testing.assert_array_equal(slab.mask(), whole.mask()[..., here])
        assert (slab.subject, slab.facts["body"]) == (name, "body")
    again = {p: p.stat().st_mtime_ns for p in (tmp_path / "cut").glob("cases/*/case.json")}
    prepare(body, tmp_path / "cut", PrepareSettings(slabs=2))
    assert {p: p.stat().st_mtime_ns for p in again} == again
    other = prepare(body, tmp_path / "cut", PrepareSettings(slabs=3))
    assert len(other.names) == 3


def test_planes_other_than_axial(body: Path, tmp_path: Path) -> None:
    dataset = prepare(body, tmp_path / "out", PrepareSettings(slabs=2, slab_gap=2.0, slab_plane="coronal"))
    assert [dataset.case(name).grid.shape for name in dataset.names] == [(10, 3, 60), (10, 3, 60)]


@given(st.integers(0, 50), st.integers(1, 200), st.integers(2, 9), st.integers(0, 20))
def test_edges_rise_and_are_apart(low: int, length: int, count: int, gap: int) -> None:
    found = edges(low, low + length, count, gap)
    sizes = [last - first for first, last in found]
    assert len(found) == count
    assert max(sizes) - min(sizes) <= 1
    assert all(after[0] - before[1] == gap for before, after in pairwise(found))
    if length >= gap * (count - 1):
        assert (found[0][0], found[-1][1]) == (low, low + length)
        assert sum(sizes) == length - gap * (count - 1)


def test_what_cannot_be_cut(body: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="slab 1 of 40 is empty: the mask is 100 mm long with gaps of 10 mm"):
        prepare(body, tmp_path / "out", PrepareSettings(slabs=40))
    with pytest.raises(RecipeError, match=r"slabs = 1, slab_gap = 10: give 0 or at least 2"):
        PrepareSettings(slabs=1)
    for other in ("b", "c"):
        shutil.copytree(body / "body", body / other)
    with pytest.raises(RecipeError, match="slabs are for one body or two, and there are 3 people"):
        prepare(body, tmp_path / "people", PrepareSettings(slabs=2))

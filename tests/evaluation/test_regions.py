"""Regions: means worked out by hand, and the contrast of a lesion that was dimmed by a known share."""

import math
from pathlib import Path

import numpy as np
import pytest

from transmodal.data.grid import Grid
from transmodal.errors import InputError
from transmodal.evaluation.opened import Opened
from transmodal.evaluation.regions import region_names, regions, shell

SHAPE = (20, 20, 20)


def case(made_lesion: float) -> Opened:
    """Tissue of 10 with a lesion of 30 in it (label 7) and a nucleus of 20 (label 2); what was made differs."""
    labels = np.zeros(SHAPE, dtype=np.int16)
    labels[3:6, 3:6, 3:6], labels[12:16, 12:16, 12:16] = 2, 7
    measured = np.full(SHAPE, 10.0)
    measured[labels == 2], measured[labels == 7] = 20, 30
    made = measured + 1
    made[labels == 7] = made_lesion
    inside = np.ones(SHAPE, dtype=bool)
    inside[0] = False
    return Opened(made[None], measured[None], inside, labels, Grid(SHAPE, np.eye(4)))


def test_every_structure_and_the_contrast_of_the_lesion() -> None:
    found = {one.region: one for one in regions(case(20.0), "a", "m", names={2: "nucleus"}, lesion=(7,))}
    assert list(found) == ["mask", "nucleus", "7", "lesion", "healthy", "lesion contrast"]
    assert [(one.measured, one.made, one.error, one.voxels) for one in (found["nucleus"], found["7"])] == [
        (20, 21, 1, 27),
        (30, 20, 10, 64),
    ]
    assert (found["lesion contrast"].measured, found["lesion contrast"].made) == (20, 9)
    assert math.isnan(found["lesion contrast"].error)
    assert found["healthy"].voxels + found["lesion"].voxels == found["mask"].voxels == 19 * 400


def test_small_structures_and_volumes_without_labels() -> None:
    assert [one.region for one in regions(case(30.0), "a", "m", smallest=28)] == ["mask", "7"]
    opened = case(30.0)
    bare = Opened(opened.made, opened.measured, None, None, opened.grid)
    assert [one.region for one in regions(bare, "a", "m")] == ["volume"]
    colour = Opened(np.zeros((3, *SHAPE)), np.zeros((3, *SHAPE)), None, None, opened.grid)
    with pytest.raises(InputError, match="colour has no mean"):
        list(regions(colour, "a", "m"))


def test_a_shell_leaves_a_voxel_free_and_is_as_wide_as_said() -> None:
    """Along an axis, around one voxel at 10 with edges of 2 mm: 2 mm are left free, 3 more are 1 voxel."""
    one = np.zeros(SHAPE, dtype=bool)
    one[10, 10, 10] = True
    found = shell(one, (2.0, 2.0, 2.0), 3.0)
    assert np.flatnonzero(found[:, 10, 10]).tolist() == [8, 12]
    assert np.flatnonzero(shell(one, (1.0, 2.0, 2.0), 3.0)[:, 10, 10]).tolist() == [5, 6, 7, 13, 14, 15]


def test_names_of_labels(tmp_path: Path) -> None:
    table = tmp_path / "dseg.tsv"
    table.write_text("index\tname\tcolor\n2\twhite matter\t#fff\n3\tgrey\t\n")
    assert region_names(table) == {2: "white matter", 3: "grey"}
    table.write_text("index\tname\nx\twhite\n")
    with pytest.raises(InputError, match="no whole number"):
        region_names(table)
    table.write_text("number\tname\n2\twhite\n")
    with pytest.raises(InputError, match="'index' and 'name' are needed"):
        region_names(table)


def test_labels_of_one_name_are_one_region() -> None:
    """Left and right: 27 voxels of 20 and 64 of 30 are one structure of 91, also where each alone is too small."""
    both = {2: "hippocampus", 7: "hippocampus"}
    found = {one.region: one for one in regions(case(20.0), "a", "m", names=both, smallest=65)}
    assert list(found) == ["mask", "hippocampus"]
    one = found["hippocampus"]
    assert (one.voxels, one.measured) == (91, pytest.approx((27 * 20 + 64 * 30) / 91))
    assert one.made == pytest.approx((27 * 21 + 64 * 20) / 91)


@pytest.mark.parametrize("name", ["mask", "volume", "lesion", "healthy", "lesion contrast", "7"])
def test_names_that_mean_another_region_are_refused(tmp_path: Path, name: str) -> None:
    table = tmp_path / "dseg.tsv"
    table.write_text(f"index\tname\n2\t{name}\n")
    with pytest.raises(InputError, match=f"label 2 is called '{name}'"):
        region_names(table)
    table.write_text("index\tname\n2\t2\n3\tmasked part\n")
    assert region_names(table) == {2: "2", 3: "masked part"}

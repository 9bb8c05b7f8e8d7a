"""A volume written as PNG slices comes back at the same place with the same values, in any plane."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from transmodal.data.grid import Grid
from transmodal.data.stacks import is_stack
from transmodal.data.volume import Volume, read_volume
from transmodal.data.write_stack import VIEWS, write_stack
from transmodal.errors import InputError, RecipeError

OBLIQUE = np.array([[-0.9, 0.1, 0, 40], [0.1, 1.1, 0, -30], [0, 0, 2.5, 7], [0, 0, 0, 1]], dtype=float)


def volume(channels: int) -> Volume:
    rng = np.random.default_rng(channels)
    values = rng.integers(0, 256, (channels, 5, 6, 11)) if channels == 3 else rng.normal(-400, 300, (1, 5, 6, 11))
    return Volume(values.astype(np.float32), Grid((5, 6, 11), OBLIQUE), "cryo")


@pytest.mark.parametrize("plane", list(VIEWS))
def test_colour_comes_back_bit_for_bit(plane: str, tmp_path: Path) -> None:
    before = volume(3)
    write_stack(before, tmp_path / "cryo", plane, {"Synthetic": True})
    assert is_stack(tmp_path / "cryo")
    after = read_volume(tmp_path / "cryo")
    assert after.grid.orientation == VIEWS[plane]
    one, two = before.canonical(), after.canonical()
    assert one.grid.same_as(two.grid)
    np.testing.assert_array_equal(one.data, two.data)
    assert json.loads((tmp_path / "cryo" / "stack.json").read_text())["Synthetic"] is True


def test_greys_come_back_to_a_sixty_five_thousandth(tmp_path: Path) -> None:
    before = volume(1)
    write_stack(before, tmp_path / "CT", "coronal")
    after = read_volume(tmp_path / "CT").canonical()
    step = float(np.ptp(before.data)) / 65535
    np.testing.assert_allclose(after.data, before.canonical().data, atol=0.51 * step + 1e-4)


def test_axial_slices_show_left_at_the_right_edge_and_the_back_below(tmp_path: Path) -> None:
    data = np.zeros((3, 4, 5, 3), np.float32)
    data[:, 0, 0, 2] = (250, 10, 20)
    write_stack(Volume(data, Grid((4, 5, 3), np.eye(4)), "RAS"), tmp_path / "s", "axial")
    picture = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "s" / "0003.png")))
    assert picture.shape == (5, 4, 3)
    # The voxel farthest left, back and up of a RAS grid: last row, last column, last slice.
    np.testing.assert_array_equal(picture[4, 3], (250, 10, 20))


def test_what_cannot_be_written_or_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"'axal' is none of .*did you mean 'axial'"):
        write_stack(volume(3), tmp_path / "s", "axal")
    flat = Volume(np.ones((3, 4, 5, 1), np.float32), Grid((4, 5, 1), np.eye(4)), "flat")
    with pytest.raises(InputError, match="flat: has one axial slice"):
        write_stack(flat, tmp_path / "s", "axial")
    write_stack(volume(3), tmp_path / "s", "axial")
    facts = json.loads((tmp_path / "s" / "stack.json").read_text())
    (tmp_path / "s" / "stack.json").write_text(json.dumps({**facts, "affine": [[1, 0], [0, 1]]}))
    with pytest.raises(InputError, match=r"is not four rows of four numbers"):
        read_volume(tmp_path / "s")


def test_a_lost_slice_is_missed_at_the_end_and_in_the_middle(tmp_path: Path) -> None:
    for lost, words in (
        ("0011.png", "holds 10 slices, and .* says 11"),
        ("0004.png", "slice 4 is missing"),
    ):
        write_stack(volume(3), tmp_path / "s", "axial")
        (tmp_path / "s" / lost).unlink()
        with pytest.raises(InputError, match=words):
            read_volume(tmp_path / "s")

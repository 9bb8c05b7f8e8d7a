"""Motion: known motions give known images, a tile of a moved volume is cut from it, chance keeps to its bounds."""

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from transmodal.data.grid import Grid
from transmodal.data.motion import UNITS, Misalignment, Motion, cut_moved, misalign, shown_index
from transmodal.data.phantom.anatomy import centred_grid, random_anatomy
from transmodal.data.phantom.physics import simulate
from transmodal.data.tile import Tile
from transmodal.data.volume import Volume
from transmodal.errors import RecipeError

OBLIQUE = Grid(
    (20, 24, 18),
    np.block([
        [Rotation.from_euler("xyz", (10, -20, 15), degrees=True).as_matrix() * (2.0, 1.5, 3.0), np.ones((3, 1))],
        [np.zeros((1, 3)), np.ones((1, 1))],
    ]),
)  # fmt: skip


def test_translation_by_whole_voxels_is_a_shift() -> None:
    rng = np.random.default_rng(0)
    volume = Volume(rng.normal(size=(1, 12, 12, 12)).astype(np.float32), centred_grid((12, 12, 12), 2.0))
    moved = misalign(volume, Motion(translation_mm=(4.0, 0.0, -2.0)))
    np.testing.assert_allclose(moved.data[0, 2:, :, :-1], volume.data[0, :-2, :, 1:], atol=1e-5)


def test_rotation_by_a_quarter_turn_is_exact() -> None:
    rng = np.random.default_rng(0)
    volume = Volume(rng.normal(size=(1, 9, 9, 9)).astype(np.float32), centred_grid((9, 9, 9), 2.0))
    moved = misalign(volume, Motion(rotation_deg=(0.0, 0.0, 90.0)))
    np.testing.assert_allclose(moved.data[0], np.rot90(volume.data[0], 1, axes=(0, 1)), atol=1e-4)


def test_a_subvoxel_translation_is_found_again_by_phase_correlation() -> None:
    fixed = simulate(random_anatomy((48, 48, 48), 4.6, seed=1), "T1w", seed=1, noise=0.0)
    moved = misalign(fixed, Motion(translation_mm=(2.3, 0.0, 0.0)), order=3)
    from skimage.registration import phase_cross_correlation

    shift, *_ = phase_cross_correlation(moved.data[0], fixed.data[0], upsample_factor=50, normalization=None)
    np.testing.assert_allclose(shift, [0.5, 0, 0], atol=0.1)


def test_a_warp_is_as_large_as_asked_and_smooth() -> None:
    volume = Volume(np.zeros((1, 30, 30, 30), dtype=np.float32), centred_grid((30, 30, 30), 2.0))
    index = shown_index(volume.grid, Motion(warp_mm=3.0, seed=4))
    still = np.stack(np.meshgrid(*[np.arange(30)] * 3, indexing="ij"))
    moved = (index - still) * 2.0
    assert np.sqrt((moved**2).sum(axis=0)).max() == pytest.approx(3.0, rel=2e-2)
    assert np.abs(np.diff(moved, axis=1)).max() < 1.0


@pytest.mark.parametrize(
    "motion",
    [
        Motion(),
        Motion(translation_mm=(2.0, -1.0, 0.5)),
        Motion(rotation_deg=(3.0, 0.0, -8.0), scale=1.1),
        Motion(warp_mm=4.0, seed=3),
    ],
    ids=["still", "shifted", "turned", "bent"],
)
def test_a_tile_of_a_moved_volume_is_the_moved_volumes_tile(motion: Motion) -> None:
    values = np.random.default_rng(0).normal(size=(2, *OBLIQUE.shape)).astype(np.float32)
    moved = misalign(Volume(values, OBLIQUE), motion).data
    for tile in (Tile((3, 4, 9), (10, 12, 1)), Tile((-4, 0, 15), (30, 24, 6)), Tile((40, 0, 0), (4, 4, 4))):
        np.testing.assert_array_equal(cut_moved(values, OBLIQUE, motion, tile, -7.0), tile.cut(moved, -7.0))


def indices(motion: Motion) -> np.ndarray:
    """Where every voxel comes from, in voxels, beside where it is."""
    still = np.stack(np.meshgrid(*[np.arange(n) for n in OBLIQUE.shape], indexing="ij"))
    return np.asarray(still - shown_index(OBLIQUE, motion))


def test_whole_voxels_stay_in_the_slice() -> None:
    rng, seen = np.random.default_rng(0), set()
    for _ in range(60):
        shift = indices(Misalignment("translation", 3.0).draw(rng, OBLIQUE, 1))
        np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1, :1, :1].round(), shift.shape), atol=1e-4)
        seen.add(tuple(int(v) for v in shift[:, 0, 0, 0].round()))
    assert {along[1] for along in seen} == {0}
    assert {along[0] for along in seen} == {along[2] for along in seen} == {-3, -2, -1, 0, 1, 2, 3}


@pytest.mark.parametrize("axis", [0, 1, 2, None])
def test_a_motion_by_chance_keeps_to_its_bounds(axis: int | None) -> None:
    rng = np.random.default_rng(1)
    to_mm = OBLIQUE.affine[:3, :3]
    middle = np.array([(n - 1) / 2 for n in OBLIQUE.shape])
    for _ in range(20):
        shift = indices(Misalignment("subvoxel", 0.7).draw(rng, OBLIQUE, axis))
        assert 0 < np.abs(shift).max() <= 0.7 + 1e-4
        if axis is not None:
            assert np.abs(shift[axis]).max() < 1e-4
            turned = indices(Misalignment("rotation", 5.0).draw(rng, OBLIQUE, axis))
            assert np.abs(turned[axis]).max() < 1e-4, "about the axis of the slices"
            assert np.abs(turned).max() > 0
        turn = Misalignment("rotation", 5.0).draw(rng, OBLIQUE, axis)
        angle = Rotation.from_euler("xyz", turn.rotation_deg, degrees=True).magnitude()
        assert 0 < math.degrees(angle) <= 5.0 * math.sqrt(3 if axis is None else 1) + 1e-9
        scaled = Misalignment("scaling", 10.0).draw(rng, OBLIQUE, axis)
        assert 0.9 <= scaled.scale <= 1.1
        corner = to_mm @ (0 - middle)
        np.testing.assert_allclose(
            to_mm @ (shown_index(OBLIQUE, scaled)[:, 0, 0, 0] - middle), corner / scaled.scale, rtol=1e-4
        )
        assert Misalignment("warp", 2.0).draw(rng, OBLIQUE, axis).warp_mm == 2.0


def test_who_is_moved() -> None:
    assert Misalignment(size=1.0).who(("T1w", "T2w", "PD")) == ("T2w", "PD")
    assert Misalignment(size=1.0, moved=("T1w",)).who(("T1w", "T2w")) == ("T1w",)
    assert Misalignment().who(("T1w", "T2w")) == ()
    assert Misalignment().who(("T1w",)) == ()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Motion(scale=0.0), "scale > 0"),
        (lambda: Motion(warp_mm=-1.0), "warp_mm >= 0"),
        (lambda: Misalignment("rotation", -1.0), "-1 degrees: give 0 or more"),
        (lambda: Misalignment("scaling", 100.0), "percent"),
        (lambda: Misalignment("translation", 1.5), "whole voxels; kind = 'subvoxel'"),
        (lambda: Misalignment(size=1.0, moved=("T2",)).who(("T1w", "T2w")), "did you mean 'T2w'"),
        (lambda: Misalignment(size=1.0).who(("T1w",)), "it is the only source"),
    ],
)
def test_wrong_words(wrong, words) -> None:
    with pytest.raises(RecipeError, match=words):
        wrong()


def test_every_kind_has_a_unit_and_moves_something() -> None:
    rng = np.random.default_rng(2)
    for kind in UNITS:
        assert any(not Misalignment(kind, 3.0).draw(rng, OBLIQUE, 2).still for _ in range(5))

"""Registration: known motions come back, the headers of others are not believed, and nothing depends on chance."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from transmodal.data.bias import unbias
from transmodal.data.bring import PrepareSettings, bring
from transmodal.data.grid import Grid
from transmodal.data.motion import Motion, misalign, shown_index
from transmodal.data.phantom.anatomy import Anatomy, random_anatomy
from transmodal.data.phantom.cohort import PhantomSettings, write_cohort
from transmodal.data.phantom.physics import simulate
from transmodal.data.prepare import prepare
from transmodal.data.register import Moved, _information, aligned, register
from transmodal.data.volume import Volume
from transmodal.errors import InputError, RecipeError

VOXEL = 3.6


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return random_anatomy((60, 60, 60), VOXEL, seed=3)


@pytest.fixture(scope="module")
def fixed(anatomy: Anatomy) -> Volume:
    return simulate(anatomy, "T1w", seed=1)


def error(moved: Moved, motion: Motion, grid: Grid, brain: np.ndarray) -> float:
    """Largest distance in voxels, over the brain, between where a voxel is put and where it was."""
    places = np.argwhere(brain)[::20]
    shown = shown_index(grid, motion)[:, places[:, 0], places[:, 1], places[:, 2]].T

    def mm(index: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        return np.asarray(index @ matrix[:3, :3].T + matrix[:3, 3])

    put, was = mm(places, moved.matrix @ grid.affine), mm(shown, grid.affine)
    return float(np.linalg.norm(put - was, axis=1).max() / VOXEL)


NEAR = Motion(translation_mm=(12.0, -7.0, 5.0), rotation_deg=(4.0, -3.0, 8.0))
FAR = Motion(translation_mm=(-30.0, 10.0, -25.0), rotation_deg=(-8.0, 5.0, 10.0))


@pytest.mark.parametrize(("contrast", "motion"), [("T2w", FAR), ("FLAIR", NEAR), ("FA", NEAR), ("CT", FAR)])
def test_a_known_motion_comes_back(contrast: str, motion: Motion, anatomy: Anatomy, fixed: Volume) -> None:
    moving = misalign(simulate(anatomy, contrast, seed=2), motion)
    assert error(register(moving, fixed), motion, fixed.grid, anatomy.brain()) < 0.2


def test_an_aligned_pair_stays_and_the_answer_is_always_the_same(anatomy: Anatomy, fixed: Volume) -> None:
    moving = simulate(anatomy, "T2w", seed=2)
    one, two = register(moving, fixed), register(moving, fixed)
    np.testing.assert_array_equal(one.matrix, two.matrix)
    assert error(one, Motion(), fixed.grid, anatomy.brain()) < 0.1
    assert one.translation_mm < 0.4
    np.testing.assert_allclose(one.inverse() @ one.matrix, np.eye(4), atol=1e-9)


def test_headers_that_fit_as_well_are_believed(anatomy: Anatomy, fixed: Volume) -> None:
    kept = aligned(simulate(anatomy, "T2w", seed=2), fixed)
    np.testing.assert_array_equal(kept.matrix, np.eye(4))
    assert kept.similarity is not None
    assert kept.similarity[0] == kept.similarity[1] > 1.05
    moved = aligned(misalign(simulate(anatomy, "T2w", seed=2), NEAR), fixed)
    assert error(moved, NEAR, fixed.grid, anatomy.brain()) < 0.2
    assert moved.similarity is not None
    assert moved.similarity[1] > moved.similarity[0] + 0.05
    assert moved.similarity[1] == pytest.approx(kept.similarity[0], abs=0.06)


def test_mutual_information_of_known_tables() -> None:
    a = np.repeat([0.0, 1.0], 50)
    where = np.ones(100, dtype=bool)
    # Normalised: 2 for an image with itself, 1 for independent ones.
    assert _information(a, a * 7 - 2, where) == pytest.approx(2.0)
    assert _information(a, np.tile([0.0, 1.0], 50), where) == pytest.approx(1.0)


def test_what_was_moved_is_said(anatomy: Anatomy, fixed: Volume) -> None:
    motion = Motion(translation_mm=(0.0, 12.0, 0.0), rotation_deg=(0.0, 0.0, 9.0))
    moved = register(misalign(simulate(anatomy, "T2w", seed=2), motion), fixed)
    assert moved.rotation_deg == pytest.approx(9.0, abs=0.2)
    assert moved.translation_mm == pytest.approx(12.0, abs=1.0)
    assert set(moved.to_dict()) == {"matrix", "inverse", "similarity", "translation_mm", "rotation_deg"}


def test_affine_finds_a_scaling_that_rigid_cannot(anatomy: Anatomy, fixed: Volume) -> None:
    motion = Motion(scale=1.08, translation_mm=(3.0, 0.0, -4.0))
    moving = misalign(simulate(anatomy, "T2w", seed=2), motion)
    rigid, affine = (error(register(moving, fixed, kind), motion, fixed.grid, anatomy.brain())
                     for kind in ("rigid", "affine"))  # fmt: skip
    assert affine < 0.3
    assert affine < rigid / 3


def test_a_header_in_another_orientation_and_far_away(anatomy: Anatomy, fixed: Volume) -> None:
    """Oblique, anisotropic, and a metre off: only the content counts."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", (6, -8, 12), degrees=True).as_matrix()
    turn[:3, 3] = (900.0, -300.0, 200.0)
    whole = simulate(anatomy, "T2w", seed=2)
    thin = Volume(whole.data[..., ::2], Grid((60, 60, 30), whole.affine @ np.diag([1.0, 1.0, 2.0, 1.0])))
    moving = Volume(thin.data, Grid(thin.grid.shape, turn @ thin.affine))
    moved = register(moving, fixed)
    places = np.argwhere(anatomy.brain())[::20]
    points = places @ whole.affine[:3, :3].T + whole.affine[:3, 3]
    back = moved.matrix @ turn
    off = points @ back[:3, :3].T + back[:3, 3] - points
    assert np.linalg.norm(off, axis=1).max() < 0.5 * VOXEL


def test_cases_are_registered_in_prepare(tmp_path: Path) -> None:
    """Prepared images are those that were never moved; the matrix is kept; two workers write what one does."""
    motion = {"T2w": Motion(translation_mm=(9.0, -4.0, 6.0), rotation_deg=(0.0, 5.0, -7.0))}
    settings = PhantomSettings(subjects=2, size=(48, 48, 48), spacing=4.5, contrasts=("T1w", "T2w"))
    still = write_cohort(tmp_path / "still", settings, workers=1)
    moved = write_cohort(
        tmp_path / "moved",
        PhantomSettings(subjects=2, size=(48, 48, 48), spacing=4.5, contrasts=("T1w", "T2w"), motion=motion),
        workers=1,
    )
    truth = prepare(still, tmp_path / "a")
    plain = prepare(moved, tmp_path / "b")
    found = prepare(moved, tmp_path / "c", PrepareSettings(register="rigid"))
    twice = prepare(moved, tmp_path / "d", PrepareSettings(register="rigid"), workers=2)
    for name in truth.names:
        mask = np.asarray(truth.case(name).mask(), dtype=bool)
        wanted = np.asarray(truth.case(name).values("T2w"))[0, mask]
        off, on = (
            np.corrcoef(wanted, np.asarray(d.case(name).values("T2w"))[0, mask])[0, 1] for d in (plain, found)
        )
        assert off < 0.6
        assert on > 0.85
        record = found.case(name).record["modalities"]
        assert record["T2w"]["registered"]["rotation_deg"] == pytest.approx(8.6, abs=0.3)
        assert "registered" not in record["T1w"]
        np.testing.assert_array_equal(found.case(name).values("T2w"), twice.case(name).values("T2w"))


def test_what_cannot_be_registered_is_named(fixed: Volume) -> None:
    shear = fixed.affine.copy()
    shear[0, 1] = 1.5
    with pytest.raises(InputError, match="crooked: its axes are not at right angles"):
        register(Volume(fixed.data, Grid(fixed.grid.shape, shear), "crooked"), fixed)
    with pytest.raises(RecipeError, match=r"data\.prepare\.n4: CT has no bias field"):
        PrepareSettings(n4=("CT",))


def test_a_bias_field_is_taken_out(anatomy: Anatomy) -> None:
    """What N4 leaves of a planted field is a fraction of it, and the mean brightness stays."""
    flat = simulate(anatomy, "T1w", seed=1, bias=0.0)
    white = anatomy.labels == 4
    x = np.linspace(-1, 1, 60)
    planted = np.exp(0.35 * x[:, None, None] + 0.2 * x[None, :, None] ** 2).astype(np.float32)
    spoilt = Volume(flat.data * planted, flat.grid, flat.name)
    mended = unbias(spoilt, anatomy.head())

    def spread(volume: Volume) -> float:
        inside = volume.data[0][white]
        return float(inside.std() / inside.mean())

    assert spread(flat) < spread(mended) < 0.5 * spread(spoilt)
    brought = bring({"T1w": spoilt}, PrepareSettings(modalities=("T1w",), n4=("T1w",)))
    assert spread(brought.images["T1w"]) < 0.5 * spread(spoilt)

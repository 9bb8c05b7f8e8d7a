"""Twins: the very scan comes out again, and a lesion changes it as its tissue says."""

from pathlib import Path

import numpy as np
import pytest

from transmodal.data.bring import PrepareSettings
from transmodal.data.phantom.anatomy import random_anatomy
from transmodal.data.phantom.cohort import PhantomSettings, write_cohort
from transmodal.data.phantom.physics import lesion_sign, signal, simulate
from transmodal.data.phantom.tissues import TISSUES
from transmodal.data.phantom.twin import find_twin
from transmodal.data.prepare import prepare
from transmodal.data.prepared import PreparedDataset


def test_the_same_scan_comes_out_again_and_only_the_lesion_changes(prepared: Path) -> None:
    case = PreparedDataset.open(prepared).case("sub-002")
    twin = find_twin(case, ("T1w", "T2w", "FA"))
    assert twin is not None
    for name in ("T1w", "T2w", "FA"):
        np.testing.assert_allclose(twin.scan(name), case.values(name), atol=1e-4)
    implant = np.zeros(case.grid.shape, dtype=np.float32)
    implant[12:15, 12:15, 12:15] = 1
    change = twin.scan("T1w", implant) - twin.scan("T1w")
    # Scans are stored in whole numbers: a lesion in grey matter may come to the number that was there.
    assert (change != 0)[0, 12:15, 12:15, 12:15].mean() > 0.9
    change[0, 12:15, 12:15, 12:15] = 0
    assert not change.any()


def test_a_full_lesion_has_the_number_of_its_tissue() -> None:
    """CT without noise: 24 HU where everything has become lesion, half way where half has."""
    head = random_anatomy((24, 24, 24), 8.5, seed=1)
    whole, half = (np.full(head.labels.shape, share, dtype=np.float32) for share in (1.0, 0.5))
    assert set(np.unique(simulate(head.with_implant(whole), "CT", seed=1, noise=0.0).data)) == {
        TISSUES["lesion"].hu
    }
    before = simulate(head, "CT", seed=1, noise=0.0).data
    after = simulate(head.with_implant(half), "CT", seed=1, noise=0.0).data
    np.testing.assert_allclose(after, (before + TISSUES["lesion"].hu) / 2, atol=1.0)
    shares = sum(head.with_implant(half).fractions.values())
    np.testing.assert_allclose(shares, 1, atol=1e-5)


def test_scans_that_were_moved_or_are_no_phantoms_have_no_twin(tmp_path: Path, prepared: Path) -> None:
    settings = PhantomSettings(subjects=1, size=(24, 24, 24), spacing=8.5, contrasts=("T1w", "FA"))
    write_cohort(tmp_path / "in", settings, workers=1)
    prepare(tmp_path / "in", tmp_path / "coarse", PrepareSettings(spacing=10.0))
    case = PreparedDataset.open(tmp_path / "coarse").case("sub-001")
    assert find_twin(case, ("T1w", "FA")) is None
    prepare(tmp_path / "in", tmp_path / "plain", PrepareSettings())
    case = PreparedDataset.open(tmp_path / "plain").case("sub-001")
    assert find_twin(case, ("T1w", "FA")) is not None
    (tmp_path / "in" / "phantom.json").unlink()
    assert find_twin(case, ("T1w", "FA")) is None


@pytest.mark.parametrize("contrast", ["T1w", "T2w", "PDw", "FLAIR"])
def test_lesions_differ_from_white_matter_as_the_physics_says(contrast: str) -> None:
    assert lesion_sign(contrast) == np.sign(signal(contrast, "lesion") - signal(contrast, "white"))
    assert lesion_sign(contrast) == (-1 if contrast == "T1w" else 1)

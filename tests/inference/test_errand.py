"""One case from files to files: what an earlier run left is known for what it is."""

import errno
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from transmodal.data.claim import claimed
from transmodal.errors import InputError, Refused
from transmodal.inference.errand import Errand, Wish, sidecar_of
from transmodal.inference.model import Model, load_model


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    return load_model(run / "model")


@pytest.fixture
def errand(model: Model, cohort: Path, tmp_path: Path) -> Errand:
    scan = tmp_path / "t1.nii.gz"
    scan.write_bytes((cohort / "sub-001" / "T1w.nii.gz").read_bytes())
    return Errand(model, {"T1w": scan}, None, {"FA": tmp_path / "fa.nii.gz"}, Wish())


def test_what_was_made_of_these_files_is_finished(errand: Errand) -> None:
    assert not errand.is_finished
    errand.run()
    assert errand.is_finished
    with pytest.raises(Refused, match="exists already"):
        errand.run()


def test_a_scan_replaced_by_an_older_file_is_noticed(errand: Errand) -> None:
    errand.run()
    (scan,) = errand.images.values()
    image = nib.load(scan)
    nib.save(nib.Nifti1Image(image.get_fdata()[::-1].astype(np.float32), image.affine), scan)
    os.utime(scan, (1e9, 1e9))
    assert not errand.is_finished
    with pytest.raises(Refused, match="exists already"):
        errand.run(go_on=True)


def test_a_touched_scan_of_the_same_content_is_still_the_same(errand: Errand) -> None:
    errand.run()
    (scan,) = errand.images.values()
    os.utime(scan, (2e9, 2e9))
    assert errand.is_finished


def test_a_mask_that_was_added_or_redrawn_is_noticed(errand: Errand, cohort: Path, tmp_path: Path) -> None:
    errand.run()
    mask = tmp_path / "mask.nii.gz"
    mask.write_bytes((cohort / "sub-001" / "mask.nii.gz").read_bytes())
    masked = Errand(errand.model, errand.images, mask, errand.targets, Wish(force=True))
    assert not masked.is_finished
    masked.run()
    assert masked.is_finished
    image = nib.load(mask)
    values = image.get_fdata()
    values[: values.shape[0] // 2] = 0
    nib.save(nib.Nifti1Image(values.astype(np.uint8), image.affine), mask)
    assert not masked.is_finished


def again(errand: Errand) -> Errand:
    return Errand(errand.model, errand.images, None, errand.targets, Wish(force=True))


def test_a_run_killed_while_it_overwrites_leaves_a_half(errand: Errand, monkeypatch: pytest.MonkeyPatch) -> None:
    errand.run()
    (volume,) = errand.targets.values()
    plain = os.replace

    def killed(source: Path, to: Path) -> None:
        if Path(to) == volume:
            raise KeyboardInterrupt
        plain(source, to)

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        again(errand).run()
    assert volume.exists()
    assert not sidecar_of(volume).exists(), "or the next run would take the volume for finished"
    assert not errand.is_finished


def test_a_full_disk_leaves_an_older_result_whole(errand: Errand, monkeypatch: pytest.MonkeyPatch) -> None:
    errand.run()
    (volume,) = errand.targets.values()
    before = volume.read_bytes(), sidecar_of(volume).read_bytes()

    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left"):
        again(errand).run()
    assert (volume.read_bytes(), sidecar_of(volume).read_bytes()) == before
    assert errand.is_finished


def test_what_is_known_of_another_image_is_not_overwritten(errand: Errand) -> None:
    (volume,) = errand.targets.values()
    measured = '{"EchoTime": 0.03}'
    sidecar_of(volume).write_text(measured)
    with pytest.raises(Refused, match=r"fa.json: lies where the record of the new volume goes"):
        errand.run()
    assert sidecar_of(volume).read_text() == measured
    again(errand).run()
    assert errand.is_finished


def other(errand: Errand, cohort: Path, name: str = "fa.nii.gz") -> Errand:
    """Another person, to the same file or beside it."""
    (volume,) = errand.targets.values()
    return Errand(
        errand.model, {"T1w": cohort / "sub-002" / "T1w.nii.gz"}, None, {"FA": volume.with_name(name)}, Wish()
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_of_two_at_a_time_one_writes_a_file_and_the_other_is_refused(
    errand: Errand, cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never the voxels of one person and the record of the other."""
    (volume,) = errand.targets.values()
    waits = threading.Event()
    monkeypatch.setattr("transmodal.progress.say", lambda text: waits.set())
    with ThreadPoolExecutor(1) as pool:
        with claimed(volume.parent):
            late = pool.submit(errand.run)
            assert waits.wait(60), "it wrote where another process was writing"
            assert not volume.exists()
            other(errand, cohort).run(go_on=True)
            written = volume.read_bytes(), sidecar_of(volume).read_bytes()
        with pytest.raises(Refused, match="exists already"):
            late.result(60)
    assert (volume.read_bytes(), sidecar_of(volume).read_bytes()) == written
    assert "sub-002" in json.loads(written[1])["Sources"]["T1w"]


def test_several_at_a_time_write_other_names_into_one_folder(errand: Errand, cohort: Path) -> None:
    names = [f"fa-{number}.nii.gz" for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        made = [pool.submit(other(errand, cohort, name).run) for name in names]
        assert [one.result(60)[0].name for one in made] == names

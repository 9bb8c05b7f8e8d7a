import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from transmodal.errors import InputError
from transmodal.evaluation.table import Row
from transmodal.reporting import montages
from transmodal.reporting.figures import Column, Scale
from transmodal.reporting.folder import Manifest, Shown, read_folder
from transmodal.reporting.montages import choose_cases, draw


def named(case: str) -> Shown:
    return Shown(case, None, None, {}, {})


def rows(metric: str, values: dict[str, float], method: str = "m") -> list[Row]:
    return [Row(case, method, "mask", metric, "", value, "1", 1) for case, value in values.items()]


VALUES = {"a": 5.0, "b": 1.0, "c": 3.0, "d": float("nan"), "e": 2.0, "f": 4.0}


@pytest.mark.parametrize(
    ("metric", "best", "worst"),
    [("MAE", "b", "a"), ("PSNR", "a", "b")],
)
def test_best_median_worst_and_the_first(metric: str, best: str, worst: str) -> None:
    chosen = choose_cases([named(case) for case in VALUES], rows(metric, VALUES), "m", first=1)
    assert [(c.shown.case, c.why) for c in chosen] == [
        (best, f"best {metric}"),
        ("c", f"median {metric}"),
        (worst, f"worst {metric}"),
    ]


def test_the_number_of_cases_is_bounded_and_a_short_list_is_shown_whole() -> None:
    many = {f"s{i}": float(i) for i in range(500)}
    assert len(choose_cases([named(c) for c in many], rows("MAE", many), "m", first=4)) <= 3 + 4
    few = choose_cases([named(c) for c in "ab"], rows("MAE", {"a": 1.0, "b": 2.0}), "m", first=2)
    assert [(c.shown.case, c.why) for c in few] == [("a", ""), ("b", "")]
    assert [c.shown.case for c in choose_cases([named(c) for c in many], [], None, first=2)] == ["s0", "s1"]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Column], Scale]]:
    """What draw() hands to the drawing of a montage."""
    calls: list[tuple[list[Column], Scale]] = []

    def record(columns: list[Column], heights: list[float], spacing: tuple[float, float], scale: Scale) -> bytes:
        calls.append((columns, scale))
        return b"png"

    monkeypatch.setattr(montages, "montage", record)
    return calls


def first(folder: Path) -> tuple[Shown, Manifest]:
    manifest = read_folder(folder).manifest
    assert manifest is not None
    return manifest.cases[0], manifest


def test_columns_windows_and_errors(
    run_of: Callable[[list[str]], Path], seen: list[tuple[list[Column], Scale]]
) -> None:
    shown, manifest = first(run_of(["a"]))
    png, notes = draw(shown, manifest, 2)
    assert (png, notes) == (b"png", [])
    columns, scale = seen[0]
    assert [c.title for c in columns] == [
        "T1w",
        "FLAIR (reference)",
        "identity (floor)",
        "mean (floor)",
        "pix2pix",
    ]
    assert scale == Scale("FLAIR", "window", (0.0, 1.0))
    assert all(column.window == (0.0, 1.0) for column in columns[1:])
    assert columns[0].window[1] > 100  # a source keeps its own units
    found = [np.nanmean(column.errors[0]) for column in columns[2:] if column.errors]
    np.testing.assert_allclose(found, [0.1, -0.05, 0.0], atol=1e-6)
    assert columns[2].errors is not None
    assert np.isnan(columns[2].errors[0][0, 0])  # outside the mask nothing is measured


def test_a_missing_or_foreign_file_is_left_out_with_a_sentence(
    run_of: Callable[[list[str]], Path], seen: list[tuple[list[Column], Scale]]
) -> None:
    folder = run_of(["a"])
    (folder / "mean/c0.nii.gz").unlink()
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), "f4"), np.eye(4)), folder / "identity/c0.nii.gz")
    (folder / "c0/mask.nii").write_bytes(b"damaged")
    _, notes = draw(*first(folder), 2)
    assert [c.title for c in seen[0][0]] == ["T1w", "FLAIR (reference)", "pix2pix"]
    assert len(notes) == 3
    assert "mask.nii: is not a readable NIfTI file" in notes[0]
    assert "another grid" in notes[1]
    assert "mean/c0.nii.gz: there is no such file" in notes[2]


def test_without_any_image_there_is_no_picture(run_of: Callable[[list[str]], Path]) -> None:
    folder = run_of(["a"])
    for path in [*folder.glob("*/c0.nii.gz"), *folder.glob("c0/*")]:
        path.unlink()
    assert draw(*first(folder), 2) == (None, ["a: none of its images is there; it is not shown."])


def test_without_a_window_the_references_own_is_used_and_said(
    run_of: Callable[[list[str]], Path], seen: list[tuple[list[Column], Scale]]
) -> None:
    folder = run_of(["a"])
    facts = json.loads((folder / "report.json").read_text()) | {"window": None}
    (folder / "report.json").write_text(json.dumps(facts))
    _, notes = draw(*first(folder), 2)
    low, high = seen[0][1].window
    assert 0.2 <= low < high <= 0.8
    assert "fixes no window" in notes[0]


@pytest.mark.parametrize("change", [{"window": [1, 1]}, {"window": "ab"}, {"cases": [{"reference": "x"}]}])
def test_a_broken_manifest_is_refused(run_of: Callable[[list[str]], Path], change: dict) -> None:
    folder = run_of(["a"])
    facts = json.loads((folder / "report.json").read_text()) | change
    (folder / "report.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"report\.json: is not a report's manifest"):
        read_folder(folder)

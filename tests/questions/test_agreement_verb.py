"""The verb ``agreement``: known answers on the phantom, on any two folders and on runs."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from transmodal.data.grid import Grid
from transmodal.data.layout import find_cases
from transmodal.data.volume import Volume, read_volume, write_volume
from transmodal.errors import InputError, PartialFailure, RecipeError
from transmodal.questions.agreement import agreement
from transmodal.reporting import agreement as page


@pytest.fixture(scope="module")
def folder(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions that are 0.8 times the measured FA and 0.1: slope 0.8, ranks kept, everybody recognised."""
    out = tmp_path_factory.mktemp("made")
    for case in find_cases(cohort):
        volume = read_volume(case.images["FA"])
        write_volume(Volume(0.8 * volume.data + 0.1, volume.grid), out / f"{case.name}.nii.gz", dtype="float32")
    return out


@pytest.fixture(scope="module")
def labels(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey, white and nuclei alone."""
    out = tmp_path_factory.mktemp("labels")
    for case in find_cases(cohort):
        whole = read_volume(case.labels or cohort, label=True)
        kept = np.where(np.isin(whole.data, (3, 4, 5)), whole.data, 0)
        write_volume(Volume(kept, whole.grid), out / f"{case.name}_dseg.nii.gz", dtype="uint8")
    return out


@pytest.fixture(autouse=True)
def few_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts take most of the time."""
    monkeypatch.setattr(page, "_CHARTS", 1)


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_two_folders(folder: Path, cohort: Path, labels: Path, tmp_path: Path) -> None:
    people = tmp_path / "people.tsv"
    people.write_text("participant_id\tage\n" + "".join(f"sub-00{i}\t{60 + i}\n" for i in range(1, 5)))
    names = tmp_path / "names.tsv"
    names.write_text("index\tname\n3\tgrey\n4\twhite\n")
    out = tmp_path / "out"
    words, asked = [str(folder), str(cohort)], {"labels": labels, "names": names, "lesion": (5,)}
    text = agreement(words, out, target="FA", group="age", table=people, **asked)
    found = {row["region"]: row for row in rows(out / "agreement.csv")}
    assert {"mask", "grey", "white", "lesion", "healthy", "lesion contrast"} <= set(found)
    white = found["white"]
    assert [float(white[key]) for key in ("slope", "spread", "spearman", "kendall")] == pytest.approx(
        [0.8, 0.8, 1, 1]
    )
    assert float(white["bias"]) == pytest.approx(0.1 - 0.2 * float(white["measured"]))
    assert float(found["lesion contrast"]["slope"]) == pytest.approx(0.8), "a constant does not touch a contrast"
    regions = [row for row in rows(out / "regions.csv") if row["region"] == "grey"]
    case = next(case for case in find_cases(cohort) if case.name == "sub-001")
    inside = (read_volume(case.labels or cohort, label=True).data[0] == 3) & (
        read_volume(case.mask or cohort, label=True).data[0] > 0
    )
    assert float(regions[0]["measured"]) == pytest.approx(
        float(read_volume(case.images["FA"]).data[0][inside].mean())
    )
    assert {row["rank"] for row in rows(out / "recognition.csv")} == {"1"}
    effects = rows(out / "effects.csv") if (out / "effects.csv").exists() else []
    assert effects == [], "four ages are neither groups nor a trend"
    content = json.loads((out / "agreement.json").read_text())
    assert (content["format"], content["unit"]) == ("transmodal.agreement/1", "1")
    assert content["recognition"]["prediction"]["recognised"] == 4
    assert (out / "agreement.md").read_text().startswith(text.partition("\n\nRegion by region")[0])
    html = (out / "agreement.html").read_text()
    assert "white" in html
    assert html.count("data:image/png;base64,") == 3, "two of coefficients, one of a region"


def test_a_run_with_its_floors_and_groups(run: Path, tmp_path: Path) -> None:
    """One held-out case: too few to agree, enough to write down."""
    text = agreement([f"mine={run}"], tmp_path)
    assert {row["method"] for row in rows(tmp_path / "regions.csv")} == {"identity", "mean", "mine"}
    assert len({row["region"] for row in rows(tmp_path / "regions.csv")}) > 3, "the labels of the prepared data"
    assert "Fewer than 3 subjects" in text


def test_what_cannot_be_asked(folder: Path, cohort: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="give two folders of volumes"):
        agreement([str(folder), str(run)], tmp_path)
    with pytest.raises(RecipeError, match="a judged folder knows its own"):
        agreement([str(run)], tmp_path, target="FA")
    with pytest.raises(RecipeError, match="seeds need names of their own"):
        agreement([str(run), str(run)], tmp_path)
    with pytest.raises(InputError, match="no column 'sex'"):
        agreement([str(folder), str(cohort)], tmp_path, target="FA", group="sex")
    with pytest.raises(RecipeError, match="--target"):
        agreement([str(folder), str(cohort)], tmp_path)


def test_a_case_on_another_grid_is_named_and_the_others_are_written(
    folder: Path, cohort: Path, labels: Path, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    made.mkdir()
    for path in folder.iterdir():
        volume = read_volume(path)
        size = 20 if path.name == "sub-002.nii.gz" else 24
        cut = Volume(volume.data[:, :size], Grid((size, 24, 24), volume.affine)) if size < 24 else volume
        write_volume(cut, made / path.name, dtype="float32")
    with pytest.raises(PartialFailure, match="sub-002"):
        agreement([str(made), str(cohort)], tmp_path / "out", target="FA", labels=labels)
    assert {row["case"] for row in rows(tmp_path / "out" / "regions.csv")} == {"sub-001", "sub-003", "sub-004"}
    assert np.isfinite([float(row["icc"]) for row in rows(tmp_path / "out" / "agreement.csv")]).all()


def visits(folder: Path, spoil: float = 0.0) -> tuple[Path, Path]:
    """Three people, the first scanned twice: made and measured FA of one level each."""
    made, measured = folder / "made", folder / "measured"
    levels = {"sub-a_ses-1": (0.2, 0.4), "sub-a_ses-2": (0.4, 0.5), "sub-b": (0.5, 0.4), "sub-c": (0.9, 0.7)}
    noise = np.random.default_rng(0).normal(size=(len(levels), 8, 8, 8)).astype(np.float32)
    noise -= noise.mean(axis=(1, 2, 3), keepdims=True)
    for (case, pair), texture in zip(levels.items(), noise, strict=True):
        for place, level in zip((made, measured), pair, strict=True):
            affine = np.diag([1.0, 1.0, 1.0, 1.0])
            affine[0, 3] = spoil * (case == "sub-c")
            grid = Grid((8, 8, 8), affine)
            write_volume(Volume((level + 0.01 * texture)[None], grid), place / f"{case}.nii.gz", dtype="float32")
    return made, measured


def test_a_person_scanned_twice_counts_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    agreement([str(path) for path in visits(tmp_path)], out, target="FA")
    assert len(rows(out / "regions.csv")) == 4, "a row for each case"
    (found,) = rows(out / "agreement.csv")
    # Subjects: made 0.3, 0.5, 0.9 and measured 0.45, 0.4, 0.7.
    assert int(found["n"]) == 3
    assert float(found["bias"]) == pytest.approx((-0.15 + 0.1 + 0.2) / 3, abs=1e-5)
    assert float(found["made"]) == pytest.approx(1.7 / 3, abs=1e-5)
    known = {row["case"]: row for row in rows(out / "recognition.csv")}
    assert {case: int(row["among"]) for case, row in known.items()} == {
        "sub-a_ses-1": 3, "sub-a_ses-2": 3, "sub-b": 4, "sub-c": 4,
    }  # fmt: skip
    content = json.loads((out / "agreement.json").read_text())
    margins = {case: float(row["own"]) - float(row["best"]) for case, row in known.items()}
    one = (margins["sub-a_ses-1"] + margins["sub-a_ses-2"]) / 2
    assert content["recognition"]["prediction"]["margin"] == pytest.approx(
        (one + margins["sub-b"] + margins["sub-c"]) / 3, abs=1e-6
    )
    assert "(chance: 1 of 3 to 4)" in (out / "agreement.md").read_text()


def test_maps_on_another_grid_of_the_same_shape_are_not_compared(tmp_path: Path) -> None:
    agreement([str(path) for path in visits(tmp_path, spoil=30.0)], tmp_path / "out", target="FA")
    assert {row["case"] for row in rows(tmp_path / "out" / "recognition.csv")} == {
        "sub-a_ses-1", "sub-a_ses-2", "sub-b",
    }  # fmt: skip
    assert "1 cases lie on another grid than most" in (tmp_path / "out" / "agreement.md").read_text()


def test_two_labels_of_one_name_do_not_count_a_person_twice(
    folder: Path, cohort: Path, labels: Path, tmp_path: Path
) -> None:
    names = tmp_path / "names.tsv"
    names.write_text("index\tname\n3\ttissue\n4\ttissue\n")
    asked = {"target": "FA", "labels": labels, "names": names}
    agreement([str(folder), str(cohort)], tmp_path / "out", **asked)
    found = {row["region"]: row for row in rows(tmp_path / "out" / "agreement.csv")}
    assert found["tissue"]["n"] == "4"
    names.write_text("index\tname\n3\thealthy\n")
    with pytest.raises(InputError, match="label 3 is called 'healthy'"):
        agreement([str(folder), str(cohort)], tmp_path / "none", **asked)
    assert not (tmp_path / "none").exists()

"""Several cases of a subject count once, in every statistic that a user reads."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from transmodal.data.grid import Grid
from transmodal.data.prepared import PreparedDataset
from transmodal.data.volume import Volume, write_volume
from transmodal.errors import InputError
from transmodal.evaluation.evaluate import evaluate
from transmodal.evaluation.people import by_subject, shared
from transmodal.evaluation.summary import summarise
from transmodal.evaluation.table import Row, read_rows, write_rows
from transmodal.experiment.compare import rank
from transmodal.experiment.entries import open_entry, same_ground
from transmodal.experiment.judge import final_evaluation, learn_floor
from transmodal.experiment.run import open_run
from transmodal.reporting.folder import read_folder

VISITS = {"a1": "a", "a2": "a", "b1": "b"}


def row(case: str, value: float, method: str = "net", metric: str = "MAE", n: int = 10) -> Row:
    return Row(case, method, "mask", metric, "3d masked", float(value), "HU", n)


def test_only_subjects_with_several_cases_are_kept() -> None:
    assert shared(VISITS) == {"a1": "a", "a2": "a"}
    assert shared({"x": "x", "y": "y"}) == {}


def test_the_cases_of_a_subject_are_averaged_and_nobody_else_changes() -> None:
    rows = [row("a1", 2, n=10), row("b1", 7, n=5), row("a2", 6, n=30), row("a1", 1, metric="PSNR")]
    assert by_subject(rows, shared(VISITS)) == [row("a1", 4, n=40), row("b1", 7, n=5), row("a1", 1, metric="PSNR")]
    assert by_subject(rows, {}) == rows


@pytest.mark.parametrize(
    ("values", "expected", "n"),
    [
        ((2.0, math.nan), 2.0, 10),
        ((2.0, math.inf), math.inf, 10),
        ((math.nan, math.inf), math.inf, 20),
        ((math.nan, math.nan), math.nan, 20),
    ],
)
def test_what_is_not_finite_stays_visible(values: tuple[float, float], expected: float, n: int) -> None:
    (found,) = by_subject([row("a1", values[0]), row("a2", values[1])], shared(VISITS))
    assert found.value == pytest.approx(expected, nan_ok=True)
    assert found.n == n


def test_a_summary_counts_people() -> None:
    # Values of subjects: (2 + 6) / 2 = 4, and 8. Of cases the mean would be 16 / 3.
    (found,) = summarise([row("a1", 2), row("a2", 6), row("b1", 8)], shared(VISITS))
    assert (found.n, found.mean, found.median) == (2, 6.0, 6.0)
    assert found.sd == pytest.approx(math.sqrt(8))
    (endless,) = summarise([row("a1", 30), row("a2", math.inf), row("b1", 40)], shared(VISITS))
    assert (endless.n, endless.mean, endless.infinite) == (1, 40.0, 1)


def test_a_case_twice_is_refused_even_if_it_could_be_averaged() -> None:
    with pytest.raises(InputError, match="'a1': has two values"):
        summarise([row("a1", 2), row("a1", 6), row("a2", 1)], shared(VISITS))


def write(path: Path, value: float) -> None:
    values = np.full((1, 8, 8, 8), value, dtype=np.float32)
    values[0, 0, 0, 0] = 100
    write_volume(Volume(values, Grid((8, 8, 8), np.eye(4))), path)


@pytest.mark.parametrize("layout", ["names", "table", "masks"])
def test_evaluate_counts_people_and_the_table_keeps_cases(tmp_path: Path, layout: str) -> None:
    """By BIDS names, by the column of a table, or by the table that the masks come from."""
    bids = layout == "names"
    cases = ("sub-01_ses-1", "sub-01_ses-2", "sub-02") if bids else ("x", "y", "z")
    reference, made, mask = tmp_path / "reference", tmp_path / "made", None
    lines = ["case,subject,FA,mask"]
    for case, error, who in zip(cases, (1, 3, 8), ("p", "p", "q"), strict=True):
        write(reference / f"{case}.nii.gz", 10)
        write(made / f"{case}.nii.gz", 10 + error)
        write(tmp_path / "masks" / f"{case}.nii.gz", 1)
        lines.append(f"{case},{who},reference/{case}.nii.gz,masks/{case}.nii.gz")
    table = tmp_path / "cases.csv"
    table.write_text("\n".join(lines) + "\n")
    mask = {"names": tmp_path / "masks", "table": None, "masks": table}[layout]
    out = tmp_path / "out"
    evaluate(made, table if layout == "table" else reference, out=out, mask=mask, target="FA", passport=True)
    assert {r.case for r in read_rows(out / "evaluation.csv")} == set(cases)
    stored = json.loads((out / "evaluation.json").read_text())
    assert set(stored["settings"]["subjects"]) == set(cases[:2])
    passport = json.loads((out / "passport.json").read_text())["summary"]
    rows = [r for r in read_rows(out / "evaluation.csv") if r.metric == "MAE"]
    for summaries in (stored["summary"], [vars(one) for one in read_folder(out).summaries], passport):
        found = [one for one in summaries if one["metric"] == "MAE"]
        assert found
        for one in found:
            mine = {
                r.case: r.value for r in rows if (r.region, r.convention) == (one["region"], one["convention"])
            }
            first, second, other = (mine[case] for case in cases)
            assert (one["n"], one["mean"]) == (2, pytest.approx(((first + second) / 2 + other) / 2))


def test_a_run_counts_people(run: Path, prepared: Path, tmp_path: Path) -> None:
    """Two cases of a prepared dataset become one person's: what is said of the run is of three people."""
    shutil.copytree(prepared, tmp_path / "prepared")
    dataset = PreparedDataset.open(tmp_path / "prepared")
    for name in dataset.names[:2]:
        record = tmp_path / "prepared" / "cases" / name / "case.json"
        record.write_text(json.dumps(json.loads(record.read_text()) | {"subject": "twin"}))
    opened = open_run(run)
    own = replace(opened, folder=tmp_path, dataset=dataset, split=replace(opened.split, test=dataset.names))
    rows = final_evaluation(own, {"identity": learn_floor("identity", own)}, {})
    values = [r.value for r in rows if r.metric == "MAE"]
    assert len(values) == 4
    contents = read_folder(tmp_path)
    assert contents.evaluation["settings"]["subjects"] == dict.fromkeys(dataset.names[:2], "twin")
    (found,) = [one for one in contents.summaries if one.metric == "MAE"]
    assert (found.n, found.mean) == (3, pytest.approx(((values[0] + values[1]) / 2 + values[2] + values[3]) / 3))
    (stored,) = [one for one in contents.evaluation["summary"] if one["metric"] == "MAE"]
    assert (stored["n"], stored["low"]) == (3, found.low)


def judged(folder: Path, name: str, values: dict[str, float]) -> str:
    out = folder / name
    out.mkdir()
    write_rows(out / "evaluation.csv", [row(case, value, name) for case, value in values.items()])
    own = shared({case: VISITS.get(case, case) for case in values})
    (out / "evaluation.json").write_text(json.dumps({"settings": {"subjects": own} if own else {}}))
    return str(out)


def test_compare_counts_people(tmp_path: Path) -> None:
    good = judged(tmp_path, "good", {"a1": 1, "a2": 3, "b1": 5, "c": 7})
    poor = judged(tmp_path, "poor", {"a1": 2, "a2": 6, "b1": 6, "c": 9})
    lead = rank([open_entry(good), open_entry(poor)]).lead
    assert lead.subjects == ("a1", "b1", "c")
    assert [standing.mean for standing in lead.standings] == pytest.approx([14 / 3, 19 / 3])
    (duel,) = lead.duels
    # Three people who all differ in one direction: 2 · 2⁻³; four would give half of it.
    assert (duel.difference.n, duel.difference.p) == (3, pytest.approx(0.25))


def test_methods_are_compared_on_the_same_sessions(tmp_path: Path) -> None:
    good = judged(tmp_path, "good", {"a1": 1, "a2": 3, "b1": 5})
    part = judged(tmp_path, "part", {"a1": 2, "b1": 6})
    rows = same_ground([open_entry(good), open_entry(part)])
    assert {(r.method, r.case): r.value for r in rows} == {
        ("good", "a1"): 1, ("good", "b1"): 5, ("part", "a1"): 2, ("part", "b1"): 6,
    }  # fmt: skip

"""benchmark: equal ground for all, what is finished is kept, a run that fails does not stop the others."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from transmodal.data.prepared import PreparedDataset
from transmodal.data.task import Task
from transmodal.errors import InputError, PartialFailure, RecipeError
from transmodal.evaluation.table import read_rows
from transmodal.experiment import benchmark as module
from transmodal.experiment.benchmark import benchmark
from transmodal.experiment.budget import within_minutes
from transmodal.experiment.run import start
from transmodal.experiment.suite import common_preparation, entrants, load_suite, recipes
from transmodal.recipe import Recipe, load_recipe
from transmodal.registry import build
from transmodal.training.cost import Cost

FOLDER = Path(__file__).parent.parent.parent / "recipes"
SUITES = sorted((FOLDER / "suites").glob("*.toml"))

RECIPE = """
[data]
sources = ["T1w"]
targets = ["{target}"]
folds = 3

[sampling]
size = [24, 24]

[method]
name = "regression"
width = {width}
depth = 2

[training]
steps = 4
batch_size = 2
precision = "fp32"
validate_every = 2

[evaluation]
metrics = ["MAE"]
"""


def written(folder: Path, text: str = "", **recipes: Any) -> Path:
    """A suite of recipes that differ in width, or in whatever the text says."""
    for name, facts in {"narrow": {"width": 2}, "wide": {"width": 4}, **recipes}.items():
        (folder / f"{name}_t.toml").write_text(RECIPE.format(**{"target": "FA", **facts}))
    suite = folder / "suite.toml"
    names = ("narrow", "wide", *recipes)
    suite.write_text(text + "".join(f'\n[[recipe]]\nrecipe = "{name}_t.toml"\n' for name in names))
    return suite


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_a_suite_of_ours_is_fair_and_every_method_in_it_can_be_built(path: Path) -> None:
    suite = load_suite(path)
    found = recipes(suite, path)
    common_preparation(found)
    assert len({recipe.hash for recipe in found.values()}) == len(found), "two contenders are one recipe"
    assert suite.steps or suite.minutes, "no budget"
    for recipe in found.values():
        build(recipe.method, recipe.task, recipe.arguments)


def test_suites_are_there() -> None:
    assert {path.stem for path in SUITES} >= {"elderly", "aginet_parts"}


def test_it_ends_in_a_comparison_and_what_is_finished_is_kept(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = written(tmp_path, "steps = 2\nseeds = 2\nmargin = 0.5\n")
    out = tmp_path / "out"
    trained: list[str] = []
    whole = module.train

    def interrupted(recipe: Any, folder: Path, **how: Any) -> Any:
        trained.append(folder.name)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return whole(recipe, folder, **how)

    monkeypatch.setattr(module, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        benchmark(suite, out, [f"data={prepared}"], device="cpu")
    text = benchmark(suite, out, [f"data={prepared}"], device="cpu")
    expected = [f"{n}_fold{fold}_seed{seed}" for seed in range(2) for fold in range(3) for n in ("narrow", "wide")]
    assert trained == [*expected[:3], *expected[2:]]
    facts = json.loads((out / "comparison.json").read_text())
    assert {price["steps"] for price in facts["prices"].values()} == {2}
    assert sorted(facts["contests"][0]["subjects"]) == ["sub-001", "sub-002", "sub-003", "sub-004"]
    assert all(f"| {name} |" in text for name in ("narrow", "wide", "mean (floor)"))
    benchmark(suite, out, [f"data={prepared}"], device="cpu")
    assert len(trained) == len(expected) + 1, "nothing is trained twice"
    rows = {(row.method, row.case): row.value for row in read_rows(out / "comparison.csv")}
    seeds = [
        {row.case: row.value for row in read_rows(out / "runs" / f"wide_fold0_seed{seed}" / "evaluation.csv")
         if row.method == "regression"}
        for seed in (0, 1)
    ]  # fmt: skip
    for case, value in seeds[0].items():
        assert rows["wide", case] == pytest.approx((value + seeds[1][case]) / 2)


def test_a_run_that_fails_does_not_stop_the_others(prepared: Path, tmp_path: Path) -> None:
    # It wants weights that nobody has.
    suite = written(tmp_path, f'data = "{prepared}"\nsteps = 1\n', lost={"width": 2})
    lost = (tmp_path / "lost_t.toml").read_text().replace('"regression"', '"macro2micro"')
    (tmp_path / "lost_t.toml").write_text(lost.replace("depth = 2", 'vgg_weights = "nowhere.pth"'))
    with pytest.raises(PartialFailure, match="3 of 9 runs failed; the others are compared") as caught:
        benchmark(suite, tmp_path / "out", device="cpu")
    assert set(caught.value.failures) == {f"lost_fold{fold}_seed0" for fold in range(3)}
    assert "nowhere" in caught.value.failures["lost_fold0_seed0"]
    assert {row.method for row in read_rows(tmp_path / "out" / "comparison.csv")} >= {"narrow", "wide", "mean"}


@pytest.mark.parametrize(
    ("text", "facts", "words"),
    [
        ("steps = 1", {"other": {"width": 2, "target": "T2w"}}, "other makes T2w in 3 folds, and narrow FA"),
        ("steps = 1\nminutes = 2.0", {}, "steps or minutes, not both"),
        ("seeds = 0", {}, "one seed or more"),
        ("seed = 2", {}, "did you mean 'seeds'"),
        ("steps = 1", {"mean": {"width": 2}}, "is the name of a floor"),
        ("steps = ", {}, "is not a TOML file"),
    ],
)
def test_an_unfair_suite_is_refused(tmp_path: Path, text: str, facts: dict[str, Any], words: str) -> None:
    suite = written(tmp_path, text, **facts)
    with pytest.raises(RecipeError, match=words):
        benchmark(suite, tmp_path / "out", ["data=nowhere"], device="cpu")
    assert not (tmp_path / "out").exists()


def test_what_is_not_there_is_named(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such suite"):
        benchmark(tmp_path / "none.toml", tmp_path / "out")
    suite = written(tmp_path, "steps = 1")
    with pytest.raises(RecipeError, match="say data = FOLDER_OR_TABLE once"):
        benchmark(suite, tmp_path / "out")
    with pytest.raises(InputError, match="elsewhere"):
        benchmark(suite, tmp_path / "out", [f"data={tmp_path}/elsewhere"])
    other = RECIPE.format(target="FA", width=4) + '\n[data.prepare]\nmask = "nonzero"\n'
    (tmp_path / "wide_t.toml").write_text(other)
    with pytest.raises(RecipeError, match="want the scans prepared differently"):
        benchmark(suite, tmp_path / "out", [f"data={prepared}"])


def test_folds_of_all_come_before_anybody_s_second(tmp_path: Path) -> None:
    suite = written(tmp_path, "steps = 7\nseeds = 2\nset = ['training.batch_size=3']")
    jobs = entrants(recipes(load_suite(suite, ["data=x", "folds=3"]), suite), 2)
    assert [job.folder for job in jobs[:3]] == ["narrow_fold0_seed0", "wide_fold0_seed0", "narrow_fold1_seed0"]
    assert len(jobs) == 2 * 3 * 2
    assert {(job.recipe.training.steps, job.recipe.training.batch_size) for job in jobs} == {(7, 3)}


def test_minutes_become_steps_that_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of a step are 0.5 and 2.0 in the quieter of three turns; a minute is 120 and 30 steps."""
    suite = written(tmp_path)
    found = recipes(load_suite(suite, ["data=x"]), suite)
    turns = iter([0.9, 2.0, 0.5, 2.6, 0.6, 2.4])
    asked: list[Task] = []

    def timed(method: Any, task: Task, settings: Any, device: str, *, timed: int) -> Cost:
        asked.append(task)
        return Cost(0, 0, next(turns))

    monkeypatch.setattr("transmodal.experiment.budget.measure", timed)
    record = tmp_path / "budget.json"
    laid = within_minutes(found, 1.0, record, "cpu")
    assert {name: recipe.training.steps for name, recipe in laid.items()} == {"narrow": 120, "wide": 30}
    assert {name: recipe.training.validate_every for name, recipe in laid.items()} == {"narrow": 60, "wide": 15}
    again = within_minutes(found, 1.0, record, "cpu")
    assert again == laid
    assert len(asked) == 6, "timed once"
    turns = iter([1.0] * 6)
    other = within_minutes(found, 2.0, record, "cpu")
    assert [recipe.training.steps for recipe in other.values()] == [120, 120]


def test_a_step_of_a_real_method_takes_time(tmp_path: Path) -> None:
    written(tmp_path)
    recipe = load_recipe(tmp_path / "narrow_t.toml", ["data.path=x"])
    laid = within_minutes({"narrow": recipe}, 0.001, tmp_path / "budget.json", "cpu")
    known = json.loads((tmp_path / "budget.json").read_text())["contenders"]["narrow"]
    assert laid["narrow"].training.steps == max(1, round(0.06 / known["seconds_per_step"]))


def altered(prepared: Path, out: Path) -> Path:
    """The same dataset with one scan corrected."""
    shutil.copytree(prepared, out)
    record = out / "cases" / "sub-002" / "case.json"
    facts = json.loads(record.read_text())
    facts["made_from"]["files"]["T1w"]["sha256"] = "0" * 64
    record.write_text(json.dumps(facts))
    return out


def test_runs_of_other_data_are_trained_anew(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[bool] = []

    def fake(recipe: Any, folder: Path, *, resume: bool, force: bool, device: str) -> None:
        start(recipe, folder, resume=resume, force=force)
        trained.append(resume)
        (folder / "last").mkdir(exist_ok=True)
        if len(trained) != 12:
            (folder / "evaluation.json").write_text("{}")

    monkeypatch.setattr(module, "train", fake)
    monkeypatch.setattr(module, "compare", lambda *_, **__: "")
    suite, out = written(tmp_path, "steps = 1\n"), tmp_path / "out"
    moved, other = tmp_path / "moved", altered(prepared, tmp_path / "other")
    shutil.copytree(prepared, moved)
    for data, expected in ((prepared, 6), (prepared, 6), (moved, 6), (other, 12), (other, 13), (prepared, 19)):
        benchmark(suite, out, [f"data={data}"], device="cpu")
        assert len(trained) == expected, data
    # The one that was not finished goes on; all the others began anew.
    assert [number for number, resumed in enumerate(trained) if resumed] == [12]


def test_other_data_are_not_resumed(prepared: Path, recipe: Recipe, tmp_path: Path) -> None:
    other = altered(prepared, tmp_path / "other")
    start(recipe, tmp_path / "run")
    start(recipe, tmp_path / "run", resume=True)
    with pytest.raises(RecipeError, match="was started on other data"):
        start(replace(recipe, data=replace(recipe.data, path=str(other))), tmp_path / "run", resume=True)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["recipe"]["data"]["path"] == str(prepared)


def test_a_digest_is_of_content_not_of_places_and_times(prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path / "same")
    record = tmp_path / "same" / "cases" / "sub-001" / "case.json"
    facts = json.loads(record.read_text())
    facts["made_from"]["files"]["T1w"]["stamps"] = [[1, 2]]
    facts["facts"] = {"age": "60"}
    record.write_text(json.dumps(facts))
    digest = PreparedDataset.open(prepared).digest()
    assert PreparedDataset.open(tmp_path / "same").digest() == digest
    record.write_text(json.dumps(facts | {"split": "test"}))
    assert PreparedDataset.open(tmp_path / "same").digest() != digest
    stored = tmp_path / "same" / "dataset.json"
    record.write_text(json.dumps(facts))
    content = json.loads(stored.read_text())
    stored.write_text(json.dumps(content | {"names": content["names"][:-1]}))
    assert PreparedDataset.open(tmp_path / "same").digest() != digest

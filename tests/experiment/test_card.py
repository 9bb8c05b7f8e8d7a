"""The model card: what is measured stands on it as numbers, what is not is said to be open."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from transmodal.errors import InputError, RecipeError
from transmodal.evaluation.passport import read_passports, take_passport, write_passport
from transmodal.evaluation.subsets import subsets
from transmodal.evaluation.table import read_rows
from transmodal.experiment.card import card
from transmodal.experiment.run import open_run
from transmodal.experiment.train import train
from transmodal.recipe import make_recipe


@pytest.fixture(scope="module")
def folds(table: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out = tmp_path_factory.mktemp("folds")
    training = {**table["training"], "steps": 2, "validate_every": 0}
    for fold in range(3):
        own = {"data": {**table["data"], "fold": fold, "licence": "CC0 of the phantom"}, "training": training}
        train(make_recipe({**table, **own}), out / str(fold), device="cpu")
    return [out / str(fold) for fold in range(3)]


def test_the_card_says_what_was_measured(folds: list[Path]) -> None:
    lesions = {"sentences": ["Of the contrast of a lesion of 6 mm, 12 % is left."]}
    (folds[0] / "lesions.json").write_text(json.dumps(lesions))
    path = card(folds)
    text = path.read_text()
    assert path == folds[0] / "model" / "README.md"
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert titles == [
        "Intended use", "Training data", "Results", "Groups of people", "Where it fails", "Lesions",
        "The same scores under other conventions", "Licences",
    ]  # fmt: skip
    values = {
        row.case: row.value
        for folder in folds
        for row in read_rows(folder / "evaluation.csv")
        if row.method == "regression" and row.metric == "MAE"
    }
    assert len(values) == 3
    assert "Of 1 people that this model never saw, and 2 that models of the same recipe" in text
    assert f"| regression | 3 | {sum(values.values()) / 3:.3f}"[:24] in text
    worst = max(values, key=values.__getitem__)
    assert re.search(rf"^- {worst}: MAE {values[worst]:.2f}", text, re.MULTILINE)
    assert "12 % is left" in text
    assert "| strict |" in text
    assert "CC0 of the phantom" in text
    digest = json.loads((folds[0] / "model" / "model.json").read_text())["sha256"]
    assert digest in text
    # The passport of a run is taken once, and again after the run was judged again.
    before = (folds[1] / "passport" / "passport.json").stat().st_mtime_ns
    card(folds)
    assert (folds[1] / "passport" / "passport.json").stat().st_mtime_ns == before


def test_two_seeds_of_a_case_are_one_person(folds: list[Path], table: dict[str, Any], tmp_path: Path) -> None:
    training = {**table["training"], "steps": 2, "validate_every": 0, "seed": 1}
    own = {"data": {**table["data"], "fold": 0, "licence": "CC0 of the phantom"}, "training": training}
    train(make_recipe({**table, **own}), tmp_path / "seed1", device="cpu")
    text = card([folds[0], tmp_path / "seed1"]).read_text()
    assert "| regression | 1 |" in text
    assert "| strict |" in text


def test_a_damaged_record_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"format": "transmodal-run-1"}')
    with pytest.raises(InputError, match=r"run\.json: is damaged"):
        open_run(tmp_path)


def test_what_was_not_measured_is_said(folds: list[Path], tmp_path: Path) -> None:
    alone = tmp_path / "run"
    shutil.copytree(folds[1], alone)
    text = card([alone], passport=False).read_text()
    assert "It was not probed whether lesions survive" in text
    assert "Of 1 people that this model never saw:" in text
    assert "Not taken: `transmodal card RUN`" in text


def test_wrong_words(folds: list[Path], tmp_path: Path, table: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="name a run"):
        card([])
    other = {"method": {"name": "regression", "width": 2, "depth": 2}, "training": {"steps": 1, "batch_size": 2}}
    train(make_recipe({**table, **other}), tmp_path / "other", device="cpu")
    with pytest.raises(RecipeError, match="different recipes"):
        card([folds[0], tmp_path / "other"])
    shutil.rmtree(tmp_path / "other" / "model")
    with pytest.raises(InputError, match="holds no model"):
        card([tmp_path / "other"])


def test_groups_of_people() -> None:
    facts = {f"s{n}": {"age": str(60 + n), "sex": "FM"[n % 2], "id": f"x{n}", "site": "A"} for n in range(8)}
    facts["s8"] = {"age": "", "sex": " F "}
    facts = {case: {**own, "scanner": f"scan{case[-1]}"} for case, own in facts.items()}
    found = {(group.column, group.name): group.cases for group in subsets(facts)}
    assert found == {
        ("age", "below 63.5"): ("s0", "s1", "s2", "s3"),
        ("age", "63.5 and above"): ("s4", "s5", "s6", "s7"),
        ("sex", "F"): ("s0", "s2", "s4", "s6", "s8"),
        ("sex", "M"): ("s1", "s3", "s5", "s7"),
    }


def test_a_passport_comes_back_as_it_was(tmp_path: Path) -> None:
    """Infinite scores, too."""
    import torch

    from transmodal.data.modality import modality
    from transmodal.evaluation.comparison import Comparison

    truth = torch.rand(1, 16, 16, 16)
    mask = torch.ones(16, 16, 16, dtype=torch.bool)
    passports = [
        take_passport(Comparison(made, truth, mask, None, modality("T1w")), case=name)
        for name, made in (("same", truth), ("other", truth * 0.9))
    ]
    write_passport(tmp_path, passports)
    back = read_passports(tmp_path / "passport.json")
    for one, other in zip(passports, back, strict=True):
        assert (one.case, one.method, dict(one.absent)) == (other.case, other.method, dict(other.absent))
        assert {n: list(map(repr, s)) for n, s in one.scores.items()} == {
            n: list(map(repr, s)) for n, s in other.scores.items()
        }
    (tmp_path / "passport.json").write_text("{}")
    with pytest.raises(InputError, match="is no passport"):
        read_passports(tmp_path / "passport.json")

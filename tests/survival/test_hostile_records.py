"""Records that we wrote and read again, changed by hypothesis: a sentence, and no file outside the folder.

benchmarks/hostile.py does it for longer, with new chances.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from hostility import CHANGES, NASTY, changed, fuzz, or_a_sentence, places
from hypothesis import given

from transmodal.data.files import read_json, write_json
from transmodal.data.prepared import PreparedDataset
from transmodal.data.stacks import read_stack
from transmodal.errors import InputError, RecipeError
from transmodal.experiment.budget import _known
from transmodal.experiment.card import card
from transmodal.experiment.compare import compare
from transmodal.experiment.run import open_run, start
from transmodal.experiment.suite import common_preparation, entrants, load_suite, recipes
from transmodal.inference.conformal import Calibration, Reliability
from transmodal.inference.model import _calibration
from transmodal.recipe import Recipe
from transmodal.reporting.folder import read_folder
from transmodal.reporting.toml import to_toml
from transmodal.schema import plain
from transmodal.training.monitor import read_log


@pytest.fixture
def home(run: Path, prepared: Path, tmp_path: Path) -> Path:
    """A run and its prepared data, to be damaged; nothing else lies beside them."""
    shutil.copytree(prepared, tmp_path / "data")
    shutil.copytree(run, tmp_path / "run")
    record = tmp_path / "run" / "run.json"
    facts = read_json(record)
    facts["recipe"]["data"]["path"] = str(tmp_path / "data")
    write_json(record, facts)
    return tmp_path


def attack(path: Path, proper: Any, use: Callable[[], Any], write: Callable[[Any], str] = json.dumps) -> None:
    """Use a file in all its changes; first as it is, when it has to work, and then with each value spoilt once."""
    before = {p for p in path.parent.parent.rglob("*") if p.is_file()}

    def tried(content: Any) -> None:
        try:
            text = write(content)
        except (ValueError, TypeError, OverflowError):
            return  # TOML has no such value
        path.write_bytes(text.encode(errors="surrogatepass"))
        or_a_sentence(use)

    path.write_text(write(proper))
    use()
    count = len(list(places(proper)))
    for at in range(min(count, 60)):
        tried(changed(proper, [(at * max(1, count // 60), len(NASTY))]))
    for text in ("", "[", "[]", "3", "null", '"x"', "{}", "[" * 9000, "\0", '{"format": NaN}'):
        path.write_text(text)
        or_a_sentence(use)

    @fuzz
    @given(CHANGES)
    def more(changes: list[tuple[int, int]]) -> None:
        tried(changed(proper, changes))

    more()
    assert {p for p in path.parent.parent.rglob("*") if p.is_file()} <= before | {path}


def everything(folder: Path) -> None:
    """All that a training asks of prepared data before it computes."""
    dataset = PreparedDataset.open(folder)
    dataset.digest()
    for name in dataset.names:
        case = dataset.case(name)
        assert case.path.resolve().is_relative_to(folder.resolve())
        case.mask().any()
        case.labels()
        assert case.masked in (True, False)
        for modality in case.modalities:
            case.fits[modality].apply(case.values(modality)[:, :2])
        for axis, slices in enumerate(case.slices):
            case.mask().take(slices[:2], axis)


def test_dataset_json(home: Path) -> None:
    path = home / "data" / "dataset.json"
    attack(path, read_json(path), lambda: everything(home / "data"))


def test_case_json(home: Path) -> None:
    path = home / "data" / "cases" / "sub-001" / "case.json"
    attack(path, read_json(path), lambda: everything(home / "data"))


def test_splits_json(home: Path) -> None:
    path = home / "data" / "splits.json"

    def use() -> None:
        split = PreparedDataset.open(home / "data").split(0, 4)
        assert len({*split.train, *split.val, *split.test}) == 4

    use()
    attack(path, read_json(path), use)


def test_run_json(home: Path, recipe: Recipe) -> None:
    path = home / "run" / "run.json"

    def use() -> None:
        read_folder(home / "run")
        run = open_run(home / "run")
        assert all(isinstance(name, str) for name in (*run.split.test, *run.halves))

    attack(path, read_json(path), use)
    for text in ("[]", "3", "{}", '{"hash": []}'):
        path.write_text(text)
        with pytest.raises((InputError, RecipeError), match="run"):
            start(recipe, home / "run", resume=True)


@pytest.mark.filterwarnings("ignore")
def test_lesions_json(home: Path) -> None:
    path = home / "run" / "lesions.json"
    proper = {"sentences": ["none survive", "at all"], "methods": {"regression": {"kept": 0.2}}}

    def use() -> None:
        written = card([home / "run"], passport=False)
        assert written == home / "run" / "model" / "README.md"

    use()
    path.write_text(json.dumps(proper))
    use()
    assert "- none survive" in (home / "run" / "model" / "README.md").read_text()
    for bad in (None, 3, "none survive", ["x", 3], {"a": 1}, [[]]):
        path.write_text(json.dumps({**proper, "sentences": bad}))
        with pytest.raises(InputError, match=r"lesions.json: is damaged"):
            use()
    path.write_text("[]")
    with pytest.raises(InputError, match=r"lesions.json: is damaged"):
        use()


def test_calibration_json(home: Path) -> None:
    path, digest = (
        home / "run" / "model" / "calibration.json",
        read_json(home / "run" / "model" / "model.json")["sha256"],
    )
    scores = tuple(i / 1000 for i in range(1001))
    reliability = {"FA": (Reliability(0.5, 0.51, 0.4, 0.6),)}
    proper = plain(Calibration(9, {"FA": 0.1}, {"FA": scores}, reliability, digest))

    def use() -> None:
        found = _calibration(path, digest)
        if found is not None:
            assert all(0 <= found.reach(target, 0.5) < np.inf for target in found.scores)

    attack(path, proper, use)


@pytest.mark.parametrize("name", ["slices/stack.json", "array.json"])
@pytest.mark.filterwarnings("ignore")
def test_stack_json(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "slices"
    folder.mkdir()
    for number in range(3):
        picture = SimpleITK.GetImageFromArray(np.full((6, 5), 40 * number, np.uint8))
        SimpleITK.WriteImage(picture, folder / f"{number}.png")
    np.save(tmp_path / "array.npy", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    stack = folder if name.startswith("slices") else tmp_path / "array.npy"
    rows = [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    proper = {"spacing": [0.9, 0.9, 3.0], "orientation": "LPS", "range": [0, 255], "affine": rows}

    def use() -> None:
        values, affine = read_stack(stack)
        assert values.ndim == 4
        assert affine.shape == (4, 4)
        assert np.isfinite(affine).all()
        assert np.linalg.det(affine[:3, :3]) != 0

    attack(tmp_path / name, proper, use)
    attack(tmp_path / name, {key: proper[key] for key in ("spacing", "orientation")}, use)


def test_suite_toml(table: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "one.toml").write_text(to_toml(table))
    contenders = [{"recipe": "one.toml", "name": "first"}, {"recipe": "one.toml", "set": ["method.width=8"]}]
    proper = {"folds": 4, "seeds": 2, "steps": 3, "margin": 0.1, "metric": "MAE", "set": [], "recipe": contenders}
    path = folder / "suite.toml"

    def use() -> None:
        suite = load_suite(path)
        found = recipes(suite, path)
        common_preparation(found)
        for job in entrants(found, suite.seeds):
            assert (folder / "runs" / job.folder).resolve().parent == (folder / "runs").resolve()

    attack(path, proper, use, to_toml)


def test_budget_json(tmp_path: Path) -> None:
    path = tmp_path / "out" / "budget.json"
    one = {"hash": "abc", "seconds_per_step": 0.5, "steps": 9}
    proper = {"minutes": 2.0, "machine": {}, "contenders": {"first": one, "second": dict(one)}}
    path.parent.mkdir()

    def use() -> None:
        assert all(own["steps"] > 0 for own in _known(path, 2.0)["contenders"].values())

    attack(path, proper, use)


def test_log_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for text in ('3\n{"step": 1}\n', "[]\n{}\n", "[" * 50_000 + "\n{}\n", "\0\n{}\n"):
        path.write_text(text)
        with pytest.raises(InputError, match="line 1"):
            read_log(path)
    path.write_text('{"step": 1}\n[' + "\n")
    assert read_log(path) == [{"step": 1}]


def test_a_case_says_what_is_wrong_with_it(home: Path) -> None:
    path = home / "data" / "cases" / "sub-001" / "case.json"
    proper = read_json(path)
    assert asdict(PreparedDataset.open(home / "data").case("sub-001").fits["T1w"])
    for change, said in (
        ({"name": "../../evil"}, "lies in the folder 'sub-001'"),
        ({"box": [[0, 99], [0, 2], [0, 2]]}, "beyond the 24 voxels"),
        ({"slices": [[-1], [], []]}, "beyond the 24 voxels"),
        ({"grid": {**proper["grid"], "affine": [[0.0] * 4] * 4}}, "voxels without a size"),
        ({"modalities": {"../T1w": proper["modalities"]["T1w"]}}, "cannot name a modality"),
        ({"labels": 1}, "is a int, not true or false"),
    ):
        path.write_text(json.dumps({**proper, **change}))
        with pytest.raises(InputError, match=r"case.json: .*prepare the dataset again") as problem:
            PreparedDataset.open(home / "data").case("sub-001")
        assert said in str(problem.value)


@pytest.mark.parametrize(
    ("name", "keys", "value"),
    [
        ("evaluation.json", ("settings",), 7),
        ("evaluation.json", ("settings", "seconds_per_volume"), "long"),
        ("evaluation.json", ("settings", "seconds_per_volume"), {"regression": [None]}),
        ("run.json", ("recipe", "data"), "x"),
        ("report.json", ("window",), [0, 10**400]),
    ],
)
def test_a_damaged_part_of_what_is_compared_is_named(
    home: Path, name: str, keys: tuple[str, ...], value: Any
) -> None:
    record = home / "run" / name
    facts = read_json(record)
    part = facts
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    record.write_text(json.dumps(facts))
    with pytest.raises((InputError, RecipeError)):
        compare([f"damaged={home / 'run'}", f"other={home / 'run'}"], home / "out")


def test_a_card_scores_again_what_was_damaged(home: Path) -> None:
    card([home / "run"])
    record = home / "run" / "passport" / "passport.json"
    proper = record.read_text()
    record.write_text("[1,2")
    card([home / "run"])
    assert record.read_text() == proper

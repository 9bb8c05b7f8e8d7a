"""Subjects of a test after training: runs with their models and held-out cases, and the floors beside them."""

from dataclasses import dataclass
from pathlib import Path

from transmodal.data.prepared import PreparedCase
from transmodal.errors import InputError, RecipeError
from transmodal.experiment.judge import learn_floor
from transmodal.experiment.run import Run, open_run
from transmodal.inference.model import load_model
from transmodal.inference.synthesize import pick_device
from transmodal.methods._method import Method
from transmodal.reporting.tables import FLOORS
from transmodal.schema import plain


@dataclass(frozen=True)
class Subject:
    """A trained run under test.

    Attributes:
        label: of its method in tables; runs with one label are folds of one another.
        run: with its test cases.
        method: as trained.
    """

    label: str
    run: Run
    method: Method


def open_subject(word: str, device: str) -> Subject:
    """A run with its model, from FOLDER or NAME=FOLDER.

    Raises:
        InputError: no run, or no test case.
        RecipeError: the name of a floor for something else.
    """
    name, equals, path = word.partition("=")
    if Path(word).exists() or not equals or "/" in name:
        name, path = "", word
    if name in FLOORS:
        raise RecipeError(f"{word}: {name} is the name of a floor; choose another")
    run = open_run(Path(path))
    if not run.split.test:
        raise InputError(f"{path}: its split has no test case; train it on more cases")
    model = load_model(run.folder / "model", pick_device(device))
    return Subject(name or f"{run.recipe.method}{_regime(run)}", run, model.method)


def _kind(run: Run) -> tuple[object, ...]:
    return run.recipe.method, plain(run.recipe.arguments), _regime(run)


def _regime(run: Run) -> str:
    """How its training moved a source, if it did."""
    own = run.recipe.sampling.misalign
    return f" (trained on {own.kind} {own.size:g})" if own.size else ""


def with_floors(subjects: list[Subject]) -> list[Subject]:
    """The floors first. A floor knows no regime, and its folds are those of the first method."""
    own = [subject.run for subject in subjects if subject.label == subjects[0].label]
    return [*(Subject(name, run, learn_floor(name, run)) for name in FLOORS for run in own), *subjects]


def check_same_ground(subjects: list[Subject]) -> None:
    """One task, the same voxels and units for every method, and no case twice under one name.

    Raises:
        RecipeError: it is not so, or there is nothing.
    """
    if not subjects:
        raise RecipeError("name at least one run")
    tasks = {(s.run.recipe.data.sources, s.run.recipe.data.targets) for s in subjects}
    if len(tasks) > 1:
        raise RecipeError(f"the runs have different tasks ({sorted(tasks)}); compare runs of one task")
    folds: dict[str, Subject] = {}
    for subject in subjects:
        first = folds.setdefault(subject.label, subject)
        if _kind(subject.run) != _kind(first.run):
            raise RecipeError(
                f"{subject.run.folder}: is no fold of {first.run.folder}, which is called {subject.label}, too: "
                "another method, or trained on data that were moved otherwise; give each its own NAME=FOLDER"
            )
    cases: dict[str, tuple[Subject, PreparedCase]] = {}
    seen: set[tuple[str, str]] = set()
    for subject in subjects:
        for name in subject.run.split.test:
            if (subject.label, name) in seen:
                raise RecipeError(
                    f"{subject.run.folder}: {name} is a test case of another run called {subject.label}, too; "
                    "runs of one name are folds of one recipe: give each recipe its own NAME=FOLDER"
                )
            seen.add((subject.label, name))
            case = subject.run.dataset.case(name)
            other, known = cases.setdefault(name, (subject, case))
            target = subject.run.recipe.data.targets[0]
            if not known.grid.same_as(case.grid) or known.fits[target].kind != case.fits[target].kind:
                raise RecipeError(
                    f"{subject.run.folder}: {name} was prepared otherwise than in {other.run.folder} "
                    "(another grid or other intensities); compare runs on the same prepared data"
                )

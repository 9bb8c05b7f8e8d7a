"""Run: a frozen recipe in a folder, with its record of how and on what it was made.

::

    run.json            the resolved recipe, its hash, the split, versions and machine
    log.jsonl           loss terms and validation scores by step
    last/               the checkpoint that --resume goes on from
    model/              the best model so far
    evaluation.csv      every case, method and metric;  evaluation.json  the summary
    predictions/        what was judged, one folder a method;  report.json  what the report shows
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transmodal import progress, registry
from transmodal.data.files import check_folder, clear_leftovers, read_json, write_json
from transmodal.data.prepare import prepare
from transmodal.data.prepared import PreparedCase, PreparedDataset, is_prepared
from transmodal.data.record import as_written, fields_of
from transmodal.data.splits import Split
from transmodal.errors import InputError, RecipeError, Refused
from transmodal.machine import environment
from transmodal.recipe import Recipe, make_recipe
from transmodal.schema import coerce, make

_NAMED = 5
"""How many cases a sentence names."""
FORMAT = "transmodal-run-1"
_KINDS = {"name": str, "recipe": Mapping[str, Any], "split": Mapping[str, Any], "halves": tuple[str, ...]}
WRITTEN = ("run.json", "log.jsonl", "tensorboard", "last", "model", "predictions", "evaluation.csv",
           "evaluation.json", "report.json", "report.html",
           "lesions.csv", "lesions.json", "lesions.md", "lesions.html")  # fmt: skip
"""What a run writes into its folder, besides ``prepared/``, which a new run with the same data uses again."""


@dataclass(frozen=True)
class Run:
    """A recipe with a folder and its data.

    Attributes:
        folder: where everything is written.
        recipe: what is run.
        dataset: the prepared cases.
        split: which of them train, validate and test; all have every modality that is judged.
        halves: further cases to train on, with sources or targets only: for methods that learn without pairs.
    """

    folder: Path
    recipe: Recipe
    dataset: PreparedDataset
    split: Split
    halves: tuple[str, ...] = ()


def start(recipe: Recipe, folder: Path, *, resume: bool = False, force: bool = False, workers: int = 1) -> Run:
    """Make (or go back to) a run's folder, prepare its data if they are raw, and write ``run.json``.

    A run that was refused before its first step leaves its record and its data, and is no obstacle to the next.

    Raises:
        Refused: the folder holds another run and neither ``resume`` nor ``force`` is given.
        InputError: no data, a modality that no case has, nothing to resume.
        RecipeError: ``data.path`` is not given, or another recipe or other data are resumed.
    """
    check_folder(folder)
    record = folder / "run.json"
    if resume:
        _check_same(record, recipe)
    elif not force and not _is_untrained(folder):
        raise Refused(f"{folder}: is not empty; give --resume to go on, --force to replace it, or another --out")
    clear_leftovers(folder)
    if not resume:
        _clear(folder)
    dataset = _dataset(recipe, folder, workers)
    data = dataset.digest()
    if resume:
        _check_same_data(record, dataset, data)
    cases = [dataset.case(name) for name in dataset.names]
    usable = [case for case in cases if _is_usable(case, recipe)]
    if not usable:
        needed = {*recipe.data.targets, *(() if _handles_missing(recipe) else recipe.data.sources)}
        found = sorted({m for case in cases for m in case.modalities})
        raise InputError(
            f"{dataset.path}: no case has all of {', '.join(sorted(needed))} and a source; "
            f"it holds {', '.join(found)}"
        )
    for sentence in _lacking(cases, usable, recipe):
        progress.say(sentence)
    split = dataset.split(recipe.data.fold, recipe.data.folds, only=[case.name for case in usable])
    halves = () if registry.get(recipe.method).facts.paired else _halves(recipe, cases, split)
    write_json(record, _record(recipe, data, split, halves))
    return Run(folder, recipe, dataset, split, halves)


def open_run(folder: Path) -> Run:
    """A run that was made before, as its record says.

    Raises:
        InputError: no run, or its prepared data are gone.
    """
    record = folder / "run.json"
    if not record.exists():
        raise InputError(f"{folder}: holds no run (no run.json); give a folder that `transmodal train` wrote")
    with as_written(record, "train it again"):
        known = fields_of({"halves": [], **read_json(record)}, _KINDS, "run")
        recipe = make_recipe(known["recipe"], known["name"])
        split = make(Split, known["split"], "run.split")
        path = Path(recipe.data.path)
        prepared = is_prepared(path)
    dataset = PreparedDataset.open(path if prepared else folder / "prepared")
    return Run(folder, recipe, dataset, split, known["halves"])


def record_of(path: Path) -> dict[str, Any]:
    """What a ``run.json`` holds; nothing where there is none.

    Raises:
        InputError: it is not an object.
    """
    with as_written(path, "train it again"):
        return dict(coerce(read_json(path), Mapping[str, Any], "run")) if path.exists() else {}


def _is_usable(case: PreparedCase, recipe: Recipe) -> bool:
    """Whether a case has all targets, and all sources; one is enough for a method that handles missing ones."""
    there, sources = set(case.modalities), set(recipe.data.sources)
    seen = there & sources if _handles_missing(recipe) else sources <= there
    return bool(seen) and set(recipe.data.targets) <= there


def _lacking(cases: Sequence[PreparedCase], usable: Sequence[PreparedCase], recipe: Recipe) -> list[str]:
    """Which cases are left out, or used without a source, and for want of what."""
    wanted = (*recipe.data.sources, *recipe.data.targets)
    lacks = {case.name: [name for name in wanted if name not in case.modalities] for case in cases}
    names = {case.name for case in usable}
    found = []
    for words, some in (
        ("are left out", [name for name in lacks if name not in names]),
        ("are used without a source", [name for name in lacks if name in names and lacks[name]]),
    ):
        if some:
            each = ", ".join(f"{name} lacks {' and '.join(lacks[name])}" for name in some[:_NAMED])
            more = f" and {len(some) - _NAMED} more" if len(some) > _NAMED else ""
            found.append(f"{len(some)} of {len(cases)} cases {words}: {each}{more}")
    return found


def _halves(recipe: Recipe, cases: Sequence[PreparedCase], split: Split) -> tuple[str, ...]:
    """Cases that have all sources or all targets but not both, of nobody who is held out."""
    complete = {*split.train, *split.val, *split.test}
    held_out = {case.subject for case in cases if case.name in (*split.val, *split.test)}
    either = (set(recipe.data.sources), set(recipe.data.targets))
    return tuple(
        case.name
        for case in cases
        if case.name not in complete
        and case.subject not in held_out
        and any(names <= set(case.modalities) for names in either)
    )


def _is_untrained(folder: Path) -> bool:
    """Whether nothing lies in a folder, or only what a run writes before it trains."""
    there = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if "run.json" not in there:
        return not there
    with suppress(InputError):
        return there <= {"run.json", "prepared"} and record_of(folder / "run.json").get("format") == FORMAT
    return False


def _clear(folder: Path) -> None:
    """Remove what an earlier run left; nothing else that may lie in the folder.

    Raises:
        Refused: what has the name of a run's parts is not a run's.
    """
    there = [path for name in WRITTEN if (path := folder / name).exists() or path.is_symlink()]
    if there and not (folder / "run.json").exists():
        raise Refused(
            f"{there[0]}: is in the way, and its folder holds no run for --force to replace; give another --out"
        )
    # The record last: as long as it is there, what is left of a run can be told from other people's files.
    for path in sorted(there, key=lambda path: path.name == "run.json"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _check_same(record: Path, recipe: Recipe) -> None:
    if not record.exists():
        if (record.parent / "prepared").is_dir():
            return  # It was stopped while it prepared its data, before there was a record.
        raise InputError(f"{record.parent}: holds no run to resume; start without --resume")
    known = record_of(record).get("hash")
    if known != recipe.hash:
        raise RecipeError(
            f"{record}: the run was started with another recipe (hash {known}, now {recipe.hash}); "
            "resume with the same recipe and words"
        )


def _check_same_data(record: Path, dataset: PreparedDataset, data: str) -> None:
    known = record_of(record).get("data")
    if known is not None and known != data:
        raise RecipeError(
            f"{record}: the run was started on other data (digest {known}, now {data} of {dataset.path}): scans "
            "were added, corrected or prepared in another way; resume with the same data, or give --force"
        )


def _dataset(recipe: Recipe, folder: Path, workers: int) -> PreparedDataset:
    if not recipe.data.path:
        raise RecipeError("data.path is not set; add data.path=FOLDER_OR_TABLE after the recipe")
    path = Path(recipe.data.path)
    if is_prepared(path):
        return PreparedDataset.open(path)
    return prepare(path, folder / "prepared", recipe.prepare_settings, workers=workers)


def _handles_missing(recipe: Recipe) -> bool:
    return bool(registry.get(recipe.method).facts.handles_missing)


def _record(recipe: Recipe, data: str, split: Split, halves: tuple[str, ...]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "name": recipe.name,
        "hash": recipe.hash,
        "data": data,
        "recipe": recipe.to_dict(),
        "split": asdict(split),
        "halves": list(halves),
        "environment": environment(),
    }

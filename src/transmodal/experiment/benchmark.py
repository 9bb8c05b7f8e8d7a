"""The verb ``benchmark``: a suite's recipes, folds and seeds under one budget, ending in a comparison.

::

    prepared/        the scans, once for all
    budget.json      steps of every contender, and the seconds of a step that they were laid out from
    runs/            one run for each contender, fold and seed
    comparison.*     what ``compare`` says of them
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from transmodal import progress
from transmodal.data.claim import claimed
from transmodal.data.prepare import prepare
from transmodal.data.prepared import PreparedDataset, is_prepared
from transmodal.errors import InputError, PartialFailure, RecipeError, TransmodalError
from transmodal.experiment.budget import within_minutes
from transmodal.experiment.compare import compare
from transmodal.experiment.run import record_of
from transmodal.experiment.suite import Suite, common_preparation, entrants, load_suite, recipes
from transmodal.experiment.train import train
from transmodal.recipe import Recipe


def benchmark(
    suite: Path | str,
    out: Path | str,
    words: Sequence[str] = (),
    *,
    device: str = "auto",
    workers: int = 1,
) -> str:
    """Train and judge everything of a suite that is not finished yet, and compare.

    Run again after an interruption, it goes on where it was. A changed recipe is trained again, and so
    is everything on other data (scans that were added or corrected, too). A run that fails does not stop the
    others.

    Args:
        suite: a TOML file, see :class:`~.suite.Suite`.
        out: folder; see the module.
        words: ``key=value`` words over the suite.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        workers: processes that prepare raw data.

    Returns:
        The Markdown of the comparison.

    Raises:
        InputError: no suite, recipe or data.
        RecipeError: a suite that cannot be fair: other tasks, folds or preparation.
        PartialFailure: some runs failed; the others are compared.
        Refused: another process is working in ``out``.
    """
    suite, out = Path(suite), Path(out)
    settings = load_suite(suite, words)
    found = recipes(settings, suite)
    with claimed(out):
        return _run(settings, found, suite, out, device, workers)


def _run(settings: Suite, found: dict[str, Recipe], suite: Path, out: Path, device: str, workers: int) -> str:
    prepared = _prepared(found, out, workers)
    found = {name: replace(own, data=replace(own.data, path=str(prepared))) for name, own in found.items()}
    data = PreparedDataset.open(prepared).digest()
    if settings.minutes:
        found = within_minutes(found, settings.minutes, out / "budget.json", device)
    jobs = entrants(found, settings.seeds)
    failures: dict[str, str] = {}
    finished: list[str] = []
    for number, job in enumerate(jobs, start=1):
        folder = out / "runs" / job.folder
        progress.say(f"{number} of {len(jobs)}: {job.folder}")
        try:
            _train(job.recipe, data, folder, device)
        except TransmodalError as problem:
            progress.warn(f"{job.folder}: {problem}")
            failures[job.folder] = str(problem)
        else:
            finished.append(f"{job.label}={folder}")
    if not finished:
        raise InputError(f"no run of {suite} could be trained; the first said: {next(iter(failures.values()))}")
    text = compare(finished, out, metric=settings.metric or None, margin=settings.margin or None)
    if failures:
        raise PartialFailure(f"{len(failures)} of {len(jobs)} runs failed; the others are compared", failures)
    return text


def _prepared(found: Mapping[str, Recipe], out: Path, workers: int) -> Path:
    paths = {recipe.data.path for recipe in found.values()}
    if len(paths) > 1 or not (data := paths.pop()):
        raise RecipeError("suite: say data = FOLDER_OR_TABLE once, for all recipes")
    settings = common_preparation(dict(found))
    if is_prepared(Path(data)):
        return Path(data)
    return prepare(Path(data), out / "prepared", settings, workers=workers).path


def _train(recipe: Recipe, data: str, folder: Path, device: str) -> None:
    record = folder / "run.json"
    known = record_of(record)
    # A run of before digests were kept does not say what it is of, and counts as one of these data.
    same = known.get("hash") == recipe.hash and known.get("data", data) == data
    if same and (folder / "evaluation.json").exists():
        return
    begun = same and (folder / "last").exists()
    train(recipe, folder, device=device, resume=begun, force=not begun)

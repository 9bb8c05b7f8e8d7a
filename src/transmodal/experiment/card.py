"""The verb ``card``: the model card of a judged run, with what was measured on people that it never saw."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from transmodal import progress
from transmodal.data.files import read_json, write_text
from transmodal.data.modality import modality
from transmodal.data.record import as_written, fields_of
from transmodal.errors import InputError, RecipeError
from transmodal.evaluation.evaluate import evaluate
from transmodal.evaluation.passport import Passport, read_passports
from transmodal.evaluation.subsets import subsets
from transmodal.experiment.compare import rank
from transmodal.experiment.entries import Entry, open_entry
from transmodal.experiment.run import Run, open_run
from transmodal.reporting.card import Card, card_markdown
from transmodal.schema import coerce


def card(folders: Sequence[Path | str], *, passport: bool = True) -> Path:
    """Write ``model/README.md`` of the first run.

    Args:
        folders: a judged run, then runs of the same recipe with other folds or seeds: their held-out people tell
            what to expect of the recipe, where the first alone tells it from a few.
        passport: whether kept predictions are scored under every convention; written to ``passport/`` of each run
            and read from there the next time.

    Returns:
        The card.

    Raises:
        InputError: no judged run, or no model in the first one.
        RecipeError: runs of different recipes.
    """
    if not folders:
        raise RecipeError("name a run that `transmodal train` finished")
    entries = [open_entry(str(folder)) for folder in folders]
    if names := sorted({entry.name for entry in entries} - {entries[0].name}):
        raise RecipeError(
            f"{entries[0].folder} is of {entries[0].name}, others are of {', '.join(names)}: a card is of one "
            "recipe; use `transmodal compare` for several"
        )
    lead = entries[0]
    record = lead.folder / "model" / "model.json"
    if not record.is_file():
        raise InputError(f"{lead.folder}: holds no model; give a run that `transmodal train` finished")
    runs = [open_run(entry.folder) for entry in entries]
    lesions = lead.folder / "lesions.json"
    facts = _read(record, "copy the model again")
    found = Card(
        facts=facts,
        run=lead.contents.run,
        name=lead.name,
        ranking=rank(entries),
        own=runs[0].split.test,
        passports=_first_of_each(p for pair in zip(entries, runs, strict=True) for p in _passports(*pair))
        if passport
        else [],
        subsets=subsets({name: run.dataset.case(name).facts for run in runs for name in run.split.test}),
        failures={case: why for entry in entries for case, why in entry.contents.failures.items()},
        lesions=_lesions(lesions),
    )
    out = lead.folder / "model" / "README.md"
    with as_written(record, "copy the model, or train it again"):
        text = card_markdown(found)
    write_text(out, text)
    return out


def _read(path: Path, remedy: str) -> Mapping[str, Any]:
    with as_written(path, remedy):
        found: Mapping[str, Any] = coerce(read_json(path), Mapping[str, Any], path.stem)
        return found


def _lesions(path: Path) -> Mapping[str, Any]:
    """What ``transmodal lesions`` found, empty where it was not asked."""
    if not path.is_file():
        return {}
    with as_written(path, "run `transmodal lesions` again"):
        return fields_of(read_json(path), {"sentences": tuple[str, ...]}, "lesions")


def with_results(folder: Path) -> None:
    """Add to the card of a run that was just judged what its tables say; without floors they say nothing."""
    try:
        card([folder], passport=False)
    except InputError as problem:
        progress.warn(f"the model card has no results: {problem}")


def _first_of_each(passports: Iterable[Passport]) -> list[Passport]:
    """One passport for each case: of several seeds the first, whose model the card is of."""
    found: dict[str, Passport] = {}
    for one in passports:
        found.setdefault(one.case, one)
    return list(found.values())


def _passports(entry: Entry, run: Run) -> list[Passport]:
    """Of every held-out case; taken again where the run was judged again since."""
    out, manifest = run.folder / "passport", entry.contents.manifest
    made = run.folder / "predictions" / entry.method
    if manifest is None or not made.is_dir():
        return []
    record = out / "passport.json"
    if record.is_file() and record.stat().st_mtime >= (run.folder / "evaluation.json").stat().st_mtime:
        with suppress(InputError):  # What is damaged is scored again, too.
            return read_passports(record)
    progress.say(f"{run.folder}: scoring under every convention")
    width = manifest.window[1] - manifest.window[0] if manifest.window is not None else None
    evaluate(
        made,
        run.folder / "predictions" / "reference",
        out=out,
        mask=run.dataset.path,
        method=entry.method,
        target=manifest.target,
        data_range=width if modality(manifest.target).window is None else None,
        passport=True,
    )
    return read_passports(record)

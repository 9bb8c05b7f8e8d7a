"""What a report can find in a folder, read tolerantly: what is not there becomes a sentence, not an error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transmodal.data.files import read_json
from transmodal.errors import InputError
from transmodal.evaluation.summary import Summary, summarise
from transmodal.evaluation.table import Row, read_rows
from transmodal.reporting.tables import FLOORS, markdown_table, order
from transmodal.training.monitor import read_log

_WITHOUT = {
    "evaluation.csv": "There is no evaluation.csv in the folder, so nothing is said about quality.",
    "log.jsonl": "There is no log.jsonl in the folder, so there are no training curves.",
    "run.json": "There is no run.json in the folder, so recipe, versions and Methods text are left out.",
    "report.json": "There is no report.json in the folder, so no images are shown.",
}


@dataclass(frozen=True)
class Shown:
    """The files of one case, as the manifest names them.

    Attributes:
        case: its name.
        reference: the measured volume, or None.
        mask: where voxels count, or None.
        sources: modality → file.
        predictions: method → file.
    """

    case: str
    reference: Path | None
    mask: Path | None
    sources: Mapping[str, Path]
    predictions: Mapping[str, Path]


@dataclass(frozen=True)
class Manifest:
    """What ``report.json`` says.

    Attributes:
        title: of the report.
        target: name of the modality that was made.
        unit: of the volumes.
        window: values drawn black and white in every picture, or None.
        cases: files by case.
    """

    title: str
    target: str
    unit: str
    window: tuple[float, float] | None
    cases: Sequence[Shown]


@dataclass(frozen=True)
class Contents:
    """Everything that was found.

    Attributes:
        folder: where.
        rows: of ``evaluation.csv``.
        summaries: of the rows.
        log: lines of ``log.jsonl``.
        run: ``run.json``.
        evaluation: ``evaluation.json``.
        manifest: ``report.json``.
        absent: a sentence for each thing that is not there.
    """

    folder: Path
    rows: list[Row]
    summaries: list[Summary]
    log: list[dict[str, Any]]
    run: dict[str, Any]
    evaluation: dict[str, Any]
    manifest: Manifest | None
    absent: list[str] = field(default_factory=list)

    @property
    def methods(self) -> tuple[str, ...]:
        """Of the evaluation, floors first."""
        return order([row.method for row in self.rows])

    @property
    def failures(self) -> dict[str, str]:
        """Case → why it could not be evaluated."""
        found = self.evaluation.get("failures") or table(self.evaluation, "settings").get("failures") or {}
        if isinstance(found, Mapping):
            return {str(case): str(why) for case, why in found.items()}
        return {f"case {number}": str(why) for number, why in enumerate(found, start=1)}

    @property
    def warnings(self) -> list[str]:
        """What the run or the evaluation wanted its reader to know."""
        found = [w for part in (self.run, self.evaluation) for w in part.get("warnings") or []]
        left = table(self.evaluation, "settings").get("without_prediction") or []
        if left:
            found.append(f"{len(left)} reference(s) without a prediction were not evaluated: {few(left)}.")
        return [*(str(warning) for warning in found), *self.random]

    @property
    def random(self) -> list[str]:
        """A sentence for each frozen network of the run whose weights nobody has trained."""
        found = table(self.evaluation, "settings").get("pretrained")
        said = found if isinstance(found, list) else []
        return [f"{sentence}." for sentence in said if "RANDOM weights" in str(sentence)]

    @property
    def scores(self) -> str:
        """The table of the evaluation as Markdown, with what its reader must know below it."""
        return markdown_table(self.summaries) + "".join(f"\n{sentence}\n" for sentence in self.random)


def read_folder(folder: Path) -> Contents:
    """Read a run's or an evaluation's folder; no image is opened.

    Raises:
        InputError: no such folder, neither ``evaluation.csv`` nor ``log.jsonl`` in it, or a damaged file.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; give one that train or evaluate wrote")
    here = {name for name in (*_WITHOUT, "evaluation.json") if (folder / name).is_file()}
    if not here & {"evaluation.csv", "log.jsonl"}:
        raise InputError(
            f"{folder}: holds neither evaluation.csv nor log.jsonl, so there is nothing to report; "
            "give a folder that `transmodal train` or `transmodal evaluate` wrote"
        )
    rows = read_rows(folder / "evaluation.csv") if "evaluation.csv" in here else []
    evaluation = _object(folder / "evaluation.json")
    return Contents(
        folder,
        rows=rows,
        summaries=summarise(rows, subjects_of(evaluation)),
        log=read_log(folder / "log.jsonl"),
        run=_object(folder / "run.json"),
        evaluation=evaluation,
        manifest=_manifest(folder / "report.json") if "report.json" in here else None,
        absent=[sentence for name, sentence in _WITHOUT.items() if name not in here],
    )


def subjects_of(evaluation: Mapping[str, Any]) -> dict[str, str]:
    """Case → subject, of the subjects with several cases, as ``evaluation.json`` tells."""
    return {str(case): str(subject) for case, subject in table(evaluation, "settings", "subjects").items()}


def main_method(contents: Contents) -> str | None:
    """The method that the run is about: the recipe's, else the first that is not a floor, else the first."""
    named = table(contents.run, "recipe", "method").get("name")
    others = [m for m in contents.methods if m not in FLOORS]
    return named if named in contents.methods else next(iter([*others, *contents.methods]), None)


def table(facts: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """A table inside a table; an empty one where there is none."""
    found: Any = facts
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def few(names: Sequence[Any], most: int = 8) -> str:
    """Names with commas; the number of the others where there are many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(str(name) for name in names[:most]) + more


def _object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    found = read_json(path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: holds a {type(found).__name__}, not an object; it was changed by hand")
    return found


def _manifest(path: Path) -> Manifest:
    facts = _object(path)
    try:
        window = facts.get("window")
        return Manifest(
            title=str(facts.get("title") or "Evaluation"),
            target=str(facts.get("target") or "reference"),
            unit=str(facts.get("unit") or ""),
            window=None if window is None else _window(window),
            cases=[_shown(path.parent, entry) for entry in facts.get("cases") or []],
        )
    except (AttributeError, ArithmeticError, LookupError, TypeError, ValueError) as problem:
        raise InputError(
            f"{path}: is not a report's manifest ({type(problem).__name__}: {problem}); evaluate again to renew it"
        ) from problem


def _window(window: Any) -> tuple[float, float]:
    low, high = (float(value) for value in window)
    if not low < high:
        raise ValueError(f"window {window} has no width")
    return low, high


def _shown(folder: Path, entry: Mapping[str, Any]) -> Shown:
    def files(key: str) -> dict[str, Path]:
        return {str(name): folder / place for name, place in (entry.get(key) or {}).items() if place}

    def file(key: str) -> Path | None:
        return folder / entry[key] if entry.get(key) else None

    return Shown(str(entry["case"]), file("reference"), file("mask"), files("sources"), files("predictions"))

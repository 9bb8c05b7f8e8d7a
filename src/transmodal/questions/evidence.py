"""Evidence: the files that a question about synthetic volumes is put to, whoever made them.

Either two folders of volumes, synthetic and measured, or folders that ``train`` or ``evaluate`` judged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transmodal.data.layout import find_cases, read_table
from transmodal.data.modality import modality
from transmodal.data.prepared import PreparedCase, is_prepared
from transmodal.errors import InputError, RecipeError, nearest
from transmodal.evaluation.pairs import Pair, find_pairs, label_maps
from transmodal.evaluation.people import shared
from transmodal.experiment.entries import Entry, open_entry
from transmodal.reporting.folder import Shown, subjects_of

_TABLES = (".tsv", ".csv")
_PEOPLE = ("case", "participant_id", "subject")


@dataclass(frozen=True)
class Evidence:
    """What there is to look at.

    Attributes:
        methods: name of a method → its cases.
        target: the modality that was made.
        unit: of the volumes.
        facts: case → columns of the table that the cases come from, as far as it is known.
        failures: what cannot be looked at, in sentences.
        subjects: case → subject, of the subjects that have several cases.
    """

    methods: Mapping[str, Sequence[Pair]]
    target: str
    unit: str
    facts: Mapping[str, Mapping[str, str]]
    failures: tuple[str, ...] = ()
    subjects: Mapping[str, str] = field(default_factory=dict)


def gather(
    words: Sequence[str],
    *,
    labels: Path | None = None,
    mask: Path | None = None,
    target: str | None = None,
) -> Evidence:
    """Find the files.

    Args:
        words: ``PREDICTIONS REFERENCES``, as :func:`transmodal.evaluation.evaluate` takes them; or folders that
            ``train`` or ``evaluate`` wrote, or NAME=FOLDER, of which those with one name are folds of one method.
        labels: label maps on the grid of the references; None for those of the dataset.
        mask: where voxels count; only for two folders of volumes.
        target: the modality; only for two folders of volumes.

    Raises:
        InputError: nothing there.
        RecipeError: words that are neither, one case twice, different targets.
    """
    judged = [(_folder(word) / "report.json").is_file() for word in words]
    if not any(judged) and len(words) == 2:
        return _of_two(Path(words[0]), Path(words[1]), labels, mask, target)
    if not words or not all(judged):
        strange = next((word for word, known in zip(words, judged, strict=True) if not known), "nothing")
        raise RecipeError(
            f"{strange}: give two folders of volumes (PREDICTIONS REFERENCES), or folders that `transmodal train` "
            "or `transmodal evaluate` wrote and that keep their volumes (report.json)"
        )
    if mask is not None or target is not None:
        raise RecipeError("--mask and --target are for two folders of volumes; a judged folder knows its own")
    return _of_judged([open_entry(word) for word in words], labels)


def column_of(evidence: Evidence, name: str, table: Path | None) -> dict[str, str]:
    """Case → what a table says of it.

    Args:
        evidence: whose cases; their own table is asked where none is given.
        name: of the column.
        table: a TSV or CSV with the column and one that names the case.

    Raises:
        InputError: no such column.
    """
    known: Mapping[str, Mapping[str, str]] = evidence.facts
    if table is not None:
        rows = read_table(table)
        key = next((column for column in _PEOPLE if column in rows[0]), None)
        if key is None:
            raise InputError(f"{table}: has none of the columns {', '.join(_PEOPLE)}, so its rows have no names")
        known = {row[key]: row for row in rows}
    columns = list(dict.fromkeys(column for row in known.values() for column in row))
    if name not in columns:
        where = "the table of the dataset" if table is None else f"{table}"
        there = nearest(name, columns) if columns else "; it has none"
        raise InputError(f"{where}: has no column {name!r}{there}; name another with --group or --table")
    return {case: row.get(name, "") for case, row in known.items()}


def _folder(word: str) -> Path:
    name, equals, path = word.partition("=")
    return Path(path) if equals and "/" not in name and not Path(word).exists() else Path(word)


def _of_two(made: Path, measured: Path, labels: Path | None, mask: Path | None, target: str | None) -> Evidence:
    found = find_pairs(made, measured, mask, target, labels)
    if not found.pairs:
        raise InputError("; ".join(list(found.failures.values())[:3]))
    facts = {}
    if measured.suffix in _TABLES or (measured.is_dir() and (measured / "cases.tsv").is_file()):
        facts = {case.name: case.facts for case in find_cases(measured)}
    elif is_prepared(measured):
        facts = {pair.case: PreparedCase.open(pair.reference.parent).facts for pair in found.pairs}
    unit = modality(target).unit if target is not None else "a.u."
    methods = {"prediction": found.pairs}
    return Evidence(methods, target or "reference", unit, facts, tuple(found.failures.values()), _people(methods))


def _of_judged(entries: Sequence[Entry], labels: Path | None) -> Evidence:
    manifests = {entry.folder: entry.contents.manifest for entry in entries}
    kinds = {(manifest.target, manifest.unit) for manifest in manifests.values() if manifest is not None}
    if len(kinds) > 1:
        listed = ", ".join(f"{target} ({unit})" for target, unit in sorted(kinds))
        raise RecipeError(f"the folders judged different targets: {listed}; ask about one at a time")
    methods: dict[str, dict[str, Pair]] = {}
    facts: dict[str, Mapping[str, str]] = {}
    for entry in entries:
        manifest = manifests[entry.folder]
        cases = [] if manifest is None else manifest.cases
        told = subjects_of(entry.contents.evaluation)
        maps = {} if labels is None else label_maps(labels, {shown.case for shown in cases})
        for shown in cases:
            prepared = _prepared(shown)
            person = told.get(shown.case) or (shown.case if prepared is None else prepared.subject)
            facts[shown.case] = {} if prepared is None else prepared.facts
            own = maps.get(shown.case) if labels is not None else _labels(prepared)
            for method, path in shown.predictions.items():
                known = methods.setdefault(entry.named(method), {})
                if shown.case in known and method == entry.method:
                    raise RecipeError(
                        f"{entry.folder}: {shown.case} was judged in another folder called {entry.name}, too; "
                        "folds have other cases, and seeds need names of their own: NAME=FOLDER"
                    )
                if shown.reference is not None:
                    pair = Pair(shown.case, path, shown.reference, shown.mask, shown.sources, own, person)
                    known.setdefault(shown.case, pair)
    target, unit = next(iter(kinds))
    known_pairs = {name: list(own.values()) for name, own in methods.items()}
    return Evidence(known_pairs, target, unit, facts, subjects=_people(known_pairs))


def _people(methods: Mapping[str, Sequence[Pair]]) -> dict[str, str]:
    return shared({pair.case: pair.subject or pair.case for pairs in methods.values() for pair in pairs})


def _prepared(shown: Shown) -> PreparedCase | None:
    """The prepared case that a run judged; None for somebody else's files."""
    folder = None if shown.mask is None else shown.mask.parent
    return PreparedCase.open(folder) if folder is not None and (folder / "case.json").is_file() else None


def _labels(prepared: PreparedCase | None) -> Path | None:
    return prepared.file("labels") if prepared is not None and prepared.labels() is not None else None

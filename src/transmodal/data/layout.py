"""Layout: which files belong to which case. A table, one folder per case, a challenge's or BIDS-like names."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from transmodal.data import bids
from transmodal.data.challenges import challenge_cases
from transmodal.data.files import natural
from transmodal.data.limits import MOST_TEXT, read_whole
from transmodal.data.modality import unusable
from transmodal.data.names import can_be_file
from transmodal.data.stacks import SIDECAR, is_stack, sidecar
from transmodal.data.volume import READABLE, is_series, stem
from transmodal.errors import InputError, nearest
from transmodal.progress import warn

SPLITS = ("train", "val", "test")
_TABLES = ("cases.tsv", "cases.csv")
_RESERVED = ("case", "subject", "mask", "labels", "split")
_NOTHING = ("", "n/a", "N/A")
_DERIVED, _NOT_DATA = "derivatives", ("sourcedata", "code")
_SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")
_DRAWN = re.compile(r"labels?|lesions?|masks?|seg|dseg|segmentation|.*_(labels?|mask|seg|dseg)", re.IGNORECASE)
_HOW = (
    "give a table with a column 'case' and one column per modality, "
    "or a folder with one sub-folder per case, or BIDS-like names (sub-01_T1w.nii.gz)"
)


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case; nothing is read yet.

    Attributes:
        name: the case, unique in its dataset; a safe folder name.
        subject: the person; a person's cases stay in one part of a split.
        images: modality → file.
        mask: where voxels count, if given.
        labels: a label map, if given.
        split: ``train``, ``val`` or ``test``, if given.
        facts: the table's other columns (age, site).
    """

    name: str
    subject: str
    images: dict[str, Path]
    mask: Path | None = None
    labels: Path | None = None
    split: str | None = None
    facts: dict[str, str] = field(default_factory=dict)


def find_cases(dataset: Path, entities: Sequence[str] = ()) -> list[CaseFiles]:
    """The cases of a dataset, in natural order of their names (2 before 10).

    Args:
        dataset: a table (``.tsv`` or ``.csv``), or a folder: with ``cases.tsv`` or ``cases.csv``, else as
            SynthRAD2023 and BraTS are laid out (:mod:`.challenges`), else with one sub-folder per case, else with
            BIDS names anywhere below.
        entities: of BIDS names, such as ``run-1``: which file to take where several are one modality of a case.

    Raises:
        InputError: missing, empty, or contradictory; the message names the row or the file.
    """
    dataset = Path(dataset)
    if not dataset.exists():
        raise InputError(f"{dataset}: there is no such file or folder; check the path")
    if dataset.is_file():
        if dataset.suffix.lower() not in (".tsv", ".csv"):
            raise InputError(f"{dataset}: is not a table (.tsv or .csv) or a folder; {_HOW}")
        return _checked(_from_table(dataset), dataset)
    for table in _TABLES:
        if (dataset / table).is_file():
            return _checked(_from_table(dataset / table), dataset / table)
    raw, derived = _images_below(dataset)
    if not raw:
        raise InputError(f"{dataset}: no NIfTI, NRRD, MetaImage or DICOM file was found in it; {_HOW}")
    cases = _from_challenge(raw) or _from_folders(dataset, raw) or _from_names(dataset, raw, derived, entities)
    return _checked(cases, dataset)


def is_drawn(column: str) -> bool:
    """Whether a column holds drawn regions (labels, lesions, a mask), which are no modality unless asked for."""
    return _DRAWN.fullmatch(column) is not None


def _is_image(cell: str, folder: Path) -> bool:
    """Whether a cell names a volume's file, or a folder that is one volume."""
    return cell.lower().endswith(READABLE) or (bool(cell) and is_series(folder / cell))


def _images_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """All volumes below without hidden ones, and those of them that BIDS calls derivatives."""
    raw: list[Path] = []
    derived: list[Path] = []
    for path in _below(folder, {folder.resolve()}):
        parts = path.relative_to(folder).parts
        if parts[0] in _NOT_DATA:
            continue
        if len(parts) == 2 and is_stack(path) and sidecar(path) is None:
            warn(f"{path}: PNG files without a {SIDECAR} are passed over")
        elif (path.name.lower().endswith(READABLE) and path.is_file()) or (len(parts) == 2 and is_series(path)):
            (derived if parts[0] == _DERIVED else raw).append(path)
    return sorted(raw), sorted(derived)


def _below(folder: Path, known: set[Path]) -> Iterator[Path]:
    """Everything below that is not hidden, in linked folders too; a folder that was read already is not again."""
    try:
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as problem:
        raise InputError(f"{folder}: cannot be read ({problem.strerror}); check its permissions") from problem
    # What lies here before what is linked here, which may be the same.
    for path in sorted(inside, key=Path.is_symlink):
        yield path
        if not path.is_dir():
            continue
        real = path.resolve()
        if real in known:
            warn(f"{path}: leads to a folder that is read already, and is passed over")
        else:
            known.add(real)
            yield from _below(path, known)


def _from_table(table: Path) -> list[CaseFiles]:
    rows = read_table(table)
    columns = list(rows[0]) if rows else []
    if "case" not in columns:
        raise InputError(f"{table}: has no column 'case' (columns: {', '.join(columns) or 'none'}); {_HOW}")
    modalities = [
        c for c in columns if c not in _RESERVED and any(_is_image(row[c], table.parent) for row in rows)
    ]
    if not modalities:
        raise InputError(f"{table}: no column holds volumes (.nii.gz, .nii, .nrrd, .mha, a DICOM folder); {_HOW}")
    return [_from_row(table, row, modalities) for row in rows]


def read_table(table: Path) -> list[dict[str, str]]:
    """The rows of a TSV or CSV as text, stripped; cells that say nothing are empty.

    Raises:
        InputError: no text, no rows, two columns of one name.
    """
    try:
        text = read_whole(table, MOST_TEXT).decode("utf-8-sig")
        delimiter = _delimiter(text.split("\n", 1)[0])
        lines = [
            line for line in csv.reader(text.splitlines(), delimiter=delimiter) if any(c.strip() for c in line)
        ]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise InputError(f"{table}: cannot be read as a table ({problem}); save it as UTF-8 text") from problem
    if len(lines) < 2:
        raise InputError(f"{table}: has no rows; {_HOW}")
    header = [c.strip() for c in lines[0]]
    if len(set(header)) < len(header):
        raise InputError(f"{table}: two columns have the same name ({', '.join(header)}); rename one")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if len(line) > len(header):
            raise InputError(f"{table}, row {number}: has {len(line)} cells where the header has {len(header)}")
        cells = [c.strip() for c in line] + [""] * (len(header) - len(line))
        rows.append({k: "" if c in _NOTHING else c for k, c in zip(header, cells, strict=True)})
    return rows


def _delimiter(head: str) -> str:
    return "\t" if "\t" in head else ";" if ";" in head and "," not in head else ","


def _from_row(table: Path, row: dict[str, str], modalities: list[str]) -> CaseFiles:
    name = row["case"]
    paths: dict[str, Path] = {}
    for column in [*modalities, "mask", "labels"]:
        cell = row.get(column, "")
        if not cell:
            continue
        path = table.parent / cell
        if not _is_image(cell, table.parent) or not path.exists():
            raise InputError(f"{table}, case {name}, column {column}: {cell!r} is not an existing volume")
        paths[column] = path
    facts = {k: v for k, v in row.items() if v and k not in _RESERVED and k not in modalities}
    images = {m: paths[m] for m in modalities if m in paths}
    subject = row.get("subject") or subject_of(name)
    return CaseFiles(
        name, subject, images, paths.get("mask"), paths.get("labels"), row.get("split") or None, facts
    )


def _from_challenge(files: list[Path]) -> list[CaseFiles]:
    return [
        replace(_case(name, entry.subject, entry.images), facts=dict(entry.facts))
        for name, entry in challenge_cases(files).items()
    ]


def _from_folders(dataset: Path, files: list[Path]) -> list[CaseFiles]:
    """One sub-folder per case with ``<modality>.nii.gz``; empty if the files are not laid out so."""
    cases: dict[str, dict[str, Path]] = {}
    for path in files:
        if path.parent.parent != dataset or bids.parse(stem(path)):
            continue
        images = cases.setdefault(path.parent.name, {})
        _claim(images, stem(path), path)
    return [_case(name, subject_of(name), images) for name, images in cases.items()]


def _from_names(dataset: Path, raw: list[Path], derived: list[Path], entities: Sequence[str]) -> list[CaseFiles]:
    """BIDS names; what ``participants.tsv`` says of a person are facts of its cases."""
    found = bids.choose(raw, derived, entities)
    if not found:
        raise InputError(f"{dataset}: the names of its files (such as {raw[0].name}) say no case; {_HOW}")
    people = dataset / "participants.tsv"
    told = people.is_file() and read_whole(people, MOST_TEXT).decode("utf-8-sig", "replace").strip().count("\n")
    known = {row.get("participant_id", ""): row for row in read_table(people)} if told else {}
    cases = [_case(name, subject_of(name), images) for name, images in found.items()]
    return [
        replace(case, facts={k: v for k, v in known.get(case.subject, {}).items() if v and k != "participant_id"})
        for case in cases
    ]


def _claim(images: dict[str, Path], modality: str, path: Path) -> None:
    if modality in images:
        raise InputError(
            f"{path}: {images[modality].name} is also {modality} of this case; "
            "list the files to use in a cases.tsv"
        )
    images[modality] = path


def _case(name: str, subject: str, images: dict[str, Path]) -> CaseFiles:
    mask = images.pop("mask", None)
    labels = images.pop("labels", None) or images.pop("dseg", None)
    return CaseFiles(name, subject, images, mask, labels)


def subject_of(name: str) -> str:
    """The person that a case of this name is of: ``sub-01`` of ``sub-01_ses-1``, else the name itself."""
    match = _SUBJECT.match(name)
    return match.group() if match else name


def _checked(cases: list[CaseFiles], where: Path) -> list[CaseFiles]:
    seen: set[str] = set()
    parts: dict[str, str | None] = {}
    for case in cases:
        name = case.name
        if not can_be_file(name):
            raise InputError(
                f"{where}: {name!r} cannot name a case, because it becomes a folder; use letters, digits, - and _"
            )
        if name in seen:
            raise InputError(f"{where}: the case {name!r} is listed twice; give each row its own name")
        seen.add(name)
        for column in case.images:
            if why := unusable(column):
                raise InputError(f"{where}, case {name}: {column!r} cannot name a modality: {why}")
        if not case.images:
            raise InputError(f"{where}, case {name}: has no image; fill in a path, or remove it")
        if case.split is not None and case.split not in SPLITS:
            raise InputError(
                f"{where}, case {name}: split {case.split!r} is not known{nearest(case.split, SPLITS)}"
            )
        if parts.setdefault(case.subject, case.split) != case.split:
            raise InputError(
                f"{where}, case {name}: subject {case.subject} is in the splits {parts[case.subject] or 'none'} "
                f"and {case.split or 'none'}; put all cases of a person in one"
            )
    if len({case.split is None for case in cases}) > 1:
        missing = next(case.name for case in cases if case.split is None)
        raise InputError(f"{where}, case {missing}: has no split, but others have; fill in the column for all")
    return sorted(cases, key=lambda case: natural(case.name))

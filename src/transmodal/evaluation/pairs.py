"""Which prediction belongs to which reference and mask: by the name of the case. No voxel is read here."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from transmodal.data import bids
from transmodal.data.layout import CaseFiles, find_cases, is_drawn, subject_of
from transmodal.data.prepared import PreparedCase, PreparedDataset, is_prepared
from transmodal.data.volume import SUFFIXES, stem
from transmodal.errors import InputError, RecipeError, nearest

_MADE = re.compile(r"(?P<case>.+?)_(?:synth-|desc-synth_)(?P<target>[^_]+)")
_MASK = re.compile(r"(?P<case>.+?)(?:_desc-[^_]+)?_mask")
_LABELS = re.compile(r"(?P<case>.+?)(?:_desc-[^_]+)?_(?:labels|seg|dseg)")
_TABLES = (".tsv", ".csv")


@dataclass(frozen=True)
class Pair:
    """What is compared for one case.

    Attributes:
        case: its name.
        prediction: the volume that was made.
        reference: the volume that was measured.
        mask: where voxels count; None for everywhere.
        sources: modality → the volumes that the prediction was made from, where they are known.
        labels: a label map; None where there is none.
        subject: the person; empty where only the case is known.
    """

    case: str
    prediction: Path
    reference: Path
    mask: Path | None = None
    sources: Mapping[str, Path] = field(default_factory=dict)
    labels: Path | None = None
    subject: str = ""


@dataclass(frozen=True)
class Matching:
    """What :func:`find_pairs` found.

    Attributes:
        pairs: what can be compared.
        failures: case → why its prediction cannot be compared.
        without_prediction: cases that have a reference and no prediction.
    """

    pairs: list[Pair]
    failures: dict[str, str]
    without_prediction: list[str]


@dataclass(frozen=True)
class _Reference:
    path: Path
    mask: Path | None = None
    sources: Mapping[str, Path] = field(default_factory=dict)
    labels: Path | None = None
    subject: str = ""


def find_pairs(
    prediction: Path, reference: Path, mask: Path | None, target: str | None, labels: Path | None = None
) -> Matching:
    """Match two files, or two folders by the names of the cases.

    Args:
        prediction: a volume, or a folder with ``<case>.nii.gz``, ``<case>_synth-<target>.nii.gz``,
            ``<case>_desc-synth_<target>.nii.gz``, ``<case>_<target>.nii.gz`` or ``<case>/`` with one volume; or
            a folder of BIDS derivatives, of which the synthetic volumes count.
        reference: a volume, a flat folder of such names, a dataset (folders of cases, raw or prepared) or a table.
        mask: one volume for all cases, a folder with ``<case>.nii.gz`` or ``<case>_mask.nii.gz``, or a
            dataset or table that names masks. None for the masks of the reference dataset, if it has any.
        target: name of the modality; chooses among several.
        labels: as ``mask``, with ``<case>_labels.nii.gz``, ``_seg`` or ``_dseg``. A case may lack them.

    Raises:
        InputError: nothing there, or a file against a folder.
        RecipeError: a dataset with several modalities and no ``target``.
    """
    for path in (prediction, reference, *(path for path in (mask, labels) if path)):
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder; check the path")
    if prediction.is_file():
        if not reference.is_file() or reference.suffix in _TABLES:
            raise InputError(
                f"{prediction} is a file and {reference} is not a volume: give two files or two folders"
            )
        case = _name(prediction, target)[0]
        known = {case: _Reference(reference)}
        return _match({case: [prediction]}, known, mask, labels, reference)
    if reference.is_file() and reference.suffix not in _TABLES:
        raise InputError(f"{prediction} is a folder and {reference} is a file: give two files or two folders")
    made = _predictions(prediction, target)
    if not made:
        raise InputError(f"{prediction}: there is no .nii or .nii.gz file of any case in this folder")
    return _match(made, _references(reference, target), mask, labels, reference)


def _match(
    made: Mapping[str, list[Path]],
    known: Mapping[str, _Reference],
    mask: Path | None,
    labels: Path | None,
    where: Path,
) -> Matching:
    masks = None if mask is None else _masks(mask, known)
    maps = {} if labels is None else label_maps(labels, known)
    people = {} if mask is None else _people(mask)
    pairs, failures = [], {}
    for case, files in made.items():
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            failures[case] = f"case {case!r}: has several predictions ({names}); give --target, or keep one"
        elif case not in known:
            failures[case] = f"{files[0]}: there is no reference for case {case!r} in {where}; add it, or rename"
        elif masks is not None and case not in masks:
            failures[case] = (
                f"{files[0]}: there is no mask for case {case!r} in {mask}; add it, or leave --mask out"
            )
        else:
            found = known[case]
            chosen = found.mask if masks is None else masks[case]
            own = found.labels if labels is None else maps.get(case)
            person = found.subject or people.get(case) or subject_of(case)
            pairs.append(Pair(case, files[0], found.path, chosen, found.sources, own, person))
    return Matching(pairs, failures, sorted(set(known) - set(made)))


def _name(path: Path, target: str | None) -> tuple[str, str | None]:
    """Case, and the target that the name states."""
    name = stem(path)
    if (named := bids.parse(name)) is not None and named.is_synthetic:
        return named.case, named.modality
    if found := _MADE.fullmatch(name):
        return found["case"], found["target"]
    if target is not None and name.endswith(f"_{target}") and name != f"_{target}":
        return name.removesuffix(f"_{target}"), None
    return name, None


def _volumes(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.name.endswith(SUFFIXES) and not path.name.startswith(".")
    )


def _predictions(folder: Path, target: str | None) -> dict[str, list[Path]]:
    """Case → its predictions; there should be one."""
    made: dict[str, list[Path]] = {}
    if bids.is_bids(folder):
        return _in_derivatives(folder, target)
    for path in _volumes(folder):
        case, stated = _name(path, target)
        if target is None or stated in (None, target):
            made.setdefault(case, []).append(path)
    for inner in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        files = [path for path in _volumes(inner) if target is None or _name(path, target)[1] in (None, target)]
        if files:
            made.setdefault(inner.name, []).extend(files)
    return made


def _in_derivatives(folder: Path, target: str | None) -> dict[str, list[Path]]:
    """Case → the synthetic volumes below a folder of BIDS derivatives."""
    made: dict[str, list[Path]] = {}
    for path in sorted(p for p in folder.rglob("sub-*") if p.name.endswith(SUFFIXES)):
        named = bids.parse(stem(path))
        if named is not None and named.is_synthetic and target in (None, named.modality):
            made.setdefault(named.case, []).append(path)
    return made


def _references(reference: Path, target: str | None) -> dict[str, _Reference]:
    if reference.is_dir() and not _has_table(reference) and (files := _volumes(reference)):
        named = [path for path in files if target is not None and stem(path).endswith(f"_{target}")]
        found: dict[str, _Reference] = {}
        for path in named or files:
            case = _name(path, target)[0]
            if case in found:
                raise InputError(f"{path} and {found[case].path.name} are both of case {case!r}; keep one")
            found[case] = _Reference(path)
        return found
    return _of_dataset(reference, target)


def _of_dataset(reference: Path, target: str | None) -> dict[str, _Reference]:
    """Case → its volume of the target, with its mask and what may have been the sources."""
    cases = _cases(reference)
    names = sorted({name for case in cases for name in case.images if not is_drawn(name)})
    if target is None and len(names) != 1:
        raise RecipeError(f"{reference}: holds {', '.join(names)}; say with --target which one is the reference")
    wanted = names[0] if target is None else target
    found = {}
    for case in cases:
        if wanted in case.images:
            sources = {name: case.images[name] for name in names if name in case.images and name != wanted}
            found[case.name] = _Reference(case.images[wanted], case.mask, sources, case.labels, case.subject)
    if not found:
        raise InputError(f"{reference}: no case has {wanted}{nearest(wanted, names)}; change --target")
    return found


def _has_table(folder: Path) -> bool:
    return any((folder / f"cases{suffix}").is_file() for suffix in _TABLES)


def _masks(mask: Path, known: Mapping[str, _Reference]) -> dict[str, Path]:
    """Case → its mask."""
    found = _by_name(mask, known, _MASK)
    return {case.name: case.mask for case in _cases(mask) if case.mask is not None} if found is None else found


def label_maps(labels: Path, known: Collection[str]) -> dict[str, Path]:
    """Case → its label map.

    Args:
        labels: one map for all cases, a folder of them, a dataset or a table, as in :func:`find_pairs`.
        known: the cases.

    Raises:
        InputError: nothing there.
    """
    if not labels.exists():
        raise InputError(f"{labels}: there is no such file or folder; check the path")
    found = _by_name(labels, known, _LABELS)
    if found is None:
        return {case.name: case.labels for case in _cases(labels) if case.labels is not None}
    return found


def _by_name(place: Path, known: Collection[str], pattern: re.Pattern[str]) -> dict[str, Path] | None:
    """Case → its file: one file for all, or a flat folder of them; None for a dataset or a table."""
    if place.is_file() and place.suffix not in _TABLES:
        return dict.fromkeys(known, place)
    if place.is_dir() and not _has_table(place) and (files := _volumes(place)):
        names = {path: pattern.fullmatch(stem(path)) for path in files}
        return {found["case"] if found else stem(path): path for path, found in names.items()}
    return None


def _cases(dataset: Path) -> list[CaseFiles]:
    if not is_prepared(dataset):
        return find_cases(dataset)
    finished = PreparedDataset.open(dataset).names
    found = [case for case in find_cases(dataset / "cases") if case.name in finished]
    return [replace(case, subject=PreparedCase.open(dataset / "cases" / case.name).subject) for case in found]


def _people(masks: Path) -> dict[str, str]:
    """Case → its person, where the masks are those of a dataset."""
    # One file for all, or a flat folder of files, knows nobody.
    if _by_name(masks, (), _MASK) is not None:
        return {}
    return {case.name: case.subject for case in _cases(masks)}

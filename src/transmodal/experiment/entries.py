"""Entry: one judged folder that takes part in a comparison, and whether several may be compared at all."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from transmodal.data.record import as_written
from transmodal.errors import InputError, RecipeError
from transmodal.evaluation.measure import measure_of
from transmodal.evaluation.people import by_subject
from transmodal.evaluation.table import Row
from transmodal.progress import warn
from transmodal.reporting.folder import Contents, main_method, read_folder, subjects_of, table
from transmodal.reporting.price import Price, known_price
from transmodal.reporting.tables import FLOORS

_OWN = {"data": ("path", "fold"), "training": ("seed",)}
"""What runs of one name may differ in."""

_EQUAL = 1e-6
"""Relative difference of one and the same score that rounding explains."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A folder that ``train`` or ``evaluate`` wrote.

    Attributes:
        name: of its method in the comparison.
        folder: where it lies.
        contents: what was found there.
        method: the name of its method in its own tables.
    """

    name: str
    folder: Path
    contents: Contents
    method: str

    def named(self, method: str) -> str:
        """How a method of its tables is called in the comparison; floors keep their names."""
        whole, space, part = method.partition(" ")
        return f"{self.name}{space}{part}" if whole == self.method else method

    @property
    def price(self) -> Price | None:
        """What its method cost; None for a folder of somebody else's predictions."""
        with as_written(self.folder / "evaluation.json", "judge the run again"):
            return known_price(self.contents.evaluation, self.method)

    @property
    def recipe(self) -> Mapping[str, Any] | None:
        """What makes it another method than an entry of other name: the recipe without fold and seed."""
        known = table(self.contents.run, "recipe")
        if not known:
            return None
        with as_written(self.folder / "run.json", "train it again"):
            return {
                part: {key: value for key, value in keys.items() if key not in _OWN.get(part, ())}
                for part, keys in known.items()
            }


def open_entry(word: str) -> Entry:
    """Read ``FOLDER`` or ``NAME=FOLDER``; the name is that of the method otherwise.

    Raises:
        InputError: no judged folder.
        RecipeError: the name of a floor for something else.
    """
    name, equals, path = word.partition("=")
    if Path(word).exists() or not equals or "/" in name:
        name, path = "", word
    folder = Path(path)
    contents = read_folder(folder)
    if not contents.rows:
        raise InputError(
            f"{folder}: holds no scores (evaluation.csv); let the run finish, or run `transmodal evaluate`"
        )
    method = str(main_method(contents))
    if name in FLOORS and name != method:
        raise RecipeError(f"{word}: {name} is the name of a floor; choose another")
    return Entry(name or method, folder, contents, method)


def same_ground(entries: Sequence[Entry]) -> list[Row]:
    """All rows under the entries' names; over seeds the mean, then over the cases of a subject.

    Of a subject with several cases those count that every method has; the row has the name of the first.

    Raises:
        InputError: one case was judged on other voxels, or its floor ``identity`` is another in another folder.
        RecipeError: one name for several recipes.
    """
    if not entries:
        raise RecipeError("name at least one folder that train or evaluate wrote")
    _check_names(entries)
    found: dict[tuple[str, ...], list[tuple[Entry, Row]]] = {}
    for entry in entries:
        for row in entry.contents.rows:
            named = replace(row, method=entry.named(row.method))
            key = (named.method, row.case, *_measured(row))
            found.setdefault(key, []).append((entry, named))
    _check_voxels(found)
    _check_floors(found)
    subjects = {case: who for entry in entries for case, who in subjects_of(entry.contents.evaluation).items()}
    return by_subject(_in_common([_one(heard) for heard in found.values()], subjects), subjects)


def _check_names(entries: Sequence[Entry]) -> None:
    first: dict[str, Entry] = {}
    for entry in entries:
        other = first.setdefault(entry.name, entry)
        if entry.recipe != other.recipe:
            raise RecipeError(
                f"{other.folder} and {entry.folder} are both called {entry.name} and are of different recipes; "
                "give each its own NAME=FOLDER"
            )


def _measured(row: Row) -> tuple[str, str, str, str]:
    measure = measure_of(row)
    return measure.name, measure.region, measure.convention, measure.unit


def _one(heard: Sequence[tuple[Entry, Row]]) -> Row:
    """One row from several folders: of a floor the first, of a method the mean over its seeds.

    Raises:
        RecipeError: two folders of one name that are neither folds nor seeds of one another.
    """
    (entry, row), *others = heard
    if row.method in FLOORS:
        return row
    if others and entry.recipe is None:
        raise RecipeError(
            f"{_folders(heard)}: both have case {row.case!r} under the name {row.method}; give each its own "
            "NAME=FOLDER"
        )
    seeds = {table(one.contents.run, "recipe", "training").get("seed") for one, _ in heard}
    if len(seeds) < len(heard):
        raise RecipeError(
            f"{_folders(heard)}: both judged case {row.case!r} with the same seed; runs of one name are folds "
            "with other cases, or seeds"
        )
    return replace(row, value=fmean(named.value for _, named in heard))


def _in_common(rows: Sequence[Row], subjects: Mapping[str, str]) -> list[Row]:
    """Without cases of a subject that some methods lack: else methods would be compared on other sessions."""
    cases: dict[tuple[str, ...], dict[str, set[str]]] = {}
    for row in rows:
        if row.case in subjects:
            own = cases.setdefault((subjects[row.case], *_measured(row)), {})
            own.setdefault(row.method, set()).add(row.case)
    # Where they have no case in common, the subject's cases are all that there is.
    common = {key: set.intersection(*own.values()) or set(subjects) for key, own in cases.items()}
    return [row for row in rows
            if row.case not in subjects or row.case in common[subjects[row.case], *_measured(row)]]  # fmt: skip


def _equal(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_EQUAL, abs_tol=1e-12) or (math.isnan(one) and math.isnan(other))


def _folders(heard: Sequence[tuple[Entry, Row]]) -> str:
    return " and ".join(str(entry.folder) for entry, _ in heard[:2])


def _check_voxels(found: Mapping[tuple[str, ...], Sequence[tuple[Entry, Row]]]) -> None:
    """One case, measured in one way, counts the same voxels for every method."""
    counted: dict[tuple[str, ...], tuple[Entry, Row]] = {}
    for key, heard in found.items():
        for entry, row in heard:
            other, known = counted.setdefault(key[1:], (entry, row))
            if known.n != row.n:
                raise InputError(
                    f"case {row.case!r}: {row.metric} counts {known.n} voxels in {other.folder} and {row.n} in "
                    f"{entry.folder}; use the same masks and grids for all"
                )


def _check_floors(found: Mapping[tuple[str, ...], Sequence[tuple[Entry, Row]]]) -> None:
    """The floors of one case are the same everywhere; where there are none, that is said."""
    with_floors: set[Path] = set()
    everywhere: dict[Path, None] = {}
    warned = False
    for heard in found.values():
        everywhere |= {entry.folder: None for entry, _ in heard}
        here, row = heard[0]
        if row.method not in FLOORS:
            continue
        with_floors |= {entry.folder for entry, _ in heard}
        unlike = [(entry, other.value) for entry, other in heard if not _equal(row.value, other.value)]
        if not unlike:
            continue
        there, value = unlike[0]
        between = f"{row.value:.6g} in {here.folder} and {value:.6g} in {there.folder}"
        if row.method == "identity":
            raise InputError(
                f"case {row.case!r}: the floor identity has {row.metric} {between}; they were not judged on the "
                "same images, or a table was changed by hand"
            )
        if not warned:
            warn(f"case {row.case!r}: the floor {row.method} has {row.metric} {between}: learnt from other cases")
        warned = True
    bare = [str(folder) for folder in everywhere if folder not in with_floors]
    if bare and with_floors:
        warn(f"{', '.join(bare)}: without floors, so it is not checked that the images are the same")

"""Splits: who is for training, validation and test. By person, balanced, and stable when people are added."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from transmodal.data.record import as_written, fields_of
from transmodal.errors import RecipeError

FORMAT = "transmodal.splits/1"


@runtime_checkable
class HasSubject(Protocol):
    """What a split needs to know of a case."""

    @property
    def name(self) -> str:
        """The case."""
        ...

    @property
    def subject(self) -> str:
        """The person."""
        ...

    @property
    def split(self) -> str | None:
        """The part that the table puts it in."""
        ...


@dataclass(frozen=True)
class Split:
    """Names of cases; no person is in two parts.

    Attributes:
        train: to learn from.
        val: to choose the best weights by.
        test: to report on.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def fold(
    cases: Sequence[HasSubject], fold: int = 0, folds: int = 5, *, stored: dict[str, Any] | None = None
) -> tuple[Split, dict[str, Any]]:
    """One fold of a cross-validation over people.

    A table's ``split`` column wins. Else subjects are dealt to ``folds`` hands in the order of the sha256 of
    their names; those that come later join the smallest hand and no one moves. Test is hand ``fold``, val the
    next, train the rest.

    Args:
        cases: all that may be used.
        fold: which, from 0.
        folds: how many.
        stored: what an earlier call returned (``splits.json``).

    Returns:
        The split, and what to store.

    Raises:
        RecipeError: folds that cannot be made, or a part without a case.
        InputError: ``stored`` is something else.
    """
    stored = stored or {"format": FORMAT, "folds": {}}
    check_stored(stored, Path("splits.json"))
    if any(case.split for case in cases):
        return _given(cases, fold), stored
    subjects = {case.subject for case in cases}
    if folds < 3:
        raise RecipeError(f"data.folds = {folds}: give at least 3, one each for train, val and test")
    if folds > len(subjects):
        raise RecipeError(
            f"data.folds = {folds} is more than the {len(subjects)} subjects; "
            f"give fewer folds (3 to {len(subjects)}), add subjects, or a split column"
        )
    if not 0 <= fold < folds:
        raise RecipeError(f"data.fold = {fold}: give 0 to {folds - 1}, because data.folds = {folds}")
    hands = _dealt(subjects, folds, stored["folds"].get(str(folds), {}))
    stored = {**stored, "folds": {**stored["folds"], str(folds): hands}}
    parts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for case in cases:
        hand = hands[case.subject]
        part = "test" if hand == fold else "val" if hand == (fold + 1) % folds else "train"
        parts[part].append(case.name)
    return _whole(parts, "lower data.folds, or add subjects"), stored


def check_stored(stored: Any, path: Path) -> None:
    """Whether what ``splits.json`` held can be gone on from; None can.

    Raises:
        InputError: it is something else.
    """
    if stored is None:
        return
    remedy = "remove it to deal the people anew (runs then have other folds)"
    with as_written(path, remedy):
        known = fields_of(stored, {"format": str, "folds": Mapping[str, Mapping[str, int]]}, "splits")
        for count, hands in known["folds"].items():
            if not all(0 <= hand < int(count) for hand in hands.values()):
                raise ValueError(f"a person in a fold that {count} folds do not have")
        if known["format"] != FORMAT:
            raise ValueError(f"format {FORMAT!r} is expected, {known['format']!r} was found")


def _dealt(subjects: set[str], folds: int, before: dict[str, int]) -> dict[str, int]:
    """Subject → hand; ``before`` is kept, the others join the smallest."""
    hands = dict(before)
    sizes = [list(hands.values()).count(hand) for hand in range(folds)]
    for subject in sorted(subjects - set(hands), key=lambda s: hashlib.sha256(s.encode()).hexdigest()):
        smallest = sizes.index(min(sizes))
        hands[subject] = smallest
        sizes[smallest] += 1
    return hands


def _given(cases: Sequence[HasSubject], fold: int) -> Split:
    if fold != 0:
        raise RecipeError(f"data.fold = {fold}: the table has a split column, which makes one fold; leave it at 0")
    parts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for case in cases:
        if case.split in parts:
            parts[case.split].append(case.name)
    return _whole(parts, "name cases for it in the table's split column")


def _whole(parts: dict[str, list[str]], remedy: str) -> Split:
    for part, names in parts.items():
        if not names:
            raise RecipeError(f"the {part} part of the split has no case; {remedy}")
    return Split(tuple(parts["train"]), tuple(parts["val"]), tuple(parts["test"]))

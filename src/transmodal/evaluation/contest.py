"""Contest: several methods on the same subjects, ranked by one measure, every two of them compared in pairs.

References:
    Piepho, "An algorithm for a letter-based representation of all-pairwise comparisons", Journal of Computational
    and Graphical Statistics 13, 2004 (insert and absorb). https://doi.org/10.1198/1061860043515
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean, stdev

from transmodal.errors import InputError
from transmodal.evaluation.measure import Measure, measure_of
from transmodal.evaluation.statistics import (
    Difference,
    Equivalence,
    Interval,
    equivalence,
    holm,
    interval_of_mean,
    paired,
)
from transmodal.evaluation.table import Row

ALPHA = 0.05
"""Corrected p below which two methods differ."""


@dataclass(frozen=True)
class Standing:
    """One method in the order of a contest.

    Attributes:
        method: its name.
        mean: over the contest's subjects.
        sd: between them; 0 for one.
        interval: of the mean, 95 %; None below two subjects.
        letters: two methods that share a letter are not shown to differ.
    """

    method: str
    mean: float
    sd: float
    interval: Interval | None
    letters: str


@dataclass(frozen=True)
class Duel:
    """Two methods on the same subjects.

    Attributes:
        ahead: the one with the better mean.
        behind: the other.
        difference: ``behind`` minus ``ahead``; its p is not corrected.
        p: the same, Holm-corrected over all duels of the contest.
        equivalence: whether their means differ by less than a stated margin (Student's t, Holm-corrected); None
            where none was stated, or for one subject.
    """

    ahead: str
    behind: str
    difference: Difference
    p: float
    equivalence: Equivalence | None = None

    @property
    def differs(self) -> bool:
        """Whether the test shows a difference, whichever way."""
        return self.p < ALPHA

    @property
    def shown(self) -> bool:
        """Whether it is shown that ``ahead`` is ahead.

        The test asks about most subjects, the order about their mean; a few subjects who are far behind can turn
        the mean against all others, and then neither is said to be better.
        """
        return self.differs and self.difference.mean * self.difference.effect > 0


@dataclass(frozen=True)
class Contest:
    """What :func:`contest` found.

    Attributes:
        measure: what was compared.
        subjects: those for whom every method has a finite value; only they count.
        standings: best first.
        duels: every two methods, in the order of the standings.
        left_out: subject → the methods that lack a finite value for it.
    """

    measure: Measure
    subjects: tuple[str, ...]
    standings: tuple[Standing, ...]
    duels: tuple[Duel, ...]
    left_out: Mapping[str, tuple[str, ...]]

    @property
    def methods(self) -> tuple[str, ...]:
        """Best first."""
        return tuple(standing.method for standing in self.standings)

    def duel(self, one: str, other: str) -> Duel:
        """The duel of two methods, in whichever order."""
        return next(duel for duel in self.duels if {duel.ahead, duel.behind} == {one, other})


def contest(rows: Iterable[Row], measure: Measure, *, margin: float | None = None) -> Contest:
    """Rank methods by the mean of a measure over the subjects that all of them have.

    Args:
        rows: of any measures; one for each case, method and measure.
        measure: what to rank by; its better side must be known.
        margin: the largest difference that does not matter, in the measure's unit; state it beforehand. None for
            no test of equivalence.

    Raises:
        InputError: fewer than two methods, a subject twice, no subject common to all, or no better side.
        RecipeError: a margin that is not above 0.
    """
    better = measure.higher_is_better
    if better is None:
        raise InputError(f"{measure.name}: neither side of it is better, so nothing can be ranked by it")
    values: dict[str, dict[str, float]] = {}
    for row in rows:
        if measure_of(row) == measure:
            own = values.setdefault(row.method, {})
            if row.case in own:
                raise InputError(f"case {row.case!r} has two values of {measure.name} for {row.method}; keep one")
            own[row.case] = row.value
    if len(values) < 2:
        raise InputError(f"{measure.name}: {len(values)} method(s) have it, and two are needed to compare")
    subjects, left_out = _common(values)
    if not subjects:
        raise InputError(
            f"{measure.name}: no subject has a finite value for all of {', '.join(values)}; compare methods "
            "that were judged on the same cases"
        )
    kept = {method: {subject: own[subject] for subject in subjects} for method, own in values.items()}
    means = {method: fmean(own.values()) for method, own in kept.items()}
    ranked = sorted(means, key=lambda method: -means[method] if better else means[method])
    duels = _corrected([_duel(ahead, behind, kept, margin) for ahead, behind in combinations(ranked, 2)])
    letters = significance_letters(ranked, [(d.ahead, d.behind) for d in duels if d.differs])
    standings = tuple(_standing(method, list(kept[method].values()), letters[method]) for method in ranked)
    return Contest(measure, subjects, standings, tuple(duels), left_out)


def significance_letters(ranked: Sequence[str], different: Collection[tuple[str, str]]) -> dict[str, str]:
    """The compact letter display: two methods share a letter exactly if they are not shown to differ.

    Args:
        ranked: the methods, best first; the best one has an ``a``.
        different: the pairs that are shown to differ.
    """
    groups: list[frozenset[str]] = [frozenset(ranked)]
    for pair in different:
        split = [part for group in groups for part in _without_both(group, pair)]
        unique = list(dict.fromkeys(split))
        groups = [group for group in unique if not any(group < other for other in unique)]
    places = {method: place for place, method in enumerate(ranked)}
    groups.sort(key=lambda group: sorted(places[method] for method in group))
    return {
        method: "".join(_letter(index) for index, group in enumerate(groups) if method in group)
        for method in ranked
    }


def _without_both(group: frozenset[str], pair: tuple[str, str]) -> list[frozenset[str]]:
    return [group - {name} for name in pair] if group.issuperset(pair) else [group]


def _letter(index: int) -> str:
    return chr(ord("a") + index % 26) + (str(index // 26) if index >= 26 else "")


def _common(values: Mapping[str, Mapping[str, float]]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    lacking = {
        subject: tuple(method for method, own in values.items() if not math.isfinite(own.get(subject, math.nan)))
        for subject in dict.fromkeys(subject for own in values.values() for subject in own)
    }
    common = tuple(subject for subject, methods in lacking.items() if not methods)
    return common, {subject: methods for subject, methods in lacking.items() if methods}


def _duel(ahead: str, behind: str, values: Mapping[str, Mapping[str, float]], margin: float | None) -> Duel:
    found = paired(values[ahead], values[behind])
    moved = [values[behind][subject] - values[ahead][subject] for subject in values[ahead]]
    close = equivalence(moved, margin, test="t") if margin is not None and len(moved) > 1 else None
    return Duel(ahead, behind, found, found.p, close)


def _corrected(duels: list[Duel]) -> list[Duel]:
    tested = [replace(duel, p=p) for duel, p in zip(duels, holm([d.p for d in duels]), strict=True)]
    close = iter(holm([d.equivalence.p for d in duels if d.equivalence]))
    return [
        replace(duel, equivalence=replace(duel.equivalence, p=next(close))) if duel.equivalence else duel
        for duel in tested
    ]


def _standing(method: str, values: Sequence[float], letters: str) -> Standing:
    spread = stdev(values) if len(values) > 1 else 0.0
    return Standing(method, fmean(values), spread, interval_of_mean(values), letters)

"""Cohort: what is only seen when cases are laid beside each other: the same scan twice, and odd intensities."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from transmodal.checks.finding import Finding
from transmodal.checks.image import Look
from transmodal.data.layout import CaseFiles

Looks = Mapping[tuple[str, str], Look]
"""(case, modality) → what was seen."""

_SAME = 0.995
"""Correlation of two sketches above which two images are one scan."""
_FAR = 6.0
"""Median absolute deviations (scaled to a standard deviation) from the median."""
_FEWEST = 5
_NARROW = 0.03
"""A spread below this share of the median says that the cohort is small, not that a case is odd."""


def duplicates(cases: Sequence[CaseFiles], looks: Looks) -> list[Finding]:
    """The same scan under two names: two people, or two modalities of one."""
    people = {case.name: case for case in cases}
    found = []
    for (one, seen), (two, other) in combinations(sorted(looks.items()), 2):
        if not seen.digest or not other.digest:
            continue
        exact = seen.digest == other.digest
        same_person = people[one[0]].subject == people[two[0]].subject
        if same_person and not (exact and one != two):
            continue
        alike = 1.0 if exact else float(seen.sketch @ other.sketch / len(seen.sketch))
        if alike < _SAME or (not exact and one[1] != two[1]):
            continue
        words = f"{one[1]} of {one[0]} and {two[1]} of {two[0]} are the same scan"
        parts = {people[one[0]].split, people[two[0]].split}
        if not same_person and len(parts) > 1:
            words += f", and they are in {' and '.join(sorted(str(p) for p in parts))}: the test is leaked"
        found.append(Finding("duplicate", "error", two[0], two[1], f"{words}; remove one of them", alike))
    return found


def outliers(looks: Looks) -> list[Finding]:
    """Cases whose intensities are far from those of the others, by the percentiles of the foreground.

    The scale of a scan in arbitrary units says nothing, so each percentile is taken relative to the median.
    """
    found = []
    for modality in dict.fromkeys(name for _, name in looks):
        own = {
            case: look.percentiles for (case, name), look in looks.items() if name == modality and look.percentiles
        }
        if len(own) < _FEWEST:
            continue
        table = np.array([_shape(p) for p in own.values()])
        middle = np.median(table, axis=0)
        spread = 1.4826 * np.median(np.abs(table - middle), axis=0)
        scores = (np.abs(table - middle) / np.maximum(spread, _NARROW)).max(axis=1)
        for case, score in zip(own, scores, strict=True):
            if score > _FAR:
                words = (
                    f"the intensities of {modality} are unlike those of the other cases ({score:.0f} robust "
                    "deviations); look at the image: another sequence, contrast agent, or a wrong column?"
                )
                found.append(Finding("outlier", "warning", case, modality, words, float(score)))
    return found


def _shape(percentiles: tuple[float, ...]) -> np.ndarray:
    """Percentiles relative to the median of the foreground."""
    values = np.array(percentiles)
    middle = values[len(values) // 2]
    return np.asarray(np.delete(values, len(values) // 2) / (abs(middle) or 1.0))

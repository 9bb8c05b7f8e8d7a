"""Cohort: what is only seen when cases are laid beside each other: the same scan twice, and odd intensities."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float

from transmodal.checks.finding import Finding
from transmodal.checks.image import Look
from transmodal.data.layout import CaseFiles
from transmodal.data.modality import modality

Looks = Mapping[tuple[str, str], Look]
"""(case, modality) → what was seen."""

_SAME = 0.995
"""Correlation of two sketches above which two images are one scan."""
_FAR = 6.0
"""Median absolute deviations (scaled to a standard deviation) from the median."""
_FAR_LIKENESS, _NARROW_LIKENESS = 4.0, 0.1
_FEWEST = 5
_NARROW = 0.06
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
        if same_person and not exact:
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
    """Cases unlike the others of their modality, by their intensities or by their picture as a whole.

    The scale of a scan in arbitrary units says nothing, so percentiles are taken relative to the median. The
    picture is the sketch, correlated with the mean sketch of the others: there a T1w scan shows under T2w's name.
    """
    found = []
    for name in dict.fromkeys(name for _, name in looks):
        there = {case: look for (case, own), look in looks.items() if own == name and look.percentiles}
        if len(there) < _FEWEST:
            continue
        shapes = np.array([_shape(name, look.percentiles) for look in there.values()])
        sketches = np.array([look.sketch for look in there.values()])
        levels = np.abs(_deviations(shapes, _NARROW)).max(axis=1)
        # Less alike than the others is odd, more alike is not.
        picture = -_deviations(np.arctanh(_likeness(sketches))[:, None], _NARROW_LIKENESS)[:, 0]
        for case, level, unlike in zip(there, levels, picture, strict=True):
            if level > _FAR or unlike > _FAR_LIKENESS:
                what = "intensities are" if level > _FAR else "picture as a whole is"
                words = (
                    f"the {what} unlike those of the other cases' {name} ({max(level, unlike):.0f} robust "
                    "deviations); look at the image: another sequence, contrast agent, or a wrong column?"
                )
                found.append(Finding("outlier", "warning", case, name, words, float(max(level, unlike))))
    return found


def _deviations(table: Float[np.ndarray, "N F"], narrow: float) -> Float[np.ndarray, "N F"]:
    """From the median, in median absolute deviations scaled to a standard deviation, of at least ``narrow``."""
    middle = np.median(table, axis=0)
    spread = 1.4826 * np.median(np.abs(table - middle), axis=0)
    return np.asarray((table - middle) / np.maximum(spread, narrow))


def _likeness(sketches: Float[np.ndarray, "N S"]) -> Float[np.ndarray, " N"]:
    """Correlation of each sketch with the mean of the others."""
    total = sketches.sum(axis=0)
    found = [np.corrcoef(own, total - own)[0, 1] for own in sketches]
    return np.clip(found, -0.999, 0.999)


def _shape(name: str, percentiles: tuple[float, ...]) -> np.ndarray:
    """Percentiles relative to the median of the foreground; physical ones in quarters of their window."""
    values, window = np.array(percentiles), modality(name).window
    if window is not None:
        return np.asarray(4 * values / (window[1] - window[0]))
    middle = values[len(values) // 2]
    return np.asarray(np.delete(values, len(values) // 2) / (abs(middle) or 1.0))

"""People: several cases of one subject (sessions, repeats) count as one before any statistic.

A person who was scanned twice says little more than one who was scanned once: as two, n is too large and every
interval too short. So the numbers of a subject's cases are averaged first.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import fmean

from transmodal.evaluation.regions import Region
from transmodal.evaluation.table import Row


def shared(subjects: Mapping[str, str]) -> dict[str, str]:
    """Case → subject, of the subjects that have several cases; of the others nothing needs to be kept."""
    cases = list(subjects.values())
    return {case: subject for case, subject in subjects.items() if cases.count(subject) > 1}


def leaders(cases: Iterable[str], subjects: Mapping[str, str]) -> dict[str, str]:
    """Case → the first case of the same subject, under whose name the subject counts.

    Args:
        cases: in the order of their rows.
        subjects: case → subject; a case that is not there is a subject of its own.
    """
    first: dict[str, str] = {}
    return {case: first.setdefault(subjects[case], case) if case in subjects else case for case in cases}


def by_subject(rows: Iterable[Row], subjects: Mapping[str, str]) -> list[Row]:
    """One row for every subject, method, region, metric, convention and unit, in the order of appearance.

    The value is the mean over the subject's cases with a finite one, ``n`` the sum of theirs. A subject with any
    infinite value is infinite, as a mean would be; one without a finite value is undefined. The row bears the
    name of the subject's first case. A row of a case that is nobody else's stays as it is.

    Args:
        rows: of a tidy table, one for each case and measure.
        subjects: case → subject, as :func:`shared` gives it.
    """
    rows = list(rows)
    if not subjects:
        return rows
    names = leaders([row.case for row in rows], subjects)
    found: dict[tuple[str, ...], list[Row]] = {}
    for place, row in enumerate(rows):
        alone = "" if row.case in subjects else str(place)
        key = (names[row.case], row.method, row.region, row.metric, row.convention, row.unit, alone)
        found.setdefault(key, []).append(row)
    return [_mean(names[own[0].case], own) for own in found.values()]


def regions_by_subject(found: Iterable[Region], subjects: Mapping[str, str]) -> list[Region]:
    """One number for every subject, method and region: means over cases, as :func:`by_subject`."""
    found = list(found)
    names = leaders([one.case for one in found], subjects)
    groups: dict[tuple[str, str, str], list[Region]] = {}
    for one in found:
        groups.setdefault((names[one.case], one.method, one.region), []).append(one)
    return [
        Region(
            *key,
            measured=mean_of_cases(one.measured for one in own),
            made=mean_of_cases(one.made for one in own),
            error=mean_of_cases(one.error for one in own),
            voxels=sum(one.voxels for one in own),
        )
        for key, own in groups.items()
    ]


def mean_of_cases(values: Iterable[float]) -> float:
    """Mean of the finite values; infinite if any is, NaN without any."""
    values = list(values)
    endless = [value for value in values if math.isinf(value)]
    finite = [value for value in values if math.isfinite(value)]
    return endless[0] if endless else fmean(finite) if finite else math.nan


def _mean(name: str, own: list[Row]) -> Row:
    value = own[0].value if len(own) == 1 else mean_of_cases(row.value for row in own)
    counted = [row.n for row in own if math.isfinite(row.value)] or [row.n for row in own]
    return replace(own[0], case=name, value=value, n=sum(counted))

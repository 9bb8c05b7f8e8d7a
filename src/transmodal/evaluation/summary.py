"""From a tidy table to means over subjects, each with its interval and with what was left out counted."""

import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from transmodal.data.files import write_json
from transmodal.errors import InputError
from transmodal.evaluation.people import by_subject
from transmodal.evaluation.statistics import interval_of_mean
from transmodal.evaluation.table import Row


@dataclass(frozen=True)
class Summary:
    """One metric of one method over all subjects.

    Attributes:
        method: what made the predictions.
        region: where it was measured.
        metric: name of the metric.
        convention: how it was computed; subjects of other conventions are in a summary of their own.
        unit: unit of the numbers below.
        n: subjects with a finite value; only they enter the numbers below.
        mean: over subjects; None without any.
        sd: between subjects (n - 1 in the divisor); None below two.
        low: lower end of the 95 % interval of the mean; None below two subjects.
        high: upper end.
        median: over subjects; None without any.
        infinite: subjects left out because their value is infinite (a PSNR of identical volumes).
        undefined: subjects left out because their value is not a number.
        interval: how ``low`` and ``high`` were found, see
            :func:`transmodal.evaluation.statistics.interval_of_mean`; empty without them.
    """

    method: str
    region: str
    metric: str
    convention: str
    unit: str
    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    median: float | None
    infinite: int = 0
    undefined: int = 0
    interval: str = ""


def summarise(rows: Iterable[Row], subjects: Mapping[str, str] | None = None) -> list[Summary]:
    """One :class:`Summary` per (method, region, metric, convention, unit), in the order of appearance.

    The interval treats subjects as independent, so several cases of one are averaged first.

    Args:
        rows: one for each case.
        subjects: case → subject, of the subjects that have several cases
            (:func:`transmodal.evaluation.people.shared`).

    Raises:
        InputError: a case appears twice in a group, which would count one subject as two.
    """
    rows = list(rows)
    _check_once(rows)
    groups: dict[tuple[str, str, str, str, str], list[float]] = {}
    for row in by_subject(rows, subjects or {}):
        groups.setdefault((row.method, row.region, row.metric, row.convention, row.unit), []).append(row.value)
    return [_summary(key, values) for key, values in groups.items()]


def _check_once(rows: Sequence[Row]) -> None:
    seen = set()
    for row in rows:
        key = (row.case, row.method, row.region, row.metric, row.convention, row.unit)
        if key in seen:
            raise InputError(
                f"case {row.case!r}: has two values of {row.metric} for {row.method} ({row.region}, "
                f"{row.convention}); keep one row per case, or one subject counts twice"
            )
        seen.add(key)


def _summary(key: tuple[str, str, str, str, str], values: Sequence[float]) -> Summary:
    finite = [value for value in values if math.isfinite(value)]
    n = len(finite)
    found = interval_of_mean(finite)
    return Summary(
        *key,
        n=n,
        mean=fmean(finite) if n else None,
        sd=stdev(finite) if n > 1 else None,
        low=found.low if found else None,
        high=found.high if found else None,
        median=median(finite) if n else None,
        infinite=sum(math.isinf(value) for value in values),
        undefined=sum(math.isnan(value) for value in values),
        interval=found.how if found else "",
    )


def write_summary(path: Path, summaries: Iterable[Summary], settings: Mapping[str, Any] | None = None) -> None:
    """Write ``{"summary": […], "settings": {…}, "versions": {…}}``, whole or not at all.

    The file is strict JSON: what has no value is ``null``, and ``infinite`` and ``undefined`` say how often.

    Args:
        path: the file.
        summaries: what :func:`summarise` gave.
        settings: how the numbers came about; anything JSON can hold.
    """
    content = {
        "summary": [asdict(summary) for summary in summaries],
        "settings": dict(settings or {}),
        "versions": {name: version(name) for name in ("transmodal", "torch", "numpy")}
        | {"python": platform.python_version()},
    }
    write_json(path, content)

"""Curves: a score against a dose, a line for every method, with intervals and slopes over cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from transmodal.evaluation.statistics import interval_of_mean
from transmodal.evaluation.table import Row
from transmodal.reporting.tables import FLOORS


@dataclass(frozen=True, eq=False)
class Curve:
    """The scores of one method.

    Attributes:
        x: doses.
        cases: names.
        values: a row for each dose, a column for each case.
    """

    x: tuple[float, ...]
    cases: tuple[str, ...]
    values: Float[np.ndarray, "X N"]

    @property
    def middle(self) -> Float[np.ndarray, " X"]:
        """Mean over cases."""
        return self.values.mean(axis=1)

    @property
    def interval(self) -> Float[np.ndarray, "X 2"]:
        """Both ends of the 95 % interval of each mean; NaN for one case."""
        return np.array([_ends(row) for row in self.values])

    @property
    def slopes(self) -> dict[str, float]:
        """Case → slope of the straight line through its scores."""
        fitted = np.polyfit(self.x, self.values, 1)[0]
        return {case: float(slope) for case, slope in zip(self.cases, fitted, strict=True)}


def find_curves(rows: Sequence[Row], doses: Sequence[tuple[str, float]]) -> dict[str, dict[str, Curve]]:
    """Title (metric, with the target where there are several) → method → curve.

    Args:
        rows: one for each case, method, metric and dose.
        doses: how a row's region ends, and the dose that it means.
    """
    values = {(row.metric, row.region, row.method, row.case): row.value for row in rows}
    curves: dict[str, dict[str, Curve]] = {}
    for metric, region, method in dict.fromkeys((row.metric, row.region, row.method) for row in rows):
        if not region.endswith(doses[0][0]):
            continue
        prefix = region.removesuffix(doses[0][0])
        cases = tuple(sorted(c for m, r, name, c in values if (m, r, name) == (metric, region, method)))
        table = [[values[metric, prefix + end, method, case] for case in cases] for end, _ in doses]
        curve = Curve(tuple(dose for _, dose in doses), cases, np.array(table))
        curves.setdefault(prefix + metric, {})[method] = curve
    return curves


def curve_table(title: str, curves: Mapping[str, Curve], unit: str) -> str:
    """Markdown: scores by dose, mean slope, and the paired difference of slopes from the first method's."""
    first = next(name for name in curves if name not in FLOORS)
    doses = next(iter(curves.values())).x
    head = " | ".join(f"{dose:g}" for dose in doses)
    lines = [
        f"| {title} | n | {head} | per {unit.removesuffix('s')} | less that of {first} |",
        f"|---|---:|{'---:|' * (len(doses) + 2)}",
    ]
    for name, curve in curves.items():
        slopes, others = curve.slopes, curves[first].slopes
        shared = [case for case in slopes if case in others and name not in (first, *FLOORS)]
        less = np.array([slopes[case] - others[case] for case in shared])
        cells = [spread(row) for row in curve.values] + [spread(np.array(list(slopes.values()))), spread(less)]
        label = f"{name} (floor)" if name in FLOORS else name
        lines.append(f"| {label} | {len(curve.cases)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: Float[np.ndarray, " N"]) -> str:
    """Mean and, for two values or more, the 95 % interval of the mean; nothing for no value."""
    if not len(values):
        return ""
    digits = 2 if abs(values.mean()) >= 1 else 4
    # Adding 0 turns a rounded -0 into 0.
    mean, low, high = (f"{round(v, digits) + 0.0:.{digits}f}" for v in (values.mean(), *_ends(values)))
    return f"{mean} [{low}, {high}]" if len(values) > 1 else mean


def _ends(values: Float[np.ndarray, " N"]) -> tuple[float, float]:
    interval = interval_of_mean(values) if np.isfinite(values).all() else None
    return (interval.low, interval.high) if interval else (np.nan, np.nan)

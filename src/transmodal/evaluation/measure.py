"""Measure: one metric, measured in one way. What a column of any table stands for."""

from dataclasses import dataclass

from transmodal.evaluation.table import Row
from transmodal.metrics import METRICS


@dataclass(frozen=True)
class Measure:
    """One metric, measured in one way; values of different measures must not be compared.

    Attributes:
        name: of the metric.
        region: where it was measured.
        convention: how.
        unit: of the values; ``1`` for a pure number.
    """

    name: str
    region: str
    convention: str
    unit: str

    @property
    def higher_is_better(self) -> bool | None:
        """Which way is up; None for a metric that Transmodal does not know, or whose best is in between."""
        return METRICS[self.name].higher_is_better if self.name in METRICS else None

    @property
    def heading(self) -> str:
        """Name, unit and an arrow to the better side."""
        unit = "" if self.unit in ("", "1", "window") else f" ({self.unit})"
        return self.name + unit + {True: " ↑", False: " ↓", None: ""}[self.higher_is_better]


def measure_of(row: Row) -> Measure:
    """What a row of the tidy table measures."""
    return Measure(row.metric, row.region, row.convention, row.unit)

"""docs/metrics.md says the same as the code."""

import math
from pathlib import Path

import pytest

from transmodal.metrics import METRICS

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_metric_has_a_section_and_a_true_row(metric):
    assert f"\n## {metric.name}\n" in PAGE
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{metric.name}` |"))
    _, _, unit, better, perfect, ranged, outside, _ = (cell.strip() for cell in row.split("|"))
    assert unit == {"data": "of the data"}.get(metric.unit, metric.unit)
    assert better == {True: "higher", False: "lower", None: "neither"}[metric.higher_is_better]
    assert (math.inf if perfect == "inf" else float(perfect)) == metric.best
    assert ranged == ("yes" if metric.needs_range else "no")
    assert (outside != "no") is metric.sees_outside

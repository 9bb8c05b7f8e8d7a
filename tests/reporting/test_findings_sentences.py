"""What the sentences of agreement say of slopes and of effects."""

from dataclasses import replace

import numpy as np
import pytest

from transmodal.evaluation.agreement import Estimate, agree
from transmodal.evaluation.effects import Effect
from transmodal.evaluation.regions import Region
from transmodal.reporting.findings import Findings, sentences

MEASURED = np.arange(12.0)
REGIONS = [Region(f"sub-{i}", "net", "grey", float(i), float(i), 0.0, 30) for i in range(12)]


def said(low: float, high: float, effects: list[Effect] | None = None) -> str:
    whole = agree(MEASURED, MEASURED + 0.1 * np.sin(MEASURED))
    one = replace(whole, slope=Estimate((low + high) / 2, low, high))
    return " ".join(sentences(Findings("FA", "1", REGIONS, {("net", "grey"): one},
                                       effects={("net", "grey"): effects or []}, column="sex")))  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "small", "turned"),
    [
        (0.2, 0.8, True, False),
        (-0.4, 0.6, True, False),
        (0.9, 1.1, False, False),
        (-0.8, -0.2, True, True),
        (-4.0, -2.0, False, True),
        (-3.0, 0.5, False, False),
    ],
)
def test_a_reversed_order_is_not_called_too_small(low: float, high: float, small: bool, turned: bool) -> None:
    text = said(low, high)
    assert ("differences between subjects come out too small" in text) == small
    assert ("the order of people comes out reversed (slope below 0) in 1 of 1 regions" in text) == turned


def test_changed_effects_are_counted_beside_chance() -> None:
    changed = Effect("b - a", "g", 20, 1.0, 0.2, -0.8, -1.2, -0.4)
    kept = replace(changed, low=-1.2, high=0.4)
    text = said(0.9, 1.1, [changed, changed, *[kept] * 38])
    assert "is changed: 2 of 40 effects (b - a in grey, b - a in grey); about 2 would by chance alone." in text
    assert "is changed: 1 of 2 effects (b - a in grey)." in said(0.9, 1.1, [changed, kept])
    assert "is changed" not in said(0.9, 1.1, [kept])

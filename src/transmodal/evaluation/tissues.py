"""Tissues: a CT in the passport, apart for air, soft tissue and bone (:mod:`transmodal.metrics.tissues`)."""

from collections.abc import Iterator

from transmodal.evaluation.comparison import Comparison, DataRange, Score, measure
from transmodal.metrics.tissues import LIMITS, tissues


def by_tissue(c: Comparison) -> Iterator[Score]:
    """MAE and bias of the mask and of every tissue that the reference has in it, and Dice of bone."""
    assert c.mask is not None
    unused = DataRange(1.0, "")
    for region, where in {"mask": c.mask, **tissues(c.reference, c.mask)}.items():
        if not bool(where.any()):
            continue
        lead = f"tissues {LIMITS[region]}" if region in LIMITS else "tissues"
        yield from measure(
            c.prediction, c.reference, where, ("MAE", "Bias"), unused, region=region, unit=c.kind.unit, lead=lead
        )
    yield from measure(
        c.prediction, c.reference, c.mask, ("BoneDice",), unused, region="mask", unit="1", lead="tissues"
    )

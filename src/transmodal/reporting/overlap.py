"""Overlap of label maps as tables and as one page."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from transmodal.errors import InputError
from transmodal.evaluation.agreement import FEWEST, Agreement, Estimate, agree
from transmodal.evaluation.statistics import Difference, holm, paired
from transmodal.evaluation.summary import Summary, summarise
from transmodal.evaluation.table import Row
from transmodal.reporting import sections
from transmodal.reporting.findings import Grid, markdown
from transmodal.reporting.html import PURPOSE, document
from transmodal.reporting.scatters import forest
from transmodal.reporting.tables import p_value

FORMAT = "transmodal.overlap/1"

_HOW = (
    "Dice: 1 is perfect, higher is better. HD95: 95th percentile of the distance between surfaces in mm, lower "
    "is better. A label that both maps of a case lack has no Dice; one that either lacks has no HD95: n says "
    "how many cases count. Mean over cases, 95 % interval. Volume: bias of synthetic - {reference} and the "
    "ICC(A,1) over cases."
)


@dataclass(frozen=True)
class Overlaps:
    """What was found.

    Attributes:
        rows: Dice, HD95 and volume of every case, label and side.
        reference: what was compared with: ``real`` or ``truth``.
        notes: what was left out, in sentences.
    """

    rows: Sequence[Row]
    reference: str
    notes: Sequence[str] = ()

    @property
    def regions(self) -> list[str]:
        """Labels, in order of appearance."""
        return list(dict.fromkeys(row.region for row in self.rows))

    @property
    def sides(self) -> list[str]:
        """What is compared with the reference."""
        return list(dict.fromkeys(row.method for row in self.rows if row.metric == "Dice"))

    def values(self, side: str, region: str, metric: str) -> dict[str, float]:
        """Case → value."""
        return {row.case: row.value for row in self.rows
                if (row.method, row.region, row.metric) == (side, region, metric)}  # fmt: skip

    def summary(self, side: str, region: str, metric: str) -> Summary | None:
        """Mean over cases."""
        own = [row for row in self.rows if (row.method, row.region, row.metric) == (side, region, metric)]
        return summarise(own)[0] if own else None

    def volumes(self, side: str, region: str) -> Agreement | None:
        """How volumes agree with the reference; None for fewer than three cases."""
        made, true = (self.values(name, region, "Volume") for name in (side, self.reference))
        cases = [case for case in made if case in true]
        if len(cases) < FEWEST:
            return None
        return agree(np.array([made[case] for case in cases]), np.array([true[case] for case in cases]))

    def loss(self, region: str, metric: str) -> Difference | None:
        """Synthetic minus real, both against truth, case by case; None without truth or without a pair."""
        if len(self.sides) < 2:
            return None
        try:
            return paired(self.values("real", region, metric), self.values("synthetic", region, metric))
        except InputError:
            return None


def overlap_facts(found: Overlaps) -> dict[str, Any]:
    """What ``overlap.json`` holds."""
    labels = []
    for region in found.regions:
        for side in found.sides:
            volumes = found.volumes(side, region)
            own = {metric: found.summary(side, region, metric) for metric in ("Dice", "HD95")}
            labels.append(
                {"label": region, "side": side}
                | {metric: asdict(summary) if summary else None for metric, summary in own.items()}
                | {"volume": asdict(volumes) if volumes else None}
            )
    losses = {
        region: {m: asdict(loss) for m in ("Dice", "HD95") if (loss := found.loss(region, m)) is not None}
        for region in found.regions
    }
    return {
        "format": FORMAT,
        "reference": found.reference,
        "labels": labels,
        "synthetic_minus_real": {region: loss for region, loss in losses.items() if loss},
        "notes": list(found.notes),
    }


def overlap_markdown(found: Overlaps) -> str:
    """The tables."""
    parts = [markdown(*_table(found))]
    heads, rows = _losses(found)
    parts += [markdown(heads, rows)] if rows else []
    parts += ["\n".join(f"- {one}" for one in found.notes)] if found.notes else []
    return "\n\n".join([*parts, _HOW.format(reference=found.reference)]) + "\n"


def overlap_page(found: Overlaps) -> str:
    """The page as HTML."""
    values: dict[str, dict[str, Estimate]] = {}
    for region in found.regions:
        for side in found.sides:
            own = found.summary(side, region, "Dice")
            if own is not None and own.mean is not None:
                ends = (math.nan, math.nan) if own.low is None or own.high is None else (own.low, own.high)
                values.setdefault(region, {})[side] = Estimate(own.mean, *ends)
    chart = sections.image(forest(values, "Dice", 1.0), "Dice by label", shrink=2) if values else ""
    parts = [
        sections.section(
            "summary",
            "Label by label",
            sections.grid(*_table(found)),
            sections.paragraph(_HOW.format(reference=found.reference), "note"),
            sections.bullets(found.notes),
        ),
        sections.section("loss", "Lost by synthesis", sections.grid(*_losses(found))),
        sections.section("chart", "Dice", chart),
    ]
    cases = len({row.case for row in found.rows})
    facts = f"{cases} cases · {len(found.regions)} labels · against {found.reference}"
    header = (
        f"<header><h1>A segmenter on synthetic and on measured scans</h1>{sections.paragraph(facts, 'facts')}"
        f"{sections.paragraph(PURPOSE, 'purpose')}</header>"
    )
    return document("Overlap", header, [part for part in parts if part])


def _table(found: Overlaps) -> Grid:
    heads = ["label", "", "n", "Dice ↑", "n", "HD95 (mm) ↓", f"volume, {found.reference} (ml)", "bias (ml)", "ICC"]
    rows = []
    for region in found.regions:
        for side in found.sides:
            volumes = found.volumes(side, region)
            cells = [cell for metric, digits in (("Dice", 3), ("HD95", 2))
                     for cell in _cells(found.summary(side, region, metric), digits)]  # fmt: skip
            size = ["–", "–", "–"]
            if volumes is not None:
                bias, icc = volumes.bias, volumes.icc
                size = [f"{volumes.measured:.2f}", f"{bias.value:+.2f} [{bias.low:+.2f}, {bias.high:+.2f}]",
                        f"{icc.value:.2f}" if math.isfinite(icc.value) else "–"]  # fmt: skip
            rows.append([region, side, *cells, *size])
    return heads, rows


def _losses(found: Overlaps) -> Grid:
    heads = ["label", "metric", "n", "synthetic - real [95 %]", "p (Wilcoxon, Holm)"]
    asked = [(region, metric) for region in found.regions for metric in ("Dice", "HD95")]
    losses = {key: loss for key in asked if (loss := found.loss(*key)) is not None}
    corrected = holm([loss.p for loss in losses.values()])
    rows = []
    for ((region, metric), loss), p in zip(losses.items(), corrected, strict=True):
        span = f" [{loss.interval.low:+.3f}, {loss.interval.high:+.3f}]" if loss.interval else ""
        rows.append([region, metric, str(loss.n), f"{loss.mean:+.3f}{span}", p_value(p)])
    return heads, rows


def _cells(summary: Summary | None, digits: int) -> list[str]:
    if summary is None or summary.mean is None:
        return ["0", "–"]
    ends = "" if summary.low is None else f" [{summary.low:.{digits}f}, {summary.high:.{digits}f}]"
    return [str(summary.n), f"{summary.mean:.{digits}f}{ends}"]

"""The page of agreement: one self-contained file."""

import math
from html import escape

from transmodal.reporting import sections
from transmodal.reporting.findings import (
    Findings,
    agreement_table,
    effect_table,
    overview,
    recognition_table,
    sentences,
)
from transmodal.reporting.html import PURPOSE, document
from transmodal.reporting.scatters import forest, pairs
from transmodal.reporting.tables import FLOORS

_OPEN = 3
"""Regions whose charts are seen at once; those of others are folded."""

_CHARTS = 12
"""Regions that have a chart: those that agree least."""

_BESIDE = 4
"""Methods side by side in a chart of one region."""

_HOW = (
    "One number for each subject and region: the mean of the volume there. Bias is synthetic - measured. The "
    "limits of agreement hold 95 % of the differences of further subjects. ICC(A,1) and CCC: 1 is perfect; a "
    "constant shift counts against both. Deming slope and spread (ratio of standard deviations): 1 is right; "
    "below 1, differences between people come out too small. Intervals are 95 %."
)
_OVERVIEW = (
    "Medians over regions. Profile r: correlation over the regions of one person, mean over persons; it is high "
    "wherever regions differ more than people do, also for the floor mean."
)
_ARBITRARY = (
    "The volumes are in arbitrary units: if the scale of a scan is arbitrary, so are bias, limits, ICC and CCC; "
    "ranks and effects of groups only mean something after all scans were brought to one scale."
)
_RECOGNITION = (
    "A synthetic map is recognised if it correlates best with the measured map of its own person, in the voxels "
    "of both masks. Without a common space, anatomy alone does that, and the floor identity shows it."
)


def agreement_page(found: Findings) -> str:
    """The page as HTML."""
    parts = {
        ("summary", "Overview"): [
            sections.grid(*overview(found)),
            sections.paragraph(_OVERVIEW, "note"),
            sections.bullets(sentences(found)),
            sections.paragraph(_ARBITRARY, "note") if found.unit == "a.u." else "",
        ],
        ("coefficients", "Region by region"): [_forests(found)],
        ("regions", "Synthetic against measured"): [_charts(found)],
        ("tables", "Tables"): [_tables(found)],
        ("effects", f"Effects of {found.column}"): [
            sections.grid(*effect_table(found)) if found.effects else "",
        ],
        ("recognition", "Whose map is it?"): [_recognition(found)],
    }
    there = {place: body for place, body in parts.items() if any(body)}
    links = "".join(f'<a href="#{name}">{escape(title)}</a>' for name, title in there)
    title = f"Agreement of synthetic and measured {found.target}"
    facts = (
        f"{len({one.case for one in found.regions})} subjects · {len(found.names)} regions · "
        f"{len(found.methods)} method{'s' * (len(found.methods) != 1)}"
        + (f" · unit: {found.shown_unit}" if found.shown_unit else "")
    )
    header = (
        f"<header><h1>{escape(title)}</h1>{sections.paragraph(facts, 'facts')}"
        f"{sections.paragraph(PURPOSE, 'purpose')}<nav>{links}</nav></header>"
    )
    return document(title, header, [sections.section(*place, *body) for place, body in there.items()])


def _forests(found: Findings) -> str:
    if not found.agreements:
        return ""
    parts = []
    for label, attribute in (("ICC(A,1), absolute agreement", "icc"), ("Deming slope", "slope")):
        values = {
            region: {m: getattr(one, attribute) for m in found.methods
                     if (one := found.agreements.get((m, region))) is not None}
            for region in found.names
        }  # fmt: skip
        parts.append(sections.image(forest(values, label, 1.0), f"{label} by region and method", shrink=2))
    return parts[0] + sections.paragraph(_HOW, "note") + sections.folded("Slopes", parts[1])


def _charts(found: Findings) -> str:
    shown = [m for m in found.methods if m not in FLOORS][:_BESIDE] or list(found.methods)[:_BESIDE]
    parts = []
    for region in _worst(found):
        points = {m: (*found.sides(m, region), found.agreements[m, region])
                  for m in shown if (m, region) in found.agreements}  # fmt: skip
        if points:
            words = f"{region}: synthetic against measured, and differences against means"
            picture = sections.image(pairs(points, found.shown_unit), words, shrink=2)
            parts.append((region, picture))
    open_ones = "".join(f"<h3>{escape(region)}</h3>{picture}" for region, picture in parts[:_OPEN])
    note = (
        "A dot is a subject. Above: black is equality, red the Deming line. Below: the line is the bias, dashes "
        "are the limits of agreement, shades their 95 % intervals."
    )
    left = len(found.names) - len(parts)
    note += f" The {len(parts)} regions that agree least; {left} more are in the tables." if left else ""
    more = "".join(sections.folded(region, picture) for region, picture in parts[_OPEN:])
    return open_ones + more + sections.paragraph(note, "note") if parts else ""


def _worst(found: Findings) -> list[str]:
    """The mask and what is said of lesions, then the regions with the lowest concordance."""
    lead = [name for name in found.names if name in ("mask", "volume", "lesion contrast", "lesion")]

    def lowest(region: str) -> float:
        own = [one.ccc.value for (method, name), one in found.agreements.items()
               if name == region and method not in FLOORS]  # fmt: skip
        return min((value for value in own if math.isfinite(value)), default=1.0)

    return [*lead, *sorted((name for name in found.names if name not in lead), key=lowest)][:_CHARTS]


def _tables(found: Findings) -> str:
    parts = []
    for method in found.methods:
        heads, rows = agreement_table(found, method)
        table = sections.grid(heads, rows)
        parts.append(sections.folded(f"{method} (floor)" if method in FLOORS else method, table))
    return "".join(parts)


def _recognition(found: Findings) -> str:
    if not found.recognitions:
        return ""
    parts = [
        sections.folded(f"{method}: {right} of {n} recognised", sections.grid(*recognition_table(found, method)))
        for method in found.methods
        if method in found.recognitions
        for right, n, _, _ in [found.margin(method)]
    ]
    return sections.paragraph(_RECOGNITION, "note") + "".join(parts)

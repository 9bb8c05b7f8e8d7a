"""Findings of agreement: what was found, and the tables and sentences that say it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

import numpy as np

from transmodal.evaluation.agreement import FEWEST, Agreement, Estimate
from transmodal.evaluation.effects import Effect
from transmodal.evaluation.recognition import Recognition
from transmodal.evaluation.regions import Region
from transmodal.evaluation.statistics import Interval, interval_of_mean
from transmodal.reporting.tables import FLOORS, decimals, order, pipes

Grid = tuple[list[str], list[list[str]]]
"""Heads and lines of a table."""


@dataclass(frozen=True)
class Findings:
    """What agreement found out.

    Attributes:
        target: the modality that was made.
        unit: of the volumes.
        regions: the numbers of every subject, method and region.
        agreements: (method, region) → how they agree over subjects.
        effects: (method, region) → what became of group differences.
        recognitions: method → one for each case.
        column: what the groups are called; empty without groups.
        subjects: case → subject, of subjects with several cases; their maps are recognised one by one.
        notes: what was left out, in sentences.
    """

    target: str
    unit: str
    regions: Sequence[Region]
    agreements: Mapping[tuple[str, str], Agreement]
    effects: Mapping[tuple[str, str], Sequence[Effect]] = field(default_factory=dict)
    recognitions: Mapping[str, Sequence[Recognition]] = field(default_factory=dict)
    column: str = ""
    subjects: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def methods(self) -> tuple[str, ...]:
        """Floors first."""
        return order([one.method for one in self.regions])

    @property
    def names(self) -> list[str]:
        """Regions that enough subjects have, in order of appearance."""
        return list(dict.fromkeys(region for _, region in self.agreements))

    @property
    def shown_unit(self) -> str:
        """The unit in words; empty for a pure number."""
        return {"1": "", "window": "share of the window"}.get(self.unit, self.unit)

    def sides(self, method: str, region: str) -> tuple[np.ndarray, np.ndarray]:
        """Measured and made numbers of the subjects."""
        own = [one for one in self.regions if (one.method, one.region) == (method, region)]
        return np.array([one.measured for one in own]), np.array([one.made for one in own])

    def profile(self, method: str) -> float:
        """Mean over subjects of the correlation over regions: does the pattern of a person come out right?"""
        cases: dict[str, list[Region]] = {}
        for one in self.regions:
            if one.method == method and one.region not in ("mask", "volume", "lesion contrast", "healthy"):
                cases.setdefault(one.case, []).append(one)
        found = []
        for own in cases.values():
            made, measured = np.array([one.made for one in own]), np.array([one.measured for one in own])
            if len(own) >= FEWEST and np.ptp(made) > 0 and np.ptp(measured) > 0:
                found.append(float(np.corrcoef(made, measured)[0, 1]))
        return fmean(found) if found else math.nan

    def margin(self, method: str) -> tuple[int, int, float, Interval | None]:
        """Maps recognised, of how many; mean margin of the subjects, and its interval."""
        own = self.recognitions[method]
        people: dict[str, list[float]] = {}
        for one in own:
            people.setdefault(self.subjects.get(one.case, one.case), []).append(one.margin)
        margins = [fmean(of_one) for of_one in people.values()]
        return sum(one.rank == 1 for one in own), len(own), fmean(margins), interval_of_mean(margins)


def overview(found: Findings) -> Grid:
    """A line for each method: medians over regions of what counts, and who is recognised."""
    heads = [
        "method",
        "subjects",
        "regions",
        "ICC(A,1)",
        "CCC",
        "Deming slope",
        "spread",
        "Spearman ρ",
        "profile r",
    ]
    heads += ["recognised", "margin"] if found.recognitions else []
    rows = []
    for method in found.methods:
        own = [one for (name, _), one in found.agreements.items() if name == method]
        cells = [
            _middle([one.icc.value for one in own]),
            _middle([one.ccc.value for one in own]),
            _middle([one.slope.value for one in own]),
            _middle([one.spread for one in own]),
            _middle([one.spearman.value for one in own]),
            _number(found.profile(method), 2),
        ]
        people = len({one.case for one in found.regions if one.method == method})
        line = [_label(method), str(people), str(len(own)), *cells]
        if found.recognitions:
            line += _recognised(found, method)
        rows.append(line)
    return heads, rows


def agreement_table(found: Findings, method: str) -> Grid:
    """A line for each region of one method, with intervals."""
    unit = f" ({found.shown_unit})" if found.shown_unit else ""
    heads = ["region", "n", f"measured{unit}", f"synthetic{unit}", "bias", "limits of agreement", "ICC(A,1)",
             "CCC", "Deming slope", "spread", "Spearman ρ", "Kendall τ", "mean |error|"]  # fmt: skip
    own = {region: one for (name, region), one in found.agreements.items() if name == method}
    digits = decimals([one.measured for one in own.values()] or [1.0]) + 1
    rows = []
    for region, one in own.items():
        errors = [r.error for r in found.regions if (r.method, r.region) == (method, region)]
        rows.append(
            [
                region,
                str(one.n),
                _number(one.measured, digits),
                _number(one.made, digits),
                _signed(one.bias, digits),
                f"{_one_signed(one.lower, digits)} to {_one_signed(one.upper, digits)}",
                _with_ends(one.icc),
                _with_ends(one.ccc),
                _with_ends(one.slope),
                _number(one.spread, 2),
                _with_ends(one.spearman),
                _number(one.kendall, 2),
                _number(fmean(errors), digits),
            ]
        )
    return heads, rows


def effect_table(found: Findings) -> Grid:
    """A line for each effect, region and method."""
    heads = ["region", found.column, "", "method", "n", "measured", "synthetic", "change [95 %]"]
    rows = []
    for (method, region), effects in found.effects.items():
        for one in effects:
            change = f"{one.change:+.2f} [{one.low:+.2f}, {one.high:+.2f}]"
            sign = {"g": "Hedges g", "r": "Pearson r"}[one.kind]
            rows.append([region, one.name, sign, _label(method), str(one.n), f"{one.measured:+.2f}",
                         f"{one.made:+.2f}", change])  # fmt: skip
    return heads, rows


def recognition_table(found: Findings, method: str) -> Grid:
    """A line for each case of one method."""
    heads = ["case", "own map r", "best other r", "whose", "margin", "rank"]
    rows = [
        [one.case, f"{one.own:.3f}", f"{one.best:.3f}", one.other, f"{one.margin:+.3f}", str(one.rank)]
        for one in found.recognitions[method]
    ]
    return heads, rows


def sentences(found: Findings) -> list[str]:
    """What must not be overlooked."""
    said = []
    for method in found.methods:
        own = {region: one for (name, region), one in found.agreements.items() if name == method}
        if method in FLOORS or not own:
            continue
        shifted = [r for r, one in own.items() if one.bias.low > 0 or one.bias.high < 0]
        flat = [r for r, one in own.items() if one.slope.low > -1 and one.slope.high < 1]
        turned = [r for r, one in own.items() if one.slope.high < 0]
        if shifted:
            many = f"{len(shifted)} of {len(own)} regions{_some(shifted)}"
            said.append(f"{method}: the bias differs from 0 in {many}{_by_chance(len(own))}.")
        if flat:
            said.append(
                f"{method}: differences between subjects come out too small (slope below 1) in {len(flat)} of "
                f"{len(own)} regions{_some(flat)}."
            )
        if turned:
            said.append(
                f"{method}: the order of people comes out reversed (slope below 0) in {len(turned)} of {len(own)} "
                f"regions{_some(turned)}."
            )
        lost = [
            f"{effect.name} in {region}"
            for (name, region), effects in found.effects.items()
            for effect in effects
            if name == method and (effect.low > 0 or effect.high < 0)
        ]
        if lost:
            asked = sum(len(own) for (name, _), own in found.effects.items() if name == method)
            many = f"{len(lost)} of {asked} effects ({', '.join(lost[:8])}{' …' * (len(lost) > 8)})"
            said.append(f"{method}: the effect of {found.column} is changed: {many}{_by_chance(asked)}.")
    for method in found.recognitions:
        right, n, _, _ = found.margin(method)
        if method not in FLOORS:
            said.append(
                f"{method}: {right} of {n} synthetic maps are most like the measured map of their own person "
                f"(chance: 1 of {_among(found, method)})."
            )
    few = min((one.n for one in found.agreements.values()), default=0)
    if not found.agreements:
        said.append(f"Fewer than {FEWEST} subjects have a region in common: nothing can be said about agreement.")
    elif few < 10:
        said.append(f"{few} subjects are few: every interval is wide, and no region is proven to agree.")
    return [*said, *found.notes]


def agreement_summary(found: Findings) -> str:
    """Overview and sentences, for a terminal."""
    return "\n\n".join([markdown(*overview(found)), "\n".join(f"- {one}" for one in sentences(found))])


def agreement_markdown(found: Findings) -> str:
    """Overview, sentences, and a table for each method."""
    parts = [agreement_summary(found)]
    for method in found.methods:
        if rows := agreement_table(found, method)[1]:
            parts += [f"## {_label(method)}", markdown(agreement_table(found, method)[0], rows)]
    if found.effects:
        parts += [f"## Effects of {found.column}", markdown(*effect_table(found))]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join([pipes(heads), pipes(["---"] * len(heads)), *(pipes(row) for row in rows)])


def _recognised(found: Findings, method: str) -> list[str]:
    if method not in found.recognitions:
        return ["–", "–"]
    right, n, mean, span = found.margin(method)
    return [f"{right} of {n}", f"{mean:+.3f}" + (f" [{span.low:+.3f}, {span.high:+.3f}]" if span else "")]


def _label(method: str) -> str:
    return f"{method} (floor)" if method in FLOORS else method


def _among(found: Findings, method: str) -> str:
    """How many measured maps could have won."""
    counts = [one.among for one in found.recognitions[method]]
    return str(max(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _by_chance(intervals: int) -> str:
    """How many of so many 95 % intervals miss what they are of."""
    return f"; about {intervals / 20:.0f} would by chance alone" if intervals >= 20 else ""


def _some(names: Sequence[str]) -> str:
    return f" ({', '.join(names[:6])}{' …' * (len(names) > 6)})"


def _middle(values: Sequence[float]) -> str:
    usable = [value for value in values if math.isfinite(value)]
    return _number(median(usable), 2) if usable else "–"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def _with_ends(one: Estimate, digits: int = 2) -> str:
    ends = f" [{_short(one.low, digits)}, {_short(one.high, digits)}]" if math.isfinite(one.low) else ""
    return _number(one.value, digits) + ends


def _short(value: float, digits: int) -> str:
    """An end of an interval that says nothing more beyond 100."""
    return f"{value:.{digits}f}" if abs(value) < 100 else "> 100" if value > 0 else "< -100"


def _one_signed(one: Estimate, digits: int) -> str:
    return f"{one.value:+.{digits}f}"


def _signed(one: Estimate, digits: int) -> str:
    return f"{one.value:+.{digits}f} [{one.low:+.{digits}f}, {one.high:+.{digits}f}]"

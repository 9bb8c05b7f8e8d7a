"""Tables of methods and metrics: what stands where, which value is best, and who does not beat the floors.

A floor is what costs no training: the source as it is (``identity``), the mean of the training targets
(``mean``). A method that is no better than both has learnt nothing that counts, and a sentence says so.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from transmodal.evaluation.measure import Measure
from transmodal.evaluation.summary import Summary

FLOORS = ("identity", "mean")

_LATEX = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}",
                                                         "^": r"\textasciicircum{}"})  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Summaries laid out: methods down, metrics across.

    Attributes:
        methods: floors first.
        metrics: in the order in which they were measured.
        cells: summary of each pair that was measured.
    """

    methods: tuple[str, ...]
    metrics: tuple[Measure, ...]
    cells: dict[tuple[str, Measure], Summary]

    def best(self, metric: Measure) -> frozenset[str]:
        """The methods with the best mean; none where fewer than two can be compared."""
        means = self.means(metric)
        if metric.higher_is_better is None or len(means) < 2:
            return frozenset()
        top = (max if metric.higher_is_better else min)(means.values())
        return frozenset(method for method, mean in means.items() if mean == top)

    def decimals(self, metric: Measure) -> int:
        """Digits after the point of the metric's means, see :func:`decimals`.

        Where neither side is better a mean may lie near 0 by chance, so the deviations say how many count.
        """
        if metric.higher_is_better is None:
            own = [
                cell.sd for (_, measure), cell in self.cells.items() if measure == metric and is_number(cell.sd)
            ]
            return decimals(sd for sd in own if is_number(sd))
        return decimals(self.means(metric).values())

    def means(self, metric: Measure) -> dict[str, float]:
        """Method → mean, where there is one."""
        found = {method: self.cells.get((method, metric)) for method in self.methods}
        return {m: s.mean for m, s in found.items() if s is not None and is_number(s.mean)}


def decimals(values: Iterable[float]) -> int:
    """Digits after the point for a column: three that count in the smallest value, two where all are below 100."""
    sizes = [abs(value) for value in values if math.isfinite(value) and value != 0]
    if not sizes:
        return 2
    needed = 2 - math.floor(math.log10(min(sizes)))
    return min(8, max(needed, 2 if max(sizes) < 100 else 1 if max(sizes) < 1000 else 0))


def is_number(value: float | None) -> TypeGuard[float]:
    """Whether there is a value, and a finite one."""
    return value is not None and math.isfinite(value)


def lay_out(summaries: Sequence[Summary], region: str | None = None) -> Table:
    """Methods down, metrics across; floors first, all else in the order of ``summaries``.

    Args:
        summaries: of any methods and metrics.
        region: only this one; None for all.
    """
    chosen = [s for s in summaries if region in (None, s.region)]
    metrics = dict.fromkeys(_metric(s) for s in chosen)
    return Table(order([s.method for s in chosen]), tuple(metrics), {(s.method, _metric(s)): s for s in chosen})


def order(methods: Sequence[str]) -> tuple[str, ...]:
    """Each method once, floors first."""
    there = dict.fromkeys(methods)
    return tuple([m for m in FLOORS if m in there] + [m for m in there if m not in FLOORS])


def verdicts(table: Table) -> list[str]:
    """One sentence for each method and metric where the method does not beat every floor that was measured."""
    sentences = []
    for metric in table.metrics:
        better = metric.higher_is_better
        means = table.means(metric)
        floors = {name: means[name] for name in FLOORS if name in means}
        if better is None or not floors:
            continue
        for method, mean in means.items():
            ahead = [f for f, value in floors.items() if not (mean > value if better else mean < value)]
            if method not in FLOORS and ahead:
                digits = table.decimals(metric)
                who = " and ".join(f"{f} ({means[f]:.{digits}f})" for f in ahead)
                name = (
                    metric.name
                    if len({m.region for m in table.metrics}) < 2
                    else f"{metric.name}, {metric.region}"
                )
                sentences.append(f"{method} does not beat {who} on {name}: its mean is {mean:.{digits}f}.")
    return sentences


def figures(summary: Summary, decimals: int) -> tuple[str, str, str]:
    """Mean, ± sd, and 95 % interval of the mean as texts; empty where there is none."""
    if not is_number(summary.mean):
        return "∞" if summary.infinite else "–", "", ""
    spread = f"± {summary.sd:.{decimals}f}" if is_number(summary.sd) else ""
    both = is_number(summary.low) and is_number(summary.high)
    interval = f"[{summary.low:.{decimals}f}, {summary.high:.{decimals}f}]" if both else ""
    return f"{summary.mean:.{decimals}f}", spread, interval


def counts(table: Table) -> str:
    """Subjects with a value: ``16``, or ``15–16`` where it differs between cells."""
    numbers = sorted({summary.n for summary in table.cells.values()})
    return "–".join(str(n) for n in dict.fromkeys((numbers[0], numbers[-1]))) if numbers else "0"


def markdown_table(summaries: Sequence[Summary]) -> str:
    """A GitHub table: mean ± sd [95 % interval]; the best mean in bold; conventions in a line below."""
    return markdown(lay_out(summaries))


def markdown(table: Table, letters: Mapping[tuple[str, Measure], str] | None = None) -> str:
    """The same of a table that is laid out already.

    Args:
        table: its methods stay in their order.
        letters: what follows a value of (method, measure), such as the letters of a contest.
    """
    heads = ["method", "n", *headings(table)]
    lines = [pipes(heads), pipes(["---"] + ["---:"] * (len(heads) - 1))]
    for method in table.methods:
        texts = _texts(table, method, "**{}**")
        if letters:
            marks = [letters.get((method, measure), "") for measure in table.metrics]
            texts = [f"{text} {mark}".strip() for text, mark in zip(texts, marks, strict=True)]
        lines.append(pipes([_name(method), _count(table, method), *texts]))
    return "\n".join([*lines, "", f"Mean ± sd over n cases [{intervals(table)}]. {conventions(table)}", ""])


def latex_table(summaries: Sequence[Summary]) -> str:
    """A ``tabular`` for booktabs, with the numbers of :func:`markdown_table`."""
    table = lay_out(summaries)
    heads = ["method", "n", *headings(table)]
    lines = [r"\begin{tabular}{l" + "r" * (len(heads) - 1) + "}", r"\toprule", _ampersands(heads), r"\midrule"]
    for method in table.methods:
        cells = [_latex(text) for text in (_name(method), _count(table, method))]
        marks = [_latex(text) for text in _texts(table, method, "\0{}\1")]
        cells += [text.replace("\0", r"\textbf{").replace("\1", "}") for text in marks]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def csv_table(summaries: Sequence[Summary]) -> str:
    """One line for each summary, full precision; empty where there is no value."""
    names = ("method", "region", "metric", "convention", "unit", "n",
             "mean", "sd", "low", "high", "median", "infinite", "undefined", "interval")  # fmt: skip
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for summary in summaries:
        values = [getattr(summary, name) for name in names]
        writer.writerow(["" if value is None else value for value in values])
    return buffer.getvalue()


def intervals(table: Table) -> str:
    """What the intervals are and how they were found: ``95 % interval of the mean: Student t``."""
    found = dict.fromkeys(summary.interval for summary in table.cells.values() if summary.interval)
    return "95 % interval of the mean" + (f": {'; '.join(found)}" if found else "")


def p_value(p: float) -> str:
    """In a cell: 0.012, or < 0.001, since no test gives 0."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def conventions(table: Table) -> str:
    """How each metric was measured, as one sentence; equal conventions are said once."""
    said: dict[str, list[str]] = {}
    for metric in table.metrics:
        if metric.convention:
            said.setdefault(metric.convention, []).append(metric.name)
    return " ".join(f"{', '.join(dict.fromkeys(names))}: {how}." for how, names in said.items())


def headings(table: Table) -> list[str]:
    """A heading for each metric that no other column has: region and convention are added where needed."""
    found = []
    for metric in table.metrics:
        twins = [m for m in table.metrics if m.heading == metric.heading]
        extra = [metric.region] if len({m.region for m in twins}) > 1 else []
        extra += [metric.convention] if len({m.convention for m in twins}) > 1 else []
        found.append(metric.heading + (f" ({', '.join(extra)})" if extra else ""))
    return found


def _metric(summary: Summary) -> Measure:
    return Measure(summary.metric, summary.region, summary.convention, summary.unit)


def _name(method: str) -> str:
    return f"{method} (floor)" if method in FLOORS else method


def _count(table: Table, method: str) -> str:
    return counts(Table((method,), table.metrics, {k: s for k, s in table.cells.items() if k[0] == method}))


def _texts(table: Table, method: str, mark: str) -> list[str]:
    texts = []
    for metric in table.metrics:
        summary = table.cells.get((method, metric))
        mean, *rest = figures(summary, table.decimals(metric)) if summary else ("–", "", "")
        mean = mark.format(mean) if method in table.best(metric) else mean
        texts.append(" ".join(text for text in (mean, *rest) if text))
    return texts


def pipes(cells: Sequence[str]) -> str:
    """One line of a GitHub table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _latex(text: str) -> str:
    signs = {"±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "∞": r"$\infty$", "–": "--"}
    text = text.translate(_LATEX)
    for sign, command in signs.items():
        text = text.replace(sign, command)
    return text


def _ampersands(cells: Sequence[str]) -> str:
    return " & ".join(_latex(cell) for cell in cells) + r" \\"

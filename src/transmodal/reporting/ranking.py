"""Ranking: contests of several methods as Markdown and as one page, cost beside quality."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from transmodal.evaluation.contest import ALPHA, Contest, Duel
from transmodal.evaluation.measure import Measure, measure_of
from transmodal.evaluation.summary import summarise
from transmodal.evaluation.table import Row
from transmodal.reporting import charts, sections
from transmodal.reporting.folder import Manifest, few
from transmodal.reporting.html import PURPOSE, document, pictures
from transmodal.reporting.price import Price
from transmodal.reporting.tables import FLOORS, Table, decimals, lay_out, markdown, p_value, pipes

_COST = ("parameters", "GMAC a sample", "sample", "steps", "training (s)", "training memory", "a volume (s)")


@dataclass(frozen=True)
class Ranking:
    """Everything that a comparison shows.

    Attributes:
        contests: the one to rank by first; further measures follow.
        measured: every row, under the names of the methods here.
        prices: method → what it cost, where it is known.
        manifest: the files of every case, or None.
        notes: sentences that a reader must know of the methods.
    """

    contests: Sequence[Contest]
    measured: Sequence[Row]
    prices: Mapping[str, Price]
    manifest: Manifest | None
    notes: Sequence[str] = ()

    @property
    def lead(self) -> Contest:
        """What is ranked by."""
        return self.contests[0]

    @property
    def rows(self) -> list[Row]:
        """Rows of the methods that are ranked."""
        return [row for row in self.measured if row.method in self.lead.methods]

    def values(self, method: str, found: Contest) -> dict[str, float]:
        """Subject → what a method scored in a contest."""
        own = {
            row.case: row.value for row in self.rows if row.method == method and measure_of(row) == found.measure
        }
        return {subject: own[subject] for subject in found.subjects}

    @property
    def table(self) -> Table:
        """Methods best first, measures across; each measure over the subjects of its own contest.

        What every method was measured by without a better side (a bias, say) stands last, without a contest.
        """
        kept = [
            row
            for found in self.contests
            for row in self.rows
            if measure_of(row) == found.measure and row.case in found.subjects
        ]
        measured: dict[Measure, set[str]] = {}
        for row in self.rows:
            measured.setdefault(measure_of(row), set()).add(row.method)
        sided = {
            m
            for m, methods in measured.items()
            if m.higher_is_better is None and len(methods) == len(self.lead.methods)
        }
        kept += [row for row in self.rows if measure_of(row) in sided and row.case in self.lead.subjects]
        laid = lay_out(summarise(kept))
        return Table(self.lead.methods, laid.metrics, laid.cells)

    @property
    def letters(self) -> dict[tuple[str, Measure], str]:
        """(method, measure) → its significance letters."""
        return {(s.method, found.measure): s.letters for found in self.contests for s in found.standings}


def ranking_markdown(ranking: Ranking) -> str:
    """The ranked table, what it says, the duels with the winner, and the costs."""
    parts = [
        markdown(ranking.table, ranking.letters) + f"\n{_legend(ranking)}",
        "\n".join(f"- {sentence}" for sentence in sentences(ranking)),
        _as_markdown(*_duel_table(ranking)),
    ]
    if ranking.prices:
        parts += [_as_markdown(*_cost_table(ranking)), _cost_note(ranking)]
    return "\n\n".join(part for part in parts if part) + "\n"


def ranking_page(ranking: Ranking, cases: int, slices: int) -> str:
    """The same as one self-contained page, with pictures of the best, the median and the worst case."""
    images, notes = "", list[str]()
    if ranking.manifest is not None:
        images, notes = pictures(ranking.manifest, ranking.rows, ranking.lead.methods[0], cases, slices)
    left = [f"{case}: not counted, {few(lacking)} lack(s) a finite value" for case, lacking in _left(ranking)]
    said = sections.bullets(sentences(ranking))
    parts = {
        ("summary", "Ranking"): [sections.ranked(ranking.table, ranking.letters, _legend(ranking)), said],
        ("subjects", "Subject by subject"): [*_dots(ranking), sections.subjects(ranking.rows)],
        ("duels", "In pairs"): [sections.grid(*_duel_table(ranking, all_of_them=True))],
        ("cost", "Cost beside quality"): [_cost(ranking)],
        ("images", "Best, median and worst case"): [images],
        ("left", "Left out"): [sections.bullets(left), sections.bullets(notes)],
    }
    there = {place: parts for place, parts in parts.items() if any(parts)}
    links = "".join(f'<a href="#{name}">{escape(title)}</a>' for name, title in there)
    title = ranking.manifest.title if ranking.manifest else "Comparison"
    facts = f"{len(ranking.lead.subjects)} subjects · {len(ranking.lead.methods)} methods"
    header = (
        f"<header><h1>{escape(title)}</h1>{sections.paragraph(facts, 'facts')}"
        f"{sections.paragraph(PURPOSE, 'purpose')}<nav>{links}</nav></header>"
    )
    return document(title, header, [sections.section(*place, *body) for place, body in there.items()])


def sentences(ranking: Ranking) -> list[str]:
    """Who wins and against whom that is shown, who does not beat the floors, who shows nothing new."""
    lead = ranking.lead
    best, name = lead.methods[0], lead.measure.name
    equals = [d.behind for d in lead.duels if d.ahead == best and not d.differs]
    worse = [d.behind for d in lead.duels if d.ahead == best and d.shown]
    found = [f"Best mean {name}: {best}."]
    if worse:
        found.append(f"{best} is shown to be ahead of {few(worse)} (Wilcoxon, Holm-corrected p < {ALPHA:g}).")
    if equals:
        found.append(f"{best} is not shown to differ from {few(equals)}: their order may be chance.")
    found += [
        f"{d.ahead} has the better mean {name}, {d.behind} is better for most subjects ({_said(d.p)}): mean and "
        "ranks disagree, so neither is shown to be ahead; look at the subjects who are far behind."
        for d in lead.duels
        if d.differs and not d.shown
    ]
    for method in lead.methods:
        floors = [f for f in FLOORS if f in lead.methods and method not in FLOORS]
        if bad := [f for f in floors if not _beats(lead, method, f)]:
            found.append(f"{method} is not shown to beat the floor {' nor '.join(bad)} on {name}.")
    if not set(FLOORS) & set(lead.methods):
        found.append("No floor was judged, so it is open whether any method beats doing nothing.")
    found += [
        f"{d.ahead} and {d.behind} have equivalent means within ± {d.equivalence.margin:g} "
        f"({_said(d.equivalence.p)})."
        for d in lead.duels
        if d.equivalence is not None and d.equivalence.p < ALPHA
    ]
    if left := _left(ranking):
        found.append(
            f"{len(left)} case(s) are not counted, since a method lacks them: {few([c for c, _ in left])}."
        )
    return [*found, *ranking.notes]


def _beats(found: Contest, method: str, floor: str) -> bool:
    duel = found.duel(method, floor)
    return duel.ahead == method and duel.shown


def _left(ranking: Ranking) -> list[tuple[str, Sequence[str]]]:
    return list(ranking.lead.left_out.items())


def _legend(ranking: Ranking) -> str:
    count, duels = len(ranking.lead.subjects), len(ranking.lead.duels)
    smallest = min(1.0, 2 ** (1 - count) * duels)
    least = (
        f" {count} subjects cannot give a corrected p below {smallest:.3g} in {duels} duels: nothing can be shown."
        if smallest >= ALPHA
        else ""
    )
    return (
        f"Ranked by {ranking.lead.measure.name}. Methods that share a letter in a column are not shown to differ "
        f"(Wilcoxon's signed-rank test over subjects, Holm-corrected over the pairs of the column, {ALPHA:g})."
        + least
    )


def _duel_table(ranking: Ranking, *, all_of_them: bool = False) -> tuple[list[str], list[list[str]]]:
    """Heads and cells; of the lead measure, the winner's duels or all."""
    lead = ranking.lead
    best = lead.methods[0]
    chosen = [d for d in lead.duels if all_of_them or d.ahead == best]
    digits = decimals(d.difference.mean for d in chosen)
    heads = ["ahead", "behind", "n", f"{lead.measure.name}: behind − ahead [95 %]", "p (Holm)", "effect r"]
    margin = next((d.equivalence.margin for d in chosen if d.equivalence), None)
    heads += [f"p (within ± {margin:g})"] if margin is not None else []
    return heads, [_duel_cells(duel, digits, margin is not None) for duel in chosen]


def _duel_cells(duel: Duel, digits: int, with_margin: bool) -> list[str]:
    moved = duel.difference
    span = f" [{moved.interval.low:+.{digits}f}, {moved.interval.high:+.{digits}f}]" if moved.interval else ""
    cells = [duel.ahead, duel.behind, str(moved.n), f"{moved.mean:+.{digits}f}{span}", p_value(duel.p)]
    cells.append(f"{moved.effect:+.2f}")
    return [*cells, p_value(duel.equivalence.p) if duel.equivalence else "–"] if with_margin else cells


def _said(p: float) -> str:
    """In a sentence: p = 0.012, or p < 0.001."""
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _cost_table(ranking: Ranking) -> tuple[list[str], list[list[str]]]:
    means = {standing.method: standing.mean for standing in ranking.lead.standings}
    digits = decimals(means.values())
    rows = []
    for method in ranking.lead.methods:
        known = ranking.prices.get(method)
        cells = _price_cells(known) if known is not None else ["–"] * len(_COST)
        rows.append([method, f"{means[method]:.{digits}f}", *cells])
    return ["method", ranking.lead.measure.heading, *_COST], rows


def _price_cells(price: Price) -> list[str]:
    return [
        f"{price.parameters:,}",
        "–" if price.gmac is None else f"{price.gmac:.3g}",
        " × ".join(str(n) for n in price.sample) or "–",
        str(price.steps),
        f"{price.training_seconds:.0f}",
        f"{price.training_bytes / 2**20:.0f} MiB",
        "–" if price.volume_seconds is None else f"{price.volume_seconds:.2f}",
    ]


def _as_markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    return "\n".join([pipes(heads), pipes(["---"] * len(heads)), *(pipes(row) for row in rows)])


def ranking_picture(ranking: Ranking) -> bytes:
    """The main figure as PNG: the leading measure of every subject and method."""
    return _chart(ranking, ranking.lead)


def _chart(ranking: Ranking, found: Contest) -> bytes:
    lined = {method: list(ranking.values(method, found).values()) for method in ranking.lead.methods}
    return charts.dots(lined, found.measure.heading, FLOORS)


def _dots(ranking: Ranking) -> list[str]:
    """Per-subject lines, a chart for each measure."""
    found = []
    for contest in ranking.contests:
        caption = f"{contest.measure.heading}: a dot is one case; a line joins the same case; a bar is the mean."
        words = f"{contest.measure.name} of every case and method"
        found.append(sections.image(_chart(ranking, contest), words, caption, shrink=2))
    return [found[0], sections.folded("The other measures", "".join(found[1:]))]


def _cost(ranking: Ranking) -> str:
    if not ranking.prices:
        return ""
    points = {}
    for standing in ranking.lead.standings:
        known = ranking.prices.get(standing.method)
        if known is not None and known.volume_seconds is not None:
            span = standing.interval
            points[standing.method] = (
                known.volume_seconds,
                standing.mean,
                (span.low, span.high) if span else (standing.mean, standing.mean),
            )
    chart = ""
    if len(points) > 1:
        png = charts.scatter(points, "seconds for a volume", ranking.lead.measure.heading)
        words = "Seconds for a volume against quality; bars are 95 % intervals of the mean."
        chart = sections.image(png, "Cost against quality", words, shrink=2)
    return sections.grid(*_cost_table(ranking)) + chart + sections.paragraph(_cost_note(ranking), "note")


def _cost_note(ranking: Ranking) -> str:
    machines = list(dict.fromkeys(price.machine or "an unknown machine" for price in ranking.prices.values()))
    where = f"Times and memory: {'; '.join(machines)}."
    if len(machines) > 1:
        where += " They were not made on one machine and must not be compared."
    return f"{where} GMAC: 10⁹ multiply-accumulates of one translated sample of the given size."

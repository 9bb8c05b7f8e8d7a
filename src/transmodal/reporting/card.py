"""Card: the model card of a judged run. Every sentence rests on a file; what was not measured is said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transmodal.evaluation.contest import Contest
from transmodal.evaluation.measure import measure_of
from transmodal.evaluation.passport import Passport, passport_table
from transmodal.evaluation.subsets import Subset
from transmodal.evaluation.summary import Summary, summarise
from transmodal.inference.card import opening
from transmodal.reporting.folder import few, table
from transmodal.reporting.ranking import Ranking, ranking_markdown
from transmodal.reporting.tables import FLOORS, decimals, pipes

_WORST = 3
"""Cases that are named as failures."""

_SMALL = 5
"""Below this many people a subset's mean says little."""


@dataclass(frozen=True)
class Card:
    """What a card is made of.

    Attributes:
        facts: ``model.json``.
        run: ``run.json``.
        name: of the method in the ranking.
        ranking: the method and its floors on the people who were held out.
        own: cases that this very model was tested on; the others belong to models of other folds.
        passports: of those people; none where predictions were not kept.
        subsets: groups of those people.
        failures: case → why it could not be judged.
        lesions: what ``transmodal lesions`` found; empty without.
    """

    facts: Mapping[str, Any]
    run: Mapping[str, Any]
    name: str
    ranking: Ranking
    own: Sequence[str]
    passports: Sequence[Passport] = ()
    subsets: Sequence[Subset] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    lesions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def lead(self) -> Contest:
        """The measure that cases and subsets are told by."""
        return self.ranking.lead

    def values(self, method: str) -> dict[str, float]:
        """Case → its value of the leading measure."""
        return self.ranking.values(method, self.lead)


def card_markdown(card: Card) -> str:
    """The whole card."""
    parts = {
        "Intended use": _use(card),
        "Training data": _data(card),
        "Results": _results(card),
        "Groups of people": _subsets(card),
        "Where it fails": _failures(card),
        "Lesions": _lesions(card),
        "The same scores under other conventions": _passport(card),
        "Licences": _licences(card),
    }
    return "\n".join([opening(card.facts), *(f"## {title}\n\n{body}\n" for title, body in parts.items())])


def _use(card: Card) -> str:
    task = card.facts["task"]
    sources, targets = " + ".join(task["sources"]), " + ".join(task["targets"])
    return (
        f"Research on {targets} made from {sources} of people and scanners like those below. Not for diagnosis, "
        f"treatment or dose planning; not in the place of a measured {targets} where a single voxel or a lesion "
        "counts; not for other contrasts, species, or anatomy than it was trained on."
    )


def _data(card: Card) -> str:
    split, facts = table(card.run, "split"), card.facts
    counts = ", ".join(
        f"{len(split[part])} {words}"
        for part, words in (("train", "trained on"), ("val", "to choose the weights"), ("test", "held out"))
        if part in split
    )
    spacing = " × ".join(f"{size:.3g}" for size in facts["spacing_mm"])
    prepared = facts["prepare"]
    lines = [
        f"- Cases: {counts or 'not known'}; split by person",
        f"- Grid: {spacing} mm; mask: {prepared.get('mask')}; registered: {prepared.get('register')}",
    ]
    for name, fit in facts["fits"].items():
        inner = ", ".join(f"{key} {value}" for key, value in fit.items() if key != "format")
        lines.append(f"- Intensities of {name}: {inner}")
    return "\n".join(lines)


def _results(card: Card) -> str:
    own = len(set(card.own) & set(card.lead.subjects))
    others = len(card.lead.subjects) - own
    who = f"{own} people that this model never saw"
    if others:
        who += f", and {others} that models of the same recipe, trained on other people, never saw"
    return f"Of {who}:\n\n{ranking_markdown(card.ranking).rstrip()}"


def _subsets(card: Card) -> str:
    rows = [r for r in card.ranking.rows if r.method == card.name and measure_of(r) == card.lead.measure]
    lines = []
    for subset in card.subsets:
        for found in summarise(row for row in rows if row.case in subset.cases):
            if found.mean is not None:
                people = f"{found.n}{' (few)' if found.n < _SMALL else ''}"
                lines.append(pipes([subset.column, subset.name, people, _mean(found)]))
    if not lines:
        return "The table of cases has no column that divides the people who were held out."
    heads = ["column", "group", "n", f"{card.lead.measure.heading} [95 %]"]
    return "\n".join([pipes(heads), pipes(["---", "---", "---:", "---:"]), *lines])


def _mean(found: Summary) -> str:
    assert found.mean is not None
    digits = decimals([found.mean])
    if found.low is None or found.high is None:
        return f"{found.mean:.{digits}f}"
    return f"{found.mean:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _failures(card: Card) -> str:
    own = card.values(card.name)
    worst = sorted(own, key=own.__getitem__, reverse=not card.lead.measure.higher_is_better)[:_WORST]
    floors = {floor: card.values(floor) for floor in FLOORS if floor in card.lead.methods and floor != card.name}
    digits = decimals(own.values())
    name = card.lead.measure.name
    lines = [f"- {case}: {name} {own[case]:.{digits}f}{_against(case, floors, digits)}" for case in worst]
    for floor, values in floors.items():
        higher = bool(card.lead.measure.higher_is_better)
        behind = [case for case in own if (own[case] > values[case]) != higher]
        what = f": {few(behind)}" if behind else ""
        lines.append(f"- Behind the floor {floor}: {len(behind)} of {len(own)}{what}")
    lines += [f"- {case}: not judged: {why}" for case, why in card.failures.items()]
    return "\n".join([f"The {len(worst)} worst of {len(own)} by {name}:", "", *lines])


def _against(case: str, floors: Mapping[str, Mapping[str, float]], digits: int) -> str:
    said = ", ".join(f"{floor} {values[case]:.{digits}f}" for floor, values in floors.items())
    return f" ({said})" if said else ""


def _lesions(card: Card) -> str:
    if not card.lesions:
        return "It was not probed whether lesions survive. Assume that they do not (`transmodal lesions`)."
    return "\n".join(f"- {sentence}" for sentence in card.lesions.get("sentences", ()))


def _passport(card: Card) -> str:
    if not card.passports:
        return "Not taken: `transmodal card RUN` takes them from the predictions that a run keeps."
    window = (
        "Volumes are in the window of their reference: 0 is its 0.5 and 1 its 99.5 percentile in the mask. "
        if card.lead.measure.unit == "window"
        else ""
    )
    return window + (
        "One and the same error is a different number under every convention. Compare only with numbers of the "
        f"same one (docs/metrics.md).\n\n{passport_table(card.passports).rstrip()}"
    )


def _licences(card: Card) -> str:
    about = card.facts["about"]
    lines = [
        "- Code: Apache-2.0",
        f"- Weights: {about.get('licence') or 'not stated'}",
        f"- Data: {table(card.run, 'recipe', 'data').get('licence') or 'not stated'}",
    ]
    return "\n".join([*lines, *(f"- {sentence}" for sentence in about.get("pretrained", ()))])

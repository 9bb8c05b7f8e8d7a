"""The verb ``compare``: judged folders side by side. It trains nothing, and reads only what they hold.

::

    comparison.csv    every row of every folder, under the name that its method has here
    duels.csv         every two methods by every measure: difference, interval, p, effect
    comparison.md     the ranked tables;  comparison.json  the same for programs
    comparison.html   one page with the pictures;  comparison.png  its main figure
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from transmodal import progress
from transmodal.data.files import check_folder, write_bytes, write_json, write_text
from transmodal.errors import InputError
from transmodal.evaluation.contest import Contest, contest
from transmodal.evaluation.measure import Measure, measure_of
from transmodal.evaluation.table import Row, write_rows
from transmodal.experiment.entries import Entry, open_entry, same_ground
from transmodal.reporting.price import Price, median_price
from transmodal.reporting.ranking import Ranking, ranking_markdown, ranking_page, ranking_picture

_DUELS = ("metric", "region", "convention", "unit", "ahead", "behind", "n", "difference", "low", "high",
          "interval", "p", "p_holm", "effect", "margin", "p_equivalence")  # fmt: skip


def compare(
    words: Sequence[str],
    out: Path,
    *,
    metric: str | None = None,
    margin: float | None = None,
    cases: int = 1,
    slices: int = 3,
) -> str:
    """Rank the methods of several judged folders on the cases that all of them have.

    Args:
        words: folders that ``train`` or ``evaluate`` wrote, or NAME=FOLDER. Folders with one name are folds or
            seeds of one recipe: folds have other cases, and over seeds a case's scores are averaged.
        out: folder to write.
        metric: what to rank by; by default the first one of the tables whose better side is known.
        margin: the largest difference of it that does not matter, in its unit; adds tests of equivalence.
        cases: how many of the first cases are shown besides the best, median and worst of the winner.
        slices: axial slices of each.

    Returns:
        The Markdown of comparison.md.

    Raises:
        InputError: nothing to compare, folders that were judged on different voxels or in different ways.
        RecipeError: one name for different recipes.
    """
    check_folder(out)
    entries = [open_entry(word) for word in words]
    ranking = rank(entries, metric=metric, margin=margin)
    # All is made before anything is written: a failure must not leave half a comparison beside half an older one.
    text, page, picture = ranking_markdown(ranking), ranking_page(ranking, cases, slices), ranking_picture(ranking)
    facts, duels = _facts(ranking.contests, ranking.prices, entries), _duels(ranking.contests)
    write_rows(out / "comparison.csv", ranking.measured)
    write_text(out / "duels.csv", duels)
    write_json(out / "comparison.json", facts)
    write_text(out / "comparison.md", text)
    write_bytes(out / "comparison.png", picture)
    write_text(out / "comparison.html", page)
    return text


def rank(entries: Sequence[Entry], *, metric: str | None = None, margin: float | None = None) -> Ranking:
    """The methods of several judged folders and their floors, on the cases that all of them have.

    Args:
        entries: folds and seeds of one recipe under one name.
        metric: what to rank by, as in :func:`compare`.
        margin: as there.

    Raises:
        InputError: judged on different voxels or in different ways, or no measure in common.
        RecipeError: one name for different recipes.
    """
    rows = same_ground(entries)
    contests = _contests(rows, metric, margin)
    ranked = contests[0].methods
    if absent := sorted({row.method for row in rows} - set(ranked)):
        progress.warn(
            f"{', '.join(absent)}: not measured as the others are ({contests[0].measure.name}), so not ranked"
        )
    notes = dict.fromkeys(f"{entry.name}: {said}" for entry in entries for said in entry.contents.random)
    return Ranking(
        contests=contests,
        measured=rows,
        prices=_prices(entries),
        manifest=_pictures(entries),
        notes=list(notes),
    )


def _contests(rows: Sequence[Row], metric: str | None, margin: float | None) -> list[Contest]:
    """One for each measure that can be ranked and that most methods have; the one asked for first."""
    measures: dict[Measure, set[str]] = {}
    for row in rows:
        measures.setdefault(measure_of(row), set()).add(row.method)
    usable = [m for m, methods in measures.items() if m.higher_is_better is not None and len(methods) > 1]
    asked = [m for m in usable if metric in (None, m.name)]
    if not asked:
        names = ", ".join(dict.fromkeys(m.name for m in measures))
        raise InputError(
            f"metric {metric!r}: no two methods have it in one convention; there is {names}"
            if metric
            else f"no two methods share a measure that can be ranked; there is {names or 'nothing'}"
        )
    # The lead is what most methods have: one judged in another way must not decide what is compared.
    lead = max(asked, key=lambda m: len(measures[m]))
    others = [m for m in usable if m != lead and measures[m] >= measures[lead]]
    return [contest(rows, lead, margin=margin), *_held(rows, others)]


def _held(rows: Sequence[Row], measures: Sequence[Measure]) -> Iterator[Contest]:
    """The contests that can be held; one that cannot is said to be left out."""
    for measure in measures:
        try:
            yield contest(rows, measure)
        except InputError as problem:
            progress.warn(f"{problem}; this measure is left out")


def _prices(entries: Iterable[Entry]) -> dict[str, Price]:
    """Method → its price; the median over its folds and seeds."""
    found: dict[str, list[Price]] = {}
    for entry in entries:
        if entry.price is not None:
            found.setdefault(entry.name, []).append(entry.price)
    return {name: median_price(own) for name, own in found.items()}


def _pictures(entries: Sequence[Entry]) -> Any:
    """One manifest: what every entry made of a case, side by side; of several seeds the first."""
    manifests = [(entry, entry.contents.manifest) for entry in entries if entry.contents.manifest is not None]
    if not manifests:
        return None
    lead = manifests[0][1]
    shown: dict[str, Any] = {}
    for entry, manifest in manifests:
        if (manifest.target, manifest.window) != (lead.target, lead.window):
            progress.warn(f"{entry.folder}: its pictures are of {manifest.target} in another window; left out")
            continue
        for one in manifest.cases:
            made = {entry.named(method): path for method, path in one.predictions.items()}
            known = shown.setdefault(one.case, one)
            old = {} if known is one else known.predictions
            new = {name: path for name, path in made.items() if name not in old}
            shown[one.case] = replace(known, predictions={**old, **new})
    title = f"{lead.target}: {len({entry.name for entry, _ in manifests})} methods compared"
    return replace(lead, title=title, cases=list(shown.values()))


def _duels(contests: Iterable[Contest]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_DUELS)
    for found in contests:
        for duel in found.duels:
            moved, close = duel.difference, duel.equivalence
            span = moved.interval
            table.writerow(
                [*_key(found.measure).values(), duel.ahead, duel.behind, moved.n, moved.mean]
                + ([span.low, span.high, span.how] if span else ["", "", ""])
                + [moved.p, duel.p, moved.effect, *([close.margin, close.p] if close else ["", ""])]
            )
    return text.getvalue()


def _key(measure: Measure) -> dict[str, str]:
    return {
        "metric": measure.name,
        "region": measure.region,
        "convention": measure.convention,
        "unit": measure.unit,
    }


def _facts(contests: Sequence[Contest], prices: Mapping[str, Price], entries: Sequence[Entry]) -> dict[str, Any]:
    return {
        "contests": [
            {
                **_key(found.measure),
                "subjects": list(found.subjects),
                "left_out": {subject: list(methods) for subject, methods in found.left_out.items()},
                "standings": [asdict(standing) for standing in found.standings],
            }
            for found in contests
        ],
        "prices": {name: asdict(price) for name, price in prices.items()},
        "entries": [
            {
                "name": entry.name,
                "folder": str(entry.folder),
                "recipe_hash": entry.contents.run.get("hash"),
                "random_weights": entry.contents.random,
            }
            for entry in entries
        ],
    }

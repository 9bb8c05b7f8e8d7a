"""The verb ``report``: one HTML file that needs nothing else. It prints, e-mails, and works without JavaScript."""

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from transmodal import progress
from transmodal.data.files import write_text
from transmodal.evaluation.measure import Measure, measure_of
from transmodal.evaluation.table import Row
from transmodal.reporting import charts, sections
from transmodal.reporting.folder import Contents, Manifest, main_method, read_folder
from transmodal.reporting.montages import choose_cases, draw
from transmodal.reporting.prose import methods_text
from transmodal.reporting.tables import FLOORS, order

PURPOSE = "Synthetic images. For research use only: not a medical device, not for diagnosis or treatment."

_HOW_TO_READ = (
    "Axial slices, front up, the patient's left on the left (neurological convention). {window}"
    "Each source is drawn from its own 1st to 99th percentile. The error map under a prediction is prediction − "
    "reference where the mask counts: black is no error, red too bright, blue too dark; its scale ends at a "
    "quarter of the window and is the same for all methods."
)


def report(folder: Path, out: Path | None = None, *, cases: int = 3, slices: int = 3) -> Path:
    """Write the page of a run or an evaluation.

    Args:
        folder: what ``transmodal train`` or ``transmodal evaluate`` wrote. What is missing in it is left out and
            said in a sentence.
        out: the page; ``report.html`` in the folder by default.
        cases: how many of the first cases are shown; in a longer list the best, the median and the worst one by
            the first metric are shown too.
        slices: axial slices of each.

    Returns:
        The page's path.

    Raises:
        InputError: neither ``evaluation.csv`` nor ``log.jsonl`` in the folder, a damaged file, no permission.
    """
    contents = read_folder(folder)
    page = folder / "report.html" if out is None else out
    write_text(page, _page(contents, page, cases, slices))
    return page


def _page(contents: Contents, page: Path, cases: int, slices: int) -> str:
    images, notes = _images(contents, cases, slices)
    failures = [f"{case}: {why}" for case, why in contents.failures.items()]
    about = sections.environment(contents)
    body = [
        sections.section("summary", "Summary", sections.summary(contents.summaries)),
        sections.section("errors", "Errors", sections.bullets(failures)),
        sections.section("warnings", "Warnings", sections.bullets(contents.warnings)),
        sections.section("images", "Images", images),
        sections.section("subjects", "Subject by subject", _dots(contents), sections.subjects(contents.rows)),
        sections.section("training", "Training", _training(contents)),
        sections.section("methods", "Methods text", _methods(contents)),
        sections.section("recipe", "Recipe", sections.recipe(contents.run)),
        sections.section("environment", "Versions and environment", about),
        sections.section("files", "Files", sections.files(contents.folder, page)),
        sections.section("absent", "Not in this report", sections.bullets([*contents.absent, *notes])),
    ]
    return document(_title(contents), _header(contents, body), [part for part in body if part])


def _title(contents: Contents) -> str:
    if contents.manifest is not None:
        return contents.manifest.title
    name = contents.run.get("name")
    return f"Run {name}" if name else f"Report of {contents.folder.absolute().name}"


def _header(contents: Contents, body: Sequence[str]) -> str:
    cases = len({row.case for row in contents.rows})
    facts = [f"Target: {contents.manifest.target}"] if contents.manifest else []
    facts += [f"{cases} evaluated case{'s' * (cases != 1)}"] if cases else []
    facts += [f"Methods: {', '.join(contents.methods)}"] if contents.methods else []
    ids = ("summary", "errors", "images", "subjects", "training", "methods", "recipe", "files")
    names = ("Summary", "Errors", "Images", "Subjects", "Training", "Methods text", "Recipe", "Files")
    there = [(i, n) for i, n in zip(ids, names, strict=True) if any(f'<section id="{i}">' in p for p in body)]
    links = "".join(f'<a href="#{i}">{n}</a>' for i, n in there)
    return (
        f"<header><h1>{escape(_title(contents))}</h1>{sections.paragraph(' · '.join(facts), 'facts')}"
        f"{sections.paragraph(PURPOSE, 'purpose')}<nav>{links}</nav></header>"
    )


def document(title: str, header: str, body: Sequence[str]) -> str:
    """A whole page that loads nothing from anywhere; ``header`` and ``body`` are HTML, ``title`` is text."""
    style, script = (files(__package__).joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    # Nothing may be loaded from anywhere, and nothing runs but the script below.
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>",
        header,
        "<main>",
        *body,
        "</main>",
        f"<footer>{escape(PURPOSE)} Written by Transmodal.</footer>",
        f"<script>{script}</script>\n</body>\n</html>\n",
    ]
    return "\n".join(parts)


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _images(contents: Contents, cases: int, slices: int) -> tuple[str, list[str]]:
    if contents.manifest is None:
        return "", []
    return pictures(contents.manifest, contents.rows, main_method(contents), cases, slices)


def pictures(
    manifest: Manifest, rows: Sequence[Row], method: str | None, cases: int, slices: int
) -> tuple[str, list[str]]:
    """Montages of the first cases and of the best, median and worst, and a sentence for each that failed.

    Args:
        manifest: the files of every case.
        rows: scores; the first measure of ``method`` among them chooses and is written above each picture.
        method: whose best and worst cases.
        cases: how many of the first cases.
        slices: of each.
    """
    lead = next((row for row in rows if row.method == method), None)
    chosen = choose_cases(manifest.cases, rows, method, cases)
    parts, notes = [], []
    for pick in progress.track(chosen, "drawing"):
        png, said = draw(pick.shown, manifest, slices)
        notes += said
        if png is not None:
            why = f" — {pick.why}" if pick.why else ""
            scores = sections.paragraph(_scores(rows, lead, pick.shown.case), "facts")
            picture = sections.image(png, f"Axial slices of {pick.shown.case}", kind="wide")
            parts.append(f"<h3>{escape(pick.shown.case + why)}</h3>{scores}{picture}")
    if not parts:
        return "", notes
    low, high = manifest.window or (0, 0)
    unit = f" {manifest.unit}" if manifest.unit not in ("", "1", "window", "z") else ""
    window = (
        f"Reference and predictions are drawn from {low:g} to {high:g}{unit}, in every case. "
        if manifest.window
        else ""
    )
    left = len(manifest.cases) - len(parts)
    more = f" {left} of {len(manifest.cases)} cases are not shown." if left else ""
    return sections.paragraph(_HOW_TO_READ.format(window=window) + more, "note") + "".join(parts), notes


def _first_metric(contents: Contents) -> Measure | None:
    row = next((row for row in contents.rows if row.method == main_method(contents)), None)
    return None if row is None else measure_of(row)


def _scores(rows: Sequence[Row], lead: Row | None, case: str) -> str:
    """What every method reached for a case, by the measure of one row."""
    if lead is None:
        return ""
    measure = measure_of(lead)
    found = {row.method: row.value for row in rows if row.case == case and measure_of(row) == measure}
    listed = ", ".join(f"{method} {found[method]:.4g}" for method in order(list(found)))
    return f"{measure.heading}: {listed}" if listed else ""


def _dots(contents: Contents) -> str:
    metric = _first_metric(contents)
    if metric is None or len({row.case for row in contents.rows}) < 2:
        return ""
    cases = list(dict.fromkeys(row.case for row in contents.rows))
    found = {
        (row.method, row.case): row.value
        for row in contents.rows
        if (row.metric, row.region) == (metric.name, metric.region)
    }
    methods = [m for m in contents.methods if any(method == m for method, _ in found)]
    values = {method: [found.get((method, case), float("nan")) for case in cases] for method in methods}
    better = {True: "; higher is better", False: "; lower is better", None: ""}[metric.higher_is_better]
    return sections.image(
        charts.dots(values, metric.heading, FLOORS),
        f"{metric.name} of every case and method",
        f"{metric.name}{better}. A dot is one case; a line joins the same case; a bar is the mean.",
        shrink=2,
    )


def _training(contents: Contents) -> str:
    plots: dict[str, dict[str, tuple[list[float], list[float]]]] = {}

    def add(chart: str, name: str, step: Any, value: Any) -> None:
        steps, values = plots.setdefault(chart, {}).setdefault(name, ([], []))
        steps.append(step)
        values.append(float("nan") if value is None else value)

    for line in contents.log:
        for name, value in (line.get("terms") or {}).items():
            player, _, term = name.rpartition("/")
            add(player or "terms", term, line["step"], value)
    for line in contents.log:
        for name, value in (line.get("validation") or {}).items():
            add(f"validation {name}", name, line["step"], value)
    if not plots:
        return ""
    last = contents.log[-1]
    caption = (
        f"Weighted loss terms of each player, and validation scores on whole volumes. Last step: {last['step']}"
    )
    caption += f", after {_duration(float(last['seconds']))} of training." if "seconds" in last else "."
    return sections.image(charts.curves(plots), "Training curves", caption, shrink=2)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"


def _methods(contents: Contents) -> str:
    text = methods_text(contents)
    if not text:
        return ""
    hint = "To paste into a paper and to edit; every clause is read from this folder."
    return sections.paragraph(hint, "note") + f"<blockquote>{escape(text)}</blockquote>"

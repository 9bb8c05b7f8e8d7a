"""The parts of a report's page that are made of words and numbers. All that comes from a file is escaped here."""

import base64
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from transmodal.evaluation.measure import Measure
from transmodal.evaluation.summary import Summary
from transmodal.evaluation.table import Row
from transmodal.reporting.folder import Contents, few, table
from transmodal.reporting.tables import (
    FLOORS,
    Table,
    conventions,
    counts,
    decimals,
    figures,
    headings,
    intervals,
    lay_out,
    order,
    verdicts,
)
from transmodal.reporting.toml import to_toml

_OPEN_ROWS = 24
"""A longer table is folded."""

_OPEN_REGIONS = 4
"""Of more regions, all but the first are folded."""

_UNITS = {
    "window": "Errors are in shares of the reference's own intensity window.",
    "z": "Errors are in standard deviations of the reference's intensities.",
}


def section(name: str, title: str, *parts: str) -> str:
    """A part of the page with a heading; nothing where all parts are empty."""
    body = "\n".join(part for part in parts if part)
    return f'<section id="{name}">\n<h2>{escape(title)}</h2>\n{body}\n</section>' if body else ""


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; nothing for an empty text."""
    return f"<p{_class(kind)}>{escape(text)}</p>" if text else ""


def bullets(sentences: Iterable[str]) -> str:
    """A list of sentences; nothing for none."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else ""


def folded(title: str, body: str) -> str:
    """What is only seen after a click, or in print."""
    return f"<details><summary>{escape(title)}</summary>\n{body}\n</details>" if body else ""


def image(png: bytes, words: str, caption: str = "", kind: str = "", shrink: int = 1) -> str:
    """A picture inside the page.

    Args:
        png: the file.
        words: what it shows, for those who cannot see it.
        caption: text under it.
        kind: a class of the style sheet.
        shrink: pixels of the file for one of the page.
    """
    width, height = struct.unpack(">II", png[16:24])
    data = base64.b64encode(png).decode()
    size = f'width="{width // shrink}" height="{height // shrink}"'
    under = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    picture = f'<img alt="{escape(words)}" {size} src="data:image/png;base64,{data}">'
    return f'<figure{_class(kind)}><div class="scroll">{picture}</div>{under}</figure>'


def summary(summaries: Sequence[Summary]) -> str:
    """The table of methods and metrics for each region, with what it says in sentences."""
    regions = list(dict.fromkeys(s.region for s in summaries))
    parts = []
    for region in regions:
        found = lay_out(summaries, region)
        body = _summary_table(found) + bullets(verdict_lines(found))
        if region == regions[0]:
            parts.append(body)
        elif len(regions) <= _OPEN_REGIONS:
            parts.append(f"<h3>{escape(region)}</h3>{body}")
        else:
            parts.append(folded(f"Region: {region}", body))
    return "\n".join(parts)


def verdict_lines(found: Table) -> list[str]:
    """Who does not beat the floors, and what was left out of the means."""
    floors = [m for m in found.methods if m in FLOORS]
    others = [m for m in found.methods if m not in FLOORS]
    lines = verdicts(found)
    if not floors and others:
        lines.append(
            "No floor (identity, mean) was evaluated, so it is open whether the method beats doing nothing."
        )
    elif others and not lines:
        lines.append(f"{' and '.join(others)}: better than {' and '.join(floors)} on every metric, by the mean.")
    for (method, metric), cell in found.cells.items():
        for number, what in ((cell.infinite, "infinite"), (cell.undefined, "undefined")):
            if number:
                lines.append(f"{method}, {metric.name}: {number} {what} value(s) are left out of the mean.")
    if len({cell.n for cell in found.cells.values()}) > 1:
        lines.append(
            f"The means rest on different numbers of cases (n = {counts(found)}); compare them with care."
        )
    return lines


def ranked(found: Table, letters: Mapping[tuple[str, Measure], str], legend: str) -> str:
    """The table of a comparison: best method first, with the letters of its contests."""
    return _summary_table(found, letters) + paragraph(legend, "note")


def grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table that can be sorted by its columns; nothing without rows."""
    if not rows:
        return ""
    first = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr>{first}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def _summary_table(found: Table, letters: Mapping[tuple[str, Measure], str] | None = None) -> str:
    heads = "".join(f'<th scope="col">{escape(text)}</th>' for text in headings(found))
    rows = []
    last_floor = next((m for m in reversed(found.methods) if m in FLOORS), None)
    for method in found.methods:
        own = Table((method,), found.metrics, {key: s for key, s in found.cells.items() if key[0] == method})
        name = f"{escape(method)} <small>floor</small>" if method in FLOORS else f"<b>{escape(method)}</b>"
        kind = "floor" * (method in FLOORS) + " last-floor" * (method == last_floor)
        marks = {metric: (letters or {}).get((method, metric), "") for metric in found.metrics}
        cells = "".join(_cell(found, method, metric, mark) for metric, mark in marks.items())
        rows.append(f'<tr{_class(kind)}><th scope="row">{name}</th><td>{counts(own)}</td>{cells}</tr>')
    region = dict.fromkeys(metric.region for metric in found.metrics)
    units = " ".join(_UNITS[unit] for unit in dict.fromkeys(m.unit for m in found.metrics) if unit in _UNITS)
    caption = (
        f"Mean ± standard deviation over n cases, and {intervals(found)}. Region: {', '.join(region)}. "
        f"Bold: best mean. Arrows point to the better side. {conventions(found)} {units}"
    )
    return (
        f'<div class="scroll"><table class="summary">'
        f'<thead><tr><th scope="col">Method</th><th scope="col">n</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{paragraph(caption, 'note')}"
    )


def _cell(found: Table, method: str, metric: Measure, mark: str) -> str:
    cell = found.cells.get((method, metric))
    if cell is None:
        return "<td>–</td>"
    mean, spread, interval = figures(cell, found.decimals(metric))
    best = method in found.best(metric)
    strong = f"<b>{mean}</b>" if best else mean
    sign = f" <sup>{escape(mark)}</sup>" if mark else ""
    return f"<td{_class('best' if best else '')}>{strong} {spread}{sign}<small>{interval}</small></td>"


def subjects(rows: Sequence[Row]) -> str:
    """One line for each case and method, one column for each metric of the first region."""
    if not rows:
        return ""
    here = [row for row in rows if row.region == rows[0].region]
    columns = list(dict.fromkeys((row.metric, row.unit) for row in here))
    values: dict[tuple[str, str], dict[tuple[str, str], list[float]]] = {}
    for row in here:
        values.setdefault((row.case, row.method), {}).setdefault((row.metric, row.unit), []).append(row.value)
    rank = {method: place for place, method in enumerate(order([row.method for row in here]))}
    cases = {case: place for place, case in enumerate(dict.fromkeys(row.case for row in here))}
    digits = {c: decimals(row.value for row in here if (row.metric, row.unit) == c) for c in columns}
    lines = []
    for case, method in sorted(values, key=lambda pair: (cases[pair[0]], rank[pair[1]])):
        cells = "".join(_numbers(values[case, method].get(column, []), digits[column]) for column in columns)
        kind = _class("floor" if method in FLOORS else "")
        names = f'<td class="name">{escape(case)}</td><td class="text">{escape(method)}</td>'
        lines.append(f"<tr{kind}>{names}{cells}</tr>")
    heads = "".join(
        f'<th scope="col">{escape(Measure(name, "", "", unit).heading)}</th>' for name, unit in columns
    )
    body = (
        '<div class="scroll"><table class="sortable"><thead><tr><th scope="col">Case</th>'
        f'<th scope="col" class="text">Method</th>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
    regions = list(dict.fromkeys(row.region for row in rows))
    more = f"Values of {len(regions) - 1} more region(s) are in evaluation.csv: {few(regions[1:])}."
    shown = folded(f"Table of {len(cases)} cases, {len(lines)} lines", body) if len(lines) > _OPEN_ROWS else body
    return shown + (paragraph(more, "note") if len(regions) > 1 else "")


def _numbers(values: Sequence[float], digits: int) -> str:
    texts = ["undefined" if math.isnan(v) else "∞" if math.isinf(v) else f"{v:.{digits}f}" for v in values]
    text = " / ".join(texts) or "–"
    raw = repr(values[0]).replace("inf", "Infinity") if len(values) == 1 and not math.isnan(values[0]) else ""
    return f'<td data-value="{raw}">{text}</td>'


def recipe(run: Mapping[str, Any]) -> str:
    """The resolved recipe, folded, and its hash."""
    content = table(run, "recipe")
    digest = paragraph(f"Hash of the resolved recipe: {run['hash']}", "facts") if run.get("hash") else ""
    text = f"<pre>{escape(to_toml(content))}</pre>" if content else ""
    return digest + folded("The resolved recipe, every default written out (TOML)", text)


def environment(contents: Contents) -> str:
    """Versions and machine, as recorded when the run started and when it was evaluated."""
    facts = table(contents.run, "environment") or {"versions": contents.evaluation.get("versions")}
    lines = []
    for key, value in facts.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{name} {number}" for name, number in value.items())
        elif isinstance(value, list):
            value = ", ".join(str(item) for item in value)
        if value not in (None, ""):
            lines.append(f"<tr><td>{escape(key)}</td><td>{escape(str(value))}</td></tr>")
    return f'<table class="plain"><tbody>{"".join(lines)}</tbody></table>' if lines else ""


def files(folder: Path, page: Path) -> str:
    """What lies in the folder, the page itself left out."""
    lines = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.resolve() == page.resolve():
            continue
        if path.is_dir():
            size = f"{sum(inner.is_file() for inner in path.rglob('*'))} file(s)"
        else:
            size = _bytes(path.stat().st_size)
        name = path.name + "/" * path.is_dir()
        lines.append(f"<tr><td>{escape(name)}</td><td>{size}</td></tr>")
    return f'<table class="plain"><tbody>{"".join(lines)}</tbody></table>' if lines else ""


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size = size / 1000
    return f"{size:.3g} GB"


def _class(kind: str) -> str:
    return f' class="{kind.strip()}"' if kind.strip() else ""

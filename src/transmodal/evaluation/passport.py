"""The metric passport: every score under every convention that applies, and what must be known beside it."""

import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transmodal.data.files import read_json, write_json, write_text
from transmodal.data.record import as_written
from transmodal.errors import InputError
from transmodal.evaluation.comparison import Comparison, Score
from transmodal.evaluation.conventions import CONVENTIONS, Convention
from transmodal.evaluation.features import Seen, cohort_rows, look
from transmodal.evaluation.people import shared
from transmodal.evaluation.summary import Summary, summarise
from transmodal.evaluation.table import Row
from transmodal.nn.features import VGG19


@dataclass(frozen=True)
class Passport:
    """What one case scored.

    Attributes:
        case: the subject.
        method: what made the prediction.
        scores: name of a convention → its scores.
        absent: name of a convention → why it has none.
        seen: what a network saw; None without one.
        subject: the person; empty where only the case is known.
    """

    case: str
    method: str
    scores: Mapping[str, Sequence[Score]]
    absent: Mapping[str, str]
    seen: Seen | None = None
    subject: str = ""

    @property
    def rows(self) -> list[Row]:
        """Rows of the tidy table; where slices were left out of a mean, rows that count them follow."""
        found = []
        for score in (score for scores in self.scores.values() for score in scores):
            place = (self.case, self.method, score.region)
            found.append(Row(*place, score.metric, score.convention, score.value, score.unit, score.n))
            for count, what in ((score.infinite, "infinite"), (score.undefined, "undefined")):
                if count:
                    total = score.n + score.infinite + score.undefined
                    words = f"{score.metric} {what}"
                    found.append(Row(*place, words, score.convention, float(count), "slices", total))
        return found


def take_passport(
    comparison: Comparison,
    *,
    case: str = "case",
    method: str = "prediction",
    conventions: Iterable[Convention] = tuple(CONVENTIONS.values()),
    extractor: VGG19 | None = None,
    at_once: int = 2,
) -> Passport:
    """Score one case under every convention that applies to it.

    Args:
        comparison: prediction, reference, and what is known about them.
        case: name of the subject.
        method: what made the prediction.
        conventions: which; all by default.
        extractor: the network of ``features``, see :func:`transmodal.evaluation.features.load_extractor`.
        at_once: conventions that are computed at the same time; each holds working memory of its own.

    Raises:
        InputError: none applies.
    """
    asked = list(conventions)
    with ThreadPoolExecutor(at_once) as pool:
        answers = list(pool.map(lambda convention: _under(convention, comparison), asked))
    pairs = [(convention.name, answer) for convention, answer in zip(asked, answers, strict=True)]
    scores = {name: answer for name, answer in pairs if not isinstance(answer, str)}
    absent = {name: answer for name, answer in pairs if isinstance(answer, str)}
    seen = None
    if extractor is not None and absent.pop("features", ""):
        seen = look(comparison, extractor)
        scores["features"] = [seen.score]
    if not scores:
        raise InputError(f"case {case!r}: no convention applies: {'; '.join(dict.fromkeys(absent.values()))}")
    return Passport(case, method, scores, absent, seen)


def _under(convention: Convention, comparison: Comparison) -> list[Score] | str:
    """Scores, or why there are none."""
    try:
        return convention.missing(comparison) or list(convention.measure(comparison))
    except InputError as problem:
        return str(problem)


def write_passport(out: Path, passports: Sequence[Passport], settings: Mapping[str, Any] | None = None) -> None:
    """Write ``passport.md`` and ``passport.json``, each whole or not at all.

    Args:
        out: the folder.
        passports: one for each case.
        settings: how the numbers came about; anything JSON can hold.
    """
    write_text(out / "passport.md", passport_table(passports))
    people = _people(passports)
    facts = ("name", "summary", "mask", "window", "data_range", "average")
    content = {
        "conventions": [{fact: getattr(c, fact) for fact in facts} for c in CONVENTIONS.values()],
        "summary": [
            {"convention_name": name, "data_range": said} | asdict(summary)
            for name, said, summary in _summaries(passports)
        ],
        "cohort": [
            asdict(row) | {"value": row.value if math.isfinite(row.value) else None} for row in cohort(passports)
        ],
        "scores": [
            {"case": p.case, "method": p.method, "convention_name": name}
            | asdict(score)
            | {"value": score.value if math.isfinite(score.value) else None, "said": _number(score.value)}
            for p in passports
            for name, scores in p.scores.items()
            for score in scores
        ],
        "absent": [
            {"case": p.case, "convention_name": name, "why": why}
            for p in passports
            for name, why in p.absent.items()
        ],
        "settings": {**(settings or {}), **({"subjects": people} if people else {})},
        "versions": {name: version(name) for name in ("transmodal", "torch", "numpy")}
        | {"python": platform.python_version()},
    }
    write_json(out / "passport.json", content)


def read_passports(path: Path) -> list[Passport]:
    """What :func:`write_passport` wrote, without what a network saw.

    Raises:
        InputError: no such file, or another one.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not {"scores", "absent"} <= content.keys():
        raise InputError(f"{path}: is no passport; run `transmodal evaluate --passport`")
    with as_written(path, "run `transmodal evaluate --passport` again"):
        return _passports(content)


def _passports(content: Mapping[str, Any]) -> list[Passport]:
    found: dict[tuple[str, str], tuple[dict[str, list[Score]], dict[str, str]]] = {}
    for stored in content["scores"]:
        said = {fact.name: stored[fact.name] for fact in fields(Score)} | {"value": float(stored["said"])}
        said |= {"value": stored["value"]} if stored["value"] is not None else {}
        scores, _ = found.setdefault((stored["case"], stored["method"]), ({}, {}))
        scores.setdefault(stored["convention_name"], []).append(Score(**said))
    for stored in content["absent"]:
        for (case, _), (_, absent) in found.items():
            if case == stored["case"]:
                absent[stored["convention_name"]] = stored["why"]
    people = (content.get("settings") or {}).get("subjects") or {}
    return [Passport(case, method, *own, subject=people.get(case, "")) for (case, method), own in found.items()]


def passport_table(passports: Sequence[Passport]) -> str:
    """Markdown: one line for each convention and metric, then which conventions do not apply and why."""
    heads = ("convention", "metric", "value", "unit", "data range", "mask", "window", "averaged over", "cases",
             "n", "left out")  # fmt: skip
    lines = [_line(heads), _line(["---"] * len(heads))]
    for name, said, summary in _summaries(passports):
        convention = CONVENTIONS[name]
        scores = [score for p in passports for score in p.scores.get(name, ()) if _is_of(score, summary)]
        where = "" if summary.region in ("mask", "volume", "box") else f" ({summary.region})"
        words = summary.convention.split()
        called = f"{name} (luminance)" if "luminance" in words else name
        average = "axial slices" if "slices" in words else convention.average
        cells = (called, summary.metric + where, _value(summary), "" if summary.unit == "1" else summary.unit,
                 said or "–", convention.mask, convention.window, average,
                 str(summary.n), _span([score.n for score in scores]), _left_out(summary, scores))  # fmt: skip
        lines.append(_line(cells))
    features = CONVENTIONS["features"]
    for row in cohort(passports):
        cells = ("features", row.metric, _number(row.value), "", "as above", features.mask, features.window,
                 "axial slices of all cases", str(len(passports)), str(row.n),
                 "needs more slices than its 512 features" if math.isnan(row.value) else "")  # fmt: skip
        lines.append(_line(cells))
    hows = dict.fromkeys(s.interval for _, _, s in _summaries(passports) if s.interval)
    if hows:
        lines += ["", f"Means over subjects [95 % interval of the mean: {'; '.join(hows)}]."]
    lines += [f"\nFeatures: {origin}." for origin in dict.fromkeys(p.seen.origin for p in passports if p.seen)]
    absent: dict[tuple[str, str], list[str]] = {}
    for p in passports:
        for name, why in p.absent.items():
            absent.setdefault((name, why), []).append(p.case)
    if absent:
        lines += ["", "Does not apply:", ""]
    for (name, why), cases in absent.items():
        who = "" if len(cases) == len(passports) else f" ({', '.join(cases[:5])}{' …' * (len(cases) > 5)})"
        lines.append(f"- {name}{who}: {why}.")
    return "\n".join([*lines, ""])


def cohort(passports: Sequence[Passport]) -> list[Row]:
    """Scores of all cases together: FID and KID; none without a network."""
    return list(cohort_rows([p.seen for p in passports if p.seen is not None], passports[0].method))


def _summaries(passports: Sequence[Passport]) -> list[tuple[str, str, Summary]]:
    """Convention, data range in words, and summary over subjects, in the order of the conventions."""
    found = []
    people = _people(passports)
    for name in CONVENTIONS:
        said, rows = {}, []
        for p in passports:
            for score in p.scores.get(name, ()):
                rows.append(
                    Row(
                        p.case,
                        p.method,
                        score.region,
                        score.metric,
                        score.convention,
                        score.value,
                        score.unit,
                        score.n,
                    )
                )
                said[score.convention, score.metric] = score.data_range
        found += [(name, said[summary.convention, summary.metric], summary) for summary in summarise(rows, people)]
    return found


def _people(passports: Sequence[Passport]) -> dict[str, str]:
    return shared({p.case: p.subject or p.case for p in passports})


def _is_of(score: Score, summary: Summary) -> bool:
    mine = (score.region, score.metric, score.convention, score.unit)
    return mine == (summary.region, summary.metric, summary.convention, summary.unit)


def _value(summary: Summary) -> str:
    if summary.mean is None:
        return "∞" if summary.infinite else "–"
    if summary.low is None or summary.high is None:
        return _number(summary.mean)
    return f"{_number(summary.mean)} [{_number(summary.low)}, {_number(summary.high)}]"


def _number(value: float) -> str:
    return f"{value:.0f}" if 1e4 <= abs(value) < math.inf else f"{value:.4g}"


def _span(counts: Sequence[int]) -> str:
    return "–".join(str(n) for n in dict.fromkeys((min(counts), max(counts))))


def _left_out(summary: Summary, scores: Sequence[Score]) -> str:
    counts = {
        "cases infinite": summary.infinite,
        "cases undefined": summary.undefined,
        "slices infinite": sum(score.infinite for score in scores),
        "slices undefined": sum(score.undefined for score in scores),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

"""The verb ``agreement``: do the numbers of synthetic volumes agree with measured ones, region by region?

::

    regions.csv      measured and made mean of every case, method and region
    agreement.csv    how they agree over subjects;  agreement.md  the tables;  agreement.json  all of it
    effects.csv      what became of differences between groups
    recognition.csv  whose measured map each synthetic map is most like
    agreement.html   one page with the charts
"""

import csv
import io
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from transmodal import progress
from transmodal.data.files import check_folder, strict, write_json, write_text
from transmodal.data.grid import Grid
from transmodal.errors import InputError, PartialFailure
from transmodal.evaluation.agreement import FEWEST, Agreement, Estimate, agree
from transmodal.evaluation.effects import Effect, effects
from transmodal.evaluation.opened import Opened, open_pair
from transmodal.evaluation.people import regions_by_subject
from transmodal.evaluation.recognition import Recognition, Sample, recognise, sample
from transmodal.evaluation.regions import Region, region_names, regions
from transmodal.questions.evidence import Evidence, column_of, gather
from transmodal.reporting.agreement import agreement_page
from transmodal.reporting.findings import Findings, agreement_markdown, agreement_summary

FORMAT = "transmodal.agreement/1"


def agreement(
    words: Sequence[str],
    out: Path,
    *,
    labels: Path | None = None,
    names: Path | None = None,
    mask: Path | None = None,
    target: str | None = None,
    group: str | None = None,
    table: Path | None = None,
    lesion: Sequence[int] = (),
) -> str:
    """Compare the means of regions, and ask whose map is whose.

    Args:
        words: ``PREDICTIONS REFERENCES``, or folders that ``train`` or ``evaluate`` wrote; see
            :func:`transmodal.questions.evidence.gather`.
        out: folder to write.
        labels: label maps, on the grid of the references; None for those of the dataset, and where there are none
            only the mask is looked at.
        names: table of labels and names.
        mask: where voxels count, for two folders of volumes.
        target: the modality, for its unit and to choose among several.
        group: a column of the dataset's table: groups (``sex``) or numbers (``age``).
        table: another table with that column.
        lesion: labels that are lesions; adds their contrast.

    Returns:
        An overview as Markdown; the tables of regions are in agreement.md.

    Raises:
        InputError: nothing could be compared.
        RecipeError: words that do not belong together.
        PartialFailure: some cases failed; the others are written.
    """
    check_folder(out)
    known = {} if names is None else region_names(names)
    evidence = gather(words, labels=labels, mask=mask, target=target)
    column = {} if group is None else column_of(evidence, group, table)
    found, samples, failures = _look(evidence, known, lesion)
    if not found:
        raise InputError("; ".join(list(failures.values())[:3]) or "there is no case to look at")
    people = regions_by_subject(found, evidence.subjects)
    agreements = _agreements(people)
    recognitions, lonely = _recognise(samples, evidence.subjects)
    findings = Findings(
        target=evidence.target,
        unit=evidence.unit,
        regions=people,
        agreements=agreements,
        effects=_effects(people, agreements, column) if group is not None else {},
        recognitions=recognitions,
        column=group or "",
        subjects=evidence.subjects,
        notes=[*lonely, *failures.values()],
    )
    _write(
        out,
        found,
        findings,
        {
            "words": list(words),
            "labels": labels and str(labels),
            "lesion": list(lesion),
            "subjects": dict(evidence.subjects),
        },
    )
    if failures:
        raise PartialFailure(f"{len(failures)} cases failed: {'; '.join(failures.values())}", failures)
    return f"{agreement_summary(findings)}\n\nRegion by region: {out / 'agreement.html'}"


def _look(
    evidence: Evidence, names: Mapping[int, str], lesion: Sequence[int]
) -> tuple[list[Region], dict[str, dict[str, tuple[Sample, Sample, Grid]]], dict[str, str]]:
    """Regions of every case, thinned maps (made, measured) by method and case, and what failed."""
    found: list[Region] = []
    samples: dict[str, dict[str, tuple[Sample, Sample, Grid]]] = {}
    failures = {f"file {number}": why for number, why in enumerate(evidence.failures)}
    jobs = [(method, pair) for method, pairs in evidence.methods.items() for pair in pairs]
    for method, pair in progress.track(jobs, "comparing"):
        try:
            opened = open_pair(pair, with_labels=True)
            found += regions(opened, pair.case, method, names=names, lesion=lesion)
            samples.setdefault(method, {})[pair.case] = _thin(opened)
        except InputError as problem:
            failures[f"{method} {pair.case}"] = str(problem)
    return found, samples, failures


def _thin(opened: Opened) -> tuple[Sample, Sample, Grid]:
    inside = opened.inside if opened.inside is not None else np.ones(opened.measured[0].shape, dtype=bool)
    made, measured = (sample(side[0].astype(float), inside) for side in (opened.made, opened.measured))
    return made, measured, opened.grid


def _agreements(found: Sequence[Region]) -> dict[tuple[str, str], Agreement]:
    by: dict[tuple[str, str], list[Region]] = {}
    for one in found:
        by.setdefault((one.method, one.region), []).append(one)
    return {
        key: agree(np.array([one.made for one in own]), np.array([one.measured for one in own]))
        for key, own in by.items()
        if len(own) >= FEWEST
    }


def _effects(
    found: Sequence[Region], agreements: Iterable[tuple[str, str]], column: Mapping[str, str]
) -> dict[tuple[str, str], list[Effect]]:
    effects_of = {}
    for method, region in progress.track(list(agreements), "groups"):
        own = [one for one in found if (one.method, one.region) == (method, region)]
        made, measured = {one.case: one.made for one in own}, {one.case: one.measured for one in own}
        effects_of[method, region] = effects(made, measured, column)
    return {key: own for key, own in effects_of.items() if own}


def _recognise(
    samples: Mapping[str, Mapping[str, tuple[Sample, Sample, Grid]]], subjects: Mapping[str, str]
) -> tuple[dict[str, list[Recognition]], list[str]]:
    """By method, among the cases of the most common grid; and a sentence where some are left out."""
    found, notes = {}, []
    for method, own in samples.items():
        grids = [grid for _, _, grid in own.values()]
        usual = max(grids, key=lambda grid: sum(other.same_as(grid) for other in grids))
        alike = {case: one for case, one in own.items() if one[2].same_as(usual)}
        if len({subjects.get(case, case) for case in alike}) > 1:
            made = {case: one[0] for case, one in alike.items()}
            measured = {case: one[1] for case, one in alike.items()}
            found[method] = recognise(made, measured, subjects)
        if len(alike) < len(own):
            notes.append(
                f"{method}: {len(own) - len(alike)} cases lie on another grid than most: "
                "they are not asked whose map is whose."
            )
    return found, notes


def _write(out: Path, cases: Sequence[Region], found: Findings, settings: Mapping[str, Any]) -> None:
    write_text(out / "regions.csv", _csv(asdict(one) | {"unit": found.unit} for one in cases))
    rows = [{"method": method, "region": region, "unit": found.unit, **_flat(one)}
            for (method, region), one in found.agreements.items()]  # fmt: skip
    write_text(out / "agreement.csv", _csv(rows))
    moved = [{"method": m, "region": r, **asdict(one)} for (m, r), own in found.effects.items() for one in own]
    known = [
        {"method": m, **asdict(one), "margin": one.margin} for m, own in found.recognitions.items() for one in own
    ]
    for name, table in (("effects.csv", moved), ("recognition.csv", known)):
        if table:
            write_text(out / name, _csv(table))
        else:
            (out / name).unlink(missing_ok=True)
    content = {
        "format": FORMAT,
        "target": found.target,
        "unit": found.unit,
        "agreement": [
            {"method": method, "region": region, **asdict(one)}
            for (method, region), one in found.agreements.items()
        ],
        "effects": moved,
        "recognition": {method: _margin(found, method) for method in found.recognitions},
        "notes": list(found.notes),
        "settings": dict(settings),
        "versions": {"transmodal": version("transmodal"), "python": platform.python_version()},
    }
    write_json(out / "agreement.json", strict(content))
    write_text(out / "agreement.md", agreement_markdown(found))
    write_text(out / "agreement.html", agreement_page(found))


def _margin(found: Findings, method: str) -> dict[str, Any]:
    right, n, mean, span = found.margin(method)
    return {"recognised": right, "n": n, "margin": mean, "low": span and span.low, "high": span and span.high}


def _flat(one: Agreement) -> dict[str, float | int]:
    """Estimates as three columns each."""
    cells: dict[str, float | int] = {}
    for name in one.__dataclass_fields__:
        value = getattr(one, name)
        if isinstance(value, Estimate):
            cells |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        else:
            cells[name] = value
    return cells


def _csv(rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    table = None
    for row in rows:
        if table is None:
            table = csv.DictWriter(text, list(row), lineterminator="\n")
            table.writeheader()
        undefined = {key: "nan" for key, value in row.items() if isinstance(value, float) and math.isnan(value)}
        table.writerow({**row, **undefined})
    return text.getvalue()

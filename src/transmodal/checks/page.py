"""Page: the audit for eyes: what must be repaired, what should be looked at, and every pair with its shift."""

from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

from transmodal.checks.finding import KINDS, Finding
from transmodal.checks.pair import Residual
from transmodal.reporting.html import document
from transmodal.reporting.sections import image, paragraph, section


def page(dataset: Path, cases: Sequence[str], findings: Sequence[Finding], residuals: Sequence[Residual]) -> str:
    """One HTML page that needs nothing else."""
    title = f"Audit of {dataset.absolute().name}"
    errors, warnings = ([f for f in findings if f.severity == s] for s in ("error", "warning"))
    counts = f"{len(cases)} cases · {len(errors)} to repair · {len(warnings)} to look at"
    body = [
        section("summary", "Summary", _summary(findings) or paragraph("Nothing was found.")),
        section("errors", "To repair before training", _table(errors)),
        section("warnings", "To look at", _table(warnings)),
        section("pictures", "Pairs that do not lie on each other", *_pictures(findings)),
        section("pairs", "Every pair", _pairs(residuals)),
    ]
    header = f"<header><h1>{escape(title)}</h1>{paragraph(counts, 'facts')}</header>"
    return document(title, header, [part for part in body if part])


def _summary(findings: Sequence[Finding]) -> str:
    counts = Counter((f.kind, f.severity) for f in findings)
    rows = [[kind, KINDS[kind], severity, str(n)] for (kind, severity), n in sorted(counts.items())]
    return _rows(["kind", "meaning", "severity", "found"], rows)


def _table(findings: Sequence[Finding]) -> str:
    rows = [[f.case, f.modality, f.kind, f.message] for f in findings]
    return _rows(["case", "modality", "kind", "what is wrong, and what to do"], rows)


def _pairs(residuals: Sequence[Residual]) -> str:
    rows = [
        [r.case, f"{r.modality} on {r.reference}", f"{r.shift_mm:.2f}", f"{r.shift_voxels:.2f}",
         f"{r.rotation_deg:.2f}", f"{r.mirror:+.3f}"]
        for r in residuals
    ]  # fmt: skip
    return _rows(
        ["case", "pair", "shift (mm)", "shift (voxels)", "rotation (degrees)", "mirror gains (nats)"], rows
    )


def _pictures(findings: Sequence[Finding]) -> list[str]:
    return [
        image(f.picture, f"{f.modality} and the reference of {f.case} in turns", f"{f.case}: {f.message}")
        for f in findings
        if f.picture
    ]


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    table = f'<table class="words"><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{table}</div>'

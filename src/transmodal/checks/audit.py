"""The verb ``audit``: every check on every case, as JSON for scripts and a page for eyes. Nothing is repaired."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from transmodal.checks.cohort import duplicates, outliers
from transmodal.checks.finding import Finding
from transmodal.checks.image import Look, look
from transmodal.checks.page import page
from transmodal.checks.pair import Residual, compare
from transmodal.data.files import check_folder, write_json, write_text
from transmodal.data.layout import CaseFiles, find_cases, is_drawn
from transmodal.data.volume import read_volume
from transmodal.data.workers import mapper
from transmodal.errors import InputError
from transmodal.progress import note, track

FORMAT = "transmodal.audit/1"


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        dataset: where.
        cases: their names.
        findings: errors first.
        residuals: of every pair that could be compared.
    """

    dataset: Path
    cases: tuple[str, ...]
    findings: tuple[Finding, ...]
    residuals: tuple[Residual, ...] = field(default=())

    @property
    def errors(self) -> int:
        """How many things must be repaired."""
        return sum(f.severity == "error" for f in self.findings)


def audit(
    dataset: Path | str,
    out: Path | str,
    *,
    workers: int = 1,
    pairs: bool = True,
    entities: Sequence[str] = (),
) -> Audit:
    """Check a dataset; write ``audit.json`` and ``audit.html``.

    Args:
        dataset: what ``transmodal prepare`` takes.
        out: folder to write.
        workers: processes; each has one case in memory.
        pairs: also register the images of each case to each other (seconds a pair), to find shifts and mirrors.
        entities: of BIDS names, which files to take (see :func:`~transmodal.data.layout.find_cases`).
    """
    dataset, out = Path(dataset), Path(out)
    check_folder(out)
    try:
        cases = find_cases(dataset, entities)
    except InputError as problem:
        found = Audit(dataset, (), (Finding("dataset", "error", "", "", str(problem)),))
    else:
        found = _checked(dataset, cases, workers, pairs)
    table = {
        "format": FORMAT,
        "dataset": str(found.dataset),
        "cases": list(found.cases),
        "findings": [finding.to_dict() for finding in found.findings],
        "pairs": [asdict(residual) for residual in found.residuals],
    }
    write_json(out / "audit.json", table)
    write_text(out / "audit.html", page(found.dataset, found.cases, found.findings, found.residuals))
    return found


def _checked(dataset: Path, cases: Sequence[CaseFiles], workers: int, pairs: bool) -> Audit:
    findings: list[Finding] = []
    residuals: list[Residual] = []
    looks: dict[tuple[str, str], Look] = {}
    with mapper(min(workers, len(cases))) as run:
        jobs = [(case, pairs) for case in cases]
        for case, (seen, found, measured) in zip(
            cases, track(run(_case, jobs), "auditing", len(jobs)), strict=True
        ):
            note(case.name)
            looks |= {(case.name, name): one for name, one in seen.items()}
            findings += [*(f for one in seen.values() for f in one.findings), *found]
            residuals += measured
    findings += [*duplicates(cases, looks), *outliers(looks)]
    findings.sort(key=lambda f: f.severity)
    return Audit(dataset, tuple(c.name for c in cases), tuple(findings), tuple(residuals))


def _drawn(case: CaseFiles) -> list[Finding]:
    """Masks and label maps that cannot be read, or hold nothing."""
    found = []
    paths = {**{n: p for n, p in case.images.items() if is_drawn(n)}, "mask": case.mask, "labels": case.labels}
    for name, path in paths.items():
        if path is None:
            continue
        try:
            empty = not read_volume(path, label=True).data.any()
        except InputError as problem:
            found.append(Finding("unreadable", "error", case.name, name, str(problem)))
            continue
        if empty and name == "mask":
            found.append(
                Finding("constant", "error", case.name, name, f"{path}: the mask is empty; draw it again")
            )
    return found


def _case(job: tuple[CaseFiles, bool]) -> tuple[dict[str, Look], list[Finding], list[Residual]]:
    """What is found in one case; where a library fails on it, the others go on."""
    try:
        return _looked(*job)
    except (RuntimeError, MemoryError) as problem:
        words = f"case {job[0].name}: {type(problem).__name__}: {' '.join(str(problem).split())[-200:]}"
        return {}, [Finding("unreadable", "error", job[0].name, "", words)], []


def _looked(case: CaseFiles, pairs: bool) -> tuple[dict[str, Look], list[Finding], list[Residual]]:
    paths = {name: path for name, path in case.images.items() if not is_drawn(name)}
    looks = {name: look(case.name, name, path) for name, path in paths.items()}
    readable = [name for name, seen in looks.items() if seen.grid is not None]
    found = _drawn(case)
    residuals: list[Residual] = []
    if pairs and len(readable) > 1:
        reference = read_volume(paths[readable[0]])
        for name in readable[1:]:
            more, residual = compare(case.name, (readable[0], name), reference, read_volume(paths[name]))
            found += more
            residuals += [residual] if residual else []
    return looks, found, residuals

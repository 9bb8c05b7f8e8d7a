"""Prepare: a dataset, case by case, into a folder that training reads without decoding or resampling anything."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transmodal.data import slabs
from transmodal.data.bring import Brought, PrepareSettings, bring
from transmodal.data.claim import claimed
from transmodal.data.files import clear_leftovers, fingerprint, is_same, read_json, write_json
from transmodal.data.fingerprint import FORMAT, collect
from transmodal.data.layout import CaseFiles, find_cases, is_drawn
from transmodal.data.mask_tool import check, mask_by
from transmodal.data.prepared import PreparedCase, PreparedDataset, is_prepared, write_case, write_dataset
from transmodal.data.splits import FORMAT as SPLITS_FORMAT
from transmodal.data.volume import made_of, read_volume
from transmodal.data.workers import mapper
from transmodal.errors import InputError, PartialFailure, RecipeError, nearest, of_library
from transmodal.progress import note, track

__all__ = ["Brought", "PrepareSettings", "bring", "prepare"]


@dataclass(frozen=True)
class Job:
    """One case to prepare.

    Attributes:
        case: its files.
        out: the folder it becomes.
        settings: resolved.
        mask_tool: command of a program that makes its mask if it has none, or nothing.
    """

    case: CaseFiles
    out: Path
    settings: PrepareSettings
    mask_tool: str = ""

    @property
    def parts(self) -> list[CaseFiles]:
        """The cases that it becomes."""
        return slabs.parts(self.case, self.settings)


def prepare(
    dataset: Path,
    out: Path,
    settings: PrepareSettings | None = None,
    *,
    workers: int = 1,
    mask_tool: str = "",
    scheduler: str = "",
) -> PreparedDataset:
    """Prepare all cases of a dataset.

    A case is written whole or not at all. A second run redoes only the cases whose files (by their content) or
    settings changed. Each worker has one case in memory at a time.

    Args:
        dataset: what :func:`~.layout.find_cases` understands.
        out: a new folder, an empty one, or one that was prepared before.
        settings: how; the defaults if None.
        workers: processes; what is written does not depend on their number. More than one need
            ``if __name__ == "__main__"`` in a script.
        mask_tool: command line of a program that makes the mask of a case that has none (:mod:`.mask_tool`).
        scheduler: of a Dask cluster that works instead, or ``local`` (:mod:`.cluster`).

    Raises:
        InputError: the dataset or ``out`` cannot be used, or no case could be prepared.
        RecipeError: settings that name what the dataset does not have.
        PartialFailure: some cases failed; the others are usable.
        Refused: another process is working in ``out``.
    """
    dataset, out = Path(dataset), Path(out)
    settings = settings or PrepareSettings()
    cases = find_cases(dataset, settings.entities)
    settings = resolved(settings, cases)
    cases = [case for case in cases if case.name not in settings.exclude]
    if not cases:
        raise InputError(f"{dataset}: every case is excluded; shorten data.prepare.exclude")
    _check_out(out)
    if mask_tool:
        check(mask_tool)
        if settings.mask not in ("auto", "given"):
            raise RecipeError(f"--mask-tool and mask = {settings.mask!r}: give one of them")
    with claimed(out):
        slabs.check(cases, settings)
        return _bring_all(cases, out, settings, workers, mask_tool, scheduler)


def _bring_all(
    cases: Sequence[CaseFiles], out: Path, settings: PrepareSettings, workers: int, mask_tool: str, scheduler: str
) -> PreparedDataset:
    clear_leftovers(out)
    jobs = [Job(case, out / "cases" / case.name, settings, mask_tool) for case in cases]
    finished = {job.case.name for job in jobs if _is_finished(job)}
    write_dataset(out, settings, [p.name for j in jobs if j.case.name in finished for p in j.parts])
    if not (out / "splits.json").exists():
        write_json(out / "splits.json", {"format": SPLITS_FORMAT, "folds": {}})
    failures: dict[str, str] = {}
    left = [job for job in jobs if job.case.name not in finished]
    with mapper(min(workers, len(left)), scheduler if left else "") as run:
        for case, problem in track(run(_attempt, left), "preparing", total=len(cases), done=len(finished)):
            note(case)
            if problem:
                failures[case] = problem
    # Of workers that were lost.
    clear_leftovers(out)
    names = [part.name for job in jobs if job.case.name not in failures for part in job.parts]
    write_dataset(out, settings, names)
    _write_fingerprint(out, names)
    _report(failures, names, out)
    return PreparedDataset.open(out)


def _attempt(job: Job) -> tuple[str, str]:
    """Name of the case and what is wrong with it, or nothing."""
    name = job.case.name
    try:
        if not _is_finished(job):
            prepare_case(job)
    except InputError as problem:
        return name, str(problem)
    except (RuntimeError, MemoryError) as problem:
        # From a library, about this case's images; the other cases go on.
        return name, f"case {name}: {of_library(problem)}"
    return name, ""


def prepare_case(job: Job) -> None:
    """Prepare one case.

    Raises:
        InputError: what is wrong with it.
    """
    case, settings = job.case, job.settings
    names = [name for name in settings.modalities if name in case.images]
    if not names:
        raise InputError(
            f"case {case.name}: has none of {', '.join(settings.modalities)}; fill in a path, or exclude it"
        )
    images = {name: read_volume(case.images[name]) for name in names}
    mask = read_volume(case.mask, label=True) if case.mask and settings.mask in ("auto", "given") else None
    if job.mask_tool and case.mask is None:
        mask = mask_by(job.mask_tool, images[settings.reference if settings.reference in images else names[0]])
    labels = read_volume(case.labels, label=True) if case.labels else None
    brought, made_from = bring(images, settings, mask=mask, labels=labels), _made_from(job)
    for part, piece in zip(job.parts, slabs.cut(brought, settings, case.name), strict=True):
        write_case(job.out.with_name(part.name), part, piece, made_from)


def resolved(settings: PrepareSettings, cases: Sequence[CaseFiles]) -> PrepareSettings:
    """The settings with modalities and reference filled in.

    Raises:
        RecipeError: a modality or an excluded case that the dataset does not have.
    """
    columns = list(dict.fromkeys(name for case in cases for name in case.images))
    modalities = settings.modalities or tuple(name for name in columns if not is_drawn(name))
    for name in modalities:
        if name not in columns:
            raise RecipeError(f"data.prepare.modalities: no case has {name!r}{nearest(name, columns)}")
    for name in settings.exclude:
        if name not in {case.name for case in cases}:
            raise RecipeError(f"data.prepare.exclude: no case {name!r}{nearest(name, [c.name for c in cases])}")
    for name in settings.intensity:
        if name not in modalities:
            raise RecipeError(f"data.prepare.intensity.{name}: no such modality{nearest(name, modalities)}")
    for name in settings.n4:
        if name not in modalities:
            raise RecipeError(f"data.prepare.n4: no such modality {name!r}{nearest(name, modalities)}")
    if not modalities:
        raise RecipeError("data.prepare.modalities: the dataset has no image column; name the ones to use")
    return replace(settings, modalities=modalities, reference=settings.reference or modalities[0])


def _made_from(job: Job) -> dict[str, Any]:
    """What decides whether a case must be made again."""
    return {**_how(job), "files": {n: fingerprint(f) for n, f in _files(job).items()}}


def _how(job: Job) -> dict[str, Any]:
    """The settings, the table's row, the program that drew its mask, and which facts are kept."""
    how = {k: v for k, v in job.settings.to_dict().items() if k not in ("exclude", "modalities", "entities")}
    tool = job.mask_tool if job.case.mask is None else ""
    row = [job.case.subject, job.case.split, job.case.facts]
    return {"settings": how, "row": row, "mask_tool": tool, "facts": FORMAT}


def _files(job: Job) -> dict[str, list[Path]]:
    used: dict[str, Path | None] = {name: job.case.images.get(name) for name in job.settings.modalities}
    used |= {"mask": job.case.mask, "labels": job.case.labels}
    return {name: made_of(path) for name, path in used.items() if path is not None}


def _is_finished(job: Job) -> bool:
    return all(_is_made(job, job.out.with_name(part.name) / "case.json") for part in job.parts)


def _is_made(job: Job, record: Path) -> bool:
    if not record.is_file():
        return False
    try:
        stored = read_json(record)["made_from"]
        known, files = stored["files"], _files(job)
        same = known.keys() == files.keys() and all(is_same(made, known[name]) for name, made in files.items())
        return bool(same and stored == {**_how(job), "files": known})
    except (InputError, KeyError, TypeError, AttributeError):
        return False


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder for the prepared dataset")
    if out.is_dir() and any(out.iterdir()) and not is_prepared(out):
        raise InputError(f"{out}: is not empty and is no prepared dataset; give a new folder")


def _write_fingerprint(out: Path, names: Sequence[str]) -> None:
    cases = []
    for name in names:
        record = PreparedCase.open(out / "cases" / name).record
        cases.append((name, {m: stored["facts"] for m, stored in record["modalities"].items()}))
    write_json(out / "fingerprint.json", collect(cases))


def _report(failures: dict[str, str], names: Sequence[str], out: Path) -> None:
    if not failures:
        return
    first = next(iter(failures.values()))
    if not names:
        raise InputError(f"none of the {len(failures)} cases could be prepared; the first one: {first}")
    raise PartialFailure(
        f"{len(failures)} of {len(failures) + len(names)} cases failed ({', '.join(failures)}), "
        f"the others are in {out}; the first one: {first}",
        failures,
    )

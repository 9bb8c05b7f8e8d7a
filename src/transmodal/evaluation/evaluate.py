"""The verb ``evaluate``: from files or folders to a table, a summary, and a manifest for the report."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from transmodal.data.claim import claimed
from transmodal.data.files import clear_leftovers, write_json
from transmodal.data.modality import modality
from transmodal.data.workers import mapper, return_freed_memory
from transmodal.errors import InputError, PartialFailure, RecipeError
from transmodal.evaluation.case import FINISHED, Job, Outcome, Way, extractor_of, judge
from transmodal.evaluation.pairs import Matching, Pair, find_pairs
from transmodal.evaluation.passport import cohort, write_passport
from transmodal.evaluation.people import shared
from transmodal.evaluation.summary import summarise, write_summary
from transmodal.evaluation.table import Row, write_rows
from transmodal.progress import track, warn

_WORTH = 15.0
"""Seconds of work left from which on further processes are started; each needs some for itself."""


def evaluate(
    prediction: Path,
    reference: Path,
    *,
    out: Path,
    mask: Path | None = None,
    method: str = "prediction",
    data_range: float | None = None,
    target: str | None = None,
    labels: Path | None = None,
    passport: bool = False,
    features: Path | None = None,
    workers: int = 1,
    scheduler: str = "",
) -> list[Row]:
    """Compare predicted volumes with measured ones.

    Writes ``evaluation.csv``, ``evaluation.json`` and ``report.json``, and with ``passport`` also
    ``passport.md`` and ``passport.json``. One case of each process is in memory at a time. Everything is computed
    on whole volumes, in the unit of the files. Both grids must be the same; volumes are turned and flipped to
    RAS+, never resampled. Files are written after the last case, so an evaluation that fails leaves what ``out``
    held before; finished cases are remembered there, and an evaluation that is run again goes on after them.

    Args:
        prediction: a volume or a folder; for the names see :func:`transmodal.evaluation.pairs.find_pairs`.
        reference: a volume, a flat folder, a dataset (raw or prepared), or a table.
        out: folder to write.
        mask: a volume (for all cases), a folder, a dataset or a table. None for the masks that the reference
            dataset names; where there are none the whole volume counts, which is said in a warning.
        method: name for the method column.
        data_range: R of PSNR, SSIM, MS-SSIM. None for the width of the target's physical window (CT 4095, FA 1),
            and for a target without one, max - min of each reference in its mask.
        target: name of the modality, for its unit and window, and to choose among several.
        labels: a label map (for all cases), a folder, a dataset or a table, for the passport's regions. None for
            those that the reference dataset names.
        passport: score under every convention that applies, see :mod:`transmodal.evaluation.conventions`.
        features: the file of VGG-19's weights, for the passport's LPIPS, FID and KID. None leaves them out, and
            the passport says so.
        workers: processes, where the first case shows that they are worth their start. Scores do not depend on
            their number. More than one need ``if __name__ == "__main__"`` in a script.
        scheduler: of a Dask cluster that works instead, or ``local`` (:mod:`transmodal.data.cluster`).

    Returns:
        The rows of ``evaluation.csv``.

    Raises:
        InputError: nothing could be evaluated, or ``out`` cannot be written.
        RecipeError: a data range that is not above 0, or a dataset that needs ``target``.
        PartialFailure: some cases failed; the others are written.
        Refused: another process is working in ``out``.
    """
    if data_range is not None and not 0 < data_range < float("inf"):
        raise RecipeError(f"data_range = {data_range}: give the width of the physical range, above 0")
    kind = modality(target or "reference")
    size = kind.window[1] - kind.window[0] if data_range is None and kind.window is not None else data_range
    way = Way(method, target, data_range, passport, features)
    extractor = extractor_of(way)
    found = find_pairs(prediction, reference, mask, target, labels)
    _warn(found)
    with claimed(out):
        outcomes = _judge_all(found.pairs, way, out, workers, scheduler)
        failures = found.failures | {one.pair.case: one.problem for one in outcomes if one.problem}
        done = [one.pair for one in outcomes if not one.problem]
        passports = [one.passport for one in outcomes if one.passport is not None]
        rows = [row for one in outcomes for row in one.rows]
        people = shared({pair.case: pair.subject for pair in done})
        if not rows:
            raise InputError(_nothing(failures, prediction, reference))
        rows += cohort(passports) if passports else []
        write_rows(out / "evaluation.csv", rows)
        settings = {
            "prediction": str(prediction),
            "reference": str(reference),
            "mask": None if mask is None else str(mask),
            "method": method,
            "data_range": size,
            "target": target,
            "labels": None if labels is None else str(labels),
            "features": None if extractor is None else extractor.origin,
            "failures": failures,
            "without_prediction": found.without_prediction,
            **({"subjects": people} if people else {}),
        }
        write_summary(out / "evaluation.json", summarise(rows, people), settings)
        if passport:
            write_passport(out, passports, settings)
        write_json(out / "report.json", manifest(done, out, method=method, target=target))
        shutil.rmtree(out / FINISHED, ignore_errors=True)
        if failures:
            listed = "; ".join(failures.values())
            raise PartialFailure(
                f"{len(failures)} of {len(failures) + len(done)} cases failed: {listed}", failures
            )
        return rows


def _judge_all(pairs: Sequence[Pair], way: Way, out: Path, workers: int, scheduler: str) -> list[Outcome]:
    """Outcomes in the order of the pairs; the first cases tell whether processes are worth their start."""
    clear_leftovers(out)
    if len(pairs) > 1:
        return_freed_memory()
    jobs = [Job(pair, way, out / FINISHED if len(pairs) > 1 else None) for pair in pairs]
    outcomes: list[Outcome] = []
    with ExitStack() as stack:
        answers: Iterator[Outcome] = map(judge, jobs)
        if scheduler and jobs:
            answers = iter(stack.enter_context(mapper(min(workers, len(jobs)), scheduler))(judge, jobs))
            workers = 1
        for _ in track(jobs, "evaluating"):
            started = time.perf_counter()
            outcomes.append(next(answers))
            left = jobs[len(outcomes) :]
            if workers > 1 and len(left) > 1 and (time.perf_counter() - started) * len(left) > _WORTH:
                answers = iter(stack.enter_context(mapper(min(workers, len(left))))(judge, left))
                workers = 1
    return outcomes


def manifest(pairs: Sequence[Pair], out: Path, *, method: str, target: str | None) -> dict[str, Any]:
    """What the report shows: which files belong together, as paths relative to ``out``."""

    def place(path: Path) -> str:
        return Path(os.path.relpath(path, out)).as_posix()

    kind = modality(target or "reference")
    return {
        "title": f"{method} against the reference",
        "target": kind.name,
        "unit": kind.unit,
        "window": None if kind.window is None else list(kind.window),
        "cases": [
            {
                "case": pair.case,
                "sources": {name: place(path) for name, path in pair.sources.items()},
                "reference": place(pair.reference),
                "mask": None if pair.mask is None else place(pair.mask),
                "predictions": {method: place(pair.prediction)},
            }
            for pair in pairs
        ],
    }


def _warn(found: Matching) -> None:
    bare = [pair.case for pair in found.pairs if pair.mask is None]
    if bare:
        warn(
            f"no mask for {_few(bare)}: the whole volume counts, and an easy background inflates PSNR and SSIM; "
            "give --mask"
        )
    if found.without_prediction:
        warn(f"no prediction for {_few(found.without_prediction)}: these references are not evaluated")


def _few(cases: Sequence[str]) -> str:
    more = f" and {len(cases) - 5} more" if len(cases) > 5 else ""
    return ", ".join(cases[:5]) + more


def _nothing(failures: dict[str, str], prediction: Path, reference: Path) -> str:
    if len(failures) == 1:
        return next(iter(failures.values()))
    listed = "; ".join(list(failures.values())[:3])
    return f"none of the {len(failures)} cases of {prediction} could be evaluated against {reference}: {listed}"

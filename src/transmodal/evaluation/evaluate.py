"""The verb ``evaluate``: from files or folders to a table, a summary, and a manifest for the report."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transmodal.data.files import write_json
from transmodal.data.modality import Modality, modality
from transmodal.errors import InputError, PartialFailure, RecipeError
from transmodal.evaluation.comparison import Comparison
from transmodal.evaluation.features import load_extractor
from transmodal.evaluation.opened import Opened, open_pair
from transmodal.evaluation.pairs import Matching, Pair, find_pairs
from transmodal.evaluation.passport import Passport, cohort, take_passport, write_passport
from transmodal.evaluation.score import score
from transmodal.evaluation.summary import summarise, write_summary
from transmodal.evaluation.table import Row, write_rows
from transmodal.progress import track, warn


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
) -> list[Row]:
    """Compare predicted volumes with measured ones.

    Writes ``evaluation.csv``, ``evaluation.json`` and ``report.json``, and with ``passport`` also
    ``passport.md`` and ``passport.json``. One case is in memory at a time. Everything is computed on whole
    volumes, in the unit of the files. Both grids must be the same; volumes are turned and flipped to RAS+, never
    resampled. Files are written after the last case, so an evaluation that fails leaves what ``out`` held
    before.

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
        the
            passport says so.

    Returns:
        The rows of ``evaluation.csv``.

    Raises:
        InputError: nothing could be evaluated, or ``out`` cannot be written.
        RecipeError: a data range that is not above 0, or a dataset that needs ``target``.
        PartialFailure: some cases failed; the others are written.
    """
    if data_range is not None and not 0 < data_range < float("inf"):
        raise RecipeError(f"data_range = {data_range}: give the width of the physical range, above 0")
    kind = modality(target or "reference")
    size = kind.window[1] - kind.window[0] if data_range is None and kind.window is not None else data_range
    extractor = load_extractor(features) if features is not None and passport else None
    found = find_pairs(prediction, reference, mask, target, labels)
    _warn(found)
    rows: list[Row] = []
    passports: list[Passport] = []
    done: list[Pair] = []
    failures = dict(found.failures)
    for pair in track(found.pairs, "evaluating"):
        try:
            case = open_pair(pair, with_labels=passport)
            if passport:
                comparison = _compare(case, kind, data_range)
                passports.append(take_passport(comparison, case=pair.case, method=method, extractor=extractor))
                rows += passports[-1].rows
            else:
                rows += score(
                    case.made,
                    case.measured,
                    case.inside,
                    case=pair.case,
                    method=method,
                    data_range=size,
                    unit=kind.unit,
                )
            done.append(pair)
        except InputError as problem:
            failures[pair.case] = str(problem)
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
    }
    write_summary(out / "evaluation.json", summarise(rows), settings)
    if passport:
        write_passport(out, passports, settings)
    write_json(out / "report.json", manifest(done, out, method=method, target=target))
    if failures:
        listed = "; ".join(failures.values())
        raise PartialFailure(f"{len(failures)} of {len(failures) + len(done)} cases failed: {listed}", failures)
    return rows


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


def _compare(case: Opened, kind: Modality, data_range: float | None) -> Comparison:
    # Metrics compute in float64, slab by slab; float32 on disk is kept as it is.
    made, truth = (
        torch.from_numpy(np.array(v, dtype=np.float32 if v.dtype == np.float32 else np.float64))
        for v in (case.made, case.measured)
    )
    inside, marks = (None if v is None else torch.from_numpy(np.array(v)) for v in (case.inside, case.labels))
    return Comparison(made, truth, inside, marks, kind, data_range)


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

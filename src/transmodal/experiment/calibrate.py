"""calibrate(): what a run's model gets wrong on people it never saw, as a promise about the next one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32

from transmodal import progress
from transmodal.data.claim import claimed
from transmodal.data.files import clear_leftovers, write_bytes
from transmodal.data.prepared import PreparedCase, PreparedDataset
from transmodal.errors import InputError
from transmodal.experiment.run import Run, open_run
from transmodal.inference.conformal import Calibration, calibrated
from transmodal.inference.model import Model, load_model, save_calibration
from transmodal.inference.predict import Scan, predict
from transmodal.inference.spread import spread
from transmodal.inference.synthesize import parts_of, pick_device, settings_that_matter
from transmodal.reporting.reliability import reliability_chart, reliability_table
from transmodal.schema import plain

_WHOSE = ("modalities", "exclude", "entities", "min_overlap", "slabs", "slab_gap", "slab_plane")
"""Settings that say which cases and files there are, and not what they look like."""
MOST_VOXELS = 50_000
"""Of a person that are kept; evenly chosen, their distribution is the same."""


def calibrate(
    folder: Path, data: Path | None = None, *, part: Literal["test", "val"] = "test", device: str = "auto"
) -> str:
    """Calibrate the intervals of a run's model.

    Args:
        folder: of the run; ``model/calibration.json`` and ``reliability.png`` are written into it.
        data: a prepared dataset of further people; by default the run's own.
        part: of the run's split. The weights were chosen on ``val``, so what it says is a little too good.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Returns:
        A table, as Markdown: what the intervals of each share held of people who had no vote.

    Raises:
        InputError: too few people, or some that the model was trained on.
        Refused: another process is working in the run's folder.
    """
    run = open_run(folder)
    with claimed(folder):
        clear_leftovers(folder)
        model = load_model(folder / "model", pick_device(device))
        found = measured(model, _cases(run, data, part))
        save_calibration(found, folder)
        write_bytes(folder / "reliability.png", reliability_chart(found.reliability))
    return (
        f"{reliability_table(found.reliability)}\n\n{found.people} people; shares up to {found.most:.3f} can be "
        "promised, as the mean over people like these."
    )


def measured(model: Model, cases: Sequence[PreparedCase]) -> Calibration:
    """The calibration of a model on cases that have its sources and targets."""
    parts = parts_of(model)
    residuals: dict[str, list[np.ndarray]] = {target: [] for target in parts}
    spreads: dict[str, list[np.ndarray]] = {target: [] for target in parts}
    for case in progress.track(cases, "calibrating"):
        progress.note(case.name)
        images = {n: case.values(n) for n in model.task.sources if n in case.modalities}
        mask = np.asarray(case.mask(), dtype=bool)
        scan = Scan(images, case.fits, mask, case.name)
        answer = predict(model.translation, scan)
        width = spread(answer, model.translation, scan)
        keep = _evenly(int(mask.sum()))
        for target, part in parts.items():
            truth = _measured(case, target)
            residuals[target].append((truth - answer[part])[:, mask][:, keep])
            spreads[target].append(width[part][:, mask][:, keep])
    found = calibrated(residuals, spreads)
    masked = any(
        "mask" in case.record["made_from"]["files"] or case.record["made_from"]["mask_tool"] for case in cases
    )
    return replace(found, sha256=model.sha256, inference=settings_that_matter(model), masked=masked)


def _measured(case: PreparedCase, target: str) -> Float32[np.ndarray, "C X Y Z"]:
    """Normalised measured values; infinite where they lie beyond the window, which no answer leaves."""
    fit, values = case.fits[target], np.asarray(case.values(target))
    found = fit.apply(values)
    if fit.range is not None:
        low, high = fit.range
        slack = 1e-4 * (high - low)
        found[(values < low - slack) | (values > high + slack)] = np.inf
    return found


def _cases(run: Run, data: Path | None, part: str) -> list[PreparedCase]:
    if data is None:
        names = {"test": run.split.test, "val": run.split.val}[part]
        return _one_each([run.dataset.case(name) for name in names])
    known = {run.dataset.case(name).subject for name in (*run.split.train, *run.split.val, *run.halves)}
    dataset = PreparedDataset.open(data)
    _check_alike(run, dataset, data)
    wanted = {*run.recipe.data.sources, *run.recipe.data.targets}
    cases = [case for case in map(dataset.case, dataset.names) if wanted <= set(case.modalities)]
    seen = [case.name for case in cases if case.subject in known]
    if seen:
        raise InputError(f"{data}: the model was trained or chosen on {', '.join(seen[:5])}; leave them out")
    return _one_each(cases)


def _check_alike(run: Run, dataset: PreparedDataset, data: Path) -> None:
    """Refuse data that were not prepared as the model's own were.

    Raises:
        InputError: naming the setting.
    """
    own, theirs = plain(run.dataset.settings), plain(dataset.settings)
    for key in own:
        if key not in _WHOSE and own[key] != theirs[key]:
            raise InputError(
                f"{data}: was prepared with {key} = {theirs[key]!r}, the model's own data with {own[key]!r}; "
                "prepare it in the same way"
            )


def _one_each(cases: Sequence[PreparedCase]) -> list[PreparedCase]:
    """The first case of every person: people are exchangeable, two scans of one are not."""
    return list({case.subject: case for case in reversed(cases)}.values())[::-1]


def _evenly(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, MOST_VOXELS)).round().astype(int))

"""Judge: what a method makes of held-out cases, whole volumes, scored in the mask.

Training validates with it, and the final table of a run is made with it, so both mean the same.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from transmodal import progress, registry
from transmodal.data.files import write_json
from transmodal.data.loader import Loader
from transmodal.data.modality import modality
from transmodal.data.prepared import PreparedCase
from transmodal.data.volume import Volume, write_volume
from transmodal.errors import RecipeError
from transmodal.evaluation.people import shared
from transmodal.evaluation.scale import Scale, scale_of
from transmodal.evaluation.score import score
from transmodal.evaluation.summary import summarise, write_summary
from transmodal.evaluation.table import Row, write_rows
from transmodal.experiment.run import Run
from transmodal.inference.predict import Scan, Translation, predict
from transmodal.methods._method import Method
from transmodal.metrics import METRICS
from transmodal.shapes import Mask, Voxels


@dataclass(frozen=True)
class Judged:
    """One case and target as a method made it.

    Attributes:
        case: name of the case.
        target: name of the modality.
        prediction: in judged units.
        reference: in judged units.
        mask: where it counts.
        scale: the judged units.
        source: the first source as it was shown, grey, from 0 to 1 of its window; None where it is missing
            or has no window.
    """

    case: str
    target: str
    prediction: Voxels
    reference: Voxels
    mask: Mask
    scale: Scale
    source: Float32[np.ndarray, "1 X Y Z"] | None = None


def judge(
    method: Method,
    run: Run,
    case: PreparedCase,
    images: Mapping[str, Voxels] | None = None,
    *,
    mask: Mask | None = None,
) -> Iterator[Judged]:
    """Translate a prepared case and put every target beside its reference.

    Args:
        method: in evaluation mode.
        run: whose recipe says how.
        case: of its dataset.
        images: source → values; by default those of the case.
        mask: where to look and to count; by default that of the case.
    """
    recipe = run.recipe
    if images is None:
        images = {name: case.values(name) for name in recipe.data.sources if name in case.modalities}
    mask = np.asarray(case.mask(), dtype=bool) if mask is None else mask
    empty = case.fits[recipe.data.targets[0]].background
    how = Translation(method, recipe.task, recipe.sampling, recipe.inference, empty)
    answer = predict(how, Scan(images, case.fits, mask, case.name))
    start, shown = 0, shown_source(recipe.data.sources[0], images, case)
    for target in recipe.data.targets:
        channels = modality(target).channels
        scale = scale_of(target, case.fits[target])
        made = scale.of_prediction(answer[start : start + channels])
        start += channels
        yield Judged(case.name, target, made, scale.of_reference(case.values(target)), mask, scale, shown)


def shown_source(
    name: str, images: Mapping[str, Voxels], case: PreparedCase
) -> Float32[np.ndarray, "1 X Y Z"] | None:
    """A source as a method sees it, grey, from 0 to 1 of its window; None where it is missing or has no window."""
    if name not in images or not case.fits[name].bounded:
        return None
    return (case.fits[name].apply(images[name]).mean(axis=0, keepdims=True) + 1) / 2


def score_judged(judged: Judged, method: str, metrics: Sequence[str], *, region: str = "mask") -> list[Row]:
    """Rows of the tidy table for one judged volume; ``region`` tells several targets of a case apart.

    Metrics against the input compare the mean of the prediction's channels, from 0 to 1 of the target's window,
    with the first source from 0 to 1 of its own.

    Raises:
        RecipeError: a metric against an input that is missing, or has no window.
    """
    own = [name for name in metrics if not METRICS[name].against_input]
    rows = []
    if own:
        rows += score(
            judged.prediction,
            judged.reference,
            judged.mask,
            case=judged.case,
            method=method,
            data_range=judged.scale.data_range,
            unit=judged.scale.unit,
            region=region,
            metrics=own,
        )
    if others := [name for name in metrics if METRICS[name].against_input]:
        if judged.source is None:
            raise RecipeError(
                f"{others[0]}: case {judged.case} has no first source with a window to compare with; set "
                "data.prepare.intensity of it to 'percentile', or leave this metric out"
            )
        low, high = judged.scale.window
        grey = (judged.prediction.mean(axis=0, keepdims=True) - low) / (high - low)
        rows += score(
            grey,
            judged.source,
            judged.mask,
            case=judged.case,
            method=method,
            data_range=1.0,
            unit="window",
            region=region,
            against="input",
            metrics=others,
        )
    return rows


def learn_floor(name: str, run: Run) -> Method:
    """A floor, after one look at every training sample."""
    recipe = run.recipe
    method = registry.build(name, recipe.task, {})
    loader = Loader(run.dataset, run.split.train, recipe.task, recipe.sampling, batch_size=8, handles_missing=True)
    if name != "identity":
        for step in progress.track(range(-(-loader.items // 8)), f"floor: {name}"):
            for _ in method.objectives(loader.batch(step)):
                pass
    assert isinstance(method, torch.nn.Module)
    return method.eval()


def final_evaluation(run: Run, methods: dict[str, Method], about: Mapping[str, Any]) -> list[Row]:
    """Judge every method on the test cases; write the table, the summary, the volumes and the report's list.

    Args:
        run: whose test cases.
        methods: name → trained method.
        about: how they came about, for the summary, which also gets ``seconds_per_volume`` of each.
    """
    settings = run.recipe.evaluation
    rows: list[Row] = []
    shown: list[dict[str, Any]] = []
    scale = None
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for name in progress.track(run.split.test, "evaluating"):
        progress.note(name)
        case = run.dataset.case(name)
        entry: dict[str, Any] = {"case": name, "predictions": {}}
        for method_name, method in methods.items():
            started = time.perf_counter()
            made = list(judge(method, run, case))
            seconds[method_name].append(time.perf_counter() - started)
            for judged in made:
                region = "mask" if len(run.recipe.data.targets) == 1 else f"{judged.target} mask"
                rows += score_judged(judged, method_name, settings.metrics, region=region)
                scale = judged.scale
                if settings.keep_predictions:
                    entry |= _store(run, case, judged, method_name, entry)
        if settings.subsets:
            rows += _from_parts(run, case, methods[run.recipe.method])
        shown.append(entry)
    people = shared({name: run.dataset.case(name).subject for name in run.split.test})
    write_rows(run.folder / "evaluation.csv", rows)
    taken = {name: median(spent) for name, spent in seconds.items() if spent}
    if settings.keep_predictions and scale is not None:
        write_json(run.folder / "report.json", _manifest(run, scale, shown))
    # Last: a run that has it is finished.
    about = {**about, "seconds_per_volume": taken, **({"subjects": people} if people else {})}
    write_summary(run.folder / "evaluation.json", summarise(rows, people), about)
    return rows


def _from_parts(run: Run, case: PreparedCase, method: Method) -> Iterator[Row]:
    """Scores of one case from every part of its sources that is neither all nor none; ``METHOD from T1w``."""
    there = [name for name in run.recipe.data.sources if name in case.modalities]
    for size in range(1, len(there)):
        for part in combinations(there, size):
            label = f"{run.recipe.method} from {' + '.join(part)}"
            for judged in judge(method, run, case, {name: case.values(name) for name in part}):
                region = "mask" if len(run.recipe.data.targets) == 1 else f"{judged.target} mask"
                yield from score_judged(judged, label, run.recipe.evaluation.metrics, region=region)


def _store(run: Run, case: PreparedCase, judged: Judged, method: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Write the judged volume and its reference; say where, relative to the run's folder."""
    suffix = "" if len(run.recipe.data.targets) == 1 else f"_{judged.target}"
    made = run.folder / "predictions" / method / f"{case.name}{suffix}.nii.gz"
    true = run.folder / "predictions" / "reference" / f"{case.name}{suffix}.nii.gz"
    kind = modality(judged.target)
    dtype = "rgb" if kind.channels == 3 else "float32"
    write_volume(
        Volume(judged.prediction, case.grid), made, dtype=dtype, description=f"SYNTHETIC {judged.target} {method}"
    )
    if not true.exists() or method == next(iter(entry["predictions"]), method):
        write_volume(
            Volume(judged.reference, case.grid), true, dtype=dtype, description=f"measured {judged.target}"
        )
    sources = {m: _relative(case.file(m), run.folder) for m in run.recipe.data.sources if m in case.modalities}
    if run.recipe.data.targets[0] != judged.target:
        return {}
    return {
        "sources": sources,
        "reference": _relative(true, run.folder),
        "mask": _relative(case.file("mask"), run.folder),
        "predictions": {**entry["predictions"], method: _relative(made, run.folder)},
    }


def _relative(path: Path, folder: Path) -> str:
    return os.path.relpath(path, folder)


def _manifest(run: Run, scale: Scale, shown: list[dict[str, Any]]) -> dict[str, Any]:
    data = run.recipe.data
    return {
        "title": f"{' + '.join(data.sources)} → {' + '.join(data.targets)}: {run.recipe.method}",
        "target": data.targets[0],
        "unit": scale.unit,
        "window": list(scale.window),
        "cases": shown,
    }

"""train(): from a recipe to a run's folder with a model that was judged against the floors."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from transmodal import progress, registry
from transmodal.data.claim import claimed
from transmodal.data.intensity import IntensityFit, pool
from transmodal.data.loader import Loader
from transmodal.data.prepared import PreparedCase
from transmodal.errors import RecipeError
from transmodal.experiment.card import with_results
from transmodal.experiment.judge import Judged, final_evaluation, judge, learn_floor, score_judged
from transmodal.experiment.price import price
from transmodal.experiment.run import Run, open_run, start
from transmodal.inference.model import Model, load_model, save_model
from transmodal.inference.predict import tile_size, views
from transmodal.inference.profile import Profile
from transmodal.inference.profile import learn as learn_profile
from transmodal.inference.synthesize import pick_device
from transmodal.inference.tiles import cover
from transmodal.machine import PeakMemory, versions
from transmodal.methods._method import Method, needs_labels
from transmodal.metrics import METRICS
from transmodal.nn.pretrained import Remembers, cache_root, frozen_networks, origins
from transmodal.recipe import Recipe, load_recipe
from transmodal.reporting.folder import read_folder
from transmodal.training.loop import fit, make_fabric
from transmodal.training.monitor import Monitor
from transmodal.training.ranks import Rank, own_rank, wait
from transmodal.training.seed import seed_weights


def train(
    recipe: Recipe | Path | str,
    out: Path | str,
    *,
    resume: bool = False,
    device: str = "auto",
    force: bool = False,
    workers: int = 1,
) -> str:
    """Train, keep the best model, judge it and the floors on the held-out cases.

    Started several times by torchrun or srun, the processes train together (:mod:`transmodal.training.ranks`).

    Args:
        recipe: a resolved recipe, or the path of one.
        out: the run's folder (see :mod:`transmodal.experiment.run`).
        resume: go on as if the run had never stopped.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        force: replace an earlier run in ``out``.
        workers: processes that prepare raw data; more than one need ``if __name__ == "__main__"`` in a script.

    Returns:
        The table of the final evaluation, as Markdown; nothing in further processes.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe)
    chosen = pick_device(device)
    _better_side(recipe.training.monitor)
    _demand_weights(recipe)
    fabric = _fabric(recipe, chosen.type, own_rank())
    with claimed(Path(out)) if fabric.is_global_zero else nullcontext():
        return _train(recipe, Path(out), fabric, chosen, resume=resume, force=force, workers=workers)


def _train(
    recipe: Recipe, out: Path, fabric: Fabric, chosen: torch.device, *, resume: bool, force: bool, workers: int
) -> str:
    if fabric.is_global_zero:
        run = start(recipe, out, resume=resume, force=force, workers=workers)
    wait(fabric)
    if not fabric.is_global_zero:
        run = open_run(out)
    memory = PeakMemory(chosen)
    learn(run, fabric, resume=resume)
    if not fabric.is_global_zero:
        # A site may end all processes some time after the first has ended.
        wait(fabric)
        return ""
    table = _final(run, chosen, memory.read())
    wait(fabric)
    return table


def _fabric(recipe: Recipe, device: str, rank: Rank) -> Fabric:
    """Fabric with all processes, of which only the first one speaks."""
    fabric = make_fabric(recipe.training, device, rank)
    if rank.number:
        progress.use("silent")
    if rank.world > 1:
        progress.say(f"{rank.world} processes, each with {recipe.training.batch_size} samples of every batch")
    return fabric


def _final(run: Run, chosen: torch.device, peak: int) -> str:
    """Judge the model and the floors; the table."""
    recipe = run.recipe
    model = load_model(run.folder / "model", chosen)
    floors = {name: learn_floor(name, run) for name in recipe.evaluation.floors if name != recipe.method}
    spent = price(run, model.method, peak, chosen)
    about = {"pretrained": model.about.get("pretrained", []), "price": asdict(spent)}
    final_evaluation(run, {**floors, recipe.method: model.method}, about)
    with_results(run.folder)
    return read_folder(run.folder).scores


def learn(run: Run, fabric: Fabric, *, resume: bool = False) -> None:
    """Train the run's method, in all processes of ``fabric``.

    Leaves ``model/``, ``last/`` and ``log.jsonl`` in its folder.
    """
    recipe = run.recipe
    settings = recipe.training
    seed_weights(settings.seed)
    method = registry.build(recipe.method, recipe.task, recipe.arguments)
    facts = method.facts
    for network in frozen_networks(method):
        network.load_weights()
        progress.say(network.origin)
    _check_ranges(recipe, run)
    # A method without players takes no gradients that could be averaged: every process looks at every sample.
    rank, world = (fabric.global_rank, fabric.world_size) if method.players() else (0, 1)
    loader = Loader(
        run.dataset,
        (*run.split.train, *run.halves),
        recipe.task,
        recipe.sampling,
        batch_size=settings.batch_size,
        seed=settings.seed,
        rank=rank,
        world=world,
        paired=facts.paired,
        labels=needs_labels(method),
        handles_missing=facts.handles_missing,
    )
    _remember(method, run, loader, fabric.device)
    if not method.players():
        # Nothing to descend on: such a method looks at every sample once, and is done.
        epoch = -(-loader.items // settings.batch_size)
        settings = replace(settings, steps=epoch, accumulate=1, validate_every=0)
    progress.say(
        f"{recipe.method}: {len(run.split.train) + len(run.halves)} cases to train on, "
        f"{len(run.split.val)} to validate, {len(run.split.test)} to test; {loader.items} samples; "
        f"{settings.resolved_precision} on {fabric.device}"
    )
    fit(
        method,
        loader.batch,
        settings,
        fabric,
        run.folder,
        recipe_hash=recipe.hash,
        higher_is_better=_better_side(settings.monitor),
        validate=lambda step, monitor: validate(method, run, step, monitor),
        keep=lambda step: save_model(as_model(method, run, step), run.folder / "model"),
        resume=resume,
    )


def _better_side(monitor: str) -> bool:
    """Whether a higher value of the metric is better; refuses one that cannot choose weights."""
    ranked = {n: m.higher_is_better for n, m in METRICS.items() if m.higher_is_better is not None}
    if monitor not in ranked:
        raise RecipeError(
            f"training.monitor = {monitor!r}: choose a metric that says which weights are better: "
            f"{', '.join(ranked)}"
        )
    return ranked[monitor]


def validate(method: Method, run: Run, step: int, monitor: Monitor) -> dict[str, float]:
    """Mean scores over the validation cases, and a picture of the first for TensorBoard."""
    settings = run.recipe.training
    names = run.split.val[: settings.validation_cases or None]
    metrics = list(dict.fromkeys(["MAE", "PSNR", "SSIM", settings.monitor]))
    found: dict[str, list[float]] = {metric: [] for metric in metrics}
    for number, name in enumerate(names):
        for judged in judge(method, run, run.dataset.case(name)):
            for row in score_judged(judged, run.recipe.method, metrics):
                found[row.metric].append(row.value)
            if number == 0:
                monitor.picture(step, f"validation/{judged.target}", picture(judged))
    return {metric: float(np.mean(values)) for metric, values in found.items()}


def picture(judged: Judged) -> np.ndarray:
    """Prediction and reference of the middle axial slice side by side, as bytes (height, width, 3)."""
    height = np.flatnonzero(judged.mask.any(axis=(0, 1)))
    middle = int(height[len(height) // 2])
    low, high = judged.scale.window
    pair = [np.rot90(volume[..., middle], axes=(1, 2)) for volume in (judged.prediction, judged.reference)]
    grey = np.clip((np.concatenate(pair, axis=2) - low) / (high - low), 0, 1)
    return (np.broadcast_to(np.moveaxis(grey, 0, -1), (*grey.shape[1:], 3)) * 255).astype(np.uint8)


def as_model(method: Method, run: Run, step: int) -> Model:
    """The networks as they are now, with all that a stranger needs to use them."""
    recipe = run.recipe
    cases = [run.dataset.case(name) for name in run.split.train]
    spacing = np.median([case.grid.spacing for case in cases], axis=0)
    fits: Mapping[str, IntensityFit] = {
        target: pool([case.fits[target] for case in cases if target in case.fits])
        for target in recipe.data.targets
    }
    about: dict[str, Any] = {
        "cases": len(cases),
        "steps": step,
        "recipe": recipe.to_dict(),
        "recipe_hash": recipe.hash,
        "licence": recipe.data.licence,
        "pretrained": origins(method),
        "not_reproduced": method.facts.unproven,
        "versions": versions(),
    }
    about["recipe"]["data"].pop("path")
    # A table of labels is kept even where it is the default: what was trained on it is compared by it.
    declared = registry.arguments(registry.get(recipe.method))
    tables = {"labels": declared["labels"].default} if "labels" in declared else {}
    return Model(
        name=recipe.method,
        method=method,
        arguments={**tables, **recipe.arguments},
        task=recipe.task,
        sampling=recipe.sampling,
        prepare=run.dataset.settings,
        inference=recipe.inference,
        fits=fits,
        spacing=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        profiles=profiles(cases),
        about=about,
    )


def profiles(cases: Sequence[PreparedCase]) -> dict[str, Profile]:
    """What the images of each modality have in common; none for data of an older version."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for case in cases:
        for name, stored in case.record["modalities"].items():
            if "traits" in stored["facts"]:
                found.setdefault(name, []).append(stored["facts"]["traits"])
    return {name: learn_profile(traits) for name, traits in found.items()}


def _demand_weights(recipe: Recipe) -> None:
    """Files of pretrained weights are missed before any scan is read."""
    for network in frozen_networks(registry.outline(recipe.method, recipe.task, recipe.arguments)):
        network.find_weights()


def _remember(method: Method, run: Run, loader: Loader, device: torch.device) -> None:
    """Frozen networks that should keep what they compute begin to; what disk that takes is told first."""
    assert isinstance(method, nn.Module)
    method.to(device)
    for network in method.modules():
        if isinstance(network, Remembers):
            cache = network.remember(cache_root() / "features")
            if cache is not None:
                progress.say(cache.demand(loader.images + _validation_images(method, run)))


def _validation_images(method: Method, run: Run) -> int:
    """Tiles of the validation cases, at most."""
    recipe, count = run.recipe, 0
    for name in run.split.val[: recipe.training.validation_cases or None]:
        shape = run.dataset.case(name).grid.shape
        for axis in views(recipe.sampling, recipe.inference):
            count += len(cover(shape, tile_size(recipe.sampling, method.multiple, axis), recipe.inference.overlap))
    return count


def _check_ranges(recipe: Recipe, run: Run) -> None:
    """A network that ends in tanh cannot reach z-scores, and a loss on [0, 1] means nothing for them."""
    declared = registry.arguments(registry.get(recipe.method)).get("output")
    output = recipe.arguments.get("output", declared.default if declared is not None else "linear")
    case = run.dataset.case(run.split.train[0])
    unbounded = [target for target in recipe.data.targets if not case.fits[target].bounded]
    shown = [name for name in recipe.data.sources if name in case.fits and not case.fits[name].bounded]
    if registry.get(recipe.method).facts.unit_range and (unbounded or shown):
        name = (shown + unbounded)[0]
        raise RecipeError(
            f"{recipe.method} compares images from 0 to 1, and {name} is normalised by z-score; "
            f"set data.prepare.intensity.{name} = 'percentile'"
        )
    if output == "tanh" and unbounded:
        raise RecipeError(
            f"method.output = 'tanh' only reaches [-1, 1], but {unbounded[0]} is normalised by z-score; "
            f"set method.output = 'linear', or data.prepare.intensity.{unbounded[0]} = 'percentile'"
        )

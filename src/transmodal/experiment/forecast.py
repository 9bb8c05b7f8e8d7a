"""Forecast: the memory that a training or a synthesis will take, before it is started in earnest.

Nothing is derived: the thing is done once, on a small scale in time and on the full one in memory, and the peak of
this process is read. So a forecast is made in a process that has done nothing else (``--dry-run``).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from transmodal.data.layout import CaseFiles, find_cases
from transmodal.data.volume import made_of
from transmodal.errors import InputError
from transmodal.inference.choice import Choice
from transmodal.inference.files import is_batch, plan_for, synthesize_paths
from transmodal.inference.synthesize import pick_device
from transmodal.machine import PeakMemory, free_memory

if TYPE_CHECKING:
    from transmodal.recipe import Recipe

_STEPS = 2
"""The second one has the moments of the optimisers, too."""


def of_training(recipe: "Recipe", device: str = "auto") -> str:
    """Play two steps of the recipe's own batch with made-up images, and write a checkpoint.

    Args:
        recipe: its data are not looked at.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Returns:
        A sentence with the memory in it, and how it is known; one more where features are kept on disk.

    Raises:
        RecipeError: features are to be kept of images that never come again.
    """
    # Here and not above: what a training loads is no part of a synthesis.
    from torch import nn

    from transmodal import registry
    from transmodal.data.loader import check_repeats
    from transmodal.nn.pretrained import Remembers, frozen_networks
    from transmodal.training.cost import sample
    from transmodal.training.loop import fit, make_fabric
    from transmodal.training.seed import seed_weights

    chosen = pick_device(device)
    memory = PeakMemory(chosen)
    settings = replace(recipe.training, steps=_STEPS, validate_every=0, minutes=0.0)
    fabric = make_fabric(settings, chosen.type)
    seed_weights(settings.seed)
    method = registry.build(recipe.method, recipe.task, recipe.arguments)
    for network in frozen_networks(method):
        network.load_weights()
    batch = sample(recipe.task, settings.batch_size)
    with TemporaryDirectory() as folder:
        assert isinstance(method, nn.Module)
        remembering = [network for network in method.to(chosen).modules() if isinstance(network, Remembers)]
        caches = [cache for network in remembering if (cache := network.remember(Path(folder))) is not None]
        if caches:
            check_repeats(recipe.sampling, recipe.task)
        fit(
            method,
            lambda number: batch,
            settings,
            fabric,
            Path(folder),
            recipe_hash=recipe.hash,
            higher_is_better=True,
            validate=lambda step, monitor: {settings.monitor: 0.0},
            keep=lambda step: None,
        )
    size = "×".join(str(n) for n in recipe.task.size)
    how = (
        f"{_STEPS} steps of {settings.batch_size} made-up samples of {size} and a checkpoint; the number of cases "
        "changes nothing, validating volumes of more than 200³ voxels may add to it"
    )
    kept = sum(cache.bytes_per_image for cache in caches) / 1e6
    disk = f" Features of every slice that is seen are kept: {kept:.3g} MB of disk for each." if caches else ""
    return _sentence(f"training {recipe.method}", memory.read(), chosen, how) + disk


def of_synthesis(
    model: Path,
    images: Sequence[str],
    *,
    mask: Path | None = None,
    settings: Sequence[str] = (),
    device: str = "auto",
    engine: Choice = "auto",
    interval: float = 0.0,
) -> str:
    """Make the case with the most bytes, and throw it away; arguments as of ``synthesize_paths``.

    Returns:
        A sentence with the memory in it, and how it is known.

    Raises:
        InputError: no case has the model's sources.
    """
    words, name, count = list(images), "the case", 1
    plan = plan_for(model, settings, device, engine)
    if is_batch(images):
        task = plan.known.task
        cases = find_cases(Path(images[0]))
        count = len(cases)
        known = [case for case in cases if set(case.images) & set(task.sources)]
        if not known:
            raise InputError(f"{images[0]}: no case has {' or '.join(task.sources)}")
        largest = max(known, key=lambda case: _bytes(case, task.sources))
        name, mask = largest.name, largest.mask
        words = [f"{source}={largest.images[source]}" for source in task.sources if source in largest.images]
    chosen = plan.device
    memory = PeakMemory(chosen)
    with TemporaryDirectory() as folder:
        synthesize_paths(
            model, words, Path(folder), mask=mask, settings=settings, device=device, engine=engine, force=True,
            interval=interval,
        )  # fmt: skip
    how = f"{name}, the largest of {count}, was made and thrown away; they are made one after the other"
    return _sentence("synthesis", memory.read(), chosen, how)


def _bytes(case: CaseFiles, sources: Sequence[str]) -> int:
    files = [file for name, path in case.images.items() if name in sources for file in made_of(path)]
    return sum(file.stat().st_size for file in files)


def _sentence(what: str, peak: int, device: Any, how: str) -> str:
    free = free_memory(device)
    fits = "" if peak < free else "; that is more than is free now"
    return (
        f"{what} takes about {peak / 1e9:.2f} GB of memory ({free / 1e9:.1f} GB are free{fits}). Measured: {how}."
    )

"""plan(): a complete recipe for a dataset, a machine and a time, with a reason in words for every choice.

The choices are rules of thumb from what was measured with this package (recipes/README.md); costs are measured
here and now, by playing a step of the method.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from transmodal import registry
from transmodal.data.files import write_text
from transmodal.data.modality import modality
from transmodal.data.task import Task
from transmodal.data.tile import PLANES
from transmodal.errors import RecipeError, Refused
from transmodal.experiment.afford import Afforded, Budget, afford, shallow
from transmodal.experiment.survey import Survey, survey
from transmodal.inference.synthesize import pick_device
from transmodal.machine import free_memory
from transmodal.recipe import make_recipe
from transmodal.reporting.toml import key, value

_THICK = 2.5
"""Slices that are this many times thicker than their voxels are fine are taken as slices."""
_MARGIN, _LARGEST = 8, 256
"""Voxels around the mask that a slice shows, and the most that it shows."""


@dataclass(frozen=True)
class Choice:
    """One line of the recipe: a key of a table, its value, and why."""

    table: str
    key: str
    value: Any
    reason: str


@dataclass(frozen=True)
class _Grid:
    """How slices are taken: the plane, voxels in mm, and the largest head in voxels."""

    plane: str
    spacing: tuple[float, float, float]
    voxels: tuple[int, int, int]
    reason: str

    @property
    def through(self) -> int:
        """The axis that slices are taken along."""
        return PLANES[self.plane]

    def size(self, multiple: int) -> tuple[int, ...]:
        """Of a slice that shows the largest head."""
        within = [n + 2 * _MARGIN for axis, n in enumerate(self.voxels) if axis != self.through]
        most = max(multiple, _LARGEST // multiple * multiple)
        return tuple(min(most, -(-n // multiple) * multiple) for n in within)


def plan(
    dataset: Path,
    out: Path,
    *,
    sources: Sequence[str] = (),
    targets: Sequence[str] = (),
    entities: Sequence[str] = (),
    method: str = "regression",
    minutes: float = 60.0,
    memory: float = 0.0,
    device: str = "auto",
    force: bool = False,
) -> str:
    """Look at a dataset, measure the method, write a recipe that ``transmodal train`` takes as it is.

    Args:
        dataset: a folder, a BIDS root or a table.
        out: the recipe's file.
        sources: modalities that go in; chosen if empty.
        targets: modalities to make; chosen if empty.
        entities: of BIDS names, which files to take where several are one modality.
        method: which one.
        minutes: of training, for one fold.
        memory: gigabytes that training may take; 0 for half of what is free here.
        device: where training will run.
        force: replace a file that exists.

    Returns:
        The recipe's text.

    Raises:
        RecipeError: what cannot be chosen or does not fit.
        Refused: the file exists.
    """
    if out.exists() and not force:
        raise Refused(f"{out}: exists already; give --force to replace it, or another --out")
    if minutes <= 0 or memory < 0:
        raise RecipeError(f"--minutes {minutes:g} --memory {memory:g}: give more than 0")
    registry.get(method)
    where = pick_device(device)
    seen = survey(dataset, sources, targets, entities)
    grid = _grid(seen)
    task = Task(seen.sources, seen.targets)
    arguments, multiple = shallow(method, task)
    task = replace(task, size=grid.size(multiple))
    found = afford(method, task, arguments, Budget(minutes, memory * 1e9 or free_memory(where) / 2, where))
    choices = [*_data(seen), *_prepare(seen, grid), *_sampling(seen, grid, task, multiple)]
    choices += [*_method(method, found), *_training(method, task, found, _samples(seen, grid)), *_evaluation(seen)]
    text = _spell(seen, choices)
    make_recipe(tomllib.loads(text), out.stem)
    write_text(out, text)
    return text


def _folds(seen: Survey) -> int:
    return min(5, max(3, seen.people))


def _samples(seen: Survey, grid: _Grid) -> int:
    """Slices to train on: those of the cases that the test and the validation fold leave."""
    share = seen.dealt or 1 - 2 / _folds(seen)
    return max(1, round(len(seen.cases) * share * grid.voxels[grid.through]))


def _grid(seen: Survey) -> _Grid:
    own = np.asarray(seen.spacing)
    through = int(own.argmax())
    said = f"voxels are {' × '.join(f'{s:.3g}' for s in own)} mm"
    if own.max() / own.min() >= _THICK:
        spacing = np.full(3, np.delete(own, through).mean())
        spacing[through] = own[through]
        plane = next(name for name, axis in PLANES.items() if axis == through)
        reason = (
            f"{said}: slices are {own.max() / own.min():.1f} times as thick as fine, and to interpolate between "
            "them would invent what was not measured"
        )
    else:
        spacing, plane = np.full(3, np.median(own)), "axial"
        reason = f"{said}; their median along all axes"
    x, y, z = (float(s) for s in spacing.round(2))
    if seen.uniform and np.allclose(own, (x, y, z), rtol=0.02):
        return _Grid(plane, (0.0, 0.0, 0.0), _voxels(seen, own), f"all {said}: nothing is resampled")
    return _Grid(plane, (x, y, z), _voxels(seen, np.array([x, y, z])), reason)


def _voxels(seen: Survey, spacing: np.ndarray) -> tuple[int, int, int]:
    x, y, z = (int(np.ceil(n)) for n in np.asarray(seen.extent) / spacing)
    return x, y, z


def _data(seen: Survey) -> list[Choice]:
    count = f"{len(seen.cases)} cases have all of them"
    return [
        Choice("data", "path", str(seen.path.resolve()), "where the scans are"),
        Choice("data", "sources", list(seen.sources), count),
        Choice("data", "targets", list(seen.targets), "to be made"),
        *([] if seen.dealt else
          [Choice("data", "folds", _folds(seen), f"{seen.people} people; each is tested in one fold")]),
    ]  # fmt: skip


def _prepare(seen: Survey, grid: _Grid) -> list[Choice]:
    reasons = {
        "given": "every case has a mask",
        "labels": "every case has a label map; what is labelled counts",
        "foreground": "not every case has a mask; the head is found by its brightness",
    }
    voxel = min(grid.spacing) or min(seen.spacing)
    far = [apart for apart in seen.apart if apart.millimetres > voxel or apart.degrees > 2]
    if far:
        worst = max(far, key=lambda apart: apart.millimetres)
        register = "rigid"
        why = (
            f"{len(far)} of {seen.registered} pairs looked at are off by more than a voxel or 2 degrees, the "
            f"worst by {worst.millimetres:.1f} mm and {worst.degrees:.1f} degrees ({worst.case}, {worst.modality})"
        )
    else:
        register = "none"
        why = f"none of {seen.registered} pairs looked at is off by more than a voxel; audit looks at all"
    spacing = grid.spacing[0] if len(set(grid.spacing)) == 1 else list(grid.spacing)
    return [
        Choice("data.prepare", "spacing", spacing, grid.reason),
        *([Choice("data.prepare", "exclude", list(seen.lacking), "these lack a source or the target")]
          if seen.lacking else []),
        *([Choice("data.prepare", "entities", list(seen.entities), "as given")] if seen.entities else []),
        Choice("data.prepare", "mask", seen.mask, reasons[seen.mask]),
        Choice("data.prepare", "register", register, why),
        *(_intensity(name) for name in (*seen.sources, *seen.targets)),
    ]  # fmt: skip


def _intensity(name: str) -> Choice:
    window = modality(name).window
    if window is None:
        why = "arbitrary units: each scan by its own 0.5 and 99.5 percentiles"
        return Choice("data.prepare.intensity", name, "percentile", why)
    return Choice("data.prepare.intensity", name, "window", f"a fixed scale, from {window[0]:g} to {window[1]:g}")


def _sampling(seen: Survey, grid: _Grid, task: Task, multiple: int) -> list[Choice]:
    plane = (
        "the plane that was acquired" if max(seen.spacing) / min(seen.spacing) >= _THICK
        else "slices: patches need more memory, time and people than they give back on small sets"
    )  # fmt: skip
    size = f"the largest head of {' × '.join(str(n) for n in grid.voxels)} voxels with {_MARGIN} around it, in "
    return [
        Choice("sampling", "view", grid.plane, plane),
        Choice("sampling", "size", list(task.size), f"{size}multiples of {multiple}; larger slices are tiled"),
        Choice("sampling", "flip", 0.5, "heads are nearly symmetric"),
        Choice("sampling", "jitter", 6, "a head is not always in the middle"),
    ]


def _method(name: str, found: Afforded) -> list[Choice]:
    why = "asked for"
    if name == "regression":
        why = "the honest baseline, ahead of the others for its cost wherever it was measured; try them against it"
    return [
        Choice("method", "name", name, why),
        *(Choice("method", key, argument, found.why_arguments()) for key, argument in found.arguments.items()),
    ]


def _training(method: str, task: Task, found: Afforded, samples: int) -> list[Choice]:
    steps = found.steps(samples)
    choices = [
        Choice("training", "batch_size", found.batch, found.why_batch()),
        Choice("training", "steps", steps, found.why_steps(samples)),
        Choice("training", "minutes", found.budget.minutes, "the time given, should the machine turn out slower"),
        Choice("training", "ema", 0.99 if steps < 10_000 else 0.999, "averaged weights are better, at no cost"),
        Choice("training", "validate_every", max(1, steps // 5), "five looks at whole volumes on the way"),
    ]
    if len(registry.outline(method, task, found.arguments).players()) > 1:
        why = "falls to zero in the second half, as is usual against a critic"
        return [*choices, Choice("training.optimizer", "schedule", "linear", why)]
    return [
        *choices,
        Choice("training.optimizer", "lr", 1e-3, "nobody plays against this network, so it may learn fast"),
        Choice("training.optimizer", "betas", [0.9, 0.999], "as Adam has them; 0.5 is for play against a critic"),
        Choice("training.optimizer", "schedule", "cosine", "ends with small steps"),
        Choice("training.optimizer", "hold", 0.0, "falls from the start"),
    ]


def _evaluation(seen: Survey) -> list[Choice]:
    if any(modality(name).unit != "HU" for name in seen.targets):
        return []
    names = ["MAE", "PSNR", "SSIM", "MS-SSIM", "Bias", "MAE-air", "MAE-soft", "MAE-bone", "BoneDice"]
    return [Choice("evaluation", "metrics", names, "most of a CT's error lies in bone and air; one mean hides it")]


def _spell(seen: Survey, choices: Sequence[Choice]) -> str:
    """TOML, with the reason above each key."""
    arrow = f"{', '.join(seen.sources)} → {', '.join(seen.targets)}"
    lines = [f"# {arrow}, {seen.people} people. Written by transmodal plan; every line can be changed."]
    for table in dict.fromkeys(choice.table for choice in choices):
        lines += ["", f"[{table}]"]
        for choice in choices:
            if choice.table == table:
                lines += [f"# {choice.reason}", f"{key(choice.key)} = {value(choice.value)}"]
    return "\n".join(lines) + "\n"

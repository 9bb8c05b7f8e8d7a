"""Survey: what a raw dataset looks like, from a few of its cases, as far as a plan has to know it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from transmodal import progress
from transmodal.data.box import bounds
from transmodal.data.foreground import foreground
from transmodal.data.layout import CaseFiles, find_cases, is_drawn
from transmodal.data.prepared import is_prepared
from transmodal.data.register import aligned
from transmodal.data.volume import Volume, read_volume
from transmodal.errors import InputError, RecipeError, nearest

_LOOK, _REGISTER = 12, 6
"""How many cases are read, and of how many the images are registered to each other."""
_FEWEST = 3
_ORDER = ("T1w", "T2w", "PDw", "FLAIR", "T1c")
_MADE = ("FA", "CT", "cryo")
"""What others are turned into, rather than the other way round."""


@dataclass(frozen=True)
class Apart:
    """How far an image of a case lies from the first source."""

    case: str
    modality: str
    millimetres: float
    degrees: float


@dataclass(frozen=True)
class Survey:
    """What was seen.

    Attributes:
        path: the dataset.
        sources: chosen or given.
        targets: chosen or given.
        cases: those that have all of them.
        lacking: names of the others.
        entities: of BIDS names, that were chosen.
        dealt: the share of the cases that a ``split`` column gives to training; 0 without one.
        mask: ``given``, ``labels`` or ``foreground``: what all usable cases have.
        spacing: median voxel of the first source along X, Y, Z (RAS) in mm.
        uniform: whether all voxels looked at are the same, to 2 %.
        extent: the largest box around the mask, in mm.
        apart: images that registration moved.
        registered: how many pairs were registered.
    """

    path: Path
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    cases: tuple[CaseFiles, ...]
    lacking: tuple[str, ...]
    entities: tuple[str, ...]
    dealt: float
    mask: str
    spacing: tuple[float, float, float]
    uniform: bool
    extent: tuple[float, float, float]
    apart: tuple[Apart, ...]
    registered: int

    @property
    def people(self) -> int:
        """How many there are."""
        return len({case.subject for case in self.cases})


def survey(
    dataset: Path, sources: Sequence[str] = (), targets: Sequence[str] = (), entities: Sequence[str] = ()
) -> Survey:
    """Look at a dataset; at most twelve cases are read, one after the other.

    Args:
        dataset: what ``transmodal prepare`` takes.
        sources: modalities that go in; chosen if empty.
        targets: modalities to make; chosen if empty.
        entities: see :func:`~transmodal.data.layout.find_cases`.

    Raises:
        RecipeError: sources or targets that no case has, or that cannot be chosen.
        InputError: fewer than three people have all of them.
    """
    if is_prepared(dataset):
        raise InputError(f"{dataset}: is prepared already; plan with the dataset that it was made from")
    found = find_cases(dataset, entities)
    sources, targets = _roles(found, sources, targets)
    needed = {*sources, *targets}
    cases = [case for case in found if needed <= set(case.images)]
    if not cases:
        raise InputError(f"{dataset}: no case has all of {', '.join(sorted(needed))}")
    people, split = len({case.subject for case in cases}), all(case.split for case in cases)
    if people < _FEWEST and not split:
        raise InputError(
            f"{dataset}: {people} of its people have all of {', '.join(sorted(needed))}; training, validation and "
            "test need one each: add people"
        )
    mask = "given" if all(c.mask for c in cases) else "labels" if all(c.labels for c in cases) else "foreground"
    grids, boxes = [], []
    looked = cases[:: -(-len(cases) // _LOOK)]
    for case in progress.track(looked, "looking"):
        reference = read_volume(case.images[sources[0]]).canonical()
        grids.append(reference.grid.spacing)
        boxes.append(_extent(case, reference, mask))
    apart, registered = _registered(looked, sources, targets)
    spacing = np.median(grids, axis=0)
    extent = np.max(boxes, axis=0)
    return Survey(
        Path(dataset),
        tuple(sources),
        tuple(targets),
        tuple(cases),
        tuple(case.name for case in found if case not in cases),
        tuple(entities),
        sum(case.split == "train" for case in cases) / len(cases) if split else 0.0,
        mask,
        (float(spacing[0]), float(spacing[1]), float(spacing[2])),
        bool((np.abs(np.asarray(grids) / spacing - 1) < 0.02).all()),
        (float(extent[0]), float(extent[1]), float(extent[2])),
        tuple(apart),
        registered,
    )


def _roles(
    cases: Sequence[CaseFiles], sources: Sequence[str], targets: Sequence[str]
) -> tuple[Sequence[str], Sequence[str]]:
    """Sources and targets, as far as they are not given."""
    names = list(dict.fromkeys(name for case in cases for name in case.images if not is_drawn(name)))
    for name in (*sources, *targets):
        if name not in names:
            raise RecipeError(f"no case has {name!r}{nearest(name, names)}")
    left = sorted(
        (name for name in names if name not in (*sources, *targets)),
        key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER),
    )
    if not targets:
        made = [name for name in left if name in _MADE]
        if len(made) == 1:
            targets = made
        elif not made and len(left) == (1 if sources else 2):
            targets = left[-1:]
        else:
            raise RecipeError(f"the dataset has {', '.join(names)}; say which to make with --targets")
        left = [name for name in left if name not in targets]
    if not sources and not left:
        raise RecipeError(f"the dataset has only {', '.join(names)}; a source is missing")
    return sources or left, targets


def _extent(case: CaseFiles, reference: Volume, mask: str) -> tuple[float, ...]:
    drawn = {"given": case.mask, "labels": case.labels}.get(mask)
    if drawn is None:
        where, spacing = foreground(reference), reference.grid.spacing
    else:
        given = read_volume(drawn, label=True).canonical()
        where, spacing = given.data[0] > 0, given.grid.spacing
    if not where.any():
        raise InputError(f"{drawn or reference.name}: is an empty mask; draw it again, or leave it out")
    return tuple((high - low) * size for (low, high), size in zip(bounds(where), spacing, strict=True))


def _registered(
    cases: Sequence[CaseFiles], sources: Sequence[str], targets: Sequence[str]
) -> tuple[list[Apart], int]:
    """Which images of a few cases lie elsewhere than the first source, and how many were tried."""
    apart, count = [], 0
    for case in islice(cases, _REGISTER):
        fixed = read_volume(case.images[sources[0]]).canonical()
        for name in (*sources[1:], *targets):
            progress.note(f"{case.name} {name}")
            moved = aligned(read_volume(case.images[name]).canonical(), fixed)
            count += 1
            if moved.translation_mm or moved.rotation_deg:
                apart.append(Apart(case.name, name, moved.translation_mm, moved.rotation_deg))
    return apart, count

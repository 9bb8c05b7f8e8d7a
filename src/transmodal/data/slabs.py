"""Slabs: one body cut into cases that lie apart, so that neighbouring slices never straddle two parts of a split.

Slices of one body are near-copies of their neighbours: a split by slices would test on what was trained on. Slabs
with a gap between them are the units of a split instead, each a case and its own subject.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from transmodal.data.box import Box, bounds, slices
from transmodal.data.bring import Brought, PrepareSettings
from transmodal.data.geometry import crop
from transmodal.data.layout import CaseFiles
from transmodal.data.volume import Volume
from transmodal.errors import InputError, RecipeError

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Plane of slices → the axis of a RAS+ grid that they are counted along."""


def parts(case: CaseFiles, settings: PrepareSettings) -> list[CaseFiles]:
    """The cases that one becomes: itself, or slabs that are subjects; ``body`` and ``slab`` are facts of them."""
    return [
        replace(case, name=name, subject=name, facts={**case.facts, "body": case.name, "slab": str(number)})
        for number in range(1, settings.slabs + 1)
        for name in [f"{case.name}_slab-{number}"]
    ] or [case]


def check(cases: Sequence[CaseFiles], settings: PrepareSettings) -> None:
    """Refuse to cut people that a split could keep apart as they are.

    Raises:
        RecipeError: slabs of three people or more.
    """
    people = len({case.subject for case in cases})
    if settings.slabs and people > 2:
        raise RecipeError(
            f"data.prepare.slabs = {settings.slabs}: slabs are for one body or two, and there are {people} "
            "people; split by person instead (slabs = 0)"
        )


def edges(low: int, high: int, count: int, gap: int) -> list[tuple[int, int]]:
    """First and one-past-last slice of ``count`` slabs from ``low`` to ``high`` with ``gap`` slices between two.

    As long as each other to within a slice; a slab without a slice is (n, n).
    """
    length = max(high - low - gap * (count - 1), 0)
    ends = [round(length * number / count) for number in range(count + 1)]
    starts = [low + gap * number for number in range(count)]
    return [(start + first, start + last) for start, (first, last) in zip(starts, pairwise(ends), strict=True)]


def cut(brought: Brought, settings: PrepareSettings, name: str) -> list[Brought]:
    """The slabs of a case, along the mask; intensities are fitted once, for the whole body.

    Raises:
        InputError: a slab that holds no voxel of the mask.
    """
    if not settings.slabs:
        return [brought]
    axis = PLANES[settings.slab_plane]
    spacing = brought.grid.spacing[axis]
    counts = brought.mask & brought.seen
    low, high = bounds(counts)[axis]
    gap = int(np.ceil(settings.slab_gap / spacing - 1e-6))
    found = []
    for number, ends in enumerate(edges(low, high, settings.slabs, gap), start=1):
        box = [(0, size) for size in brought.grid.shape]
        box[axis] = ends
        if ends[0] == ends[1] or not counts[slices((box[0], box[1], box[2]))].any():
            raise InputError(
                f"case {name}: slab {number} of {settings.slabs} is empty: the mask is "
                f"{(high - low) * spacing:.0f} mm long with gaps of {settings.slab_gap:g} mm; "
                "lower data.prepare.slabs or slab_gap"
            )
        found.append(_cropped(brought, (box[0], box[1], box[2])))
    return found


def _cropped(brought: Brought, box: Box) -> Brought:
    grid, place = crop(brought.grid, box), slices(box)
    return replace(
        brought,
        images={
            name: Volume(np.ascontiguousarray(image.data[:, *place]), grid, image.name)
            for name, image in brought.images.items()
        },
        mask=brought.mask[place],
        labels=None if brought.labels is None else np.ascontiguousarray(brought.labels[:, *place]),
        grid=grid,
        seen=brought.seen[place],
    )

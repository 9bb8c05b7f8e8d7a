"""Sampling: what a network sees of a case. The same cut and the same normalisation in training and in use.

Data are always volumes; whether a network sees axial slices, stacks of neighbouring slices or patches is said
here, in a recipe, and not in a method.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32

from transmodal.data.box import Box
from transmodal.data.grid import Grid
from transmodal.data.intensity import IntensityFit
from transmodal.data.limits import MOST_VALUES
from transmodal.data.modality import modality
from transmodal.data.motion import Misalignment, Motion, cut_moved
from transmodal.data.task import Task
from transmodal.data.tile import PLANES, Tile
from transmodal.errors import RecipeError, nearest
from transmodal.shapes import Voxels

VIEWS = (*PLANES, "planes", "patch")


@dataclass(frozen=True)
class Sampling:
    """What a network sees: the recipe's ``[sampling]`` table.

    Attributes:
        view: the plane that slices are taken in, ``planes`` for all three, or ``patch`` for boxes.
        size: voxels of a slice along its two axes (in the order X, Y, Z), or of a patch along X, Y, Z.
        neighbours: slices that the network sees at once, odd; the middle one is made (2.5D).
        flip: chance of a left-right flip; sagittal slices have no left and right and stay.
        jitter: largest random offset of the window in voxels, along every axis of it.
        rotate: largest random rotation in the plane of the slice, in degrees; slices only.
        gamma: largest change of the sources' contrast: v in [0, 1] becomes v**g, 1/(1 + gamma) ≤ g ≤ 1 + gamma.
        drop: chance that a sample lacks some of its sources: any part of them that is neither all nor none.
        misalign: how sources are moved against each other and the target.
    """

    view: Literal["axial", "coronal", "sagittal", "planes", "patch"] = "axial"
    size: tuple[int, ...] = (128, 128)
    neighbours: int = 1
    flip: float = 0.0
    jitter: int = 0
    rotate: float = 0.0
    gamma: float = 0.0
    drop: float = 0.0
    misalign: Misalignment = field(default_factory=Misalignment)

    def __post_init__(self) -> None:
        if self.view not in VIEWS:
            raise RecipeError(f"sampling.view = {self.view!r}{nearest(self.view, VIEWS)}")
        if len(self.size) != self.spatial or min(self.size) < 1:
            raise RecipeError(
                f"sampling.size = {list(self.size)}: give {self.spatial} numbers for sampling.view = {self.view!r}"
            )
        if prod(self.size) * max(self.neighbours, 1) > MOST_VALUES:
            raise RecipeError(f"sampling.size = {list(self.size)}: no network takes so many voxels at once")
        if self.view == "planes" and self.size[0] != self.size[1]:
            raise RecipeError(
                f"sampling.size = {list(self.size)}: slices of all three planes are square; give [n, n]"
            )
        if self.neighbours < 1 or self.neighbours % 2 == 0 or (self.spatial == 3 and self.neighbours > 1):
            raise RecipeError(f"sampling.neighbours = {self.neighbours}: an odd number of slices; 1 for patches")
        for key, value in (("flip", self.flip), ("drop", self.drop)):
            if not 0 <= value <= 1:
                raise RecipeError(f"sampling.{key} = {value}: a chance lies between 0 and 1")
        for key, value in (("jitter", self.jitter), ("rotate", self.rotate), ("gamma", self.gamma)):
            if value < 0:
                raise RecipeError(f"sampling.{key} = {value:g}: give 0 or more")
        if self.rotate and self.spatial == 3:
            raise RecipeError("sampling.rotate turns slices; leave it at 0 for patches")

    @property
    def spatial(self) -> int:
        """Axes that the network sees."""
        return 3 if self.view == "patch" else 2

    @property
    def axes(self) -> tuple[int | None, ...]:
        """The axes that slices are taken along; (None,) for patches."""
        if self.view == "patch":
            return (None,)
        return (0, 1, 2) if self.view == "planes" else (PLANES[self.view],)


def tile_around(
    sampling: Sampling,
    box: Box,
    axis: int | None,
    index: int | None,
    rng: np.random.Generator,
) -> Tile:
    """Where a training sample is cut.

    Along an axis where the window is at least as long as the mask's box, it is centred on the box (and moved by
    the jitter); where the box is longer, it lies anywhere inside the box.

    Args:
        sampling: size and jitter.
        box: bounds of its mask.
        axis: the axis that the slice is taken along, or None for a patch.
        index: number of the slice.
        rng: where chance comes from.
    """
    sizes = list(sampling.size)
    if axis is not None:
        sizes.insert(axis, 1)
    origin = []
    for along, (size, (low, high)) in enumerate(zip(sizes, box, strict=True)):
        if along == axis:
            assert index is not None
            origin.append(index)
            continue
        first = (low + high - size) // 2 if size >= high - low else int(rng.integers(low, high - size + 1))
        origin.append(first + int(rng.integers(-sampling.jitter, sampling.jitter + 1)))
    return Tile((origin[0], origin[1], origin[2]), (sizes[0], sizes[1], sizes[2]))


def network_input(
    images: Mapping[str, Voxels],
    fits: Mapping[str, IntensityFit],
    task: Task,
    tile: Tile,
    axis: int | None,
    moved: Mapping[str, tuple[Grid, Motion]] | None = None,
) -> tuple[Float32[np.ndarray, "Cin *N"], Bool[np.ndarray, " S"]]:
    """The sources of a tile as a network gets them: cut, normalised, neighbours as channels.

    Args:
        images: source → values in their own units, all on one grid; a missing source is left out.
        fits: source → its normalisation.
        task: order of the sources, number of neighbours.
        tile: where; one voxel thick along ``axis`` for slices.
        axis: the slices' axis, or None for a patch.
        moved: source → its grid and how its content is moved.

    Returns:
        The channels (zeros for a missing source), and which sources are present.
    """
    channels, present = [], []
    for name in task.sources:
        there = name in images
        present.append(there)
        count = modality(name).channels
        if there:
            own = (moved or {}).get(name)
            channels.append(_stack(images[name], fits[name], tile, axis, task.neighbours, own))
        else:
            size = [n for along, n in enumerate(tile.size) if along != axis]
            channels.append(np.zeros((count * task.neighbours, *size), dtype=np.float32))
    return np.concatenate(channels), np.array(present)


def network_target(
    images: Mapping[str, Voxels], fits: Mapping[str, IntensityFit], task: Task, tile: Tile, axis: int | None
) -> Float32[np.ndarray, "Cout *N"]:
    """The targets of a tile, normalised; arguments as in :func:`network_input`."""
    return np.concatenate([_stack(images[name], fits[name], tile, axis, 1) for name in task.targets])


def extent(tile: Tile, box: Box) -> Float32[np.ndarray, "3 2"]:
    """First and last voxel centre of a tile along X, Y, Z, as fractions of the box around the mask."""
    ends = []
    for start, size, (low, high) in zip(tile.origin, tile.size, box, strict=True):
        length = max(high - 1 - low, 1)
        ends.append(((start - low) / length, (start + size - 1 - low) / length))
    return np.array(ends, dtype=np.float32)


def _stack(
    values: Voxels,
    fit: IntensityFit,
    tile: Tile,
    axis: int | None,
    neighbours: int,
    moved: tuple[Grid, Motion] | None = None,
) -> Float32[np.ndarray, "K *N"]:
    """Channels of one image: its own, or those of the slices around, lowest first."""
    if axis is not None:
        half = neighbours // 2
        origin, size = list(tile.origin), list(tile.size)
        origin[axis] -= half
        size[axis] += 2 * half
        tile = Tile((origin[0], origin[1], origin[2]), (size[0], size[1], size[2]))
    fill = _empty(values, fit)
    cut = fit.apply(cut_moved(values, *moved, tile, fill) if moved else tile.cut(values, fill))
    if axis is None:
        return cut
    slices = np.moveaxis(cut, axis + 1, 0)
    return slices.reshape(-1, *slices.shape[2:])


def _empty(values: Voxels, fit: IntensityFit) -> float:
    """What stands outside the field of view, in the image's units."""
    value = float(fit.invert(np.array([fit.background], dtype=np.float32))[0])
    return float(round(value)) if np.issubdtype(values.dtype, np.integer) else value

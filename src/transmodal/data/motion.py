"""Motion: content moved by a known amount under a header that says nothing moved. And how it is drawn by chance.

The phantom misaligns its scans with it, a recipe its training samples, the misalignment protocol its test cases.
"""

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from jaxtyping import Float, Float32, Shaped
from scipy import ndimage
from scipy.spatial.transform import Rotation

from transmodal.data.grid import Grid
from transmodal.data.tile import Tile
from transmodal.data.volume import Volume
from transmodal.errors import RecipeError, nearest
from transmodal.shapes import Voxels

Triple = tuple[float, float, float]
Kind = Literal["translation", "subvoxel", "rotation", "scaling", "warp"]

UNITS: dict[str, str] = {
    "translation": "voxels",
    "subvoxel": "voxels",
    "rotation": "degrees",
    "scaling": "percent",
    "warp": "mm",
}
"""Kind of a misalignment → what its size is counted in."""

_KNOTS, _FINER = 5, 8


@dataclass(frozen=True)
class Motion:
    """How the content is moved: scaled and turned about the middle of the grid, shifted, then bent.

    Attributes:
        translation_mm: along x, y, z.
        rotation_deg: about x, y, z, one after the other.
        scale: larger than 1 makes the head larger.
        warp_mm: largest displacement of a smooth random deformation, to about a hundredth of it.
        seed: of that deformation.
    """

    translation_mm: Triple = (0.0, 0.0, 0.0)
    rotation_deg: Triple = (0.0, 0.0, 0.0)
    scale: float = 1.0
    warp_mm: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scale <= 0 or self.warp_mm < 0:
            raise RecipeError(f"motion scale = {self.scale}, warp_mm = {self.warp_mm}: scale > 0 and warp_mm >= 0")

    @property
    def still(self) -> bool:
        """Whether nothing moves."""
        return self == Motion(seed=self.seed)


@dataclass(frozen=True)
class Misalignment:
    """How sources are moved by chance against each other: the recipe's ``[sampling.misalign]`` table.

    Attributes:
        kind: whole-voxel translation, sub-voxel translation, rotation, scaling, or a smooth deformation.
        size: the largest: voxels along every axis of the slice, degrees about its normal (about every axis of a
            patch), percent, or mm; 0 moves nothing.
        moved: which sources, each on its own; by default all but the first. The target never moves.
    """

    kind: Kind = "translation"
    size: float = 0.0
    moved: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        most = 100 if self.kind == "scaling" else np.inf
        if not 0 <= self.size < most:
            raise RecipeError(
                f"misalignment size = {self.size:g} {UNITS[self.kind]}: give 0 or more, and less than {most:g}"
            )
        if self.kind == "translation" and self.size != int(self.size):
            raise RecipeError(
                f"misalignment size = {self.size:g}: translation moves by whole voxels; kind = 'subvoxel' does not"
            )

    def who(self, sources: tuple[str, ...]) -> tuple[str, ...]:
        """The sources that are moved.

        Raises:
            RecipeError: one that is not a source, or none at all although something should move.
        """
        for name in self.moved:
            if name not in sources:
                raise RecipeError(f"misalignment moved = {name!r}{nearest(name, sources)}")
        moved = self.moved or sources[1:]
        if self.size and not moved:
            raise RecipeError(
                f"misalignment of {sources[0]}: it is the only source; there is nothing to move against"
            )
        return moved if self.size else ()

    def draw(self, rng: np.random.Generator, grid: Grid, axis: int | None) -> Motion:
        """One motion.

        Args:
            rng: where chance comes from.
            grid: of what is moved.
            axis: the slices' axis, along which nothing is shifted and about which it is turned; None for patches.
        """
        along = [a for a in range(3) if a != axis]
        three = np.zeros(3)
        match self.kind:
            case "translation":
                three[along] = rng.integers(-int(self.size), int(self.size) + 1, len(along))
                return Motion(translation_mm=_triple(grid.affine[:3, :3] @ three))
            case "subvoxel":
                three[along] = rng.uniform(-self.size, self.size, len(along))
                return Motion(translation_mm=_triple(grid.affine[:3, :3] @ three))
            case "rotation":
                about = [axis] if axis is not None else along
                three[about] = rng.uniform(-self.size, self.size, len(about))
                vector = grid.affine[:3, :3] / grid.spacing @ three
                turn = Rotation.from_rotvec(vector, degrees=True)
                return Motion(rotation_deg=_triple(turn.as_euler("xyz", degrees=True)))
            case "scaling":
                return Motion(scale=1 + rng.uniform(-self.size, self.size) / 100)
            case _:
                return Motion(warp_mm=self.size, seed=int(rng.integers(2**31)))


def misalign(volume: Volume, motion: Motion, *, order: int = 1) -> Volume:
    """The volume with its content moved; the grid stays.

    Args:
        volume: what is moved; what comes in from outside is the nearest edge.
        motion: how.
        order: of the interpolating spline; 0 for label maps.
    """
    if motion.still:
        return volume
    return Volume(_shown(volume.data, shown_index(volume.grid, motion), order), volume.grid, volume.name)


def cut_moved(
    values: Voxels, grid: Grid, motion: Motion, tile: Tile, fill: float = 0.0
) -> Shaped[np.ndarray, "C A B D"]:
    """A tile of the moved volume, as ``misalign`` and then ``Tile.cut`` would give it; only the tile is computed.

    Args:
        values: the volume's.
        grid: its grid.
        motion: how its content is moved.
        tile: where.
        fill: what stands outside the volume.
    """
    if motion.still:
        return tile.cut(values, fill)
    there, here = tile.inside(grid.shape)
    out = np.full((len(values), *tile.size), fill, dtype=values.dtype)
    out[(slice(None), *here)] = _shown(values, shown_index(grid, motion, there), 1)
    return out


def shown_index(
    grid: Grid, motion: Motion, part: tuple[slice, slice, slice] | None = None
) -> Float32[np.ndarray, "3 A B D"]:
    """For every voxel of the moved volume, the index in the old one that it shows: the truth to find again.

    Args:
        grid: of both.
        motion: how.
        part: the voxels that are asked for; all of them by default.
    """
    ranges = [
        np.arange(n, dtype=np.float32)[s] for n, s in zip(grid.shape, part or (slice(None),) * 3, strict=True)
    ]
    turn = Rotation.from_euler("xyz", motion.rotation_deg, degrees=True).as_matrix() * motion.scale
    to_mm, middle = grid.affine[:3, :3], (np.asarray(grid.shape) - 1) / 2
    # A point p shows what was at  middle + turn⁻¹ (p - middle - translation), in millimetres.
    back = np.linalg.inv(to_mm) @ np.linalg.inv(turn) @ to_mm
    start = middle - back @ (middle + np.linalg.inv(to_mm) @ np.asarray(motion.translation_mm))
    index = np.stack(np.meshgrid(*ranges, indexing="ij"))
    moved = np.tensordot(back, index, axes=1) + start.reshape(3, 1, 1, 1)
    if motion.warp_mm:
        moved = moved + _warp(grid.shape, ranges, motion) / np.reshape(grid.spacing, (3, 1, 1, 1))
    return moved.astype(np.float32)


def _shown(values: Voxels, index: Float32[np.ndarray, "3 A B D"], order: int) -> Shaped[np.ndarray, "C A B D"]:
    data = [ndimage.map_coordinates(channel, index, order=order, mode="nearest") for channel in values]
    return np.stack(data).astype(values.dtype)


def _warp(shape: tuple[int, int, int], ranges: list[np.ndarray], motion: Motion) -> Float[np.ndarray, "3 A B D"]:
    """Displacements in mm from a lattice of five knots an axis, by cubic splines."""
    knots = np.random.default_rng([motion.seed, 5]).standard_normal((3, *[_KNOTS] * 3))
    splines = [ndimage.spline_filter(k, order=3, mode="nearest") for k in knots]

    def field(along: list[np.ndarray]) -> np.ndarray:
        index = np.stack(np.meshgrid(*along, indexing="ij"))
        return np.stack(
            [ndimage.map_coordinates(s, index, order=3, mode="nearest", prefilter=False) for s in splines]
        )

    def places(indices: np.ndarray, length: int) -> np.ndarray:
        return cast(np.ndarray, (indices + 0.5) * (_KNOTS / length) - 0.5)

    sampled = [places(np.linspace(0, n - 1, _FINER * _KNOTS), n) for n in shape]
    longest = np.sqrt((field(sampled) ** 2).sum(axis=0)).max()
    asked = [places(r, n) for n, r in zip(shape, ranges, strict=True)]
    return cast(np.ndarray, field(asked) * (motion.warp_mm / longest))


def _triple(values: np.ndarray) -> Triple:
    x, y, z = (float(v) for v in values)
    return x, y, z

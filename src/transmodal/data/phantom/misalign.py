"""Misalign: move the content of a volume by a known amount while its header says that nothing moved."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from scipy import ndimage
from scipy.spatial.transform import Rotation

from transmodal.data.volume import Volume
from transmodal.errors import RecipeError

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Motion:
    """How the content is moved: scaled and turned about the middle of the grid, shifted, then bent.

    Attributes:
        translation_mm: along x, y, z.
        rotation_deg: about x, y, z, one after the other.
        scale: larger than 1 makes the head larger.
        warp_mm: largest displacement of a smooth random deformation.
        seed: of that deformation.
    """

    translation_mm: Triple = (0.0, 0.0, 0.0)
    rotation_deg: Triple = (0.0, 0.0, 0.0)
    scale: float = 1.0
    warp_mm: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scale <= 0 or self.warp_mm < 0:
            raise RecipeError(
                f"phantom scale = {self.scale}, warp_mm = {self.warp_mm}: scale > 0 and warp_mm >= 0"
            )

    @property
    def still(self) -> bool:
        """Whether nothing moves."""
        return self == Motion(seed=self.seed)


def misalign(volume: Volume, motion: Motion, *, order: int = 1) -> Volume:
    """The volume with its content moved; the grid stays.

    Args:
        volume: what is moved; what comes in from outside is the nearest edge.
        motion: how.
        order: of the interpolating spline; 0 for label maps.
    """
    if motion.still:
        return volume
    index = sources(volume, motion)
    data = [ndimage.map_coordinates(channel, index, order=order, mode="nearest") for channel in volume.data]
    return Volume(np.stack(data).astype(volume.data.dtype), volume.grid, volume.name)


def sources(volume: Volume, motion: Motion) -> Float32[np.ndarray, "3 X Y Z"]:
    """For every voxel of the moved volume, the index in the old one that it shows: the truth to find again."""
    grid = volume.grid
    turn = Rotation.from_euler("xyz", motion.rotation_deg, degrees=True).as_matrix() * motion.scale
    to_mm, middle = grid.affine[:3, :3], (np.asarray(grid.shape) - 1) / 2
    # A point p shows what was at  middle + turn⁻¹ (p - middle - translation), in millimetres.
    back = np.linalg.inv(to_mm) @ np.linalg.inv(turn) @ to_mm
    start = middle - back @ (middle + np.linalg.inv(to_mm) @ np.asarray(motion.translation_mm))
    index = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in grid.shape], indexing="ij"))
    moved = np.tensordot(back, index, axes=1) + start.reshape(3, 1, 1, 1)
    if motion.warp_mm:
        moved = moved + _warp(grid.shape, motion) / np.reshape(grid.spacing, (3, 1, 1, 1))
    return moved.astype(np.float32)


def _warp(shape: tuple[int, int, int], motion: Motion) -> Float32[np.ndarray, "3 X Y Z"]:
    """Displacements in mm from a lattice of five knots an axis; their largest length is ``warp_mm``."""
    rng = np.random.default_rng([motion.seed, 5])
    knots = rng.standard_normal((3, 5, 5, 5), dtype=np.float32)
    field = np.stack(
        [ndimage.zoom(k, [n / 5 for n in shape], order=3, grid_mode=True, mode="nearest") for k in knots]
    )
    length = np.sqrt((field**2).sum(axis=0)).max()
    return (field * (motion.warp_mm / length)).astype(np.float32)

"""Grid: where the voxels of a volume lie in the scanner. Not the values: those are the Volume's.

A grid read from NIfTI keeps the header that it came with, so that a volume written on the same grid gets
qform, sform, their codes and the units back bit for bit.
"""

from dataclasses import dataclass, field

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from nibabel.spatialimages import SpatialHeader

from transmodal.data.limits import check_values
from transmodal.shapes import Affine


@dataclass(frozen=True)
class Grid:
    """A box of voxels in scanner space.

    Attributes:
        shape: number of voxels along X, Y, Z.
        affine: voxel index → millimetres, RAS+.
        header: the NIfTI header it was read with, or None for a grid that was computed.
        located: False where another format's header left the directions of the axes out.
    """

    shape: tuple[int, int, int]
    affine: Affine
    header: SpatialHeader | None = field(default=None, repr=False, compare=False)
    located: bool = field(default=True, repr=False, compare=False)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel in millimetres."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    @property
    def orientation(self) -> str:
        """Where the voxel axes point, for example ``RAS``."""
        return "".join(nib.orientations.aff2axcodes(self.affine))

    @property
    def centre(self) -> np.ndarray:
        """The middle of the box in millimetres."""
        middle = (np.asarray(self.shape) - 1) / 2
        return self.affine[:3, :3] @ middle + self.affine[:3, 3]

    @property
    def is_located(self) -> bool:
        """Whether the header says where the voxels lie; a NIfTI with the qform and sform codes 0 does not."""
        header = self.header
        if not isinstance(header, nib.Nifti1Header):
            return self.located
        return bool(header["qform_code"] or header["sform_code"])

    def same_as(self, other: "Grid", tolerance_mm: float = 1e-2) -> bool:
        """Whether both put every voxel at the same place, to within ``tolerance_mm``."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1)
        ones = np.ones((1, corners.shape[1]))
        points = np.concatenate([corners, ones])
        return bool(np.abs((self.affine - other.affine) @ points).max() <= tolerance_mm)

    def canonical(self) -> "Grid":
        """The same voxels with axes permuted and flipped to point as nearly as possible right, front, up."""
        turns = io_orientation(self.affine)
        shape = apply_orientation(np.empty(self.shape, dtype=bool), turns).shape
        affine = self.affine @ inv_ornt_aff(turns, self.shape)
        return Grid((shape[0], shape[1], shape[2]), affine)

    def with_spacing(self, spacing: tuple[float, float, float]) -> "Grid":
        """A grid over the same box with voxels of ``spacing`` millimetres; the centre stays where it is."""
        old = np.asarray(self.spacing)
        new = np.asarray(spacing, dtype=float)
        if np.allclose(old, new, rtol=1e-3):
            return self
        wanted = np.maximum(1, np.round(np.asarray(self.shape) * old / new))
        check_values(wanted.tolist(), f"a grid with voxels of {spacing} mm")
        shape = wanted.astype(int)
        affine = np.eye(4)
        affine[:3, :3] = self.affine[:3, :3] / old * new
        affine[:3, 3] = self.centre - affine[:3, :3] @ ((shape - 1) / 2)
        return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)

    def describe(self) -> str:
        """One phrase for messages: shape, spacing, orientation."""
        size = "×".join(str(n) for n in self.shape)
        spacing = "×".join(f"{s:.3g}" for s in self.spacing)
        return f"{size} voxels of {spacing} mm, {self.orientation}"

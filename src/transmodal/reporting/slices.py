"""Axial slices of NIfTI files, read one at a time: a report never holds more than one whole volume (the mask)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from jaxtyping import Float
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, io_orientation
from nibabel.spatialimages import SpatialImage

from transmodal.data.grid import Grid
from transmodal.errors import InputError
from transmodal.shapes import Mask

Picture = Float[np.ndarray, "X Y"] | Float[np.ndarray, "X Y 3"]
"""One axial slice: X to the patient's right, Y to the front; a scan, or colour in 0 to 255."""


@dataclass(frozen=True)
class Scan:
    """A NIfTI file that is open but not read.

    Attributes:
        image: nibabel's image; its values stay on disk.
        grid: its voxels, turned to RAS+.
        path: where it lies, for messages.
    """

    image: Any
    grid: Grid
    path: Path

    def axial(self, level: int) -> Picture:
        """The slice ``level`` voxels above the lowest one; ask for slices from low to high (see ``open_scan``).

        Raises:
            InputError: the file is damaged.
        """
        turns = io_orientation(self.image.affine)
        up = int(np.flatnonzero(turns[:, 0] == 2)[0])
        where: list[Any] = [slice(None)] * 3 + [0] * (len(self.image.shape) - 3)
        where[up] = level if turns[up, 1] > 0 else self.grid.shape[2] - 1 - level
        try:
            flat = np.asarray(self.image.dataobj[tuple(where)])
        except (OSError, EOFError, ValueError) as problem:
            raise InputError(f"{self.path}: cannot be read ({problem}); copy it again") from problem
        if flat.dtype.names:
            flat = np.stack([flat[channel] for channel in flat.dtype.names[:3]], axis=-1)
        return apply_orientation(flat.astype(np.float32), np.delete(turns, up, axis=0))

    def millimetres(self, level: int) -> float:
        """Height of a slice in scanner space, at the middle of the slice."""
        x, y, _ = (np.asarray(self.grid.shape) - 1) / 2
        return float((self.grid.affine @ (x, y, level, 1))[2])


@dataclass(frozen=True)
class View:
    """Which slices of a case are shown, and how much of each.

    Attributes:
        levels: index of each slice, from low to high.
        across: voxels along X that are shown.
        along: voxels along Y that are shown.
        inside: for each slice, where the case's mask is true; None without a mask.
    """

    levels: tuple[int, ...]
    across: slice
    along: slice
    inside: tuple[np.ndarray, ...] | None

    def crop(self, picture: Picture) -> Float[np.ndarray, "U V *colour"]:
        """The part of a slice that is shown."""
        return picture[self.across, self.along]


def open_scan(path: Path) -> Scan:
    """Open a NIfTI file without reading its values.

    Raises:
        InputError: missing, or not a 3D NIfTI file.
    """
    try:
        # The open file remembers its place, so that ascending slices of a .nii.gz decompress it once.
        image: Any = nib.load(path, keep_file_open=True)
    except (ImageFileError, OSError, EOFError, ValueError) as problem:
        reason = "there is no such file" if not path.exists() else f"is not a readable NIfTI file ({problem})"
        raise InputError(f"{path}: {reason}; copy the whole folder") from problem
    shape = image.shape
    if not isinstance(image, SpatialImage) or len(shape) < 3 or any(n != 1 for n in shape[3:]):
        raise InputError(f"{path}: is not a 3D volume (shape {shape}); the report shows volumes only")
    grid = Grid((shape[0], shape[1], shape[2]), np.asarray(image.affine, dtype=float)).canonical()
    return Scan(image, grid, path)


def read_mask(path: Path) -> Mask:
    """A mask turned to RAS+: true where the file is above zero.

    Raises:
        InputError: missing, not NIfTI, or damaged.
    """
    scan = open_scan(path)
    try:
        values = np.asarray(scan.image.dataobj).reshape(scan.image.shape[:3])
    except (OSError, EOFError, ValueError) as problem:
        raise InputError(f"{path}: cannot be read ({problem}); copy it again") from problem
    return apply_orientation(values > 0, io_orientation(scan.image.affine))


def choose_view(shape: tuple[int, int, int], mask: Mask | None, count: int, margin: int = 4) -> View:
    """Spread ``count`` axial slices evenly through the mask, and crop to it.

    Args:
        shape: of the volume.
        mask: where voxels count; None, or empty, for the whole volume.
        count: how many slices; fewer where the mask is thinner.
        margin: voxels around the mask that are shown too.
    """
    if mask is None or not mask.any():
        return View(_spread(0, shape[2] - 1, count), slice(None), slice(None), None)
    sides = []
    for axis in range(3):
        filled = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        sides.append((int(filled[0]), int(filled[-1])))
    across, along = (slice(max(0, low - margin), high + 1 + margin) for low, high in sides[:2])
    levels = _spread(*sides[2], count)
    return View(levels, across, along, tuple(mask[across, along, level] for level in levels))


def _spread(low: int, high: int, count: int) -> tuple[int, ...]:
    steps = np.arange(1, count + 1) / (count + 1)
    return tuple(sorted({round(low + (high - low) * step) for step in steps}))

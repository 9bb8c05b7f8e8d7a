"""Write a volume as a folder of PNG slices in any plane, which :mod:`.stacks` reads back in the same place.

Colour has 8 bits a channel, greys have 16 over the range that the sidecar names. Slices look as radiologists hang
them: the patient's left, or back, at the right edge; axial ones from the feet up.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from jaxtyping import Shaped
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from transmodal.data.files import new_folder, write_json
from transmodal.data.stacks import SIDECAR
from transmodal.data.volume import Volume
from transmodal.errors import InputError, RecipeError, nearest

VIEWS = {"axial": "LPS", "coronal": "LIA", "sagittal": "PIL"}
"""Plane → where columns, rows and slices point."""
_LEVELS = 65535


def write_stack(volume: Volume, folder: Path, plane: str, about: Mapping[str, Any] | None = None) -> None:
    """Write ``0001.png`` … and ``stack.json``, whole or not at all; replaces what was there.

    Voxels are turned, never resampled. ``stack.json`` holds spacing, orientation, the affine (which wins when it
    is read), the number of slices, the range of greys, and ``about``.

    Args:
        volume: grey (any finite values) or colour (0 to 255).
        folder: of the slices.
        plane: of :data:`VIEWS`.
        about: what else the sidecar says.

    Raises:
        RecipeError: another plane.
        InputError: one slice alone, or the folder cannot be written.
    """
    check_plane(plane)
    turn = ornt_transform(io_orientation(volume.affine), axcodes2ornt(tuple(VIEWS[plane])))
    turned = np.stack([apply_orientation(channel, turn) for channel in volume.data])
    affine = volume.affine @ inv_ornt_aff(turn, volume.grid.shape)
    if turned.shape[-1] < 2:
        raise InputError(f"{volume.name}: has one {plane} slice, and a folder with one picture is no volume")
    levels, ends = _levels(turned)
    facts: dict[str, Any] = {
        "spacing": [round(float(s), 6) for s in np.linalg.norm(affine[:3, :3], axis=0)],
        "orientation": VIEWS[plane],
        "affine": affine.tolist(),
        "slices": turned.shape[-1],
        **({} if ends is None else {"range": list(ends)}),
        **(about or {}),
    }
    digits = max(4, len(str(turned.shape[-1])))
    with new_folder(folder) as place:
        for number in range(turned.shape[-1]):
            rows = np.ascontiguousarray(levels[..., number].transpose(2, 1, 0))
            colour = rows.shape[-1] == 3
            image = SimpleITK.GetImageFromArray(rows if colour else rows[..., 0], isVector=colour)
            SimpleITK.WriteImage(image, str(place / f"{number + 1:0{digits}d}.png"))
        write_json(place / SIDECAR, facts)


def check_plane(plane: str) -> None:
    """Refuse what is no plane.

    Raises:
        RecipeError: naming those that there are.
    """
    if plane not in VIEWS:
        raise RecipeError(f"plane {plane!r} is none of {', '.join(VIEWS)}{nearest(plane, VIEWS)}")


def _levels(values: Shaped[np.ndarray, "C X Y Z"]) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Integers as PNG holds them, and the values that the lowest and the highest of them stand for."""
    if len(values) == 3:
        return np.clip(np.round(values), 0, 255).astype(np.uint8), None
    low, high = float(values.min()), float(values.max())
    high = high if high > low else low + 1
    share = (values.astype(np.float64) - low) / (high - low)
    return np.round(share * _LEVELS).astype(np.uint16), (low, high)

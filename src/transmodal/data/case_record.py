"""What ``case.json`` of a prepared case must hold, checked before anything of it is used."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from transmodal.data.grid import Grid
from transmodal.data.limits import check_values
from transmodal.data.modality import unusable
from transmodal.data.names import can_be_file
from transmodal.data.record import fields_of

_Row = tuple[float, float, float, float]
_Ends = tuple[int, int]
_Indices = tuple[int, ...]
_CASE = {
    "name": str,
    "subject": str,
    "split": str | None,
    "facts": Mapping[str, str],
    "grid": Mapping[str, Any],
    "box": tuple[_Ends, _Ends, _Ends],
    "slices": tuple[_Indices, _Indices, _Indices],
    "modalities": Mapping[str, Mapping[str, Any]],
    "labels": bool,
    "made_from": Mapping[str, Any],
}
_GRID = {"shape": tuple[int, int, int], "affine": tuple[_Row, _Row, _Row, _Row]}
_IMAGE = {"channels": int, "fit": Mapping[str, Any], "input": str, "facts": Mapping[str, Any]}
_MADE = {"settings": Mapping[str, Any], "mask_tool": str, "files": Mapping[str, Mapping[str, Any]]}


def check_case(stored: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """The parts of a record by name, with ``grid`` as a :class:`Grid` and indices inside it.

    Args:
        stored: what the file holds.
        folder: name of the folder that it lies in.

    Raises:
        ValueError, KeyError, RecipeError: what is wrong with it.
        InputError: a grid of more voxels than any scan.
    """
    known = fields_of(stored, _CASE, "case")
    if known["name"] != folder or not can_be_file(folder):
        raise ValueError(f"the case {known['name']!r} lies in the folder {folder!r}")
    known["grid"] = _grid(known["grid"])
    for name, image in known["modalities"].items():
        if why := unusable(name):
            raise ValueError(f"{name!r} cannot name a modality: {why}")
        if fields_of(image, _IMAGE, f"case.modalities.{name}")["channels"] not in (1, 3):
            raise ValueError(f"{name} has {image['channels']} channels, not 1 or 3")
    for ends, indices, size in zip(known["box"], known["slices"], known["grid"].shape, strict=True):
        if not 0 <= ends[0] < ends[1] <= size or not all(0 <= index < size for index in indices):
            raise ValueError(f"a box {ends} or slices that reach beyond the {size} voxels of an axis")
    made = fields_of(known["made_from"], _MADE, "case.made_from")
    fields_of(made["settings"], {"mask": str}, "case.made_from.settings")
    for name, digests in made["files"].items():
        fields_of(digests, {"sha256": str}, f"case.made_from.files.{name}")
    return known


def _grid(stored: Mapping[str, Any]) -> Grid:
    known = fields_of(stored, _GRID, "case.grid")
    check_values(known["shape"], "case.json")
    affine = np.array(known["affine"])
    with np.errstate(all="ignore"):
        volume = np.linalg.det(affine[:3, :3])
    if not np.isfinite(affine).all() or not np.isfinite(volume) or volume == 0:
        raise ValueError("an affine of voxels without a size")
    return Grid(known["shape"], affine)

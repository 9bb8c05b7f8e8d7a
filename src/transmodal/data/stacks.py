"""Stacks: folders of PNG slices and ``.npy`` arrays, as paper repositories keep them, as values and an affine.

Such files do not say how large a voxel is or which way is left, and nothing here guesses it: a JSON file does::

    {"spacing": [0.9, 0.9, 3.0], "orientation": "LPS", "range": [-1024, 3071]}

``spacing`` in millimetres along columns, rows and slices of PNGs (the three axes of an array); ``orientation`` is
where these three axes point (a slice whose right edge is the patient's left, lower edge posterior, slices going
up: LPS); ``range``, which may be left out, is what the lowest and the highest value of integers stand for;
``affine``, which may be left out, four rows that say where voxels lie (RAS+, mm) and win over the other two;
``slices``, which may be left out, how many there are in each folder that the file serves. The file is called
``stack.json`` and lies in the folder of the slices, or beside it, or one above; ``NAME.json`` beside NAME.npy.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from jaxtyping import Shaped
from nibabel.orientations import axcodes2ornt

from transmodal.data.files import natural, read_json
from transmodal.data.formats import Decoded, read_within
from transmodal.errors import InputError
from transmodal.progress import warn
from transmodal.shapes import Affine

NUMPY, SLICE = ".npy", ".png"
SIDECAR = "stack.json"
_HOW = (
    'write {"spacing": [mm, mm, mm], "orientation": "LPS"} into %s (along columns, rows, slices; '
    "where these axes point)"
)
_AXES = ("RL", "AP", "SI")
_MOST, _LEAST = 1e30, 1e-12
"""Millimetres, or units, that a sidecar may speak of; NaN is not below it. And cubic millimetres of a voxel."""


def is_stack(folder: Path) -> bool:
    """Whether a folder is one volume in PNG slices: two or more, and no folders or other images beside them."""
    if not folder.is_dir():
        return False
    inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    slices = sum(path.suffix.lower() == SLICE for path in inside)
    return slices > 1 and all(p.is_file() and p.suffix.lower() in (SLICE, ".json", ".txt") for p in inside)


def read_stack(path: Path, *, label: bool = False) -> Decoded:
    """PNG slices in natural order of their names, or an array (X, Y, Z) or (X, Y, Z, 3) of RGB.

    Args:
        path: a folder of slices, or the array's file.
        label: a mask or label map, whose values stay as they are.

    Raises:
        InputError: no sidecar, or one that makes no sense; a slice that is missing or twice; slices of different
            size; values that are no numbers.
    """
    values = _pngs(path) if path.is_dir() else _array(path)
    facts, where = facts_of(sidecar(path), path)
    count = facts.get("slices", values.shape[-1])
    if count != values.shape[-1]:
        raise InputError(
            f"{path}: holds {values.shape[-1]} slices, and {where} says {count}; copy the rest, or correct "
            "'slices'"
        )
    affine = _given(facts, where) if "affine" in facts else (
        affine_of(facts["spacing"], facts["orientation"], values.shape[1:], where)
    )  # fmt: skip
    return (values if label else _in_units(values, facts, where, path)), affine


def _pngs(folder: Path) -> Shaped[np.ndarray, "C X Y Z"]:
    files = sorted((p for p in folder.iterdir() if p.suffix.lower() == SLICE), key=lambda p: natural(p.stem))
    _check_row(files)
    slices = [read_picture(file) for file in files]
    for file, one in zip(files, slices, strict=True):
        if one.shape != slices[0].shape or one.dtype != slices[0].dtype:
            raise InputError(
                f"{file}: its size or type is not that of {files[0].name} ({_spell(one)} against "
                f"{_spell(slices[0])}); put other pictures elsewhere"
            )
    return np.stack(slices, axis=-1)


def _check_row(files: list[Path]) -> None:
    """Where names differ by one number alone, that number rises from slice to slice by one step."""
    names = [natural(file.stem) for file in files]
    if len({tuple((kind, text) for kind, _, text in name) for name in names}) > 1:
        return
    numbers = np.array([[number for _, number, _ in name] for name in names])
    changing = np.flatnonzero(np.ptp(numbers, axis=0))
    if len(changing) > 1:
        return
    row = numbers[:, changing[0]] if len(changing) else np.zeros(len(files), int)
    steps = np.diff(row)
    step = steps[steps > 0].min(initial=steps.max())
    for n, own in enumerate(steps):
        if own == 0:
            raise InputError(f"{files[n + 1]}: {files[n].name} is the slice with this number, too; keep one")
        if own > step:
            raise InputError(
                f"{files[n].parent}: slice {row[n] + step} is missing between {files[n].name} and "
                f"{files[n + 1].name}, as numbers rise by {step} elsewhere; copy it again"
            )


def read_picture(file: Path) -> Shaped[np.ndarray, "C X Y"]:
    """Grey or RGB values of a picture: columns, then rows.

    Raises:
        InputError: it cannot be read, or has a layer of transparency.
    """
    try:
        image = read_within(file)
    except RuntimeError as problem:
        kind = file.suffix.lstrip(".").upper()
        raise InputError(f"{file}: cannot be read as {kind}; it may be truncated: copy it again") from problem
    values = SimpleITK.GetArrayFromImage(image)
    if values.ndim == 3 and values.shape[-1] in (2, 4):
        raise InputError(f"{file}: has a layer of transparency; save it as grey or RGB")
    return np.moveaxis(values if values.ndim == 3 else values[..., None], (0, 1, 2), (2, 1, 0))


def _array(path: Path) -> Shaped[np.ndarray, "C X Y Z"]:
    try:
        # Never a pickle: an array of objects is refused by numpy itself.
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as problem:  # A header is Python source, and its parser raises whatever its tokens raise.
        raise InputError(f"{path}: cannot be read as an array of numbers ({problem}); save it again") from problem
    if values.dtype.kind not in "iufb":
        raise InputError(f"{path}: holds {values.dtype}, not real numbers")
    if values.ndim == 4 and values.shape[-1] == 3:
        return np.ascontiguousarray(np.moveaxis(values, -1, 0))
    if values.ndim != 3:
        raise InputError(f"{path}: has axes {values.shape} where (X, Y, Z) or (X, Y, Z, 3) is needed")
    return np.ascontiguousarray(values[None])


def sidecar(path: Path) -> Path | None:
    """The JSON file that belongs to a stack, the nearest one, or None."""
    return next((place for place in _places(path) if place.is_file()), None)


def _places(path: Path) -> list[Path]:
    if path.suffix == NUMPY:
        return [path.with_suffix(".json"), path.parent / SIDECAR, path.parent.parent / SIDECAR]
    return [path / SIDECAR, path.parent / SIDECAR, path.parent.parent / SIDECAR]


def facts_of(found: Path | None, path: Path) -> tuple[Mapping[str, Any], Path]:
    """What the sidecar ``found`` of ``path`` says, and where it is.

    Raises:
        InputError: there is none, or it lacks something.
    """
    if found is None or not found.is_file():
        how = _HOW % (found or _places(path)[0])
        raise InputError(f"{path}: does not say how large its voxels are or where they lie; {how}")
    facts = read_json(found)
    if not isinstance(facts, Mapping) or not {"spacing", "orientation"} <= set(facts):
        raise InputError(f"{found}: lacks 'spacing' or 'orientation'; {_HOW % found}")
    return facts, found


def _given(facts: Mapping[str, Any], where: Path) -> Affine:
    """The affine that the sidecar spells out, as :mod:`.write_stack` does."""
    rows = facts["affine"]
    if not (isinstance(rows, list) and len(rows) == 4 and all(_numbers(row, 4) for row in rows)):
        raise InputError(f"{where}: affine = {rows!r} is not four rows of four numbers; leave it out")
    affine = np.array(rows, dtype=float)
    if not (abs(np.linalg.det(affine[:3, :3])) > _LEAST and rows[3] == [0, 0, 0, 1]):
        raise InputError(f"{where}: affine = {rows!r} gives voxels no size; leave it out, and spacing counts")
    return affine


def affine_of(spacing: Any, codes: Any, shape: tuple[int, ...], where: Path) -> Affine:
    """Voxel index → RAS+ millimetres; the middle of the box is the origin, as nothing says where it lay.

    Raises:
        InputError: no three lengths, or no orientation; ``where`` says so.
    """
    if not (_numbers(spacing, 3) and min(spacing) > 0 and np.prod(spacing, dtype=float) > _LEAST):
        raise InputError(f"{where}: spacing = {spacing!r} is not three lengths in mm")
    named = [next((axis for axis in _AXES if c in axis), "") for c in codes] if isinstance(codes, str) else []
    if sorted(named) != sorted(_AXES):
        raise InputError(
            f"{where}: orientation = {codes!r} is not one letter of each of R/L, A/P and S/I, such as 'LPS'"
        )
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(axcodes2ornt(tuple(codes))):
        affine[int(world), axis] = sign * spacing[axis]
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return affine


def _in_units(
    values: Shaped[np.ndarray, "C X Y Z"], facts: Mapping[str, Any], where: Path, path: Path
) -> Shaped[np.ndarray, "C X Y Z"]:
    """Values mapped to the range that the sidecar names, with a warning where eight bits are all there is."""
    colour, low_high = len(values) == 3, facts.get("range")
    if values.dtype == np.uint8 and not colour:
        warn(f"{path}: holds 8-bit values, 256 levels at most; use the scans they were made from if you can")
    if low_high is None:
        return values
    if not _numbers(low_high, 2) or low_high[0] >= low_high[1]:
        raise InputError(f"{where}: range = {low_high!r} is not two rising numbers")
    if values.dtype.kind not in "iu" or colour:
        raise InputError(f"{where}: a range is for grey integers, and {path} holds {_spell(values)}")
    limits = np.iinfo(values.dtype)
    share = (values.astype(np.float64) - limits.min) / (limits.max - limits.min)
    return (low_high[0] + share * (low_high[1] - low_high[0])).astype(np.float32)


def _numbers(value: Any, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < _MOST for v in value)
    )


def _spell(values: np.ndarray) -> str:
    return f"{'×'.join(str(n) for n in values.shape)} {values.dtype}"

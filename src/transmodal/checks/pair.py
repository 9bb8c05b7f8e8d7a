"""Pair: whether two images of a case lie on each other: grid, field of view, shift, rotation, mirror."""

from dataclasses import dataclass

import numpy as np

from transmodal.checks.finding import Finding
from transmodal.data.foreground import foreground
from transmodal.data.geometry import overlap, resample
from transmodal.data.register import Moved, register
from transmodal.data.volume import Volume
from transmodal.errors import InputError
from transmodal.reporting.canvas import grey_png

_LEAST_OVERLAP, _VOXELS, _MM, _FAR_MM = 0.5, 0.35, 0.4, 5.0
_SQUARE_MM = 20.0
_MIRROR = 0.01
"""How much better (in mutual information) the mirrored image must fit."""


@dataclass(frozen=True)
class Residual:
    """How far an image lies from the reference of its case.

    Attributes:
        case: name.
        reference: modality.
        modality: of the other image.
        shift_mm: of the middle of its head.
        shift_voxels: the same in voxels of the reference, the smallest edge.
        rotation_deg: angle.
        mirror: how much better the mirrored image fits, in nats; negative is well.
    """

    case: str
    reference: str
    modality: str
    shift_mm: float
    shift_voxels: float
    rotation_deg: float
    mirror: float


def compare(
    case: str, names: tuple[str, str], reference: Volume, other: Volume
) -> tuple[list[Finding], Residual | None]:
    """Two images of one case, by their headers and by their content.

    Args:
        case: name.
        names: modalities of both.
        reference: the first image of the case.
        other: another.
    """
    found = _headers(case, names, reference, other)
    still, moving = reference.canonical(), other.canonical()
    try:
        moved = register(moving, still)
        mirrored = register(Volume(moving.data[:, ::-1].copy(), moving.grid, moving.name), still, levels=1)
    except InputError as problem:
        return [*found, Finding("misaligned", "error", case, names[1], str(problem))], None
    residual = _residual(case, names, moved, moved.coarse - mirrored.coarse, still)
    if residual.mirror > _MIRROR:
        words = (
            f"{other.name}: fits {names[0]} better when it is mirrored left for right; compare both with the "
            "patient's records, and repair the header or the conversion"
        )
        found.append(Finding("flip", "error", case, names[1], words, residual.mirror))
    # Less than _MM is within the error of the registration itself, however fine the voxels are.
    off = residual.shift_voxels > _VOXELS and residual.shift_mm > _MM
    if off or residual.rotation_deg > 1.0:
        words = (
            f"{other.name}: lies {residual.shift_mm:.1f} mm ({residual.shift_voxels:.1f} voxels) from {names[0]} "
            f"and is turned by {residual.rotation_deg:.1f} degrees; set data.prepare.register = 'rigid'"
        )
        far = residual.shift_mm > _FAR_MM
        found.append(
            Finding(
                "misaligned", "error" if far else "warning", case, names[1], words, residual.shift_voxels,
                checkerboard(still, moving),
            )
        )  # fmt: skip
    return found, residual


def checkerboard(reference: Volume, other: Volume) -> bytes:
    """Squares of both images in turns, in three slices through the middle of the head, as PNG."""
    shown = resample(other, reference.grid, fill=0.0)
    where = foreground(reference)
    tiles = []
    for axis in range(3):
        middle = int(np.median(np.nonzero(where)[axis]))
        pair = [_grey(v, where).take(middle, axis=axis) for v in (reference, shown)]
        rows, columns = np.indices(pair[0].shape)
        spacing = [s for along, s in enumerate(reference.grid.spacing) if along != axis]
        turns = (rows * spacing[0] // _SQUARE_MM + columns * spacing[1] // _SQUARE_MM) % 2 == 0
        tiles.append(np.rot90(np.where(turns, *pair)))
    height = max(tile.shape[0] for tile in tiles)
    padded = [np.pad(t, ((0, height - t.shape[0]), (0, 4))) for t in tiles]
    return grey_png(np.concatenate(padded, axis=1))


def _grey(image: Volume, where: np.ndarray) -> np.ndarray:
    values = image.data.mean(axis=0)
    low, high = np.percentile(values[where], (1, 99))
    return np.asarray(np.clip((values - low) / max(high - low, 1e-6), 0, 1))


def _headers(case: str, names: tuple[str, str], reference: Volume, other: Volume) -> list[Finding]:
    found = []
    if not reference.grid.same_as(other.grid):
        words = (
            f"{other.name}: {other.grid.describe()}, but {names[0]} is {reference.grid.describe()}; "
            "prepare brings both to one grid"
        )
        found.append(Finding("grid", "warning", case, names[1], words))
    shared = max(overlap(reference.grid, other.grid), overlap(other.grid, reference.grid))
    if shared < _LEAST_OVERLAP:
        words = (
            f"{other.name}: shares only {shared:.0%} of its field of view with {names[0]} by their headers; "
            "set data.prepare.register = 'rigid', or exclude the case"
        )
        found.append(Finding("field of view", "error", case, names[1], words, shared))
    return found


def _residual(case: str, names: tuple[str, str], moved: Moved, mirror: float, reference: Volume) -> Residual:
    smallest = float(np.min(reference.grid.spacing))
    return Residual(
        case, *names, moved.translation_mm, moved.translation_mm / smallest, moved.rotation_deg, mirror
    )

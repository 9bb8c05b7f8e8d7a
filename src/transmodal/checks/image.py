"""Image: what one file says of itself: readable, units, clipping, bit depth, and a sketch to know it again by."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from transmodal.checks.finding import Finding
from transmodal.data.box import bounds, slices
from transmodal.data.foreground import foreground
from transmodal.data.geometry import resample
from transmodal.data.grid import Grid
from transmodal.data.modality import modality
from transmodal.data.volume import UNLOCATED, Volume, read_volume
from transmodal.errors import InputError

PERCENTILES = (5.0, 25.0, 50.0, 75.0, 95.0)
_CLIPPED, _LEVELS, _SKETCH = 0.005, 256, 24
_CT_AIR, _FA_MOST, _SLACK = -200.0, 1.0, 1e-3


@dataclass(frozen=True, eq=False)
class Look:
    """What is kept of an image after it was read.

    Attributes:
        findings: what is wrong with it alone.
        grid: as it was read; None for an unreadable one.
        digest: of its values on its grid, whatever the compression or the header's text.
        sketch: its foreground on a coarse lattice, mean 0 and deviation 1; for finding it again.
        percentiles: of its foreground.
    """

    findings: list[Finding]
    grid: Grid | None = None
    digest: str = ""
    sketch: Float32[np.ndarray, " S"] = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    percentiles: tuple[float, ...] = ()


def look(case: str, name: str, path: Path) -> Look:
    """Read an image and check what can be checked without any other."""
    try:
        image = read_volume(path)
        if np.ptp(image.data) == 0:
            return Look(
                [Finding("constant", "error", case, name, f"{path}: has one value everywhere; export it again")]
            )
        canonical = image.canonical()
        where = foreground(canonical)
    except InputError as problem:
        return Look([Finding("unreadable", "error", case, name, str(problem))])
    values = canonical.data.mean(axis=0)[where]
    findings = [*_units(case, name, path, image), *_depth(case, name, path, image, values)]
    if not image.grid.is_located:
        findings.append(Finding("geometry", "error", case, name, f"{path}: {UNLOCATED}"))
    digest = hashlib.sha256(np.ascontiguousarray(canonical.data).tobytes())
    digest.update(str(canonical.grid.shape).encode())
    return Look(
        findings,
        image.grid,
        digest.hexdigest(),
        _sketch(canonical, where),
        tuple(float(p) for p in np.percentile(values, PERCENTILES)),
    )


def _units(case: str, name: str, path: Path, image: Volume) -> list[Finding]:
    low, high = float(image.data.min()), float(image.data.max())
    if name == "CT" and low > _CT_AIR:
        words = (
            f"{path}: the lowest value is {low:g}; air is -1000 HU, so this is not in HU: apply the rescale slope"
        )
        return [Finding("units", "error", case, name, words, low)]
    if name == "FA" and (high > _FA_MOST + _SLACK or low < -_SLACK):
        words = f"{path}: values from {low:g} to {high:g}; FA lies between 0 and 1: divide by its scale factor"
        return [Finding("units", "error", case, name, words, high)]
    return []


def _depth(case: str, name: str, path: Path, image: Volume, values: np.ndarray) -> list[Finding]:
    found = []
    most = float(image.data.max())
    share = float((values >= most).mean())
    if share > _CLIPPED and modality(name).channels == 1:
        words = f"{path}: {share:.1%} of the foreground has the largest value ({most:g}): clipped; export it again"
        found.append(Finding("clipped", "warning", case, name, words, share))
    levels = len(np.unique(image.data[:, ::3, ::3, ::3]))
    # A part of the voxels can only hold fewer.
    levels = levels if levels > _LEVELS else len(np.unique(image.data))
    if levels <= _LEVELS and modality(name).channels == 1:
        words = f"{path}: holds {levels} different values, no more than 8 bits; use the original if there is one"
        found.append(Finding("quantised", "warning", case, name, words, float(levels)))
    return found


def _sketch(image: Volume, where: np.ndarray) -> np.ndarray:
    """The box of the head on a lattice of ``_SKETCH`` cubed, whatever the voxels: equal heads look equal."""
    box = slices(bounds(where))
    part = np.where(where, image.data.mean(axis=0), 0.0)[box].astype(np.float32)
    affine = np.diag([*(n / _SKETCH for n in part.shape), 1.0])
    affine[:3, 3] = [(n / _SKETCH - 1) / 2 for n in part.shape]
    small = resample(Volume(part[None], Grid(part.shape, np.eye(4))), Grid((_SKETCH,) * 3, affine)).data.ravel()
    spread = float(small.std())
    return np.asarray((small - small.mean()) / (spread or 1.0), dtype=np.float32)

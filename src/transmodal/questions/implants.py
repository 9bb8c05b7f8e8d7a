"""Implants: lesions of known size and strength in the scans of a held-out case, and what they should become.

In a phantom, the lesion is tissue: the head is scanned again, source and target, with the same noise, so the true
change of the target is known. In any other scan the lesion is painted: brighter or darker by a share of the scan's
window, in the direction in which a white-matter lesion differs from white matter. What the target should become is
not known then; expected is the same share of the target's window, in its own direction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from transmodal.data.intensity import IntensityFit
from transmodal.data.lesion import Point, Spot, even_tissue, filled, mostly, places, spot
from transmodal.data.phantom.physics import CONTRASTS, lesion_sign
from transmodal.data.phantom.twin import Twin, find_twin
from transmodal.data.prepared import PreparedCase
from transmodal.errors import InputError
from transmodal.evaluation.scale import scale_of
from transmodal.shapes import Mask, Voxels

_FULL = 0.6
"""Painted at intensity 1, in what a network sees (-1 to 1): three tenths of the window."""

_FULL_Z = 1.0
"""The same for z-scores: one standard deviation."""


@dataclass(frozen=True, eq=False)
class Implants:
    """Where lesions and shams lie in one case, and how to put them in.

    Attributes:
        case: prepared.
        sources: those that it has.
        target: modality that is made.
        twin: the phantom that it is; None to paint.
        mask: where voxels count.
        lesions: middles of the lesions.
        shams: places of the same kind where nothing is put.
    """

    case: PreparedCase
    sources: tuple[str, ...]
    target: str
    twin: Twin | None
    mask: Mask
    lesions: tuple[Point, ...]
    shams: tuple[Point, ...]

    def spots(self, diameter_mm: float, *, sham: bool = False) -> list[Spot]:
        """The balls of one size."""
        chosen = self.shams if sham else self.lesions
        return [spot(place, diameter_mm, self.case.grid, self.mask) for place in chosen]

    def put(self, diameter_mm: float, intensity: float) -> tuple[dict[str, Voxels], Float32[np.ndarray, "X Y Z"]]:
        """The sources with lesions, and by how much the target should change, in judged units.

        Args:
            diameter_mm: of every lesion.
            intensity: 1 is a lesion through and through, or as bright as one is painted.
        """
        share = np.float32(intensity) * filled(self.spots(diameter_mm), self.case.grid.shape)
        scale = scale_of(self.target, self.case.fits[self.target])
        if self.twin is not None:
            images = {name: self.twin.scan(name, share) for name in self.sources}
            # The twin's scan without lesions is the very one that was prepared.
            before, after = (
                scale.of_reference(scan)
                for scan in (self.case.values(self.target), self.twin.scan(self.target, share))
            )
            return images, (after - before).mean(axis=0)
        images, seen = {}, []
        for name in self.sources:
            fit, values = self.case.fits[name], np.asarray(self.case.values(name), dtype=np.float32)
            full = np.float32(lesion_sign(name) * (_FULL if fit.bounded else _FULL_Z))
            images[name] = values + full * np.float32(fit.scale) * share
            # A bright lesion in bright tissue leaves the window: what counts is what a network sees of it.
            seen.append(np.abs(fit.apply(images[name]) - fit.apply(values)).mean(axis=0))
        unit = _judged_unit(self.case.fits[self.target], physical=scale.physical)
        return images, np.mean(seen, axis=0).astype(np.float32) * np.float32(lesion_sign(self.target) * unit)


def plan_implants(
    case: PreparedCase,
    sources: Sequence[str],
    target: str,
    *,
    diameters: Sequence[float],
    count: int,
    within: Sequence[int] = (),
    paint: bool = False,
) -> Implants:
    """Choose places: the same for every method, size and intensity.

    Args:
        case: held out.
        sources: of the task; those that the case lacks are left out.
        target: modality that is made.
        diameters: in mm.
        count: lesions, and as many shams.
        within: labels of the tissue in which they may lie; without any, white matter of a phantom, and elsewhere
            the two fifths of the mask in which the first source varies least.
        paint: do not scan a phantom again.

    Raises:
        InputError: no room for a lesion and a sham.
    """
    there = tuple(name for name in sources if name in case.modalities)
    twin = None if paint or not {*there, target} <= set(CONTRASTS) else find_twin(case, (*there, target))
    mask = np.array(case.mask(), dtype=bool)
    suitable = mask & _tissue(case, there, within, twin, max(diameters), mask)
    rng = np.random.default_rng([*case.name.encode()])
    found = places(suitable, mask, case.grid, diameter_mm=max(diameters), count=2 * count, rng=rng)
    if len(found) < 2:
        raise InputError(
            f"case {case.name}: there is no room for a lesion of {max(diameters):g} mm and a place without one; "
            "give smaller --diameters, or other tissue with --within"
        )
    half = (len(found) + 1) // 2
    return Implants(case, there, target, twin, mask, tuple(found[:half]), tuple(found[half:]))


def _tissue(
    case: PreparedCase, sources: Sequence[str], within: Sequence[int], twin: Twin | None, width: float, mask: Mask
) -> Mask:
    if within:
        labels = case.labels()
        if labels is None:
            raise InputError(f"case {case.name}: has no label map, so tissue cannot be chosen by label")
        return mostly(np.isin(labels[0], list(within)), width, case.grid)
    if twin is not None:
        return mostly(twin.white, width, case.grid)
    return even_tissue(np.asarray(case.values(sources[0]), dtype=np.float64).mean(axis=0), mask, case.grid, width)


def _judged_unit(fit: IntensityFit, *, physical: bool) -> float:
    """What 1 in the network's values is in judged units."""
    return fit.scale if physical else 0.5 if fit.bounded else 1.0


def describe(implants: Mapping[str, Implants]) -> str:
    """``simulated``, ``painted``, or both, in a word."""
    kinds = {"simulated" if one.twin is not None else "painted" for one in implants.values()}
    return " and ".join(sorted(kinds, reverse=True))

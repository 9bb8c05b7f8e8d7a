"""Bring: the images of one case onto one grid, with a mask and an intensity fit for each.

Preparing a cohort and translating a new scan both come through :func:`bring`, so a network meets the same
geometry and the same intensities in both. An image is normalised by its own values (and a given mask) alone.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from math import prod
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Integer

from transmodal.data.bias import unbias
from transmodal.data.box import Box, bounds, slices
from transmodal.data.fingerprint import describe
from transmodal.data.foreground import foreground
from transmodal.data.geometry import crop, inside, overlap, resample, resample_labels
from transmodal.data.grid import Grid
from transmodal.data.intensity import IntensityFit, fit, spec_for
from transmodal.data.limits import MOST_VALUES
from transmodal.data.modality import modality
from transmodal.data.register import Kind, Moved, aligned
from transmodal.data.traits import traits
from transmodal.data.volume import Volume
from transmodal.errors import InputError, RecipeError, nearest
from transmodal.progress import warn
from transmodal.schema import make
from transmodal.shapes import Mask

MASKS = ("auto", "given", "foreground", "labels", "nonzero")
REGIONS = ("foreground", "mask")
_PLENTY, _GROWTH = 2**24, 64
"""Voxels that every scan may be brought to, and how many a larger one may have for each of its own."""
_MOST = 0.9
"""An image that covers less of the mask than this is worth a warning."""


@dataclass(frozen=True)
class PrepareSettings:
    """How cases are prepared: the recipe's ``[data.prepare]`` table.

    Attributes:
        modalities: which to prepare, in order; empty for every image column that is no drawn region.
        spacing: edge of a voxel in mm, the same along all axes, or three of them (left-right, back-front,
            down-up); 0 keeps the reference's.
        reference: the modality whose grid all are brought to; empty for the first of ``modalities``. Where a
            case lacks it, the first one that it has.
        mask: where voxels count. ``auto``: the given mask, else the foreground of the reference; ``given``;
            ``foreground``; ``labels``: label map above 0; ``nonzero``: reference not 0.
        fit_in: where intensities are fitted: each image's own ``foreground``, or the ``mask``.
        intensity: modality → kind, or a table of kind, low, high (see :func:`~.intensity.spec_for`).
        exclude: names of cases to leave out.
        entities: of BIDS names (``run-1``): which file to take where several are one modality of a case.
        min_overlap: least fraction of the smaller field of view that an image must share with the reference.
        register: ``rigid`` or ``affine`` moves every image onto the reference (:mod:`.register`) unless its header
            fits as well; mask and labels belong to the reference. ``none`` trusts the headers.
        n4: modalities whose bias field is taken out (:mod:`.bias`), in their own foreground.
        crop_margin: mm to keep around the mask; negative keeps the whole field of view.
        shape: voxels along X, Y, Z of every case, cut or padded about the middle of the mask and never stretched;
            empty for each case its own.
        empty_outside: whether images are emptied outside the mask: 0, or the lower end of a window.
        interpolation: 0 nearest, 1 linear, up to 5 for splines.
        slabs: cut each body into so many cases (:mod:`.slabs`), where there are no several people; 0 for whole.
        slab_gap: mm between two slabs that no case has.
        slab_plane: of the slices that slabs are stacks of: axial, coronal or sagittal.
    """

    modalities: tuple[str, ...] = ()
    spacing: float | tuple[float, float, float] = 0.0
    reference: str = ""
    mask: str = "auto"
    fit_in: str = "foreground"
    intensity: Mapping[str, Any] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    min_overlap: float = 0.5
    register: Kind = "none"
    n4: tuple[str, ...] = ()
    crop_margin: float = -1.0
    shape: tuple[int, ...] = ()
    empty_outside: bool = False
    interpolation: int = 1
    slabs: int = 0
    slab_gap: float = 10.0
    slab_plane: Literal["axial", "coronal", "sagittal"] = "axial"

    def __post_init__(self) -> None:
        if self.mask not in MASKS:
            raise RecipeError(f"data.prepare.mask = {self.mask!r}{nearest(self.mask, MASKS)}")
        if self.fit_in not in REGIONS:
            raise RecipeError(f"data.prepare.fit_in = {self.fit_in!r}{nearest(self.fit_in, REGIONS)}")
        if not all(0 <= s < 100 for s in self.spacings):
            raise RecipeError(f"data.prepare.spacing = {self.spacing}: give mm, or 0 to keep the reference's")
        if self.shape and (len(self.shape) != 3 or min(self.shape) < 1):
            raise RecipeError(f"data.prepare.shape = {list(self.shape)}: give three numbers of voxels, or none")
        if prod(self.shape) > MOST_VALUES:
            raise RecipeError(f"data.prepare.shape = {list(self.shape)}: no scan has so many voxels")
        if not 0 <= self.min_overlap <= 1:
            raise RecipeError(f"data.prepare.min_overlap = {self.min_overlap:g}: give a fraction from 0 to 1")
        if not -1e6 < self.crop_margin < 1e6:
            raise RecipeError(f"data.prepare.crop_margin = {self.crop_margin}: give mm, or -1 for no cropping")
        if self.interpolation not in range(6):
            raise RecipeError(f"data.prepare.interpolation = {self.interpolation}: give 0 (nearest) to 5")
        if self.slabs < 0 or self.slabs == 1 or not 0 <= self.slab_gap < 1e6:
            raise RecipeError(
                f"data.prepare.slabs = {self.slabs}, slab_gap = {self.slab_gap:g}: give 0 or at least 2, and mm"
            )
        if self.reference and self.modalities and self.reference not in self.modalities:
            raise RecipeError(
                f"data.prepare.reference = {self.reference!r} is not among the modalities"
                f"{nearest(self.reference, self.modalities)}"
            )
        for name, override in self.intensity.items():
            spec_for(name, override)
        for name in self.n4:
            if modality(name).window is not None or modality(name).channels != 1:
                raise RecipeError(f"data.prepare.n4: {name} has no bias field; name MR contrasts only")

    @property
    def spacings(self) -> tuple[float, float, float]:
        """Edges of a voxel in mm along X, Y, Z; 0 where the reference's is kept."""
        return self.spacing if isinstance(self.spacing, tuple) else (self.spacing, self.spacing, self.spacing)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: lists for tuples."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "PrepareSettings":
        """From what :meth:`to_dict` gave."""
        return make(cls, stored, "data.prepare")


@dataclass(frozen=True, eq=False)
class Brought:
    """A case on one grid.

    Attributes:
        images: modality → values in original units.
        mask: where voxels count.
        labels: label map, or None.
        fits: modality → intensity fit.
        grid: RAS+; that of the images, the mask and the labels.
        seen: True where every image has a field of view; outside it some hold a filling value.
        facts: modality → grid on input and intensities where the fit was made (:mod:`.fingerprint`), and
            ``traits`` (:mod:`.traits`).
        moved: modality → how it was registered.
    """

    images: dict[str, Volume]
    mask: Mask
    labels: Integer[np.ndarray, "1 X Y Z"] | None
    fits: dict[str, IntensityFit]
    grid: Grid
    seen: Mask
    facts: dict[str, dict[str, Any]]
    moved: dict[str, Moved] = field(default_factory=dict)


def bring(
    images: Mapping[str, Volume],
    settings: PrepareSettings,
    *,
    mask: Volume | None = None,
    labels: Volume | None = None,
    allow_missing: bool = False,
) -> Brought:
    """The images of one case onto one grid, with a mask and intensity fits.

    Args:
        images: modality → image as it was read; at least one.
        settings: how.
        mask: where voxels count (above 0), on any grid.
        labels: label map, on any grid.
        allow_missing: for a new scan: where the settings ask for a mask or labels that were not given, take the
            foreground of the reference; not where intensities are fitted in that mask.

    Raises:
        InputError: images that do not overlap, an empty mask, a missing mask or label map, no contrast.
    """
    turned = {name: _checked(name, image).canonical() for name, image in images.items()}
    turned |= {name: unbias(turned[name], foreground(turned[name])) for name in settings.n4 if name in turned}
    reference = turned[_reference(turned, settings)]
    moved = _registered(turned, reference, settings)
    turned |= {name: how.apply(turned[name]) for name, how in moved.items()}
    for image in turned.values():
        _check_overlap(reference, image, settings.min_overlap, bool(moved))
    own = {name: foreground(image) for name, image in turned.items()} if settings.fit_in == "foreground" else {}
    own_x, own_y, own_z = reference.grid.spacing
    x, y, z = settings.spacings
    grid = reference.grid.with_spacing((x or own_x, y or own_y, z or own_z)) if any((x, y, z)) else reference.grid
    _check_growth(reference, settings.shape or grid.shape)
    kind = _mask_kind(reference, settings, mask is not None, labels is not None, allow_missing)
    where = _mask(kind, reference, grid, mask, labels, next((own[n] for n in own if turned[n] is reference), None))
    if settings.crop_margin >= 0:
        box = _widened(bounds(where), settings.crop_margin, grid)
        grid, where = crop(grid, box), where[slices(box)]
    if settings.shape:
        grid, where = _boxed(grid, where, settings.shape, reference.name)

    seen = np.ones(grid.shape, dtype=bool)
    out, fits, facts = {}, {}, {}
    for name, image in turned.items():
        spec = spec_for(name, settings.intensity.get(name))
        empty = spec.low if spec.kind == "window" else 0.0
        out[name] = resample(image, grid, order=settings.interpolation, fill=empty)
        here = inside(grid, image.grid)
        seen &= here
        if (share := float(here[where].mean())) < _MOST:
            warn(f"{image.name}: covers {share:.0%} of the mask; what it does not cover counts for nothing")
        source, within = (image, own[name]) if name in own else (out[name], where & here)
        counted = source.at(within)
        fits[name] = fit(spec, counted, image.name)
        facts[name] = describe(images[name].grid, counted)
        facts[name]["traits"] = traits(source, within, fits[name])
        if settings.empty_outside:
            out[name] = replace(out[name], data=np.where(where, out[name].data, np.float32(empty)))
    drawn = None if labels is None else resample_labels(labels, grid).data
    return Brought(out, where, drawn, fits, grid, seen, facts, moved)


def _checked(name: str, image: Volume) -> Volume:
    channels = modality(name).channels
    if len(image.data) != channels:
        raise InputError(
            f"{image.name}: has {len(image.data)} channels where {name} has {channels}; "
            "check that the file is in the right column"
        )
    return image


def _reference(images: Mapping[str, Volume], settings: PrepareSettings) -> str:
    order = [settings.reference, *settings.modalities, *images]
    return next(name for name in order if name in images)


def _registered(images: Mapping[str, Volume], reference: Volume, settings: PrepareSettings) -> dict[str, Moved]:
    if settings.register == "none":
        return {}
    return {
        name: aligned(image, reference, settings.register)
        for name, image in images.items()
        if image is not reference
    }


def _check_overlap(reference: Volume, image: Volume, least: float, registered: bool) -> None:
    if image is reference:
        return
    shared = max(overlap(reference.grid, image.grid), overlap(image.grid, reference.grid))
    if shared < least:
        how = "after registration; look at both" if registered else (
            "by their headers; set data.prepare.register = 'rigid'"
        )  # fmt: skip
        raise InputError(
            f"{image.name}: shares only {shared:.0%} of its field of view with {reference.name} {how}, or lower "
            "data.prepare.min_overlap"
        )


def _check_growth(reference: Volume, shape: tuple[int, ...]) -> None:
    """Refuse many voxels out of few: nobody trains on such, and a model's settings may have been changed."""
    before, after = prod(reference.grid.shape), prod(shape)
    if after > max(_PLENTY, _GROWTH * before):
        raise InputError(
            f"{reference.name}: data.prepare.spacing or shape would make {after / before:.0f} voxels of each; "
            "give larger spacing or a smaller shape, or copy the model again"
        )


def _mask_kind(reference: Volume, settings: PrepareSettings, mask: bool, labels: bool, allow_missing: bool) -> str:
    """Which of given, foreground, labels and nonzero to do."""
    kind = settings.mask
    if kind == "auto":
        return "given" if mask else "foreground"
    if kind == "labels" and mask and not labels:
        return "given"
    if (kind == "given" and not mask) or (kind == "labels" and not labels):
        if allow_missing and settings.fit_in != "mask":
            return "foreground"
        what = "mask" if kind == "given" else "label map"
        raise InputError(
            f"{reference.name}: data.prepare.mask = {kind!r} needs a {what} and none came with this image; "
            "give one, or set data.prepare.mask = 'foreground'"
        )
    return kind


def _mask(
    kind: str,
    reference: Volume,
    grid: Grid,
    mask: Volume | None,
    labels: Volume | None,
    found: Bool[np.ndarray, "I J K"] | None,
) -> Mask:
    """The mask on ``grid``; ``found`` is the reference's foreground on its own grid, if it is known."""
    if kind == "nonzero":
        drawn = Volume((reference.data != 0).any(axis=0, keepdims=True), reference.grid, reference.name)
    elif kind == "foreground":
        drawn = Volume((foreground(reference) if found is None else found)[None], reference.grid, reference.name)
    else:
        given = mask if kind == "given" else labels
        assert given is not None
        drawn = Volume(given.data > 0, given.grid, given.name)
    where = resample_labels(Volume(drawn.data.astype(np.uint8), drawn.grid, drawn.name), grid).data[0] > 0
    if not where.any():
        raise InputError(
            f"{drawn.name}: gives an empty mask on the grid of {reference.name}; "
            "check that it is not all zero and that both lie in the same place"
        )
    return np.asarray(where)


def _boxed(grid: Grid, where: Mask, shape: tuple[int, ...], name: str) -> tuple[Grid, Bool[np.ndarray, "I J K"]]:
    """A grid of ``shape`` about the middle of the mask, cut or padded, and the mask on it."""
    starts = [round((low + high - size) / 2) for (low, high), size in zip(bounds(where), shape, strict=True)]
    boxed = crop(grid, ((starts[0], starts[0] + shape[0]), (starts[1], starts[1] + shape[1]),
                        (starts[2], starts[2] + shape[2])))  # fmt: skip
    kept = resample_labels(Volume(where[None].astype(np.uint8), grid, name), boxed).data[0] > 0
    if kept.sum() < where.sum():
        warn(f"{name}: data.prepare.shape cuts {1 - kept.sum() / where.sum():.1%} of the mask off; widen it")
    return boxed, np.asarray(kept)


def _widened(box: Box, margin: float, grid: Grid) -> Box:
    """The box with ``margin`` mm around it, as far as the grid goes."""
    out = []
    for (low, high), spacing, size in zip(box, grid.spacing, grid.shape, strict=True):
        more = round(margin / spacing)
        out.append((max(0, low - more), min(size, high + more)))
    return out[0], out[1], out[2]

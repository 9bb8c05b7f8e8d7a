"""Visible Human: sections and MRI of the NLM's male and female, as its server hands them out.

What counts is a file's name; folders may lie anywhere below the one that is given::

    head/a_vm1001.png … legs/a_vm2878.png        the male, a section each mm; regions overlap
    head/avf1001a.png, b, c … legs/avf2730c.png  the female, three a mm
    a_vm1001.raw …                               the same unpacked from .raw.Z: red, green, blue, 2048 × 1216
    radiological/mri/mvm1014t.png, mvf1014t.png  MRI: 1 is T1w, 2 or t T2w, p PDw; 16 bits

The number is where a section lies, in mm down from above the head. CT is passed over: nothing in its files says
which value is 0 HU. Names and sizes are from the NLM's pages and public downloaders of its files; which way rows
and columns point, and the pixels of the MRI, no file says, so they have to be given. The MRI of head and neck is
axial and that of the body coronal, and no name tells them apart: only axial slices can be stacked by number.
"""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Shaped

from transmodal.data.bodies.dataset import Body
from transmodal.data.bodies.embedding import body
from transmodal.data.bodies.sections import Section, Sections, each_once, in_order, shrunk, stack, thinned
from transmodal.data.grid import Grid
from transmodal.data.stacks import affine_of, read_picture
from transmodal.data.volume import Volume
from transmodal.errors import InputError, RecipeError, nearest
from transmodal.progress import warn

REGIONS = ("head", "thorax", "abdomen", "pelvis", "thighs", "legs")
CREDIT = "Visible Human {}: courtesy of the U.S. National Library of Medicine"
_SECTION = re.compile(r"a_?v([mf])(\d{4})([abc]?)\.(png|raw|rgb)(\.z|\.gz)?", re.IGNORECASE)
_MRI = re.compile(r"mv([mf])(\d{4})([12tp])\.png", re.IGNORECASE)
_WEIGHTED = {"1": "T1w", "2": "T2w", "t": "T2w", "p": "PDw"}
_SEX = {"m": "male", "f": "female"}
_HEAD = {"m": 1377, "f": 1285}
"""The last section of the head; what is below was scanned in coronal slices."""
_SIZE, _PIXEL = (2048, 1216), 0.33
"""Columns and rows of the photographs that the NLM hands out, and the edge of their pixels in mm."""
_BEYOND_MM = 20
"""MRI slices this far above and below the sections are of use, too."""


@dataclass(frozen=True)
class VisibleHumanSettings:
    """How the Visible Human becomes a dataset.

    Attributes:
        axes: where columns and rows of a section point: ``LP`` if its right edge is the body's left and its lower
            edge the back.
        mri_axes: the same of MRI slices; needed if there are any.
        mri_pixel: edge of their pixels in mm, from the NLM's mriHeaders; needed if there are any.
        mri_axial: take the MRI of sections below the head for axial slices, which the NLM's are not.
        regions: folders to take sections from; empty for all.
        pixel: edge of a section's pixel in mm; 0 for the 0.33 of sections of 2048 × 1216, needed for any others.
        shrink: so many pixels along rows and columns become one, their mean.
        every: so many sections on to the next, lost ones counted; 3 for each mm of the female.
        raw_size: columns and rows of raw files.
        raw_order: whether raw files hold whole ``planes`` of a colour, or the three of each of the ``pixels``.
    """

    axes: str = ""
    mri_axes: str = ""
    mri_pixel: float = 0.0
    mri_axial: bool = False
    regions: tuple[str, ...] = ()
    pixel: float = 0.0
    shrink: int = 3
    every: int = 1
    raw_size: tuple[int, int] = _SIZE
    raw_order: Literal["planes", "pixels"] = "planes"

    def __post_init__(self) -> None:
        for name in self.regions:
            if name not in REGIONS:
                raise RecipeError(f"regions: {name!r} is none of {', '.join(REGIONS)}{nearest(name, REGIONS)}")
        if min(self.pixel, self.mri_pixel) < 0 or min(self.shrink, self.every, *self.raw_size) < 1:
            raise RecipeError(
                "pixel, mri_pixel, shrink, every and raw_size: give mm above 0 and numbers from 1 on"
            )


def visible_human(tree: Path, settings: VisibleHumanSettings) -> Body:
    """Read the sections of one body, and the MRI at their height.

    Raises:
        InputError: no sections, two bodies, packed or damaged files, too many lost sections, two MRI slices of
            one weighting at one number, or MRI that shares no place with the sections.
        RecipeError: an orientation or a pixel that was not given, or MRI that is not known to be axial.
    """
    if not tree.is_dir():
        raise InputError(f"{tree}: there is no such folder; give the one that the NLM's files were copied to")
    found = _sections(tree, settings)
    sexes = sorted({sex for sex, _ in found})
    if not found:
        raise InputError(
            f"{tree}: no section called a_vm1001.png (male) or avf1001a.png (female), or .raw, lies below"
            + (f" {', '.join(settings.regions)}; see regions" if settings.regions else "; check the folder")
        )
    if len(sexes) > 1:
        raise InputError(f"{tree}: holds the male and the female; give the folder of one")
    if not settings.axes:
        raise RecipeError(_which_way("axes", found[0][1].file))
    rows = thinned(in_order([own for _, own in found], "sections", tree), settings.every, "sections", tree)
    mri = _mri(tree, sexes[0], rows, settings)
    cut = stack(rows, lambda file: _section(file, settings), "sections", tree)
    pixel = settings.pixel or _PIXEL
    grid = _grid(cut, pixel * settings.shrink, settings.axes, tree)
    there = np.stack([body(cut.values[..., z]) for z in range(cut.values.shape[-1])], axis=-1)
    cut.values[:, ~there] = 0
    if not (there & cut.there).any():
        raise InputError(
            f"{tree}: nothing but blue gelatine was found in the sections; check raw_size and raw_order"
        )
    mask = there & cut.there & _reached(cut, mri, tree)
    if not mask.any():
        raise InputError(f"{tree}: no section has a slice of {', '.join(mri)} at its place; take that MRI away")
    images = {"cryo": Volume(cut.values, grid, "cryo")}
    for name, own in mri.items():
        its = _grid(own, settings.mri_pixel, settings.mri_axes, tree)
        images[name] = Volume(own.values.astype(np.float32), its, name)
    return Body(
        name=f"visible-{_SEX[sexes[0]]}",
        images=images,
        mask=Volume(mask[None].astype(np.uint8), grid, "mask"),
        labels=None,
        credit=CREDIT.format(_SEX[sexes[0]]),
        record={
            "settings": {**asdict(settings), "pixel": pixel},
            "sections": [rows[0].file.name, rows[-1].file.name, len(rows)],
            "lost": {name: own.lost for name, own in {"cryo": cut, **mri}.items()},
            "terms": "No licence is needed; name the source as in credit, imply no endorsement by the NLM.",
        },
    )


def _sections(tree: Path, settings: VisibleHumanSettings) -> list[tuple[str, Section]]:
    """Sex and section of every file that is one; regions in their order, as they overlap."""
    found: list[tuple[str, Section]] = []
    packed = []
    for file in sorted(tree.rglob("*"), key=lambda p: (_region(p, tree), p.name)):
        match = _SECTION.fullmatch(file.name)
        if match is None or (settings.regions and not set(settings.regions) & set(_folders(file, tree))):
            continue
        if match[5]:
            packed.append(file)
            continue
        third = "abc".index(match[3].lower()) / 3 if match[3] else 0.0
        found.append((match[1].lower(), Section(int(match[2]) + third, file)))
    if packed and not found:
        raise InputError(f"{packed[0]}: is packed; unpack such files first: gunzip -r {tree}")
    return found


def _folders(file: Path, tree: Path) -> list[str]:
    return [part.lower() for part in file.relative_to(tree.parent).parts[:-1]]


def _region(file: Path, tree: Path) -> int:
    return min((REGIONS.index(part) for part in _folders(file, tree) if part in REGIONS), default=len(REGIONS))


def _section(file: Path, settings: VisibleHumanSettings) -> Shaped[np.ndarray, "3 X Y"]:
    if file.suffix.lower() == ".png":
        values = read_picture(file)
        if len(values) != 3 or values.dtype != np.uint8:
            raise InputError(f"{file}: is no picture of red, green and blue with 8 bits; copy it again")
        _check_pixel(file, values.shape[1:], settings)
        return shrunk(values, settings.shrink)
    columns, rows = settings.raw_size
    _check_pixel(file, settings.raw_size, settings)
    raw = np.fromfile(file, dtype=np.uint8)
    if raw.size != 3 * columns * rows:
        raise InputError(
            f"{file}: holds {raw.size} bytes where {columns} × {rows} pixels of three colours are "
            f"{3 * columns * rows}; it is cut off, or raw_size=[columns,rows] is another"
        )
    planes = (
        raw.reshape(3, rows, columns)
        if settings.raw_order == "planes"
        else np.moveaxis(raw.reshape(rows, columns, 3), -1, 0)
    )
    return shrunk(np.swapaxes(planes, 1, 2), settings.shrink)


def _check_pixel(file: Path, size: tuple[int, ...], settings: VisibleHumanSettings) -> None:
    if not settings.pixel and tuple(size) != _SIZE:
        raise RecipeError(
            f"{file}: has {size[0]} × {size[1]} pixels, and the NLM's photographs have {_SIZE[0]} × {_SIZE[1]} "
            f"of {_PIXEL} mm; give pixel=MM, the edge of these (0.66 for a copy of half the size)"
        )


def _mri(tree: Path, sex: str, rows: list[Section], settings: VisibleHumanSettings) -> dict[str, Sections]:
    """Weighting → slices at the height of the sections."""
    kinds: dict[str, list[Section]] = {}
    for file in sorted(tree.rglob("*.png")):
        match = _MRI.fullmatch(file.name)
        if match and match[1].lower() == sex:
            place = float(match[2])
            if rows[0].place - _BEYOND_MM <= place <= rows[-1].place + _BEYOND_MM:
                kinds.setdefault(_WEIGHTED[match[3].lower()], []).append(Section(place, file))
    volumes = {}
    for name, found in sorted(kinds.items()):
        if int(rows[-1].place) > _HEAD[sex] and not settings.mri_axial:
            raise RecipeError(
                f"{found[0].file}: the NLM's MRI is axial in head and neck and coronal below, and these sections "
                f'go down to {rows[-1].place:.0f}; take the head alone (regions=["head"]), or move the MRI '
                "elsewhere, or give mri_axial=true if you looked and all of these are axial"
            )
        if not settings.mri_axes:
            raise RecipeError(_which_way("mri_axes", found[0].file))
        if not settings.mri_pixel:
            raise RecipeError(
                f"{found[0].file}: does not say its pixels; give mri_pixel=MM from the NLM's mriHeaders"
            )
        each_once(found, f"{name} slice")
        volumes[name] = stack(in_order(found, f"{name} slices", tree), read_picture, f"{name} slices", tree)
    return volumes


def _reached(cut: Sections, mri: dict[str, Sections], tree: Path) -> Bool[np.ndarray, " Z"]:
    """Which sections have a measured slice of every weighting at their place."""
    without = {name: cut.there & ~own.reaches(cut.places) for name, own in mri.items()}
    gone = {name: int(own.sum()) for name, own in without.items() if own.any()}
    out = np.logical_or.reduce([np.zeros_like(cut.there), *without.values()])
    if gone:
        each = ", ".join(f"{name} is missing at {count}" for name, count in gone.items())
        warn(
            f"{tree}: {int(out.sum())} of {len(out)} sections leave the mask because the MRI does not reach them "
            f"({each}); take a weighting's files away to keep the sections that it lacks"
        )
    return np.asarray(~out)


def _grid(cut: Sections, pixel: float, axes: str, where: Path) -> Grid:
    """Numbers rise on the way down, a mm each; the middle of a section lies on the axis of the body."""
    shape = cut.values.shape[1:]
    affine = affine_of([pixel, pixel, cut.step], f"{axes}I", shape, where)
    affine[2, 3] = -cut.first
    return Grid((shape[0], shape[1], shape[2]), affine)


def _which_way(key: str, file: Path) -> str:
    return (
        f"{file}: does not say which way it looks; open it and give {key}=LP if its right edge is the body's left "
        f"and its lower edge the back, {key}=RA for the opposite, and so on"
    )

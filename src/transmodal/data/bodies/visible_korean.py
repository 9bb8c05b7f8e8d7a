"""Visible Korean Human: matched MRI, sections and outlined structures of one body, as a dataset.

The data are given on request and not always in one form, so this is the form they have to be brought to. It is
that of the public code of Mathur et al. 2025 (https://arxiv.org/abs/2412.10452): three folders, one name a place::

    TREE/mri/NAME.png      grey, 8 or 16 bits
    TREE/cryo/NAME.png     red, green, blue, 8 bits
    TREE/seg/NAME.png      the code of a structure in each pixel, grey, 8 or 16 bits; may be left out
    TREE/stack.json        {"spacing": [mm, mm, mm], "orientation": "LPI"} along columns, rows, slices
    TREE/labels.json       {"0": "background", "1": "skin", …}: every code that may occur; may be left out

PNG, TIFF, BMP and JPEG are read (codes never from JPEG); the last number in a name says which slice it is.
"""

import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from transmodal.data.bodies.dataset import MOST_CODE, Body
from transmodal.data.bodies.embedding import body
from transmodal.data.bodies.sections import Section, Sections, each_once, in_order, pictures, stack
from transmodal.data.files import read_json
from transmodal.data.grid import Grid
from transmodal.data.modality import unusable
from transmodal.data.stacks import SIDECAR, affine_of, facts_of, read_picture
from transmodal.data.volume import Volume
from transmodal.errors import InputError, RecipeError

CREDIT = "Visible Korean Human: name KISTI as its terms of use say"
_NUMBER = re.compile(r"\d+(?!.*\d)")
_LOSSY = (".jpg", ".jpeg")


@dataclass(frozen=True)
class VisibleKoreanSettings:
    """How the Visible Korean Human becomes a dataset.

    Attributes:
        mri: what the MRI is called as a modality.
        name: of the body.
        credit: who has to be named; another than KISTI for another body that was brought to this form.
        gelatine: whether the blue block that the body lies in is still there and is to be made black.
    """

    mri: str = "T1w"
    name: str = "visible-korean"
    credit: str = CREDIT
    gelatine: bool = True

    def __post_init__(self) -> None:
        if why := unusable(self.mri) or unusable(self.name):
            raise RecipeError(f"mri = {self.mri!r}, name = {self.name!r}: {why}")


def visible_korean(tree: Path, settings: VisibleKoreanSettings) -> Body:
    """Read three folders of slices of one body.

    Raises:
        InputError: a folder that lacks slices of another or has two with one number, other sizes, codes that
            labels.json does not have or that are too large, or no ``stack.json``.
    """
    folders = {name: tree / name for name in ("mri", "cryo", "seg")}
    files = {name: _numbered(folder) for name, folder in folders.items()}
    for name in ("mri", "cryo"):
        if not files[name]:
            raise InputError(
                f"{folders[name]}: holds no pictures; TREE/mri and TREE/cryo are needed, see the manual"
            )
    kinds = [name for name, own in files.items() if own]
    _check_matched({name: files[name] for name in kinds})
    facts, where = facts_of(tree / SIDECAR, tree)
    read = {name: _stacked(files[name], name, folders[name]) for name in kinds}
    for name, own in read.items():
        if own.values.shape[1:] != read["cryo"].values.shape[1:]:
            raise InputError(f"{folders[name]}: its slices are of another size than those of cryo; cut them alike")
    cryo = read["cryo"]
    if len(cryo.values) != 3 or cryo.values.dtype != np.uint8:
        raise InputError(f"{folders['cryo']}: its pictures are not of red, green and blue with 8 bits")
    shape = cryo.values.shape[1:]
    grid = Grid((shape[0], shape[1], shape[2]), affine_of(facts["spacing"], facts["orientation"], shape, where))
    there = np.stack([body(cryo.values[..., z]) for z in range(shape[2])], axis=-1) if settings.gelatine else (
        cryo.values.max(axis=0) > 0
    )  # fmt: skip
    cryo.values[:, ~there] = 0
    mri = _grey(read["mri"], folders["mri"]).astype(np.float32)
    labels, table = _labels(read, tree)
    called = {"mri": settings.mri, "cryo": "cryo", "seg": "labels"}
    return Body(
        name=settings.name,
        images={"cryo": Volume(cryo.values, grid, "cryo"), settings.mri: Volume(mri[None], grid, settings.mri)},
        mask=Volume((there & cryo.there & read["mri"].there)[None].astype(np.uint8), grid, "mask"),
        labels=None if labels is None else Volume(labels[None], grid, "labels"),
        credit=settings.credit,
        record={
            "settings": asdict(settings),
            "labels": table,
            "slices": shape[2],
            "lost": {called[name]: own.lost for name, own in read.items()},
        },
    )


def _numbered(folder: Path) -> dict[str, Section]:
    """Name → slice, with the last number of the name as its place."""
    found: dict[str, Section] = {}
    for file in pictures(folder):
        number = _NUMBER.search(file.stem)
        if number is None:
            raise InputError(f"{file}: no number in its name says which slice it is; rename it")
        if file.stem in found:
            raise InputError(f"{file}: {found[file.stem].file.name} is the same slice; keep one")
        found[file.stem] = Section(float(number.group()), file)
    each_once(found.values(), "slice")
    return found


def _check_matched(files: dict[str, dict[str, Section]]) -> None:
    """Every name in all folders."""
    for name, own in files.items():
        for other, theirs in files.items():
            alone = sorted(set(own) - set(theirs))
            if alone:
                raise InputError(
                    f"{own[alone[0]].file}: {other}/ has no slice of that name ({len(alone)} such in {name}/); "
                    "each place needs one in every folder"
                )


def _stacked(files: dict[str, Section], name: str, folder: Path) -> Sections:
    if name == "seg" and any(own.file.suffix.lower() in _LOSSY for own in files.values()):
        raise InputError(f"{folder}: JPEG changes codes; save label maps as PNG")
    return stack(in_order(files.values(), f"{name} slices", folder), read_picture, f"{name} slices", folder)


def _grey(read: Sections, folder: Path) -> np.ndarray:
    if len(read.values) != 1:
        raise InputError(f"{folder}: its pictures have {len(read.values)} channels; save them as grey")
    return np.asarray(read.values[0])


def _labels(read: dict[str, Sections], tree: Path) -> tuple[np.ndarray | None, dict[str, str]]:
    """The label map, and code → name of what occurs."""
    if "seg" not in read:
        return None, {}
    codes = _grey(read["seg"], tree / "seg")
    if codes.max() > MOST_CODE:
        raise InputError(
            f"{tree / 'seg'}: holds the code {codes.max()}, and codes go up to {MOST_CODE}; "
            "number the structures anew"
        )
    found = [str(code) for code in np.unique(codes)]
    names = read_json(tree / "labels.json") if (tree / "labels.json").is_file() else dict.fromkeys(found, "")
    if not isinstance(names, dict):
        raise InputError(f'{tree / "labels.json"}: is no table such as {{"0": "background"}}')
    unknown = [code for code in found if code not in names]
    if unknown:
        raise InputError(
            f"{tree / 'seg'}: holds the codes {', '.join(unknown[:8])}, which labels.json does not name; add them"
        )
    return codes.astype(np.int32), {code: str(names[code]) for code in found}

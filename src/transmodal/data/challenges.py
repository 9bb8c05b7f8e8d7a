"""Challenges: what SynthRAD2023 and BraTS call their files, read as their organisers hand them out.

SynthRAD2023 (https://arxiv.org/abs/2303.16320): ``Task1/brain/1BA001/{mr,ct,mask}.nii.gz``; a case's name is its
task, region, centre and number. Task 2 has ``cbct`` in the place of ``mr``. The contrast of ``mr`` differs by
centre, so it is called MR and not T1w.

BraTS: ``BraTS20_Training_001/BraTS20_Training_001_t1ce.nii`` (2020), ``BraTS2021_00000/…_t1ce.nii.gz`` (2021),
``BraTS-GLI-00000-000/BraTS-GLI-00000-000-t1c.nii.gz`` (2023, the last number is the visit of a person).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from transmodal.data.volume import stem
from transmodal.errors import InputError
from transmodal.progress import warn

_SYNTHRAD = re.compile(r"(?P<task>[12])(?P<region>[BP])(?P<centre>[A-Z])\d{3}")
_SYNTHRAD_FILES = {"mr": "MR", "cbct": "CBCT", "ct": "CT", "mask": "mask"}
_REGIONS = {"B": "brain", "P": "pelvis"}

_BRATS = re.compile(r"Bra[Tt][Ss](?:1[789]|20)_\w+|BraTS2021_\d+|(?P<person>BraTS-[A-Z]+-\d+)-\d+")
_BRATS_FILES = {
    "t1": "T1w", "t1n": "T1w", "t1ce": "T1c", "t1c": "T1c", "t2": "T2w", "t2w": "T2w", "flair": "FLAIR",
    "t2f": "FLAIR", "seg": "labels", "mask": "mask",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One case of a challenge.

    Attributes:
        subject: the person.
        images: modality (also ``mask`` and ``labels``) → file.
        facts: what the name says: task, region, centre.
    """

    subject: str
    images: dict[str, Path] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


def challenge_cases(files: Iterable[Path]) -> dict[str, Entry]:
    """Case → its files, for those that are named as a challenge names them; empty where there is none.

    Args:
        files: volumes, at any depth.

    Raises:
        InputError: a case lies in two places, has two files of one modality, or lies under another region.
    """
    found: dict[str, Entry] = {}
    strange: list[Path] = []
    for path in files:
        name = path.parent.name
        entry, modality = _synthrad(path, name) or _brats(path, name) or (None, "")
        if entry is None or not modality:
            strange.append(path)
            continue
        images = found.setdefault(name, entry).images
        if modality in images:
            raise InputError(
                f"{path}: {images[modality]} is {modality} of the case {name}, too; keep one of them, or list the "
                "files to use in a cases.tsv"
            )
        images[modality] = path
    if found and strange:
        warn(f"{strange[0]}: is not named as the challenge names its files; it is passed over{_more(strange)}")
    order = [*_SYNTHRAD_FILES.values(), *_BRATS_FILES.values()]
    for entry in found.values():
        # What is given comes before what is made, as where no reference is named the first one is taken.
        by_order = sorted(entry.images.items(), key=lambda item: order.index(item[0]))
        entry.images.clear()
        entry.images.update(by_order)
    return found


def _synthrad(path: Path, name: str) -> tuple[Entry, str] | None:
    match = _SYNTHRAD.fullmatch(name)
    if match is None or stem(path) not in _SYNTHRAD_FILES:
        return None
    region = _REGIONS[match["region"]]
    above = path.parent.parent.name.lower()
    if above in _REGIONS.values() and above != region:
        raise InputError(
            f"{path}: lies under {above}, but {name} is a case of the {region}; move it where it belongs"
        )
    facts = {"task": match["task"], "region": region, "centre": match["centre"]}
    return Entry(name, facts=facts), _SYNTHRAD_FILES[stem(path)]


def _brats(path: Path, name: str) -> tuple[Entry, str] | None:
    match = _BRATS.fullmatch(name)
    if match is None:
        return None
    rest = stem(path).removeprefix(name)
    return Entry(match["person"] or name), _BRATS_FILES.get(rest[1:], "") if rest[:1] in ("_", "-") else ""


def _more(files: list[Path]) -> str:
    return f" (and {len(files) - 1} more)" if len(files) > 1 else ""
